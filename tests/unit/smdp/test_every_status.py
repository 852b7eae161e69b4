"""Code by code: each status code (SGP.22 5.2.6) and each error of the ASN.1 binding is reached by real requests.

The codes come from the server's and the codec's own tables. Whoever adds one registers a way to it here; a way to a
code that is in no table fails too.
"""

import datetime
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from esim_bench.codec import es9_asn1
from esim_bench.servers.smdp import StatusError, status

AUTHENTICATE, BIND, CANCEL = "authenticateClient", "getBoundProfilePackage", "cancelSession"
INITIATE, ORDER = "initiateAuthentication", "ConfirmOrder"
DAY = 24 * 3600 * 1_000_000_000

REASONS = {
    "8.1": ["4.8", "6.1"],
    "8.1.1": ["2.2", "3.8"],
    "8.1.2": ["6.1", "6.3"],
    "8.1.3": ["6.1", "6.3"],
    "8.2": ["1.2", "3.7"],
    "8.2.5": ["4.3"],
    "8.2.6": ["3.8"],
    "8.2.7": ["2.2", "3.8", "6.4"],
    "8.8": ["3.10"],
    "8.8.1": ["3.8"],
    "8.8.2": ["3.1"],
    "8.8.3": ["3.1"],
    "8.8.4": ["3.7"],
    "8.8.5": ["4.10", "6.4"],
    "8.10.1": ["3.9"],
    "8.11.1": ["3.9"],
}
"""By subject: what concerns an SM-DP+."""
ERRORS_OF_THE_STANDARD = {
    INITIATE: {1: "invalidDpAddress", 2: "euiccVersionNotSupportedByDp", 3: "ciPKNotSupported"},
    AUTHENTICATE: {
        1: "eumCertificateInvalid",
        2: "eumCertificateExpired",
        3: "euiccCertificateInvalid",
        4: "euiccCertificateExpired",
        5: "euiccSignatureInvalid",
        6: "matchingIdRefused",
        7: "eidMismatch",
        8: "noEligibleProfile",
        9: "ciPKUnknown",
        10: "invalidTransactionId",
        11: "insufficientMemory",
        18: "downloadOrderExpired",
        127: "undefinedError",
    },
    BIND: {
        1: "euiccSignatureInvalid",
        2: "confirmationCodeMissing",
        3: "confirmationCodeRefused",
        4: "confirmationCodeRetriesExceeded",
        5: "bppRebindingRefused",
        6: "downloadOrderExpired",
        95: "invalidTransactionId",
        127: "undefinedError",
    },
    CANCEL: {1: "invalidTransactionId", 2: "euiccSignatureInvalid", 127: "undefinedError"},
}

WAYS = {}
"""(function, "subject/reason", ASN.1 error) -> a function that goes there and returns the last answer."""


def way(function, code, number):
    def register(go):
        assert (function, code, number) not in WAYS
        WAYS[function, code, number] = go
        return go

    return register


# ---------------------------------------------------------------------------------------------- initiateAuthentication


@way(INITIATE, "8.8.1/3.8", 1)
def another_address(bench, tools):
    return bench.initiate(bench.euicc(), "testsmdpplus2.example.com")


@way(INITIATE, "8.8.3/3.1", 2)
def another_version(bench, tools):
    euicc = bench.euicc()
    euicc.svn = b"\x01\x00\x00"
    return bench.initiate(euicc)


@way(INITIATE, "8.8.2/3.1", 3)
def no_common_ci(bench, tools):
    euicc = bench.euicc()
    euicc.verification = euicc.signing = [bytes(20)]
    return bench.initiate(euicc)


@way(INITIATE, "8.8.4/3.7", 3)
def no_certificate_that_the_euicc_trusts(bench, tools):
    euicc = bench.euicc()
    euicc.verification = [bytes(20)]
    return bench.initiate(euicc)


# -------------------------------------------------------------------------------------------------- authenticateClient


@way(AUTHENTICATE, "8.1.2/6.1", 1)
def eum_certificate_of_somebody_else(bench, tools):
    euicc = bench.euicc()
    euicc.certificates[1] = signed_again(euicc.certificates[1], tools.other_key)
    return bench.authenticate(euicc)


@way(AUTHENTICATE, "8.1.2/6.3", 2)
def eum_certificate_expired(bench, tools):
    euicc = bench.euicc()
    until = x509.load_der_x509_certificate(euicc.certificates[1]).not_valid_after_utc
    bench.now_ns = int(until.timestamp() + 1) * 1_000_000_000
    return bench.authenticate(euicc)


