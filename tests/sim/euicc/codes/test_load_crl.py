"""LoadCRL (SGP.22 5.7.12, 4.6): base, partial and delta lists, and what they do to the servers that they name."""

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from esim_bench.codec import es10
from esim_bench.codec.tlv import encode, parse
from esim_bench.crypto.crl import RevocationList
from esim_bench.errors import CodecError, CryptoError
from esim_drivers.sim.personality import STANDARD

OK = bytes.fromhex("BF3502A000")
INVALID_SIGNATURE, INVALID_FORMAT, NO_MEMORY, NO_KEY, FRESHER, NO_BASE, UNDEFINED = 1, 2, 3, 4, 5, 6, 127


def code(response):
    return response.get(0x81).value[0]


def may_authenticate(bench, card):
    return bench.lpa(card).authenticate().find(0xA0) is not None


def test_a_loaded_list_outlives_the_power_and_refuses_the_server(bench):
    card = bench.card()
    assert may_authenticate(bench, card)
    assert bench.load_crl(card, 1, [bench.pki.smdp_auth.certificate]).raw == OK
    assert not may_authenticate(bench, card)
    card.reset()
    assert not may_authenticate(bench, card)


def test_only_certificates_of_the_lists_own_ci_are_meant(bench):
    """The serial number of another CI's certificate says nothing about ours."""
    card = bench.card()
    serial = x509.load_der_x509_certificate(bench.pki.smdp_auth.certificate).serial_number
    twin = bench.reissued(bench.foreign, bench.foreign.smdp_auth.certificate, serial=serial)
    both = replace(card.identity, trusted=(bench.pki.ci_key, bench.foreign.ci_key))
    card = type(card)(both, STANDARD, card.nvm)
    assert bench.load_crl(card, 1, [twin], pki=bench.foreign).raw == OK
    assert may_authenticate(bench, card)


def test_the_list_may_come_under_the_tag_of_the_asn1(bench):
    """AUTOMATIC TAGS make the only member A0; LPAs send the CertificateList as it is."""
    card = bench.card()
    crl = bench.crl(bench.pki, 1, [bench.pki.smdp_auth.certificate])
    assert card.es10(encode(0xBF35, encode(0xA0, parse(crl).value))).raw == OK
    assert card.es10(es10.load_crl(crl)).raw == OK
    assert not may_authenticate(bench, card)


def test_a_newer_list_takes_the_place_of_the_older_one(bench):
    card = bench.card()
    bench.load_crl(card, 1, [bench.pki.smdp_auth.certificate])
    assert bench.load_crl(card, 2).raw == OK
    assert may_authenticate(bench, card)
    assert code(bench.load_crl(card, 1, [bench.pki.smdp_auth.certificate])) == FRESHER
    assert bench.load_crl(card, 2).raw == OK


def test_parts_are_asked_for_until_all_are_there(bench):
    card = bench.card()
    bench.load_crl(card, 1, [bench.pki.smdp_auth.certificate])
    assert es10.missing_crl_parts(bench.load_crl(card, 2, part=(2, 3)).raw) == (1, 3)
    assert es10.missing_crl_parts(bench.load_crl(card, 2, part=(1, 3)).raw) == (3,)
    assert not may_authenticate(bench, card)  # the old list holds until the new one is whole
    card.reset()
    assert es10.missing_crl_parts(bench.load_crl(card, 2, [bench.pki.smdp_pb.certificate], part=(3, 3)).raw) == ()
    assert may_authenticate(bench, card)
    assert bench.lpa(card).prepare().get(0xA1, 0x02).value == b"\x01"


def test_parts_of_a_still_newer_list_push_out_those_of_an_unfinished_one(bench):
    card = bench.card()
    bench.load_crl(card, 2, part=(1, 2))
    assert es10.missing_crl_parts(bench.load_crl(card, 3, part=(2, 2)).raw) == (1,)
    assert code(bench.load_crl(card, 2, part=(2, 2))) == FRESHER


def test_a_delta_adds_and_takes_away(bench):
    card = bench.card()
    bench.load_crl(card, 5, [bench.pki.smdp_auth.certificate])
    assert bench.load_crl(card, 6, [bench.pki.smdp_auth.certificate], base=5, removed=True).raw == OK
    assert may_authenticate(bench, card)
    assert bench.load_crl(card, 7, [bench.pki.smdp_pb.certificate], base=5).raw == OK
    assert not may_authenticate(bench, card)  # a delta is to the base, not to the delta before it
    assert code(bench.load_crl(card, 6, base=5)) == FRESHER
    assert code(bench.load_crl(card, 9, base=8)) == NO_BASE
    assert code(bench.load_crl(card, 5, base=5)) == FRESHER
    bench.load_crl(card, 8)
    assert bench.lpa(card).prepare().find(0xA0) is not None


