"""What somebody who is not the eUICC, or not an honest one, might send to the SM-DP+."""

import asyncio
import hashlib
import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from esim_bench.codec import tlv
from esim_bench.servers.pki import make_eid
from esim_bench.servers.smdp import Limits, notifications, session
from esim_bench.servers.smdp.http import es9_app

ORDER_OF_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def with_subject(der, key, *serial_numbers):
    """The eUICC certificate again, signed by its EUM, with these serial numbers in its subject."""
    old = x509.load_der_x509_certificate(der)
    kept = [item for item in old.subject if item.oid != NameOID.SERIAL_NUMBER]
    subject = x509.Name([*kept, *(x509.NameAttribute(NameOID.SERIAL_NUMBER, text) for text in serial_numbers)])
    builder = x509.CertificateBuilder(
        old.issuer, subject, old.public_key(), old.serial_number, old.not_valid_before_utc, old.not_valid_after_utc
    )
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


# ------------------------------------------------------------------------------------------------------ certificates


def test_an_eum_cannot_certify_the_eid_of_another_eum(bench):
    outside = make_eid(1, iin="89033023").hex()
    euicc = bench.euicc()
    inside = euicc.eid.hex()
    own, eum = euicc.certificates
    attempts = [(outside,), (outside, inside), (inside, outside), (inside + "00",), (f" {inside}",), (inside[:8],), ()]
    for serial_numbers in attempts:
        euicc.certificates = [with_subject(own, bench.pki.eum.key, *serial_numbers), eum]
        assert bench.authenticate(euicc).code == "8.1.3/6.1", serial_numbers
    euicc.certificates = [with_subject(own, bench.pki.eum.key, inside), eum]
    assert bench.authenticate(euicc).status == "Executed-Success"


def test_an_euicc_cannot_act_as_its_eum(bench):
    euicc, other = bench.euicc(1), bench.euicc(2)
    euicc.certificates = [with_subject(other.certificates[0], euicc.key, other.eid.hex()), euicc.certificates[0]]
    assert bench.authenticate(euicc).code in ("8.11.1/3.9", "8.1.2/6.1")


def test_the_certificate_of_one_euicc_and_the_key_of_another(bench):
    euicc, other = bench.euicc(1), bench.euicc(2)
    euicc.certificates = other.certificates
    assert bench.authenticate(euicc).code == "8.1/6.1"


# ------------------------------------------------------------------------------------------------------ replay


@pytest.fixture
def two_open(bench):
    """One eUICC, two sessions, its answer to the first."""
    euicc = bench.euicc()
    first, second = bench.initiate(euicc), bench.initiate(euicc)
    return euicc, first, second, euicc.authenticate(first)


def test_an_answer_of_another_session(bench, two_open):
    _, first, second, answer = two_open
    refused = bench.call("authenticateClient", transactionId=second["transactionId"], authenticateServerResponse=answer)
    assert refused.code == "8.10.1/3.9"
    taken = bench.call("authenticateClient", transactionId=first["transactionId"], authenticateServerResponse=answer)
    assert taken.status == "Executed-Success"


def test_a_preparation_of_another_session(bench, tools):
    bench.release(test_order=True)
    euicc = bench.euicc()
    first = bench.authenticate(euicc)
    prepared = euicc.prepare(first)
    second = bench.authenticate(euicc)
    refused = bench.call(
        "getBoundProfilePackage", transactionId=second["transactionId"], prepareDownloadResponse=prepared
    )
    assert refused.code == "8.10.1/3.9"
    # Signed again with the right id, but still over the other session's smdpSignature2.
    otpk = tlv.parse(prepared).get(0xA0, 0x30, 0x5F49).raw
    signed = tlv.encode(0x30, tlv.encode(0x80, bytes.fromhex(second["transactionId"])), otpk)
    forged = tlv.encode(0xBF21, tlv.encode(0xA0, signed, tools.sign(euicc.key, signed + first["smdpSignature2"])))
    refused = bench.call(
        "getBoundProfilePackage", transactionId=second["transactionId"], prepareDownloadResponse=forged
    )
    assert refused.code == "8.1/6.1"