@way(AUTHENTICATE, "8.1.3/6.1", 3)
def euicc_certificate_of_somebody_else(bench, tools):
    euicc = bench.euicc()
    euicc.certificates[0] = signed_again(euicc.certificates[0], tools.other_key)
    return bench.authenticate(euicc)


@way(AUTHENTICATE, "8.1.3/6.3", 4)
def euicc_certificate_expired(bench, tools):
    euicc = bench.euicc()
    yesterday = datetime.datetime.fromtimestamp((bench.now_ns - DAY) / 1e9, datetime.UTC)
    euicc.certificates[0] = signed_again(euicc.certificates[0], bench.pki.eum.key, until=yesterday)
    return bench.authenticate(euicc)


@way(AUTHENTICATE, "8.1/6.1", 5)
def first_signature_by_another_key(bench, tools):
    return bench.authenticate(bench.euicc(), key=tools.other_key)


@way(AUTHENTICATE, "8.2.6/3.8", 6)
def no_such_matching_id(bench, tools):
    return bench.authenticate(bench.euicc(), "NOBODY")


@way(AUTHENTICATE, "8.1.1/3.8", 7)
def order_for_another_eid(bench, tools):
    bench.release("LINKED", eid=bench.euicc(1).eid)
    return bench.authenticate(bench.euicc(2), "LINKED")


@way(AUTHENTICATE, "8.2.5/4.3", 8)
def service_that_the_euicc_lacks(bench, tools):
    bench.release("MULTOS", upp=tools.package(services=(12,)))
    return bench.authenticate(bench.euicc(), "MULTOS")


@way(AUTHENTICATE, "8.11.1/3.9", 9)
def certificates_of_an_unknown_ci(bench, tools):
    euicc = bench.euicc()
    euicc.certificates = bench.euicc(pki=tools.pkis["foreign"]).certificates
    return bench.authenticate(euicc)


@way(AUTHENTICATE, "8.10.1/3.9", 10)
def unknown_transaction(bench, tools):
    euicc = bench.euicc()
    response = euicc.authenticate(bench.initiate(euicc))
    return bench.call(AUTHENTICATE, transactionId="00" * 16, authenticateServerResponse=response)


@way(AUTHENTICATE, "8.1/4.8", 11)
def too_little_memory(bench, tools):
    return bench.authenticate(bench.euicc(free=100))


def order_expired(bench, protocol):
    bench.release("SOON", expires_ns=bench.now_ns + DAY)
    bench.now_ns += DAY
    bench.protocol = protocol
    return bench.authenticate(bench.euicc(), "SOON")


@way(AUTHENTICATE, "8.8.5/4.10", 18)
def order_expired_for_an_lpa_of_2_6(bench, tools):
    return order_expired(bench, "gsma/rsp/v2.6.0")


@way(AUTHENTICATE, "8.8.5/4.10", 127)
def order_expired_for_an_lpa_of_2_5(bench, tools):
    return order_expired(bench, "gsma/rsp/v2.5.0")


@way(AUTHENTICATE, "8.2/1.2", 127)
def not_released(bench, tools):
    bench.release("LATER", released=False)
    return bench.authenticate(bench.euicc(), "LATER")


@way(AUTHENTICATE, "8.2.7/6.4", 127)
def order_that_ended_by_wrong_codes(bench, tools):
    bench.release("CODE", confirmation_code="1234", max_cc_failures=1)
    euicc = bench.euicc()
    bench.bind(euicc, bench.authenticate(euicc, "CODE"), "0000")
    return bench.authenticate(euicc, "CODE")


@way(AUTHENTICATE, "8.8.5/6.4", 127)
def too_many_downloads(bench, tools):
    bench.release("FEW", max_downloads=1)
    euicc = bench.euicc()
    bench.authenticate(euicc, "FEW")
    return bench.authenticate(euicc, "FEW")


# ---------------------------------------------------------------------------------------------- getBoundProfilePackage


@way(BIND, "8.1/6.1", 1)
def second_signature_by_another_key(bench, tools):
    euicc = bench.euicc()
    return bench.bind(euicc, bench.authenticate(euicc), key=tools.other_key)


@way(BIND, "8.2.7/2.2", 2)
def no_confirmation_code(bench, tools):
    bench.release("CODE", confirmation_code="1234")
    euicc = bench.euicc()
    return bench.bind(euicc, bench.authenticate(euicc, "CODE"))


@way(BIND, "8.2.7/3.8", 3)
def wrong_confirmation_code(bench, tools):
    bench.release("CODE", confirmation_code="1234")
    euicc = bench.euicc()
    return bench.bind(euicc, bench.authenticate(euicc, "CODE"), "0000")