def test_removal_means_something_in_a_delta_only(bench):
    card = bench.card()
    bench.load_crl(card, 1, [bench.pki.smdp_auth.certificate], removed=True)
    assert not may_authenticate(bench, card)


@pytest.mark.parametrize(
    ("date", "kept"),
    [(b"\x17\x0d260101000000Z", True), (b"\x18\x0f20250601000000Z", False)],
    ids=["utc", "generalized"],
)
def test_an_expired_certificate_needs_no_entry_where_the_date_is_known(bench, date, kept):
    now_ns = 1_751_000_000 * 10**9  # June 2025
    card = bench.card(now_ns=now_ns)
    bench.load_crl(card, 1, [bench.pki.smdp_auth.certificate], expires=date)
    assert any(value for key, value in card.nvm.contents().items() if key.endswith("/base/00001")) is kept
    card = bench.card()
    bench.load_crl(card, 1, [bench.pki.smdp_auth.certificate], expires=date)
    assert not may_authenticate(bench, card)


UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.999.5"), b"\x05\x00")
PART_ONLY = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.23.146.1.2.0.3"), b"\x02\x01\x01")


@pytest.mark.parametrize(
    "options",
    [
        {"more": [(UNKNOWN, True)]},
        {"more": [(PART_ONLY, True)]},
        {"part": (0, 2)},
        {"part": (3, 2)},
        {"expires": b"\x04\x00"},
    ],
)
def test_lists_of_another_form(bench, options):
    card = bench.card()
    before = card.nvm.contents()
    assert code(bench.load_crl(card, 1, [bench.pki.smdp_pb.certificate], **options)) == INVALID_FORMAT
    assert card.nvm.contents() == before


def test_a_certificate_is_no_list(bench):
    for request in (encode(0xBF35, bench.pki.ci.certificate), bytes.fromhex("BF3500"), bytes.fromhex("BF35023000")):
        assert code(bench.card().es10(request)) == INVALID_FORMAT


def test_any_bit_of_the_signed_part_is_covered_by_the_signature(bench):
    card = bench.card()
    crl = bench.crl(bench.pki, 1, [bench.pki.smdp_auth.certificate])
    before = card.nvm.contents()
    for at in range(0, len(crl), 7):
        changed = crl[:at] + bytes((crl[at] ^ 0x10,)) + crl[at + 1 :]
        data, sw = card.chain(encode(0xBF35, changed))
        assert sw == 0x6A80 or code(parse(data)) in (INVALID_SIGNATURE, INVALID_FORMAT, NO_KEY), at
    assert card.nvm.contents() == before


def test_the_capability_says_whether_lists_are_taken(bench):
    def bits(card):
        return card.es10("BF2200").get(0x88).value

    assert bits(bench.card())[1] & 0x40
    without = replace(STANDARD, rsp_capability=("additionalProfile",))
    assert not bits(bench.card(personality=without))[1] & 0x40


# ------------------------------------------------------------------------------------------------------ reading


def test_what_a_list_says(bench):
    crl = RevocationList.load(
        bench.crl(bench.pki, 300, [bench.pki.smdp_auth.certificate], base=299, part=(2, 4), removed=True)
    )
    serial = x509.load_der_x509_certificate(bench.pki.smdp_auth.certificate).serial_number
    assert (crl.number, crl.base_number, crl.part, crl.parts) == (300, 299, 2, 4)
    assert [(entry.serial, entry.removed) for entry in crl.entries] == [(serial, True)]
    assert crl.authority_key_id == bench.pki.ci_key.key_id
    crl.verify(bench.pki.ci_key.public_key)
    with pytest.raises(CryptoError):
        crl.verify(bench.foreign.ci_key.public_key)


def test_the_signed_bytes_are_those_that_came(bench):
    raw = bench.crl(bench.pki, 1)
    assert RevocationList.load(raw).tbs == x509.load_der_x509_crl(raw).tbs_certlist_bytes
    assert x509.load_der_x509_crl(raw).public_bytes(Encoding.DER) == raw


@settings(max_examples=150, deadline=None)
@given(at=st.floats(0, 1, exclude_max=True), change=st.binary(min_size=1, max_size=3), cut=st.booleans())
def test_a_damaged_list_is_read_or_refused(bench, at, change, cut):
    raw = bench.crl(bench.pki, 1, [bench.pki.smdp_auth.certificate], expires=b"\x17\x0d260101000000Z")
    start = int(at * len(raw))
    damaged = raw[:start] if cut else raw[:start] + change + raw[start + len(change) :]
    try:
        RevocationList.load(damaged)
    except CodecError:
        return
    assert not cut