def test_an_ended_transaction_never_comes_back(bench):
    euicc = bench.euicc()
    opened = bench.initiate(euicc)
    answer = euicc.authenticate(opened)
    bench.call("authenticateClient", transactionId=opened["transactionId"], authenticateServerResponse=answer)
    assert bench.cancel(euicc, opened["transactionId"], reason=1).status == "Executed-Success"
    again = bench.initiate(euicc)
    assert again["transactionId"] != opened["transactionId"]
    assert tlv.parse(again["serverSigned1"]).get(0x84).value != tlv.parse(opened["serverSigned1"]).get(0x84).value


@pytest.mark.parametrize("otpk", [b"\x00", b"\x04" + bytes(64), b"\x02" + bytes(32), b"\x04" + b"\xff" * 64])
def test_one_time_keys_that_are_no_points(bench, otpk):
    euicc = bench.euicc()
    assert bench.bind(euicc, bench.authenticate(euicc), otpk=otpk).code == "8.1/6.1"
    assert bench.store.orders()[0].state.value == "Released"


def test_a_point_of_the_other_curve(bench):
    key = ec.derive_private_key(7, ec.BrainpoolP256R1()).public_key()
    euicc = bench.euicc()
    otpk = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert bench.bind(euicc, bench.authenticate(euicc), otpk=otpk).code == "8.1/6.1"


# ------------------------------------------------------------------------------------------------------ orders


def test_many_euiccs_do_not_share_the_guessing_of_a_confirmation_code(bench):
    bench.release("CODE", confirmation_code="1234")
    codes = []
    for number in range(1, 5):
        euicc = bench.euicc(number)
        authenticated = bench.authenticate(euicc, "CODE")
        codes.append(authenticated.code or bench.bind(euicc, authenticated, "0000").code)
    assert codes[:3] == ["8.2.7/3.8", "8.2.7/3.8", "8.2.7/6.4"]
    assert codes[3] == "8.2.7/6.4"


def test_of_a_test_order_each_euicc_has_its_own_tries(bench):
    bench.release("CODE", confirmation_code="1234", test_order=True)
    for number in range(1, 5):
        euicc = bench.euicc(number)
        assert bench.bind(euicc, bench.authenticate(euicc, "CODE"), "0000").code == "8.2.7/3.8"


# ------------------------------------------------------------------------------------------------------ notifications


def other_signature(notification):
    """The second signature that ECDSA has for the same data: r, n - s."""
    members = tlv.parse(notification).children()
    value = members[1].value
    twin = value[:32] + (ORDER_OF_P256 - int.from_bytes(value[32:], "big")).to_bytes(32, "big")
    return tlv.encode(notification[0], members[0].raw, tlv.encode(0x5F37, twin), *(item.raw for item in members[2:]))


def with_more(notification):
    item = tlv.parse(notification)
    return tlv.encode(item.tag, item.value, tlv.encode(0x04, b"more"))


@pytest.mark.parametrize("change", [with_more, other_signature])
def test_a_notification_in_other_clothes_is_the_same_one(bench, change):
    bench.release(test_order=True)
    euicc = bench.euicc()
    bench.download(euicc)
    enabled = euicc.notification("enable", 2)
    bench.notify(euicc.result(seq=1))
    bench.notify(enabled)
    bench.notify(change(enabled))
    assert len(bench.store.notifications()) == 2


def test_an_old_result_in_other_clothes_says_nothing_of_a_new_download(bench):
    bench.release("AGAIN", test_order=True)
    euicc = bench.euicc()
    bench.download(euicc, "AGAIN")
    old = euicc.result(seq=1)
    bench.notify(old)
    bench.download(euicc, "AGAIN")
    bench.notify(with_more(old))
    (download,) = bench.store.downloads(eid=euicc.eid)
    assert (download.state.value, download.euicc_otpk) == ("Downloaded", euicc.otpk())


