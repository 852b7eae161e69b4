"""Each status code of ES9+ is reached, and a refused request changes nothing (SGP.22 5.6, 5.2.6)."""

import base64
import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MINUTE = 60 * 1_000_000_000
DAY = 24 * 60 * MINUTE


# ---------------------------------------------------------------------------------------------- initiateAuthentication


@pytest.mark.parametrize("address", ["testsmdpplus2.example.com", "", "testsmdpplus1.example.com.evil.org"])
def test_another_address(bench, address):
    assert bench.initiate(bench.euicc(), address).code == "8.8.1/3.8"


@pytest.mark.parametrize("svn", ["010000", "030000"])
def test_another_version_of_the_standard(bench, svn):
    euicc = bench.euicc()
    euicc.svn = bytes.fromhex(svn)
    assert bench.initiate(euicc).code == "8.8.3/3.1"


def test_no_common_ci(bench):
    euicc = bench.euicc()
    euicc.verification = euicc.signing = [bytes(20)]
    assert bench.initiate(euicc).code == "8.8.2/3.1"
    euicc.verification = euicc.signing = []
    assert bench.initiate(euicc).code == "8.8.2/3.1"


def test_no_server_certificate_under_a_ci_that_the_euicc_trusts(bench):
    euicc = bench.euicc()
    euicc.verification = [bytes(20)]
    assert bench.initiate(euicc).code == "8.8.4/3.7"


# -------------------------------------------------------------------------------------------------- authenticateClient


def test_an_unknown_transaction(bench):
    euicc = bench.euicc()
    bench.initiate(euicc)
    response = euicc.authenticate(bench.initiate(euicc))
    answer = bench.call("authenticateClient", transactionId="00" * 16, authenticateServerResponse=response)
    assert (answer.status, answer.code) == ("Failed", "8.10.1/3.9")


def test_an_expired_session(bench):
    euicc = bench.euicc()
    opened = bench.initiate(euicc)
    bench.now_ns += 11 * MINUTE
    request = {"transactionId": opened["transactionId"], "authenticateServerResponse": euicc.authenticate(opened)}
    for _ in range(2):
        answer = bench.call("authenticateClient", **request)
        assert (answer.status, answer.code) == ("Expired", "8.10.1/3.9")


def test_a_session_lives_on_with_each_step(bench):
    euicc = bench.euicc()
    opened = bench.initiate(euicc)
    bench.now_ns += 9 * MINUTE
    response = euicc.authenticate(opened)
    offered = bench.call(
        "authenticateClient", transactionId=opened["transactionId"], authenticateServerResponse=response
    )
    bench.now_ns += 9 * MINUTE
    assert bench.bind(euicc, offered).status == "Executed-Success"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"transaction_id": bytes(16)}, "8.10.1/3.9"),
        ({"challenge": bytes(16)}, "8.1/6.1"),
        ({"address": b"testsmdpplus2.example.com"}, "8.1/6.1"),
    ],
)
def test_what_the_euicc_signed_belongs_to_this_session(bench, changes, code):
    assert bench.authenticate(bench.euicc(), **changes).code == code


def test_a_signature_by_another_key(bench, tools):
    euicc = bench.euicc()
    assert bench.authenticate(euicc, key=tools.other_key).code == "8.1/6.1"
    assert bench.state() == "Released"


def test_any_changed_byte_of_the_signed_part_is_refused(bench):
    euicc = bench.euicc()
    opened = bench.initiate(euicc)
    response = euicc.authenticate(opened)
    for position in range(10, 60, 7):
        spoilt = bytearray(response)
        spoilt[position] ^= 1
        answer = bench.post("authenticateClient", _request(opened, bytes(spoilt)))
        assert b"profileMetadata" not in answer.body
    good = bench.call("authenticateClient", transactionId=opened["transactionId"], authenticateServerResponse=response)
    assert good.status == "Executed-Success"


def _request(opened, response):
    return {
        "transactionId": opened["transactionId"],
        "authenticateServerResponse": base64.b64encode(response).decode(),
    }


def test_certificates_of_an_unknown_ci(bench, pkis):
    euicc = bench.euicc()
    euicc.certificates = bench.euicc(pki=pkis["foreign"]).certificates
    assert bench.authenticate(euicc).code == "8.11.1/3.9"


def test_certificates_of_another_ci_than_the_agreed_one(make_bench, pkis):
    bench = make_bench(trusted=["own", "foreign"])
    euicc = bench.euicc()
    euicc.certificates = bench.euicc(pki=pkis["foreign"]).certificates
    assert bench.authenticate(euicc).code == "8.1.2/6.1"


