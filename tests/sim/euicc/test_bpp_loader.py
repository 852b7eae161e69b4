"""LoadBoundProfilePackage: the segments of SGP.22 2.5.5, the result, and every way to fail."""

import pytest

from esim_bench.codec.tlv import encode, parse
from esim_bench.crypto import ecdsa
from esim_bench.crypto.bsp import SessionKeys
from esim_bench.crypto.certificates import Certificate

INITIALISE, CONFIGURE, METADATA, REPLACE_KEYS, ELEMENTS = 0, 1, 2, 4, 5
OK_RESPONSE = bytes.fromhex("3007A0053003800100")
FIRST_AID = bytes.fromhex("A0000005591010FFFFFFFF890000 1000")


def failure(result):
    """Return (bppCommandId, errorReason, simaResponse) of an error result."""
    error = result.get(0xBF27, 0xA2, 0xA1)
    response = error.find(0x82)
    return error.get(0x80).value[0], error.get(0x81).value[0], response.value if response else None


def nothing_left(card):
    """Assert that a failed load left nothing of the profile."""
    assert card.profiles() == []
    assert card.nvm.keys("isdp/") == []
    assert card.nvm.get("euicc/installing") is None
    assert card.isdr.registry.violations() == []


def test_a_download_ends_with_a_signed_result_and_a_disabled_profile(kit, lpa, card):
    result = lpa.download(kit.package(1), kit.metadata(1))
    data, signature = result.children()
    assert [child.tag for child in data.children()] == [0x80, 0xBF2F, 0x06, 0xA2]
    assert data.get(0x80).value == lpa.server.transaction
    assert data.get(0xBF2F).raw == encode(
        0xBF2F,
        bytes.fromhex("800100 81020780"),
        encode(0x0C, lpa.server.address.encode()),
        encode(0x5A, kit.iccid(1)),
    )
    assert data.get(0x06).raw == lpa.server.oid_tlv
    assert data.get(0xA2, 0xA0, 0x4F).value == FIRST_AID
    assert data.get(0xA2, 0xA0, 0x04).value == OK_RESPONSE
    public = Certificate.load(card.identity.signing[0].euicc_certificate).public_key
    ecdsa.verify(public, signature.value, data.raw)

    (profile,) = card.profiles()
    assert profile.get(0x5A).value == kit.iccid(1)
    assert profile.get(0x4F).value == FIRST_AID
    assert profile.get(0x9F70).value == b"\x00"
    assert [one.raw for one in card.notifications()] == [result.raw]
    assert card.nvm.keys("isdp/")[-1].endswith("/finished")


def test_segments_give_no_data_before_the_last(kit, lpa, card):
    segments = lpa.bpp(kit.package(1), kit.metadata(1))
    answers = [card.chain(segment) for segment in segments]
    assert [data for data, _ in answers[:-1]] == [b""] * (len(segments) - 1)
    assert parse(answers[-1][0]).tag == 0xBF37
    assert {sw for _, sw in answers} == {0x9000}
    assert card.chain(segments[-1]) == (b"", 0x6985)


@pytest.mark.parametrize("size", [1, 15, 16, 300, 1007, 1008, 4000])
def test_elements_may_cross_segments_of_any_size(kit, lpa, size):
    package = kit.package(1, elements=2, size=40 if size < 300 else 900)
    result = lpa.download(package, kit.metadata(1), size=size)
    assert result.find(0xBF27, 0xA2, 0xA0) is not None


@pytest.mark.parametrize("size", [1, 100, 254, 255])
def test_blocks_of_any_size(kit, lpa, size):
    segments = lpa.bpp(kit.package(1, elements=1, size=50), kit.metadata(1))
    assert lpa.load(segments, size=size).find(0xBF27, 0xA2, 0xA0) is not None


