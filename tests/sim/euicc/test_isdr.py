"""SELECT, STORE DATA and the functions of the ISD-R that need no server."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esim_bench.codec.apdu import Command
from esim_bench.codec.tlv import encode, parse, parse_all
from esim_bench.ports import FormFactor
from esim_drivers.sim import bpp_loader
from esim_drivers.sim.ecasd import Ecasd
from esim_drivers.sim.personality import PERSONALITIES, STANDARD

OK, NOT_FOUND, WRONG_STATE, BY_POLICY, WRONG_REENABLING, CAT_BUSY = 0, 1, 2, 3, 4, 5
UNDEFINED = 127
ENABLE, DISABLE, DELETE = 0xBF31, 0xBF32, 0xBF33
OPERATIONAL_TAGS = [0x5A, 0x4F, 0x9F70, 0x91, 0x92, 0x95]


def switch(tag, identifier, refresh=True):
    """Build EnableProfile or DisableProfile for an ICCID of 10 bytes or an AID of 16."""
    choice = encode(0x5A if len(identifier) == 10 else 0x4F, identifier)
    return encode(tag, encode(0xA0, choice), encode(0x81, b"\xff" if refresh else b"\x00"))


def delete(iccid):
    return encode(DELETE, encode(0x5A, iccid))


# ------------------------------------------------------------------------------------------------------ SELECT


def test_the_fci_tells_the_aid_and_the_specification_version(card):
    reply = card.isdr.select(1)
    assert reply.sw == 0x9000
    fci = parse(reply.data)
    assert fci.tag == 0x6F
    assert fci.get(0x84).value == card.isdr.aid == bytes.fromhex("A0000005591010FFFFFFFF8900000100")
    assert fci.get(0xE0, 0x82).value == bytes.fromhex("020500")


def test_ecasd_gives_the_eid(identity):
    ecasd = Ecasd(identity)
    assert parse(ecasd.select(0).data).get(0x84).value == bytes.fromhex("A0000005591010FFFFFFFF8900000200")
    assert ecasd.process(Command(0x80, 0xCA, 0x00, 0x5A, le=256), 0).data == b"\x5a\x10" + identity.eid
    assert ecasd.process(Command(0x80, 0xCA, 0x00, 0x42, le=256), 0).sw == 0x6A88
    assert ecasd.process(Command(0x80, 0xE2, 0x91, 0x00), 0).sw == 0x6D00
    assert ecasd.process(Command(0x00, 0xCA, 0x00, 0x5A), 0).sw == 0x6E00


# ------------------------------------------------------------------------------------------------------ STORE DATA


def block(card, p1, p2, data, channel=1):
    return card.isdr.process(Command(0x80, 0xE2, p1, p2, bytes.fromhex(data)), channel)


GET_EID = ("BF3E", "035C015A")


def test_blocks_are_joined_wherever_they_are_cut(card, identity):
    assert (block(card, 0x11, 0, GET_EID[0]).data, block(card, 0x91, 1, GET_EID[1]).data) == (
        b"",
        bytes.fromhex("BF3E125A10") + identity.eid,
    )


def test_a_new_first_block_abandons_the_chain(card):
    block(card, 0x11, 0, "BF2D")
    assert block(card, 0x91, 0, "".join(GET_EID)).sw == 0x9000


def test_each_channel_has_a_chain_of_its_own(card):
    block(card, 0x11, 0, GET_EID[0], channel=1)
    block(card, 0x11, 0, "BF2D", channel=2)
    assert block(card, 0x91, 1, GET_EID[1], channel=1).data[:2] == b"\xbf\x3e"
    assert block(card, 0x91, 1, "00", channel=2).data[:2] == b"\xbf\x2d"


def test_selection_and_its_loss_forget_the_chain(card):
    block(card, 0x11, 0, GET_EID[0])
    card.isdr.select(1)
    assert block(card, 0x91, 1, GET_EID[1]).sw == 0x6985
    block(card, 0x11, 0, GET_EID[0])
    card.isdr.deselect(1)
    assert block(card, 0x91, 1, GET_EID[1]).sw == 0x6985


@pytest.mark.parametrize(
    ("p1", "p2", "sw"),
    [(0x91, 2, 0x6A86), (0x91, 0xFF, 0x6A86), (0x81, 1, 0x6A86), (0x00, 1, 0x6A86), (0x91, 1, 0x9000)],
)
def test_block_numbers_and_p1(card, p1, p2, sw):
    block(card, 0x11, 0, GET_EID[0])
    assert block(card, p1, p2, GET_EID[1]).sw == sw


def test_no_more_than_256_blocks(card):
    answers = [block(card, 0x11, number, "00").sw for number in range(256)]
    assert answers == [0x9000] * 255 + [0x6A84]
    assert block(card, 0x91, 0, "".join(GET_EID)).sw == 0x9000


@pytest.mark.parametrize(
    ("command", "sw"),
    [
        ("00E2910003BF2D00", 0x6E00),
        ("84E2910003BF2D00", 0x6882),
        ("80CA005A00", 0x6D00),
        ("80E29100", 0x6700),
        ("80E2910003BF7000", 0x6A88),
        ("80E2910003BF5500", 0x6A88),
        ("80E2910003BF2D05", 0x6A80),
        ("80E2910004BF2D0000", 0x6A80),
        ("80E2910001BF", 0x6A80),
        ("80E2910003BF3180", 0x6A80),
        ("80E2910003860100", 0x6985),
    ],
)
def test_status_words(card, command, sw):
    reply = card.isdr.process(Command.parse(bytes.fromhex(command)), 1)
    assert (reply.data, reply.sw) == (b"", sw)


# ------------------------------------------------------------------------------------------------------ ES10a


def test_the_default_smdp_address_is_set_kept_and_cleared(card):
    root = encode(0x81, b"testrootsmds.example.com")
    assert card.es10("BF3C00").raw == encode(0xBF3C, root)
    assert card.es10(encode(0xBF3F, encode(0x80, b"dp.example.com"))).raw == bytes.fromhex("BF3F03800100")
    card.power_cycle()
    assert card.es10("BF3C00").raw == encode(0xBF3C, encode(0x80, b"dp.example.com"), root)
    card.es10("BF3F028000")
    assert card.es10("BF3C00").raw == encode(0xBF3C, root)
    assert card.es10("BF3F048002C328").raw == bytes.fromhex("BF3F0380017F")


# ------------------------------------------------------------------------------------------------------ ES10b


def test_euicc_info2_has_all_members_in_their_order(card):
    info = card.es10("BF2200")
    assert [child.tag for child in info.children()] == [
        *(0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0xA9, 0xAA),
        *(0x8B, 0x04, 0x0C, 0xAC, 0x8D, 0x8E),
    ]
    assert info.get(0x82).value == card.es10("BF2000").get(0x82).value
    assert info.get(0xA9).raw == card.es10("BF2000").get(0xA9).raw


def test_card_resources_are_live(kit):
    card = kit.card()

    def resources():
        values = parse_all(card.es10("BF2200").get(0x84).value)
        assert [value.tag for value in values] == [0x81, 0x82, 0x83]
        return [int.from_bytes(value.value, "big") for value in values]

    before = resources()
    kit.lpa(card).download(kit.package(1), kit.metadata(1))
    after = resources()
    assert (before[0], after[0]) == (0, 1)
    assert before[1] - after[1] > len(kit.package(1))
    assert after[1] == card.uicc.free_memory


@pytest.mark.parametrize(
    ("form_factor", "personality", "bits"),
    [
        (FormFactor.FF4, "4ff", "0780"),
        (FormFactor.MFF2, "mff2", "0780"),
        (FormFactor.ISIM, "isim", "0640"),
        (FormFactor.ISIM, "standard", "0640"),
        (FormFactor.FF4, "isim", "0640"),  # a contradiction that the bench has to find
    ],
)
def test_tre_properties(kit, form_factor, personality, bits):
    card = kit.card(form_factor=form_factor, personality=PERSONALITIES[personality])
    assert card.es10("BF2200").get(0x8D).value == bytes.fromhex(bits)


def test_functions_that_it_answers_without_supporting_them(card):
    assert card.es10("BF420480020780").raw == bytes.fromhex("BF4203800101")


def test_the_rules_authorisation_table_allows_any_operator(card):
    assert card.es10("BF4300").raw == bytes.fromhex("BF4315A0133011800205 60A1073005 8003EEEEEE82020780")


# ------------------------------------------------------------------------------------------------------ ES10c


def test_get_eid(card, identity):
    assert card.es10("BF3E035C015A").raw == bytes.fromhex("BF3E125A10") + identity.eid
    assert card.chain(bytes.fromhex("BF3E035C0142")) == (b"", 0x6A80)
    assert card.chain(bytes.fromhex("BF3E00")) == (b"", 0x6A80)


def test_profile_info_defaults_search_and_tag_list(kit):
    card = kit.with_profiles(1, 2)
    first, second = card.profiles()
    assert [child.tag for child in first.children()] == OPERATIONAL_TAGS
    assert first.get(0x92).value == b"Name 1"
    assert first.get(0x95).value == b"\x02"
    aid = second.get(0x4F).raw
    for criteria in (aid, encode(0x5A, kit.iccid(2))):
        (found,) = card.es10(encode(0xBF2D, encode(0xA0, criteria))).get(0xA0).children()
        assert found.raw == second.raw
    assert card.es10("BF2D05A003950100").raw == bytes.fromhex("BF2D02A000")
    assert len(card.es10("BF2D05A003950102").get(0xA0).children()) == 2
    states = card.es10("BF2D055C035A9F70").get(0xA0).children()
    assert [[child.tag for child in state.children()] for state in states] == [[0x5A, 0x9F70]] * 2
    more = card.es10("BF2D055C03B65F2A").get(0xA0, 0xE3)  # a tag that no profile has is passed over
    assert [child.tag for child in more.children()] == [0xB6]


def test_profile_info_with_incorrect_input(card):
    for request in ("BF2D05A003800100", "BF2D02A000", "BF2D035C019F"):
        assert card.es10(request).raw == bytes.fromhex("BF2D03810101"), request


def test_nickname(kit):
    card = kit.with_profiles(1)
    name = "Ünterwegs".encode()
    request = encode(0xBF29, encode(0x5A, kit.iccid(1)), encode(0x90, name))
    assert card.es10(request).raw == bytes.fromhex("BF2903800100")
    card.power_cycle()
    assert card.profiles()[0].get(0x90).value == name
    card.es10(encode(0xBF29, encode(0x5A, kit.iccid(1)), encode(0x90, b"")))
    assert card.profiles()[0].find(0x90) is None
    assert card.result(encode(0xBF29, encode(0x5A, kit.iccid(9)), encode(0x90, name))) == NOT_FOUND
    assert card.result(encode(0xBF29, encode(0x5A, kit.iccid(1)), encode(0x90, b"x" * 65))) == 127


def test_enable_with_refresh_is_shown_at_the_reset(kit):
    card = kit.with_profiles(1)
    assert card.result(switch(ENABLE, kit.iccid(1))) == OK
    assert card.uicc.refreshes == [0x04]
    assert card.uicc.mounted == []
    aid = card.profiles()[0].get(0x4F).value
    assert card.nvm.get("euicc/enabled") == aid
    assert card.state(kit.iccid(1)) == 1


def test_enable_without_refresh_is_shown_at_once(kit):
    card = kit.with_profiles(1, 2)
    aid = [profile.get(0x4F).value for profile in card.profiles()]
    assert card.result(switch(ENABLE, aid[1], refresh=False)) == OK
    assert card.result(switch(ENABLE, aid[0], refresh=False)) == OK
    assert card.result(switch(DISABLE, aid[0], refresh=False)) == OK
    assert card.uicc.mounted == [aid[1], aid[0], None]
    assert card.uicc.refreshes == []
    assert [card.state(kit.iccid(number)) for number in (1, 2)] == [0, 0]
    assert card.nvm.get("euicc/enabled") is None


@pytest.mark.parametrize(
    ("changes", "seen", "refreshes"),
    [
        ({"refresh_mode": 0x09}, True, [0x09]),
        ({"raises_refresh": False}, True, []),
        ({}, False, []),
        ({"needs_terminal_profile": False}, False, [0x04]),
    ],
)
def test_refresh_is_a_matter_of_personality(kit, changes, seen, refreshes):
    card = kit.with_profiles(1, personality=replace(STANDARD, **changes))
    card.uicc.terminal_profile_seen = seen
    assert card.result(switch(ENABLE, kit.iccid(1))) == OK
    assert card.uicc.refreshes == refreshes


def test_wrong_states_and_unknown_profiles(kit):
    card = kit.with_profiles(1)
    assert card.result(switch(DISABLE, kit.iccid(1))) == WRONG_STATE
    assert card.result(switch(ENABLE, kit.iccid(2))) == NOT_FOUND
    assert card.result(switch(DISABLE, kit.iccid(2))) == NOT_FOUND
    assert card.result(delete(kit.iccid(2))) == NOT_FOUND
    assert card.result(switch(ENABLE, kit.iccid(1))) == OK
    assert card.result(switch(ENABLE, kit.iccid(1))) == WRONG_STATE
    assert card.result(delete(kit.iccid(1))) == WRONG_STATE
    assert card.state(kit.iccid(1)) == 1


def test_cat_busy_only_matters_with_refresh(kit):
    card = kit.with_profiles(1)
    card.uicc.cat_busy = True
    assert card.result(switch(ENABLE, kit.iccid(1))) == CAT_BUSY
    assert card.state(kit.iccid(1)) == 0
    assert card.result(switch(ENABLE, kit.iccid(1), refresh=False)) == OK
    assert card.result(switch(DISABLE, kit.iccid(1))) == CAT_BUSY


def test_policy_rules(kit):
    """PPR1 (bit 1): may not be disabled. PPR2 (bit 2): may not be deleted."""
    card = kit.card()
    for number, rules in ((1, "99020640"), (2, "99020520")):
        kit.lpa(card).download(kit.package(number), kit.metadata(number, more=bytes.fromhex(rules)))
    assert card.result(delete(kit.iccid(2))) == BY_POLICY
    assert card.result(switch(ENABLE, kit.iccid(1))) == OK
    assert card.result(switch(DISABLE, kit.iccid(1))) == BY_POLICY
    assert card.result(switch(ENABLE, kit.iccid(2))) == BY_POLICY
    assert card.state(kit.iccid(1)) == 1


def test_after_a_test_profile_comes_the_operational_one_from_before(kit):
    card = kit.with_profiles(1, 2)
    kit.lpa(card).download(kit.package(3), kit.metadata(3, more=bytes.fromhex("950100")))
    assert card.result(switch(ENABLE, kit.iccid(1))) == OK
    assert card.result(switch(ENABLE, kit.iccid(3))) == OK
    assert card.result(switch(ENABLE, kit.iccid(2))) == WRONG_REENABLING
    assert card.result(switch(ENABLE, kit.iccid(1))) == OK
    assert card.result(switch(ENABLE, kit.iccid(2))) == OK


def test_delete_leaves_nothing_of_the_profile(kit):
    card = kit.with_profiles(1)
    empty = kit.card().nvm.contents().keys()
    assert card.es10(delete(kit.iccid(1))).raw == bytes.fromhex("BF3303800100")
    assert card.profiles() == []
    kept = {"euicc/session", "euicc/sequence", "notification/0000000001"}
    assert card.nvm.contents().keys() - empty == kept


def test_a_profile_that_is_deleted_while_it_is_still_shown(kit):
    """Disabled with REFRESH, deleted before the reset: the UICC must not go on reading files that are gone."""
    card = kit.with_profiles(1, 2)
    card.es10(switch(ENABLE, kit.iccid(1)))
    card.reset()
    card.es10(switch(ENABLE, kit.iccid(2)))
    assert card.uicc.mounted == []
    assert card.result(delete(kit.iccid(1))) == OK
    assert card.uicc.mounted == [card.profiles()[0].get(0x4F).value]


def test_memory_reset(kit):
    card = kit.with_profiles(1, 2)
    kit.lpa(card).download(kit.package(3), kit.metadata(3, more=bytes.fromhex("950100")))
    card.es10(switch(ENABLE, kit.iccid(1)))
    card.reset()
    assert card.result("BF340482020520") == 1  # no default address to reset
    assert card.result("BF340482020640") == OK  # field-loaded test profiles
    assert len(card.profiles()) == 2
    card.uicc.cat_busy = True
    assert card.result("BF340482020780") == CAT_BUSY
    card.uicc.cat_busy = False
    assert card.result("BF340482020780") == OK
    assert card.profiles() == []
    assert card.nvm.get("euicc/enabled") is None
    assert (card.uicc.mounted, card.uicc.refreshes) == ([None], [0x04])
    assert card.result("BF340482020780") == 1
    assert card.isdr.registry.violations() == []


def test_some_euiccs_refuse_es10b_from_a_switch_until_the_reset(kit):
    card = kit.with_profiles(1, personality=PERSONALITIES["reset-needed"])
    card.es10(switch(ENABLE, kit.iccid(1)))
    for request in ("BF2E00", "BF2800", "BF2B00", "BF2000"):
        assert card.chain(bytes.fromhex(request)) == (b"", 0x6985)
    assert card.state(kit.iccid(1)) == 1
    card.reset()
    assert card.chain(bytes.fromhex("BF2800"))[1] == 0x9000


@pytest.mark.parametrize(
    "request_hex",
    [
        "BF3100",
        "BF31038101FF",
        "BF310181",
        "BF3105A0038101FF",
        "BF3300",
        "BF33025A00",
        "BF3400",
        "BF2900",
    ],
)
def test_requests_that_a_function_can_make_no_sense_of(kit, request_hex):
    """They are data objects of a known function: its undefinedError, and no effect."""
    card = kit.with_profiles(1)
    before = card.nvm.contents()
    assert card.result(request_hex) == UNDEFINED
    assert card.nvm.contents() == before


@pytest.mark.parametrize("request_hex", ["BF3180", "BF31058101", "BF31", "BF3100 00"])
def test_requests_that_are_no_data_object(kit, request_hex):
    card = kit.with_profiles(1)
    assert card.chain(bytes.fromhex(request_hex)) == (b"", 0x6A80)


def test_signatures_and_keys_take_their_time(kit):
    card = kit.card()
    lpa = kit.lpa(card)
    assert card.isdr.process(Command(0x80, 0xE2, 0x91, 0, bytes.fromhex("BF2D00")), 1).seconds == 0
    challenge = card.es10("BF2E00").get(0x80).value
    request = lpa.server.authenticate_server(challenge)
    blocks = [request[at : at + 255] for at in range(0, len(request), 255)]
    for number, data in enumerate(blocks):
        reply = card.isdr.process(Command(0x80, 0xE2, 0x91 if number == len(blocks) - 1 else 0x11, number, data), 1)
    assert reply.seconds == pytest.approx(2 * STANDARD.verify_seconds + STANDARD.sign_seconds)


# ------------------------------------------------------------------------------------------------------ bad input

TAGS = [0xBF20 + number for number in range(0x40)] + [0xA0, 0xA1, 0xA2, 0xA3, 0x86, 0x87, 0x88, 0x30, 0x5A]
SIMPLE = st.builds(
    encode, st.sampled_from([0x80, 0x81, 0x82, 0x90, 0x4F, 0x5A, 0x5C, 0x95, 0x5F37, 0x04]), st.binary(max_size=20)
)
NESTED = st.recursive(
    SIMPLE, lambda inner: st.builds(encode, st.sampled_from([0xA0, 0xA1, 0x30, 0xBF23]), inner, inner), max_leaves=6
)


@settings(max_examples=200, deadline=None)
@given(tag=st.sampled_from(TAGS), body=st.one_of(st.binary(max_size=30), st.lists(NESTED, max_size=4).map(b"".join)))
def test_any_request_gets_an_answer_of_the_standard(tag, body, identity, card_of):
    card = card_of(identity)
    data, sw = card.chain(encode(tag, body))
    assert sw in (0x9000, 0x6A80, 0x6A88, 0x6985)
    if data:
        assert parse(data).tag == tag
    assert card.isdr.registry.violations() == []


@settings(max_examples=150, deadline=None)
@given(where=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255), cut=st.booleans(), step=st.integers(0, 8))
def test_a_download_with_any_byte_changed_ends_in_an_error_and_leaves_nothing(where, change, cut, step, kit_of):
    kit = kit_of
    card = kit.card()
    lpa = kit.lpa(card)
    reached = -1

    def send(request):
        nonlocal reached
        reached += 1
        if reached == step:
            at = int(where * len(request))
            request = request[: at + 1] if cut else request[:at] + bytes((request[at] ^ change,)) + request[at + 1 :]
        return card.chain(request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bpp_loader, "ProfileInstaller", kit.Installer)
        challenge = card.es10("BF2E00").get(0x80).value
        data, sw = send(lpa.server.authenticate_server(challenge))
        if sw == 0x9000 and parse(data).find(0xA0):
            data, sw = send(lpa.server.prepare_download(parse(data).get(0xA0, 0x5F37).raw))
            if sw == 0x9000 and parse(data).find(0xA0):
                otpk = parse(data).get(0xA0, 0x30, 0x5F49).raw
                for segment in lpa.server.segments(otpk, card.identity.eid, kit.package(1), kit.metadata(1)):
                    data, sw = send(segment)
                    if data or sw != 0x9000:
                        break
    assert sw in (0x9000, 0x6A80, 0x6A88, 0x6985)
    card.reset()
    assert card.isdr.registry.violations() == []
    done = bool(data) and parse(data).find(0xBF27, 0xA2, 0xA0) is not None
    assert len(card.profiles()) == int(done)