@way(BIND, "8.2.7/6.4", 4)
def third_wrong_confirmation_code(bench, tools):
    bench.release("CODE", confirmation_code="1234")
    euicc = bench.euicc()
    authenticated = bench.authenticate(euicc, "CODE")
    return [bench.bind(euicc, authenticated, code) for code in ("0000", "1111", "2222")][-1]


@way(BIND, "8.2/3.7", 5)
def another_one_time_key(bench, tools):
    bench.release("ONCE", rebinding=False)
    euicc = bench.euicc()
    bench.download(euicc, "ONCE")
    euicc.otsk = ec.derive_private_key(7, ec.SECP256R1())
    return bench.bind(euicc, bench.authenticate(euicc, "ONCE"))


def order_expired_since(bench, protocol):
    bench.release("SOON", expires_ns=bench.now_ns + 60_000_000_000)
    euicc = bench.euicc()
    authenticated = bench.authenticate(euicc, "SOON")
    bench.now_ns += 60_000_000_000
    bench.protocol = protocol
    return bench.bind(euicc, authenticated)


@way(BIND, "8.8.5/4.10", 6)
def order_expired_since_for_an_lpa_of_2_5(bench, tools):
    return order_expired_since(bench, "gsma/rsp/v2.5.0")


@way(BIND, "8.8.5/4.10", 127)
def order_expired_since_for_an_lpa_of_2_6(bench, tools):
    return order_expired_since(bench, "gsma/rsp/v2.6.0")


@way(BIND, "8.10.1/3.9", 95)
def session_that_was_cancelled(bench, tools):
    euicc = bench.euicc()
    authenticated = bench.authenticate(euicc)
    bench.cancel(euicc, authenticated["transactionId"], reason=1)
    return bench.bind(euicc, authenticated)


@way(BIND, "8.1.1/3.8", 127)
def order_that_another_euicc_took(bench, tools):
    first, second = bench.euicc(1), bench.euicc(2)
    authenticated = bench.authenticate(second)
    bench.download(first)
    return bench.bind(second, authenticated)


# ------------------------------------------------------------------------------------------------------- cancelSession


@way(CANCEL, "8.10.1/3.9", 1)
def cancel_an_unknown_session(bench, tools):
    euicc = bench.euicc()
    bench.authenticate(euicc)
    return bench.cancel(euicc, "00" * 16)


@way(CANCEL, "8.1/6.1", 2)
def cancel_with_another_key(bench, tools):
    euicc = bench.euicc()
    return bench.cancel(euicc, bench.authenticate(euicc)["transactionId"], key=tools.other_key)


@way(CANCEL, "8.8/3.10", 127)
def cancel_at_another_smdp(bench, tools):
    euicc = bench.euicc()
    return bench.cancel(euicc, bench.authenticate(euicc)["transactionId"], oid=b"\x88\x37\x0b")


# --------------------------------------------------------------------------------------------- the operator's interface


@way(ORDER, "8.1.1/2.2", None)
def order_without_matching_id_and_eid(bench, tools):
    with pytest.raises(StatusError) as refused:
        bench.release("")
    return SimpleNamespace(code=f"{refused.value.subject}/{refused.value.reason}", number=None)


# ----------------------------------------------------------------------------------------------------------- the table


def test_the_tables_hold_every_code_of_the_standard():
    assert set(status.CODES) == {f"{subject}/{reason}" for subject, reasons in REASONS.items() for reason in reasons}
    found = {name: {error.number: error.name for error in errors} for name, errors in es9_asn1.ERRORS.items()}
    assert found == ERRORS_OF_THE_STANDARD


def test_every_code_has_a_way_and_every_way_a_code():
    assert {code for _, code, _ in WAYS} == set(status.CODES)
    ways = {(function, number) for function, _, number in WAYS if number is not None}
    errors = {(function, error.number) for function, known in es9_asn1.ERRORS.items() for error in known}
    assert ways == errors
    named = {(function, code) for function, code, number in WAYS if number not in (None, 127)}
    mapped = {
        (function, f"{subject}/{reason}")
        for function, known in es9_asn1.ERRORS.items()
        for error in known
        for subject, reason in error.statuses
    }
    assert named == mapped


@pytest.mark.parametrize("binding", ["json", "asn1"])
@pytest.mark.parametrize(("function", "code", "number"), WAYS)
def test_the_way_leads_there(make_bench, tools, pkis, binding, function, code, number):
    bench = make_bench(binding=binding)
    bench.release()
    tools.pkis = pkis
    answer = WAYS[function, code, number](bench, tools)
    if binding == "json" or number is None:
        assert answer.code == code
    else:
        assert answer.code == f"{function} {number}"


def signed_again(der, key, until=None):
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
