"""One bit changed at every byte of everything an eUICC signs or shows: refused with the right error, nothing changed.

The last change of each is none at all: the very same session then takes the good object.
"""

import asyncio

import pytest

from esim_bench.codec import es9_asn1, tlv
from esim_bench.errors import CodecError
from esim_bench.servers.smdp import StatusError

MALFORMED = "malformed"
"""HTTP 400: the change hit a tag, a length or a fixed value."""


def flipped(data):
    """The data with one bit changed, at each byte in turn; which bit, changes from byte to byte."""
    for position in range(len(data)):
        spoilt = bytearray(data)
        spoilt[position] ^= 1 << (position * 5 + 2) % 8
        yield position, bytes(spoilt)


def outcomes(bench, function, name, payload, transaction_id):
    """What the server says to each change, by position; fails when one is taken, or leaves a trace."""

    async def run():
        found = {}
        before = snapshot(bench)
        for position, spoilt in flipped(payload):
            try:
                await bench.smdp.handle(function, {"transactionId": transaction_id, name: spoilt})
            except StatusError as exc:
                found[position] = f"{exc.subject}/{exc.reason}"
            except CodecError:
                found[position] = MALFORMED
            else:
                found[position] = "taken"
        assert snapshot(bench) == before
        return found

    return asyncio.run(run())


def snapshot(bench):
    return [
        (order, bench.store.downloads(order_id=order.id)) for order in bench.store.orders()
    ], bench.store.notifications()


def span(payload, part):
    """Positions of a part of a payload."""
    start = payload.index(part)
    return range(start, start + len(part))


@pytest.fixture
def opened(bench):
    """An eUICC, its session, and its answer to the server."""
    euicc = bench.euicc()
    answer = bench.initiate(euicc)
    return euicc, answer, euicc.authenticate(answer)


def test_authenticate_server_response(bench, opened):
    euicc, answer, payload = opened
    transaction_id = bytes.fromhex(answer["transactionId"])
    found = outcomes(bench, "authenticateClient", "authenticateServerResponse", payload, transaction_id)
    signed = tlv.parse(payload).get(0xA0).children()[0]
    own, eum = euicc.certificates
    expected = {
        "signed": (span(payload, signed.raw), {"8.1/6.1", "8.10.1/3.9", MALFORMED}),
        "signature": (span(payload, euicc.signature1[3:]), {"8.1/6.1"}),
        "eUICC certificate": (span(payload, own)[4:], {"8.1.3/6.1"}),
        "EUM certificate": (span(payload, eum)[4:], {"8.1.2/6.1", "8.11.1/3.9"}),
    }
    covered = set()
    for name, (positions, codes) in expected.items():
        assert {found[position] for position in positions} <= codes, name
        covered |= set(positions)
    # Tags and lengths: what is cut out by a wrong length is an unreadable certificate, if anything.
    frame = {code for position, code in found.items() if position not in covered}
    assert frame <= {MALFORMED, "8.1.2/6.1", "8.1.3/6.1"}
    # The transaction id that was signed, and nothing else, is another session's.
    named = set(span(payload, transaction_id)) & covered
    assert {position for position, code in found.items() if code == "8.10.1/3.9"} == named
    good = bench.call("authenticateClient", transactionId=answer["transactionId"], authenticateServerResponse=payload)
    assert good.status == "Executed-Success"


def test_prepare_download_response(bench):
    bench.release("CODE", confirmation_code="4711")
    euicc = bench.euicc()
    offered = bench.authenticate(euicc, "CODE")
    payload = euicc.prepare(offered, "4711")
    transaction_id = bytes.fromhex(offered["transactionId"])
    found = outcomes(bench, "getBoundProfilePackage", "prepareDownloadResponse", payload, transaction_id)
    assert set(found.values()) == {"8.1/6.1", "8.10.1/3.9", MALFORMED}
    named = set(span(payload, transaction_id))
    assert {position for position, code in found.items() if code == "8.10.1/3.9"} == named
    values = set(span(payload, euicc.otpk())) | set(span(payload, payload[-64:]))
    assert {found[position] for position in values} == {"8.1/6.1"}
    # No change of the hash was a guess.
    assert bench.store.downloads(eid=euicc.eid)[0].cc_failures == 0
    good = bench.call("getBoundProfilePackage", transactionId=offered["transactionId"], prepareDownloadResponse=payload)
    assert good.status == "Executed-Success"


def test_cancel_session_response(bench):
    euicc = bench.euicc()
    offered = bench.authenticate(euicc)
    payload = euicc.cancel(reason=0)
    found = outcomes(bench, "cancelSession", "cancelSessionResponse", payload, bytes.fromhex(offered["transactionId"]))
    assert set(found.values()) == {"8.1/6.1", "8.10.1/3.9", MALFORMED}
    assert bench.state() == "Released"
    assert bench.call(
        "cancelSession", transactionId=offered["transactionId"], cancelSessionResponse=payload
    ).status == ("Executed-Success")


@pytest.mark.parametrize("kind", ["install", "enable"])
def test_notifications(bench, kind):
    euicc = bench.euicc()
    bench.download(euicc)
    if kind == "enable":
        bench.notify(euicc.result(seq=1))
    payload = euicc.result(seq=2) if kind == "install" else euicc.notification("enable", 2)
    state, kept = bench.state(), len(bench.store.notifications())
    for _, spoilt in flipped(payload):
        try:
            asyncio.run(bench.smdp.handle("handleNotification", {"pendingNotification": spoilt}))
        except CodecError:
            continue
    assert bench.state() == state
    assert not any(record.verified for record in bench.store.notifications()[kept:])
    assert bench.notify(payload).verified
    assert bench.state() != state


def test_what_nobody_signs(bench, opened):
    """The session's name beside the payload, and the frame of the ASN.1 binding: another session, or no request."""
    _, answer, payload = opened
    fields = {"transactionId": bytes.fromhex(answer["transactionId"]), "authenticateServerResponse": payload}
    body = es9_asn1.encode_request("authenticateClient", fields)
    frame = len(body) - len(payload)
    for position, spoilt in flipped(body[:frame]):
        response = bench.post("/gsma/rsp2/asn1", spoilt + payload, {"Content-Type": "application/x-gsma-rsp-asn1"})
        refused = response.status == 400 or response.body == bytes.fromhex("a206bf3b0381010a")
        assert refused, (position, response.body.hex())