def test_an_eum_certificate_that_somebody_else_signed(bench, tools):
    euicc = bench.euicc()
    euicc.certificates[1] = _signed_again(euicc.certificates[1], tools.other_key)
    assert bench.authenticate(euicc).code == "8.1.2/6.1"


def test_an_euicc_certificate_that_somebody_else_signed(bench, tools):
    euicc = bench.euicc()
    euicc.certificates[0] = _signed_again(euicc.certificates[0], tools.other_key)
    assert bench.authenticate(euicc).code == "8.1.3/6.1"


def test_unreadable_certificates(bench, tools):
    euicc = bench.euicc()
    own, eum = euicc.certificates
    euicc.certificates = [own, tools.t(0x30, b"\x30\x00")]
    assert bench.authenticate(euicc).code == "8.1.2/6.1"
    euicc.certificates = [tools.t(0x30), eum]
    assert bench.authenticate(euicc).code == "8.1.3/6.1"
    euicc.certificates = [own.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x03", 1), eum]
    assert bench.authenticate(euicc).code == "8.1.3/6.1"
    euicc.certificates = [eum, eum]
    assert bench.authenticate(euicc).code == "8.1.3/6.1"
    euicc.certificates = [own, own]
    assert bench.authenticate(euicc).code in ("8.11.1/3.9", "8.1.2/6.1")


def test_an_expired_eum_certificate(bench):
    euicc = bench.euicc()
    until = x509.load_der_x509_certificate(euicc.certificates[1]).not_valid_after_utc
    bench.now_ns = int(until.timestamp() + 1) * 1_000_000_000
    assert bench.authenticate(euicc).code == "8.1.2/6.3"


def test_dates_are_not_judged_where_nobody_knows_the_day(make_bench):
    bench = make_bench(check_dates=False)
    bench.release()
    euicc = bench.euicc()
    bench.now_ns = 0
    assert bench.download(euicc).status == "Executed-Success"
    bench.notify(euicc.result(seq=1))
    assert bench.notify(euicc.notification("enable", 2)).verified


def test_an_expired_euicc_certificate(bench):
    euicc = bench.euicc()
    eum_key = bench.pki.eum.key
    yesterday = datetime.datetime.fromtimestamp(bench.now_ns / 1e9 - 86400, datetime.UTC)
    euicc.certificates[0] = _signed_again(euicc.certificates[0], eum_key, until=yesterday)
    assert bench.authenticate(euicc).code == "8.1.3/6.3"


def _signed_again(der, key, until=None):
    old = x509.load_der_x509_certificate(der)
    builder = x509.CertificateBuilder(
        old.issuer,
        old.subject,
        old.public_key(),
        old.serial_number,
        old.not_valid_before_utc if until is None else old.not_valid_before_utc.replace(year=2000),
        until or old.not_valid_after_utc,
        list(old.extensions),
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_an_euicc_that_refused_the_server_ends_the_session(bench, tools):
    euicc = bench.euicc()
    opened = bench.initiate(euicc)
    refused = tools.t(
        0xBF38, tools.t(0xA1, tools.t(0x80, bytes.fromhex(opened["transactionId"])), tools.t(0x02, b"\x02"))
    )
    answer = bench.call("authenticateClient", transactionId=opened["transactionId"], authenticateServerResponse=refused)
    assert answer.code == "8.1/6.1"
    assert "invalidSignature" in answer.text
    again = bench.call("authenticateClient", transactionId=opened["transactionId"], authenticateServerResponse=refused)
    assert again.code == "8.10.1/3.9"


# --------------------------------------------------------------------------------------------------------------- orders


@pytest.mark.parametrize("matching_id", ["NOBODY", "test", "TEST ", "'; DROP TABLE orders --"])
def test_an_unknown_matching_id(bench, matching_id):
    assert bench.authenticate(bench.euicc(), matching_id).code == "8.2.6/3.8"


def test_an_order_for_another_eid(bench):
    bench.release("LINKED", eid=bench.euicc(1).eid)
    assert bench.authenticate(bench.euicc(2), "LINKED").code == "8.1.1/3.8"
    assert bench.download(bench.euicc(1), "LINKED").status == "Executed-Success"


def test_the_first_binding_takes_an_order(bench):
    first, second = bench.euicc(1), bench.euicc(2)
    offered = bench.authenticate(second)
    bench.download(first)
    assert bench.bind(second, offered).code == "8.1.1/3.8"
    assert bench.authenticate(second).code == "8.1.1/3.8"


def test_a_profile_that_is_not_released_yet(bench, tools):
    bench.release("LATER", released=False)
    assert bench.authenticate(bench.euicc(), "LATER").code == "8.2/1.2"
    bench.release("LATER")
    assert bench.authenticate(bench.euicc(), "LATER").status == "Executed-Success"


def test_an_installed_profile_is_not_pending_any_more(bench):
    euicc = bench.euicc()
    bench.download(euicc)
    bench.notify(euicc.result())
    assert bench.authenticate(euicc).code == "8.2.6/3.8"
    assert bench.authenticate(bench.euicc(2)).code == "8.2.6/3.8"


def test_an_expired_order(bench):
    bench.release("SOON", expires_ns=bench.now_ns + DAY)
    assert bench.authenticate(bench.euicc(), "SOON").status == "Executed-Success"
    bench.now_ns += DAY
    assert bench.authenticate(bench.euicc(), "SOON").code == "8.8.5/4.10"


def test_too_many_downloads(bench):
    bench.release("FEW", max_downloads=2)
    euicc = bench.euicc()
    for _ in range(2):
        assert bench.download(euicc, "FEW").status == "Executed-Success"
    for _ in range(2):
        assert bench.authenticate(euicc, "FEW").code == "8.8.5/6.4"
    assert bench.state("FEW") == "Error"


@pytest.mark.parametrize(
    ("package", "euicc", "missing"),
    [
        ({"services": (1, 11)}, {"capabilities": b"\x40"}, "javacard"),
        ({"services": (1, 12)}, {}, "multos"),
        ({"version": (2, 4)}, {}, "2.4"),
        ({"version": (3, 0)}, {}, "3.0"),
        ({"version": (1, 0)}, {}, "1.0"),
    ],
)
def test_a_profile_that_the_euicc_cannot_carry(bench, tools, package, euicc, missing):
    bench.release("HARD", tools.package(**package))
    answer = bench.authenticate(bench.euicc(**euicc), "HARD")
    assert answer.code == "8.2.5/4.3"
    assert missing in answer.text


def test_a_forbidden_policy_rule(bench, tools):
    bench.release("PPR", None, tools.metadata(tools.ICCID, tools.t(0x99, b"\x06\x40")))
    assert bench.authenticate(bench.euicc(forbidden=b"\x06\x40"), "PPR").code == "8.2.5/4.3"
    assert bench.authenticate(bench.euicc(forbidden=b"\x05\x20"), "PPR").status == "Executed-Success"


def test_no_space_on_the_euicc(bench):
    assert bench.authenticate(bench.euicc(free=1000)).code == "8.1/4.8"
    assert bench.authenticate(bench.euicc(free=100000)).status == "Executed-Success"


# ---------------------------------------------------------------------------------------------- getBoundProfilePackage


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"transaction_id": bytes(16)}, "8.10.1/3.9"),
        ({"otpk": b"\x04" + bytes(64)}, "8.1/6.1"),
        ({"otpk": b"\x02" * 33}, "8.1/6.1"),
    ],
)
def test_what_the_euicc_signed_for_the_download(bench, changes, code):
    euicc = bench.euicc()
    offered = bench.authenticate(euicc)
    assert bench.bind(euicc, offered, **changes).code == code
    assert bench.bind(euicc, offered).status == "Executed-Success"


