"""What a dishonest LPA, a man in the middle or the wrong server might send to the eUICC."""

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from esim_bench.codec.tlv import encode, parse
from esim_bench.crypto.bsp import SessionKeys
from esim_bench.crypto.certificates import Role
from esim_bench.crypto.randomness import SeededRandomness
from esim_bench.servers.pki import make_eid

KEYS = SessionKeys(bytes(range(16)), bytes(range(16, 32)), bytes(range(32, 48)))


def reason_of(result):
    """(BppCommandId, ErrorReason) of a ProfileInstallationResult."""
    error = result.get(0xBF27, 0xA2, 0xA1)
    return error.get(0x80).value[0], error.get(0x81).value[0]


def untouched(card):
    """No profile, nothing half installed."""
    return card.profiles() == [] and card.nvm.keys("isdp/") == [] and card.nvm.get("euicc/installing") is None


# ------------------------------------------------------------------------------------------------------ sessions


def test_a_replayed_authentication(lpa, card):
    challenge = card.es10("BF2E00").get(0x80).value
    request = lpa.server.authenticate_server(challenge)
    assert card.es10(request).find(0xA0) is not None
    card.es10("BF2E00")
    assert card.es10(request).get(0xA1, 0x02).value == b"\x06"


def test_a_replayed_preparation(lpa, card):
    signature1 = lpa.authenticate().get(0xA0, 0x5F37).raw
    request = lpa.server.prepare_download(signature1)
    assert card.es10(request).find(0xA0) is not None
    lpa.authenticate()
    assert card.es10(request).get(0xA1, 0x02).value == b"\x02"


def test_the_certificate_for_binding_must_be_of_the_same_server(kit, lpa, card, make_pki):
    for certificate in (kit.pki.smdp_auth.certificate, make_pki("other").smdp_pb.certificate):
        signature1 = lpa.authenticate().get(0xA0, 0x5F37).raw
        answer = card.es10(lpa.server.prepare_download(signature1, certificate=certificate))
        assert answer.get(0xA1, 0x02).value == b"\x01"


def test_an_sm_ds_cannot_go_on_to_a_download(kit, lpa, card, pki):
    certificate = with_role(pki, Role.DS_AUTH)
    signature1 = lpa.authenticate(certificate=certificate).get(0xA0, 0x5F37).raw
    assert card.es10(lpa.server.prepare_download(signature1)).get(0xA1, 0x02).value == b"\x01"
    assert card.chain(encode(0xBF36, bytes(10)))[1] == 0x6985


def with_role(pki, role):
    """CERT.DPauth again with another role, and still the OID of the SM-DP+."""
    old = x509.load_der_x509_certificate(pki.smdp_auth.certificate)
    start, end = datetime.datetime(2025, 1, 1), datetime.datetime(2035, 1, 1)
    builder = x509.CertificateBuilder(old.issuer, old.subject, old.public_key(), 79, start, end)
    policy = x509.PolicyInformation(x509.ObjectIdentifier(role.oid), None)
    for extension in old.extensions:
        policies = isinstance(extension.value, x509.CertificatePolicies)
        value = x509.CertificatePolicies([policy]) if policies else extension.value
        builder = builder.add_extension(value, extension.critical)
    return builder.sign(pki.ci.key, hashes.SHA256()).public_bytes(Encoding.DER)


# ------------------------------------------------------------------------------------------------------ packages


def test_no_load_without_a_preparation_of_its_own(kit, lpa, card):
    segments = lpa.bpp(kit.package(1), kit.metadata(1))
    lpa.authenticate()
    assert card.chain(segments[0])[1] == 0x6985
    assert untouched(card)


def test_a_package_for_another_euicc(kit, pki, lpa, card):
    other = kit.lpa(kit.card(identity=pki.issue_euicc(make_eid(2), SeededRandomness("two")), seed="two"))
    segments = other.bpp(kit.package(1), kit.metadata(1))
    lpa.prepare()
    assert reason_of(lpa.load(segments)) == (0, 2)
    assert untouched(card)


def test_keys_for_another_eid_under_a_right_signature(kit, lpa, card):
    otpk = lpa.prepare().get(0xA0, 0x30, 0x5F49).raw
    segments = lpa.server.segments(otpk, make_eid(2), kit.package(1), kit.metadata(1))
    assert reason_of(lpa.load(segments)) == (1, 8)
    assert untouched(card)


def test_a_package_of_the_session_before(kit, lpa, card):
    old = lpa.bpp(kit.package(1), kit.metadata(1))
    lpa.server.transaction = bytes(range(1, 17))
    lpa.prepare()
    assert reason_of(lpa.load(old)) == (0, 3)
    assert untouched(card)


def test_a_package_is_loaded_once(kit, lpa, card):
    segments = lpa.bpp(kit.package(1), kit.metadata(1))
    assert lpa.load(segments).find(0xBF27, 0xA2, 0xA0) is not None
    assert card.chain(segments[0])[1] == 0x6985
    assert card.chain(segments[-1])[1] == 0x6985
    assert len(card.profiles()) == 1


# -------------------------------------------------------------------------------------- segments: MAC chain and order