def test_a_long_metadata_comes_in_several_segments(kit, lpa, card):
    icon = bytes.fromhex("930101") + encode(0x94, bytes(1024))
    result = lpa.download(kit.package(1), kit.metadata(1, more=icon), metadata_size=300)
    assert result.find(0xBF27, 0xA2, 0xA0) is not None
    assert card.profiles()[0].get(0x94).value == bytes(1024)


def test_whole_sequences_in_one_chain(kit, lpa):
    """Some LPAs send a sequence with all its members at once, or everything."""
    segments = lpa.bpp(kit.package(1), kit.metadata(1))
    assert lpa.load([segments[0], b"".join(segments[1:4]), b"".join(segments[4:])]).find(0xBF27, 0xA2, 0xA0) is not None
    segments = lpa.bpp(kit.package(2), kit.metadata(2))
    assert lpa.load([b"".join(segments)]).find(0xBF27, 0xA2, 0xA0) is not None


def test_profile_protection_keys_replace_the_session_keys(kit, lpa):
    keys = SessionKeys(bytes(range(16)), bytes(range(16, 32)), bytes(range(32, 48)))
    assert lpa.download(kit.package(1), kit.metadata(1), replace=keys).find(0xBF27, 0xA2, 0xA0) is not None


def test_dp_proprietary_data_is_kept(kit, lpa, card):
    data = encode(0xB8, bytes.fromhex("800388370A"))
    lpa.download(kit.package(1), kit.metadata(1), configure=encode(0xBF24, data))
    assert card.es10("BF2D035C01B8").get(0xA0, 0xE3, 0xB8).raw == data


def test_data_that_is_not_to_be_stored_is_not(kit, lpa, card):
    lpa.download(kit.package(1), kit.metadata(1, more=bytes.fromhex("BF2300") + bytes.fromhex("BF2200")))
    (profile,) = card.isdr.registry.profiles()
    assert parse(profile.metadata.raw).find(0xBF23) is None
    assert parse(profile.metadata.raw).find(0xBF22) is not None


def test_isdp_aids_count_upwards_and_gaps_are_filled(kit):
    card = kit.with_profiles(1, 2, 3)
    numbers = [profile.get(0x4F).value[13:15].hex() for profile in card.profiles()]
    assert numbers == ["0010", "0011", "0012"]
    card.es10(encode(0xBF33, encode(0x5A, kit.iccid(2))))
    result = kit.lpa(card).download(kit.package(4), kit.metadata(4))
    assert result.get(0xBF27, 0xA2, 0xA0, 0x4F).value[13:15].hex() == "0011"


# ------------------------------------------------------------------------------------------------------ order


def test_a_load_needs_a_prepared_session(kit, lpa, card):
    segments = lpa.bpp(kit.package(1), kit.metadata(1))
    card.reset()
    assert card.chain(segments[0]) == (b"", 0x6985)
    assert card.chain(segments[1]) == (b"", 0x6985)


def test_a_load_stays_on_its_logical_channel(kit, lpa, card):
    segments = lpa.bpp(kit.package(1), kit.metadata(1))
    card.chain(segments[0], channel=1)
    assert card.chain(segments[1], channel=2) == (b"", 0x6985)
    assert lpa.load(segments[1:], channel=1).find(0xBF27, 0xA2, 0xA0) is not None


def test_losing_the_channel_interrupts_the_load(kit, lpa, card):
    segments = lpa.bpp(kit.package(1), kit.metadata(1))
    for segment in segments[:-1]:
        card.chain(segment)
    card.isdr.deselect(2)
    assert card.notifications() == []
    card.isdr.deselect(1)
    assert card.chain(segments[-1]) == (b"", 0x6985)
    (result,) = card.notifications()
    assert failure(result)[1] == 11
    nothing_left(card)