def test_a_forged_notification_does_not_stand_in_the_way_of_the_true_one(bench, tools):
    euicc = bench.euicc()
    bench.download(euicc)
    bench.notify(euicc.result(seq=1, key=tools.other_key))
    assert bench.notify(euicc.result(seq=1)).verified
    assert [record.verified for record in bench.store.notifications()] == [False, True]


def test_forged_notifications_do_not_fill_the_store(bench, tools, monkeypatch):
    monkeypatch.setattr(notifications, "MAX_REFUSED", 3)
    euicc = bench.euicc()
    bench.download(euicc)
    for seq in range(10):
        bench.call("handleNotification", pendingNotification=euicc.result(seq=seq, key=tools.other_key))
    forged = tlv.parse(euicc.result(seq=99, key=tools.other_key))
    bench.call(
        "handleNotification", pendingNotification=tlv.encode(0xBF37, forged.value, tlv.encode(0x04, bytes(20000)))
    )
    assert len(bench.store.notifications()) == 3
    assert bench.notify(euicc.result(seq=1)).verified


def test_an_euicc_says_nothing_of_the_profiles_of_another(bench):
    euicc, other = bench.euicc(1), bench.euicc(2)
    bench.download(euicc)
    bench.notify(euicc.result(seq=1))
    bench.notify(other.notification("delete", 9))
    assert bench.store.orders()[0].state.value == "Installed"


# ------------------------------------------------------------------------------------------------------ load


def test_a_flood_of_sessions_does_not_push_out_one_that_is_known(make_bench):
    bench = make_bench(limits=Limits(sessions=4))
    bench.release()
    euicc, somebody = bench.euicc(1), bench.euicc(2)
    authenticated = bench.authenticate(euicc)
    for number in range(10):
        bench.initiate(somebody, challenge=hashlib.sha256(bytes((number,))).digest()[:16])
    assert len(bench.smdp._core.sessions) == 4
    assert bench.bind(euicc, authenticated).status == "Executed-Success"


def test_only_the_latest_packages_are_kept_for_a_second_request(bench, tools, monkeypatch):
    monkeypatch.setattr(session, "MAX_ANSWERS", 2)
    bench.release("MANY", upp=tools.package(size=3001), test_order=True)
    asked = []
    for number in range(1, 5):
        euicc = bench.euicc(number)
        authenticated = bench.authenticate(euicc, "MANY")
        request = {
            "transactionId": authenticated["transactionId"],
            "prepareDownloadResponse": euicc.prepare(authenticated),
        }
        assert bench.call("getBoundProfilePackage", **request).status == "Executed-Success"
        asked.append(request)
    repeated = [bench.call("getBoundProfilePackage", **request) for request in asked]
    assert [answer.code for answer in repeated] == ["8.2/3.7", "8.2/3.7", None, None]


def test_a_client_that_never_ends_its_request(bench):
    sent = []

    async def receive():
        if sent:
            await asyncio.sleep(60)
        sent.append("half a body")
        return {"type": "http.request", "body": b"{", "more_body": True}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/gsma/rsp2/es9plus/handleNotification",
        "headers": [(b"content-type", b"application/json")],
    }
    asyncio.run(es9_app(bench.smdp.handle, body_seconds=0.01)(scope, receive, send))
    assert sent[1]["status"] == 408


def test_a_field_that_comes_twice(bench):
    euicc = bench.euicc()
    opened = bench.initiate(euicc)
    body = json.dumps({"transactionId": opened["transactionId"], "cancelSessionResponse": "AAAA"})
    twice = body[:-1] + ', "transactionId": "00"}'
    response = bench.post("cancelSession", twice.encode())
    assert (response.status, b"twice" in response.body) == (400, True)
