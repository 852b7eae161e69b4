"""Common mutual authentication and PrepareDownload as the eUICC does them, against a server made by hand."""

import hashlib

import pytest

from esim_bench.codec.tlv import encode, parse
from esim_bench.crypto import ecdsa, keys
from esim_bench.crypto.certificates import Certificate, check_euicc_chain
from esim_bench.crypto.keys import Curve
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.servers.pki import make_eid, merge_identities

INVALID_CERTIFICATE, INVALID_SIGNATURE, UNSUPPORTED_CURVE, NO_SESSION = 1, 2, 3, 4
INVALID_OID, CHALLENGE_MISMATCH, CI_UNKNOWN, UNDEFINED = 5, 6, 7, 127
INVALID_TRANSACTION = 5


def error(response):
    """Return transaction id and code of an error response A1."""
    transaction, code = response.get(0xA1).children()
    assert (transaction.tag, code.tag) == (0x80, 0x02)
    return transaction.value, code.value[0]


def test_challenges_differ_from_session_to_session_and_over_power_cycles(card):
    seen = []
    for _ in range(3):
        seen.append(card.es10("BF2E00").get(0x80).value)
        card.power_cycle()
        seen.append(card.es10("BF2E00").get(0x80).value)
    assert all(len(challenge) == 16 for challenge in seen)
    assert len(set(seen)) == len(seen)


def test_the_same_seed_gives_the_same_session(kit):
    answers = [[kit.lpa(kit.card(seed=seed)).prepare().raw for _ in range(2)] for seed in ("7", "7", "8")]
    assert answers[0] == answers[1]
    assert answers[0] != answers[2]


def test_authenticate_server_answers_with_what_the_server_has_to_verify(kit, lpa, card):
    response = lpa.authenticate()
    signed, signature, euicc_cert, eum_cert = response.get(0xA0).children()
    assert [child.tag for child in signed.children()] == [0x80, 0x83, 0x84, 0xBF22, 0xA0]
    assert signed.get(0x80).value == lpa.server.transaction
    assert signed.get(0x83).value == lpa.server.address.encode()
    assert signed.get(0x84).value == bytes(range(0x40, 0x50))
    assert signed.get(0xBF22).raw == card.es10("BF2200").raw
    assert signed.get(0xA0, 0x80).value == b"TEST-1"
    euicc = Certificate.load(euicc_cert.raw)
    check_euicc_chain(euicc, Certificate.load(eum_cert.raw), Certificate.load(kit.pki.ci.certificate))
    assert euicc.eid == card.identity.eid
    ecdsa.verify(euicc.public_key, signature.value, signed.raw)


def test_prepare_download_binds_the_one_time_key_to_the_servers_signature(lpa, card):
    signature1 = lpa.authenticate().get(0xA0, 0x5F37).raw
    request = lpa.server.prepare_download(signature1)
    signed, signature = card.es10(request).get(0xA0).children()
    assert [child.tag for child in signed.children()] == [0x80, 0x5F49]
    assert len(signed.get(0x5F49).value) == 65
    smdp_signature2 = parse(request).get(0x5F37).raw
    public = Certificate.load(card.identity.signing[0].euicc_certificate).public_key
    ecdsa.verify(public, signature.value, signed.raw + smdp_signature2)


def test_brainpool_and_a_second_ci(kit, make_pki):
    """An eUICC under two CIs answers each server under its own, on its own curve."""
    other = make_pki("foreign", Curve.BRAINPOOL)
    eid = make_eid(1)
    both = merge_identities(kit.identity, other.issue_euicc(eid, SeededRandomness("euicc")))
    card = kit.card(identity=both)
    for pki in (kit.pki, other):
        lpa = kit.lpa(card, pki=pki)
        response = lpa.prepare()
        point = response.get(0xA0, 0x30, 0x5F49).value
        keys.from_point(pki.curve, point)
    info = card.es10("BF2000")
    listed = [[child.value for child in info.get(tag).children()] for tag in (0xA9, 0xAA)]
    assert listed[0] == listed[1] == [kit.pki.ci_key.key_id, other.ci_key.key_id]


def test_authentication_without_a_challenge_has_no_session(lpa, card):
    request = lpa.server.authenticate_server(bytes(16))
    assert error(card.es10(request)) == (lpa.server.transaction, NO_SESSION)


def test_a_challenge_serves_once(lpa, card):
    challenge = card.es10("BF2E00").get(0x80).value
    request = lpa.server.authenticate_server(challenge)
    assert card.es10(request).find(0xA0) is not None
    assert error(card.es10(request))[1] == NO_SESSION