ELEMENTS = 5
"""The first segment with an 86: before it BF23, A0 with an 87, A1, an 88, A3."""


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("omitted", lambda s: [*s[:ELEMENTS], *s[ELEMENTS + 1 :]], (5, 8)),
        ("twice", lambda s: [*s[: ELEMENTS + 1], s[ELEMENTS], *s[ELEMENTS + 1 :]], (5, 8)),
        ("exchanged", lambda s: [*s[:ELEMENTS], s[ELEMENTS + 1], s[ELEMENTS], *s[ELEMENTS + 2 :]], (5, 8)),
        ("initialised again", lambda s: [*s[:ELEMENTS], b"".join(s[1:2]), *s[ELEMENTS:]], (5, 7)),
        ("metadata left out", lambda s: [*s[:2], *s[4:]], (2, 7)),
        ("configuration left out", lambda s: [s[0], *s[2:]], (1, 7)),
        ("short MAC", lambda s: [*s[:ELEMENTS], encode(0x86, parse(s[ELEMENTS]).value[:-1])], (5, 7)),
        ("no MAC", lambda s: [*s[:ELEMENTS], encode(0x86, parse(s[ELEMENTS]).value[:-8])], (5, 7)),
        ("MAC only", lambda s: [*s[:ELEMENTS], encode(0x86, bytes(8))], (5, 7)),
        ("nothing", lambda s: [*s[:ELEMENTS], bytes.fromhex("8600")], (5, 7)),
        ("huge", lambda s: [*s[:ELEMENTS], bytes.fromhex("8684FFFFFFFF00")], (5, 7)),
    ],
)
def test_segments_that_do_not_come_as_they_were_sent(kit, lpa, card, name, change, reason):
    segments = lpa.bpp(kit.package(1, elements=6), kit.metadata(1))
    assert segments[ELEMENTS][0] == 0x86
    assert segments[ELEMENTS + 1][0] == 0x86
    assert reason_of(lpa.load(change(segments))) == reason
    assert untouched(card)


NOISE = ("86800000", "8685", "86", "1F", "DF8181818101")


@pytest.mark.parametrize("noise", NOISE)
def test_a_chain_that_is_no_tlv_ends_a_load(kit, lpa, card, noise):
    segments = lpa.bpp(kit.package(1, elements=6), kit.metadata(1))
    for segment in segments[:ELEMENTS]:
        card.chain(segment)
    assert reason_of(card.es10(noise)) == (5, 7)
    assert card.chain(segments[ELEMENTS])[1] == 0x6985
    assert untouched(card)


def test_a_chain_that_is_no_tlv_on_another_channel_does_not_disturb_a_load(kit, lpa, card):
    segments = lpa.bpp(kit.package(1, elements=6), kit.metadata(1))
    for segment in segments[:ELEMENTS]:
        card.chain(segment)
    for noise in NOISE:
        assert card.chain(bytes.fromhex(noise), channel=2) == (b"", 0x6A80)
    assert lpa.load(segments[ELEMENTS:]).find(0xBF27, 0xA2, 0xA0) is not None


def test_a_second_initialisation_in_mid_load(kit, lpa, card):
    segments = lpa.bpp(kit.package(1, elements=6), kit.metadata(1))
    for segment in segments[: ELEMENTS + 1]:
        assert card.chain(segment) == (b"", 0x9000)
    initialise = segments[0][segments[0].index(b"\xbf\x23") :]
    assert reason_of(card.es10(initialise)) == (5, 7)
    # That ended the load and with it the session: there is nothing to start a new one with.
    assert card.chain(segments[0])[1] == 0x6985
    assert card.chain(segments[ELEMENTS + 1])[1] == 0x6985
    assert untouched(card)


def test_a_second_package_in_mid_load(kit, lpa, card):
    segments = lpa.bpp(kit.package(1, elements=6), kit.metadata(1))
    for segment in segments[: ELEMENTS + 1]:
        assert card.chain(segment) == (b"", 0x9000)
    # A new package ends the load and with it the session: there is nothing to start it with.
    assert card.chain(segments[0])[1] == 0x6985
    assert card.chain(segments[ELEMENTS + 1])[1] == 0x6985
    assert untouched(card)


def test_other_keys_twice(kit, lpa, card):
    segments = lpa.bpp(kit.package(1), kit.metadata(1), replace=KEYS)
    replace = next(segment for segment in segments if segment[0] == 0xA2)
    at = segments.index(replace)
    assert reason_of(lpa.load([*segments[: at + 1], replace, *segments[at + 1 :]])) == (5, 7)
    assert untouched(card)


def test_metadata_without_end_do_not_fill_the_memory(kit, lpa, card):
    metadata = encode(0xBF25, bytes(40_000))
    assert reason_of(lpa.load(lpa.bpp(kit.package(1), metadata))) == (3, 1)
    assert untouched(card)


def test_a_header_element_with_broken_members(kit, lpa, card):
    package = bytes.fromhex("A003 830AFF") + kit.package(1)
    assert reason_of(lpa.load(lpa.bpp(package, kit.metadata(1)))) == (5, 12)
    assert untouched(card)


def test_an_unfinished_load_leaves_the_next_session_alone(kit, lpa, card):
    segments = lpa.bpp(kit.package(1, elements=6), kit.metadata(1))
    for segment in segments[: ELEMENTS + 1]:
        card.chain(segment)
    assert lpa.download(kit.package(2), kit.metadata(2)).find(0xBF27, 0xA2, 0xA0) is not None
    assert [one.get(0x5A).value for one in card.profiles()] == [kit.iccid(2)]