def test_reading_functions_do_not_disturb_a_load(kit, lpa, card):
    segments = lpa.bpp(kit.package(1), kit.metadata(1))
    for number, segment in enumerate(segments[:-1]):
        card.chain(segment, channel=1)
        request = bytes.fromhex(["BF2D00", "BF2000", "BF2200", "BF2800", "BF2B00", "BF3E035C015A"][number % 6])
        assert card.chain(request, channel=2)[1] == 0x9000
    assert lpa.load(segments[-1:]).find(0xBF27, 0xA2, 0xA0) is not None


@pytest.mark.parametrize("request_hex", ["BF2E00", "BF3003800107", "BF340482020780", "BF3F03800161"])
def test_a_writing_function_ends_a_load_first(kit, lpa, card, request_hex):
    segments = lpa.bpp(kit.package(1), kit.metadata(1))
    for segment in segments[:-1]:
        card.chain(segment)
    assert card.chain(bytes.fromhex(request_hex), channel=2)[1] == 0x9000
    assert card.chain(segments[-1]) == (b"", 0x6985)
    (result,) = card.notifications()
    assert failure(result) == (ELEMENTS, 11, None)
    nothing_left(card)


def test_cancel_session_in_mid_load_leaves_nothing_and_no_result(kit, lpa, card):
    segments = lpa.bpp(kit.package(1), kit.metadata(1))
    for segment in segments[:-1]:
        card.chain(segment)
    request = encode(0xBF41, encode(0x80, lpa.server.transaction), bytes.fromhex("810105"))
    assert card.es10(request).find(0xA0) is not None
    assert card.chain(segments[-1]) == (b"", 0x6985)
    card.power_cycle()
    assert card.notifications() == []
    nothing_left(card)


# ------------------------------------------------------------------------------------------------------ errors


def otpk_of(lpa):
    return lpa.prepare().get(0xA0, 0x30, 0x5F49).raw


def initialise_with(**changed):
    def build(kit, lpa):
        otpk = otpk_of(lpa)
        first = lpa.server.initialise(otpk, **changed)
        return lpa.server.segments(otpk, lpa.card.identity.eid, kit.package(1), kit.metadata(1), initialise=first)

    return build


def with_bpp(**changes):
    return lambda kit, lpa: lpa.bpp(kit.package(1), changes.pop("metadata", None) or kit.metadata(1), **changes)


def flip(number, at=-1):
    """Falsify one byte of the protected TLV of that number."""

    def change(count, tlv):
        if count != number:
            return tlv
        broken = bytearray(tlv)
        broken[at] ^= 1
        return bytes(broken)

    return change


def cut_body(number):
    """Make the body of a protected TLV no multiple of 16, with a right outer length."""
    return lambda count, tlv: encode(tlv[0], parse(tlv).value[:-1]) if count == number else tlv