def test_a_challenge_does_not_outlive_a_reset(lpa, card):
    challenge = card.es10("BF2E00").get(0x80).value
    card.reset()
    assert error(card.es10(lpa.server.authenticate_server(challenge)))[1] == NO_SESSION


def p384_certificate(pki):
    """CERT.DPauth again, with a key on a curve that RSP does not use, still signed by the CI."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding

    old = x509.load_der_x509_certificate(pki.smdp_auth.certificate)
    builder = x509.CertificateBuilder(
        old.issuer,
        old.subject,
        ec.generate_private_key(ec.SECP384R1()).public_key(),
        77,
        datetime.datetime(2025, 1, 1),
        datetime.datetime(2035, 1, 1),
    )
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(pki.ci.key, hashes.SHA256()).public_bytes(Encoding.DER)


def without_oid(pki):
    """CERT.DPauth again without its subject alternative name."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding

    old = x509.load_der_x509_certificate(pki.smdp_auth.certificate)
    builder = x509.CertificateBuilder(
        old.issuer,
        old.subject,
        old.public_key(),
        78,
        datetime.datetime(2025, 1, 1),
        datetime.datetime(2035, 1, 1),
    )
    for extension in old.extensions:
        if not isinstance(extension.value, x509.SubjectAlternativeName):
            builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(pki.ci.key, hashes.SHA256()).public_bytes(Encoding.DER)


AUTHENTICATE_ERRORS = {
    "certificate for another role": (
        INVALID_CERTIFICATE,
        lambda kit, other: {"certificate": kit.pki.smdp_pb.certificate},
    ),
    "certificate of another CI": (INVALID_CERTIFICATE, lambda kit, other: {"certificate": other.smdp_auth.certificate}),
    "certificate that is none": (INVALID_CERTIFICATE, lambda kit, other: {"certificate": bytes.fromhex("3003020101")}),
    "key on another curve": (UNSUPPORTED_CURVE, lambda kit, other: {"certificate": p384_certificate(kit.pki)}),
    "certificate without OID": (INVALID_OID, lambda kit, other: {"certificate": without_oid(kit.pki)}),
    "signature of another": (INVALID_SIGNATURE, lambda kit, other: {"signature": encode(0x5F37, bytes(64))}),
    "signature too short": (INVALID_SIGNATURE, lambda kit, other: {"signature": encode(0x5F37, bytes(63))}),
    "CI that it has no key for": (CI_UNKNOWN, lambda kit, other: {"ci_key_id": other.ci_key.key_id}),
}


@pytest.mark.parametrize("case", AUTHENTICATE_ERRORS)
def test_authenticate_server_error_codes(kit, lpa, card, make_pki, case):
    code, changes = AUTHENTICATE_ERRORS[case]
    assert error(lpa.authenticate(**changes(kit, make_pki("foreign")))) == (lpa.server.transaction, code)
    # The session is over: the right answer to the same challenge comes too late.
    assert lpa.prepare().find(0xA0) is not None


def test_another_challenge_than_ours(lpa, card):
    card.es10("BF2E00")
    assert error(card.es10(lpa.server.authenticate_server(bytes(16))))[1] == CHALLENGE_MISMATCH


def test_an_expired_certificate_counts_only_where_the_date_is_known(kit, pki):
    far = 4_000_000_000 * 10**9
    dated = pki.issue_euicc(make_eid(1), SeededRandomness("euicc"))
    from dataclasses import replace

    assert error(kit.lpa(kit.card(identity=replace(dated, now_ns=far))).authenticate())[1] == INVALID_CERTIFICATE
    assert kit.lpa(kit.card(identity=dated)).authenticate().find(0xA0) is not None


PREPARE_ERRORS = {
    "certificate for another role": (
        INVALID_CERTIFICATE,
        lambda kit, other: {"certificate": kit.pki.smdp_auth.certificate},
    ),
    "certificate of another CI": (INVALID_CERTIFICATE, lambda kit, other: {"certificate": other.smdp_pb.certificate}),
    "key on another curve": (UNSUPPORTED_CURVE, lambda kit, other: {"certificate": p384_certificate(kit.pki)}),
    "signature of another": (INVALID_SIGNATURE, lambda kit, other: {"signature": encode(0x5F37, bytes(64))}),
    "confirmation code wanted": (UNDEFINED, lambda kit, other: {"code_required": True}),
}