def test_a_second_signature_by_another_key(bench, tools):
    euicc = bench.euicc()
    assert bench.bind(euicc, bench.authenticate(euicc), key=tools.other_key).code == "8.1/6.1"
    assert bench.state() == "Released"


def test_too_many_wrong_confirmation_codes(bench):
    bench.release("CODE", confirmation_code="4711")
    euicc = bench.euicc()
    offered = bench.authenticate(euicc, "CODE")
    codes = [bench.bind(euicc, offered, f"000{n}").code for n in range(3)]
    assert codes == ["8.2.7/3.8", "8.2.7/3.8", "8.2.7/6.4"]
    assert bench.bind(euicc, offered, "4711").code == "8.2.7/6.4"
    assert bench.authenticate(euicc, "CODE").code == "8.2.7/6.4"
    assert bench.state("CODE") == "Error"


def test_the_confirmation_code_is_nowhere_in_an_answer(bench):
    bench.release("CODE", confirmation_code="471147114711")
    euicc = bench.euicc()
    offered = bench.authenticate(euicc, "CODE")
    answer = bench.bind(euicc, offered, "0815")
    assert "4711" not in answer.text


def test_a_profile_that_cannot_be_bound_again(bench):
    bench.release("ONCE", rebinding=False)
    euicc = bench.euicc()
    bench.download(euicc, "ONCE")
    offered = bench.authenticate(euicc, "ONCE")
    key, euicc.otsk = euicc.otsk, None
    other = euicc.prepare({**offered, "smdpSigned2": offered["smdpSigned2"]})
    assert euicc.otsk is not key
    request = {"transactionId": offered["transactionId"]}
    assert bench.call("getBoundProfilePackage", prepareDownloadResponse=other, **request).code == "8.2/3.7"
    euicc.otsk = key
    assert bench.bind(euicc, offered).status == "Executed-Success"