ERRORS = {
    "other remote operation": (INITIALISE, 5, initialise_with(operation=bytes.fromhex("820102"))),
    "other transaction": (INITIALISE, 3, initialise_with(transaction=bytes.fromhex("800199"))),
    "other key type": (INITIALISE, 4, initialise_with(template=bytes.fromhex("A609 800180 810110 840161"))),
    "other key length": (INITIALISE, 4, initialise_with(template=bytes.fromhex("A609 800188 810120 840161"))),
    "no host id": (INITIALISE, 4, initialise_with(template=bytes.fromhex("A608 800188 810110 8400"))),
    "wrong signature": (INITIALISE, 2, initialise_with(signature=encode(0x5F37, bytes(64)))),
    "point not on the curve": (INITIALISE, 1, initialise_with(otpk=encode(0x5F49, b"\x04" + bytes(64)))),
    "no key": (INITIALISE, 1, initialise_with(otpk=b"")),
    "not a ConfigureISDP": (CONFIGURE, 1, with_bpp(configure=bytes.fromhex("BF2500"))),
    "too much DP data": (CONFIGURE, 1, with_bpp(configure=encode(0xBF24, encode(0xB8, bytes(127))))),
    "MAC of ConfigureISDP": (CONFIGURE, 8, with_bpp(change=flip(1))),
    "ciphertext of ConfigureISDP": (CONFIGURE, 8, with_bpp(change=flip(1, 2))),
    "length of ConfigureISDP": (CONFIGURE, 7, with_bpp(change=cut_body(1))),
    "MAC of StoreMetadata": (METADATA, 8, with_bpp(change=flip(2))),
    "no metadata": (METADATA, 1, with_bpp(metadata=bytes.fromhex("BF2500"))),
    "not TLV": (METADATA, 1, with_bpp(metadata=bytes.fromhex("BF25055A0A"))),
    "MAC of the elements": (ELEMENTS, 8, with_bpp(change=flip(4))),
    "tag of a segment": (ELEMENTS, 7, with_bpp(change=lambda n, tlv: b"\x87" + tlv[1:] if n == 3 else tlv)),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_before_and_around_the_elements(kit, lpa, card, case):
    command, reason, build = ERRORS[case]
    segments = build(kit, lpa)
    result = lpa.load(segments)
    assert failure(result) == (command, reason, None)
    assert [one.raw for one in card.notifications()] == [result.raw]
    assert card.chain(segments[-1]) == (b"", 0x6985)
    nothing_left(card)
    assert lpa.download(kit.package(1), kit.metadata(1)).find(0xBF27, 0xA2, 0xA0) is not None


def test_an_initialise_that_is_cut_in_the_middle(kit, lpa, card):
    segments = lpa.bpp(kit.package(1), kit.metadata(1))
    assert failure(lpa.load([segments[0][:100]])) == (INITIALISE, 1, None)
    nothing_left(card)


def test_a_segment_that_is_cut_in_the_middle(kit, lpa, card):
    segments = lpa.bpp(kit.package(1), kit.metadata(1))
    assert failure(lpa.load([*segments[:5], segments[5][:-20]])) == (ELEMENTS, 7, None)
    nothing_left(card)


def test_sequences_in_another_order(kit, lpa, card):
    segments = lpa.bpp(kit.package(1), kit.metadata(1))
    assert failure(lpa.load([segments[0], *segments[2:]])) == (CONFIGURE, 7, None)
    nothing_left(card)


def test_a_segment_beyond_the_length_that_was_announced(kit, lpa, card):
    segments = lpa.bpp(kit.package(1), kit.metadata(1))
    segments[0] = bytes.fromhex("BF36820400") + segments[0][5:]
    assert sum(map(len, segments)) > 0x0400 + 5
    assert failure(lpa.load(segments))[1] == 7
    nothing_left(card)


def test_the_same_iccid_twice(kit):
    card = kit.with_profiles(1)
    result = kit.lpa(card).download(kit.package(1), kit.metadata(1))
    assert failure(result) == (METADATA, 9, None)
    assert len(card.profiles()) == 1
    assert result.find(0xBF27, 0xBF2F, 0x5A).value == kit.iccid(1)


def test_another_iccid_in_the_header_than_in_the_metadata(kit, lpa, card):
    result = lpa.download(kit.package(1), kit.metadata(2))
    assert failure(result) == (ELEMENTS, 13, None)
    nothing_left(card)


def test_an_element_that_the_euicc_refuses(kit, lpa, card):
    """bad-values 3 at element 8, offset 12, the rest aborted."""
    result = lpa.download(kit.package(1, extra=bytes.fromhex("A9020308")), kit.metadata(1))
    assert failure(result) == (ELEMENTS, 12, bytes.fromhex("300FA00B3009800103810108 83010C 8100"))
    nothing_left(card)


def test_an_element_for_which_there_is_no_memory(kit, lpa, card):
    result = lpa.download(kit.package(1, extra=bytes.fromhex("A9020408")), kit.metadata(1))
    assert failure(result)[:2] == (ELEMENTS, 10)
    nothing_left(card)


def test_a_profile_larger_than_the_free_memory(kit, lpa, card):
    card.uicc.memory = card.nvm.used + 7000
    result = lpa.download(kit.package(1, elements=10), kit.metadata(1))
    assert failure(result) == (ELEMENTS, 10, bytes.fromhex("3009A00530038001048100"))
    nothing_left(card)


def test_a_package_without_an_end(kit, lpa, card):
    result = lpa.download(kit.package(1)[:-9], kit.metadata(1))
    assert failure(result)[:2] == (ELEMENTS, 12)
    nothing_left(card)


def test_a_package_that_stops_in_an_element(kit, lpa, card):
    result = lpa.download(kit.package(1)[:-1], kit.metadata(1))
    assert failure(result)[:2] == (ELEMENTS, 12)
    nothing_left(card)


def test_elements_after_the_end(kit, lpa, card):
    result = lpa.download(kit.package(1) + bytes.fromhex("B003000000"), kit.metadata(1))
    assert failure(result)[:2] == (ELEMENTS, 12)
    nothing_left(card)


def test_elements_that_are_no_tlv(kit, lpa, card):
    result = lpa.download(kit.package(1)[:-9] + b"\xb0\x80" + bytes(20), kit.metadata(1))
    assert failure(result)[:2] == (ELEMENTS, 12)
    nothing_left(card)


def test_ppr1_only_for_the_first_operational_profile(kit):
    rule = bytes.fromhex("99020640")
    card = kit.card()
    first = kit.lpa(card).download(kit.package(1), kit.metadata(1, more=rule))
    assert first.find(0xBF27, 0xA2, 0xA0) is not None
    second = kit.lpa(card).download(kit.package(2), kit.metadata(2, more=rule))
    assert failure(second) == (METADATA, 15, None)


def test_an_euicc_without_test_profiles(kit):
    from dataclasses import replace

    from esim_drivers.sim.personality import STANDARD

    card = kit.card(personality=replace(STANDARD, rsp_capability=("additionalProfile",)))
    result = kit.lpa(card).download(kit.package(1), kit.metadata(1, more=bytes.fromhex("950100")))
    assert failure(result) == (METADATA, 6, None)


def test_no_room_for_another_isdp(kit):
    from dataclasses import replace

    from esim_drivers.sim.personality import STANDARD

    card = kit.card(personality=replace(STANDARD, max_profiles=1))
    assert kit.lpa(card).download(kit.package(1), kit.metadata(1)).find(0xBF27, 0xA2, 0xA0) is not None
    assert failure(kit.lpa(card).download(kit.package(2), kit.metadata(2))) == (CONFIGURE, 10, None)


# ------------------------------------------------------------------------------------------------------ interruption


@pytest.mark.parametrize("how", ["power_cycle", "reset"])
@pytest.mark.parametrize("done", range(1, 8))
def test_an_interrupted_load_leaves_one_result_that_says_so(kit, lpa, card, how, done):
    segments = lpa.bpp(kit.package(1), kit.metadata(1))
    assert len(segments) == 8
    for segment in segments[:done]:
        assert card.chain(segment) == (b"", 0x9000)
    getattr(card, how)()
    nothing_left(card)
    (result,) = card.notifications()
    assert failure(result) == (ELEMENTS, 11, None)
    assert result.get(0xBF27, 0x80).value == lpa.server.transaction
    assert result.get(0xBF27, 0xBF2F, 0x0C).value == lpa.server.address.encode()
    assert result.get(0xBF27, 0x06).raw == lpa.server.oid_tlv
    public = Certificate.load(card.identity.signing[0].euicc_certificate).public_key
    ecdsa.verify(public, result.get(0x5F37).value, result.get(0xBF27).raw)
    getattr(card, how)()
    assert len(card.notifications()) == 1
    assert card.chain(segments[done]) == (b"", 0x6985)
    assert lpa.download(kit.package(1), kit.metadata(1)).find(0xBF27, 0xA2, 0xA0) is not None