@pytest.mark.parametrize("case", PREPARE_ERRORS)
def test_prepare_download_error_codes(kit, lpa, make_pki, case):
    code, changes = PREPARE_ERRORS[case]
    assert error(lpa.prepare(**changes(kit, make_pki("foreign")))) == (lpa.server.transaction, code)


def test_prepare_download_of_another_transaction(lpa, card):
    signature1 = lpa.authenticate().get(0xA0, 0x5F37).raw
    lpa.server.transaction = b"another"
    assert error(card.es10(lpa.server.prepare_download(signature1))) == (b"another", INVALID_TRANSACTION)


def test_prepare_download_without_authentication(lpa, card):
    assert error(card.es10(lpa.server.prepare_download(b"")))[1] == NO_SESSION
    card.es10("BF2E00")
    assert error(card.es10(lpa.server.prepare_download(b"")))[1] == NO_SESSION


def test_the_hashed_confirmation_code_is_signed_when_it_is_wanted(lpa):
    hashed = encode(0x04, hashlib.sha256(b"code").digest())
    response = lpa.prepare(code_required=True, hash_cc=hashed)
    assert response.get(0xA0, 0x30, 0x04).raw == hashed
    assert lpa.prepare(hash_cc=hashed).find(0xA0, 0x30, 0x04) is None


def test_a_bound_one_time_key_is_used_again_even_after_a_power_cycle(lpa, card):
    first = lpa.prepare().get(0xA0, 0x30, 0x5F49).raw
    card.power_cycle()
    assert lpa.prepare(bound_key=first).get(0xA0, 0x30, 0x5F49).raw == first
    second = lpa.prepare().get(0xA0, 0x30, 0x5F49).raw
    assert second != first
    # The first pair is gone: a BPP that is bound to it has to be bound again.
    assert lpa.prepare(bound_key=first).get(0xA0, 0x30, 0x5F49).raw not in (first, second)


def test_cancel_session_is_signed_and_ends_the_session(lpa, card):
    lpa.prepare()
    request = encode(0xBF41, encode(0x80, lpa.server.transaction), bytes.fromhex("810100"))
    signed, signature = card.es10(request).get(0xA0).children()
    assert signed.raw == encode(
        0x30, encode(0x80, lpa.server.transaction), bytes.fromhex("810388370A"), bytes.fromhex("820100")
    )
    public = Certificate.load(card.identity.signing[0].euicc_certificate).public_key
    ecdsa.verify(public, signature.value, signed.raw)
    assert card.es10(request).get(0x81).value == b"\x05"


@pytest.mark.parametrize("reason", [0, 1, 2, 3, 4, 5, 127])
def test_all_reasons_to_cancel(lpa, card, reason):
    lpa.authenticate()
    request = encode(0xBF41, encode(0x80, lpa.server.transaction), encode(0x81, bytes((reason,))))
    assert card.es10(request).get(0xA0, 0x30, 0x82).value == bytes((reason,))


def test_cancel_session_of_another_transaction_changes_nothing(lpa, card):
    signature1 = lpa.authenticate().get(0xA0, 0x5F37).raw
    assert card.es10("BF4106800101810100").get(0x81).value == b"\x05"
    assert card.es10(lpa.server.prepare_download(signature1)).find(0xA0) is not None


@pytest.mark.parametrize(
    "request_hex",
    ["BF3800", "BF38023000", "BF2100", "BF210430005F37", "BF38FF", "BF2105800400"],
)
def test_malformed_requests_are_refused_without_effect(card, request_hex):
    before = card.nvm.contents()
    data, sw = card.chain(bytes.fromhex(request_hex))
    assert (data, sw) == (b"", 0x6A80)
    assert card.nvm.contents() == before


@pytest.mark.parametrize("request_hex", ["BF4100", "BF41038001 01", "BF41068001018101 06"])
def test_a_session_is_not_cancelled_by_what_is_no_reason(lpa, card, request_hex):
    signature1 = lpa.authenticate().get(0xA0, 0x5F37).raw
    assert card.result(request_hex) == UNDEFINED
    assert card.es10(lpa.server.prepare_download(signature1)).find(0xA0) is not None


def test_members_that_make_no_sense_leave_the_session_as_it_is(kit, lpa, card):
    challenge = card.es10("BF2E00").get(0x80).value
    request = lpa.server.authenticate_server(challenge)
    without_challenge = request.replace(b"\x81\x10" + challenge, b"\x85\x10" + challenge)
    assert error(card.es10(without_challenge)) == (lpa.server.transaction, UNDEFINED)
    assert card.es10(request).find(0xA0) is not None