def test_an_euicc_that_refused_the_download_ends_the_session(bench, tools):
    euicc = bench.euicc()
    offered = bench.authenticate(euicc)
    refused = tools.t(0xBF21, tools.t(0xA1, tools.t(0x80, euicc.transaction_id), tools.t(0x02, b"\x01")))
    request = {"transactionId": offered["transactionId"], "prepareDownloadResponse": refused}
    assert bench.call("getBoundProfilePackage", **request).code == "8.1/6.1"
    assert bench.call("getBoundProfilePackage", **request).code == "8.10.1/3.9"
    assert bench.state() == "Released"


# ------------------------------------------------------------------------------------------------------- cancelSession


def test_a_cancellation_is_verified(bench, tools):
    euicc = bench.euicc()
    transaction_id = bench.authenticate(euicc)["transactionId"]
    assert bench.cancel(euicc, transaction_id, key=tools.other_key).code == "8.1/6.1"
    assert bench.cancel(euicc, transaction_id, oid=bytes.fromhex("88370C")).code == "8.8/3.10"
    assert bench.cancel(euicc, transaction_id, transaction_id=bytes(16)).code == "8.10.1/3.9"
    assert bench.cancel(euicc, "11" * 16).code == "8.10.1/3.9"
    assert bench.state() == "Released"
    assert bench.cancel(euicc, transaction_id).status == "Executed-Success"


def test_nobody_cancels_a_session_before_its_euicc_is_known(bench):
    euicc = bench.euicc()
    opened = bench.initiate(euicc)
    response = euicc.authenticate(opened)
    assert bench.cancel(euicc, opened["transactionId"]).code == "8.1/6.1"
    answer = bench.call(
        "authenticateClient", transactionId=opened["transactionId"], authenticateServerResponse=response
    )
    assert answer.status == "Executed-Success"


def test_an_euicc_that_did_not_cancel(bench, tools):
    euicc = bench.euicc()
    transaction_id = bench.authenticate(euicc)["transactionId"]
    answer = bench.call(
        "cancelSession", transactionId=transaction_id, cancelSessionResponse=tools.t(0xBF41, tools.t(0x81, b"\x05"))
    )
    assert answer.code == "8.1/6.1"


# --------------------------------------------------------------------------------------------------------- any order


CALLS = st.lists(
    st.tuples(
        st.sampled_from(["initiate", "authenticate", "spoilt", "bind", "cancel", "wait", "result"]),
        st.integers(0, 1),
        st.integers(0, 2),
    ),
    max_size=14,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=CALLS)
def test_no_order_of_calls_yields_a_package_without_authentication(make_bench, tools, calls):
    bench = make_bench()
    bench.release(test_order=True)
    euiccs = [bench.euicc(1), bench.euicc(2)]
    opened, offers, authenticated = [], [], set()
    for action, who, which in calls:
        euicc = euiccs[who]
        if action == "initiate":
            opened.append(bench.initiate(euicc))
        elif action in ("authenticate", "spoilt") and opened:
            session = opened[which % len(opened)]
            if tools.t(0x81, euicc.challenge) not in session["serverSigned1"]:
                continue
            changes = {"key": tools.other_key} if action == "spoilt" else {}
            response = euicc.authenticate(session, **changes)
            answer = bench.call(
                "authenticateClient", transactionId=session["transactionId"], authenticateServerResponse=response
            )
            assert action == "authenticate" or answer.status != tools.EXECUTED
            if answer.status == tools.EXECUTED:
                authenticated.add((session["transactionId"], who))
                offers.append((answer, euicc.signature1))
        elif action == "bind" and offers:
            offer, euicc.signature1 = offers[which % len(offers)]
            euicc.transaction_id = bytes.fromhex(offer["transactionId"])
            try:
                prepared = euicc.prepare(offer)
            except Exception:  # the eUICC itself refuses an offer to somebody else
                continue
            session = opened[which % len(opened)]["transactionId"] if which else offer["transactionId"]
            answer = bench.call("getBoundProfilePackage", transactionId=session, prepareDownloadResponse=prepared)
            if "boundProfilePackage" in answer:
                assert (session, who) in authenticated
                assert session == offer["transactionId"]
        elif action == "cancel" and opened:
            bench.cancel(euicc, opened[which % len(opened)]["transactionId"])
        elif action == "wait":
            bench.now_ns += 6 * MINUTE
        elif action == "result":
            bench.notify(euicc.result(transaction_id=bytes(16)))
            assert not bench.store.notifications()[-1].verified
