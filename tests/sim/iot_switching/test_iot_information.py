"""What an IoT eUICC says of itself, which functions it has, and who may call them."""

import pytest

from esim_bench.codec import es10, es10_iot
from esim_bench.codec.es10 import Tag
from esim_bench.codec.es10_iot import IotTag
from esim_bench.codec.es10_results import EuiccInfo2
from esim_bench.codec.euicc_operations import SetFallbackAttribute
from esim_bench.codec.iot_info import IotEuiccInfo2, IsdrConfiguration, terminal_capability
from esim_bench.codec.sgp32 import Version
from esim_bench.codec.tlv import encode, parse
from esim_bench.errors import ConfigError
from esim_drivers.sim.iot.standards import Standards
from esim_drivers.sim.personality import PERSONALITIES

ASKS = bytes.fromhex
FOR_PEOPLE = (Tag.ENABLE_PROFILE, Tag.DISABLE_PROFILE, Tag.DELETE_PROFILE, Tag.SET_NICKNAME)
SHARED = (
    *("BF2000", "BF2200", "BF2E00", "BF2800", "BF2B00", "BF3003800101", "BF4300", "BF2D00", "BF3C00", "BF3E035C015A"),
)


def info2(card):
    return IotEuiccInfo2.parse(card.es10("BF2200").raw)


# ------------------------------------------------------------------------------------------------------ functions


def test_a_consumer_euicc_has_no_iot_function(kit):
    card = kit.card(standards=kit.CONSUMER)
    assert {card.sw(encode(tag, b"")) for tag in IotTag} == {0x6A88}
    assert parse(card.fci).find(0xE1) is None
    assert info2(card) == IotEuiccInfo2()
    assert card.code(es10.set_default_dp_address("dp.example.com")) == 0


def test_an_iot_euicc_does_without_what_people_do(kit):
    card = kit.card()
    requests = [encode(tag, b"") for tag in (*FOR_PEOPLE, Tag.EUICC_MEMORY_RESET, Tag.SET_DEFAULT_DP_ADDRESS)]
    assert [card.sw(request) for request in requests] == [0x6A88] * len(requests)
    assert {card.sw(request) for request in SHARED} == {0x9000}
    assert {card.sw(encode(tag, b"")) for tag in IotTag} <= {0x9000, 0x6A80}


def test_v1_0_1_has_the_functions_of_its_time(kit):
    card = kit.card(standards=kit.IOT_1_0_1)
    there = {tag for tag in IotTag if card.sw(encode(tag, b"")) != 0x6A88}
    assert there == {tag for tag in IotTag if es10_iot.supported(tag, Version.V1_0_1)}
    assert card.sw(encode(es10_iot.IPAE_ACTIVATION, ASKS("80020780"))) == 0x6A88
    # SetDefaultDpAddress is still SGP.22's.
    assert card.code(es10.set_default_dp_address("dp.example.com")) == 0
    assert {card.sw(encode(tag, b"")) for tag in FOR_PEOPLE} == {0x6A88}
    assert card.code(es10_iot.configure_immediate_profile_enabling(True)) == 0
    assert card.code("BF5A00") == 4


def test_an_euicc_of_both_standards_has_both(kit):
    card = kit.card(standards=kit.DUAL)
    assert {card.sw(request) for request in SHARED} == {0x9000}
    assert card.code(es10.set_nickname(kit.iccid(4), "four")) == 0
    assert card.code(es10.enable_profile(kit.iccid(4), False)) == 0
    assert card.code(es10_iot.set_default_dp_address("dp.example.com")) == 0
    assert card.code(es10.set_default_dp_address("dp.example.com")) == 0
    assert card.code(es10.memory_reset(operational=True)) == 0
    assert card.code(es10_iot.memory_reset(["deleteOperationalProfiles"])) == 1
    assert card.violations() == []


def test_the_memory_reset_of_both_in_v1_0_1_begins_as_sgp22s(kit):
    card, _ = kit.with_eim(standards=kit.DUAL_1_0_1)
    request = es10_iot.memory_reset(["deleteOperationalProfiles", "resetEimConfigData"], Version.V1_0_1)
    assert card.es10(request).raw == ASKS("BF3406800100810100")
    assert card.profiles() == {}


def test_standards_by_their_names():
    assert Standards.of(["sgp22"]) == Standards()
    assert Standards.of(["sgp22", "sgp32-1.2"]) == Standards(True, Version.V1_2)
    assert Standards.of(("sgp32-1.0.1",)) == Standards(False, Version.V1_0_1)
    for wrong in (["sgp02"], [], ["sgp32-1.0.1", "sgp32-1.2"]):
        with pytest.raises(ConfigError, match="rsp"):
            Standards.of(wrong)


# ------------------------------------------------------------------------------------------------------ information


@pytest.mark.parametrize(
    ("standards", "members"),
    [
        ("IOT", "9001 00 B40B A005 0403 010200 8100 8200"),
        ("DUAL", "9001 00 B40B A005 0403 010200 8100 8200"),
        ("IOT_1_0_1", "9001 00 B407 A005 0403 010001"),
    ],
)
def test_what_euicc_info2_adds(kit, standards, members):
    raw = kit.card(standards=getattr(kit, standards)).es10("BF2200").raw
    assert raw.endswith(ASKS(members.replace(" ", "")))
    # An LPA and an SM-DP+ read it as ever.
    assert EuiccInfo2.parse(raw).free_memory


def test_a_sparse_euicc_says_what_it_lacks(kit):
    made = info2(kit.card(personality=PERSONALITIES["sparse"])).iot
    assert (made.ecall, made.fallback) == (False, False)


@pytest.mark.parametrize(("standards", "tags"), [("CONSUMER", [0xE0]), ("IOT", [0xE1]), ("DUAL", [0xE0, 0xE1])])
def test_select_tells_which_devices_it_is_for(kit, standards, tags):
    for enabled in (1, None):
        card = kit.card(standards=getattr(kit, standards), enabled=enabled)
        assert [item.tag for item in parse(card.fci).children()] == [0x84, 0xA5, *tags]
        if 0xE1 in tags:
            assert IsdrConfiguration.from_fci(card.fci) == IsdrConfiguration(False, enabled is not None)


def test_profiles_are_listed_with_their_iot_members(kit):
    members = {"fallback_allowed": True, "icon_type": 1, "icon": b"png", "policy_rules": ("ppr2",)}
    card = kit.card((1, {}), (2, members), (3, {"ecall": True}), standards=kit.DUAL)
    by_tags = card.es10("BF2D0B5C095A9F7B9F269F679399").get(0xA0).children()
    assert [[item.tag for item in one.children()] for one in by_tags] == [
        [0x5A],
        [0x5A, 0x93, 0x99, 0x9F67],
        [0x5A, 0x9F7B],
    ]
    # Without a tag list: SGP.22's members for an LPA, SGP.32's for an IPA.
    second = card.es10("BF2D00").get(0xA0).children()[1]
    assert [item.tag for item in second.children()] == [0x5A, 0x4F, 0x9F70, 0x91, 0x92, 0x93, 0x94, 0x95]
    second = kit.again(card.nvm.snapshot()).es10("BF2D00").get(0xA0).children()[1]
    assert [item.tag for item in second.children()] == [0x5A, 0x4F, 0x9F70, 0x91, 0x92, 0x95, 0x9F67]
    # v1.0 knows nothing of them.
    second = kit.again(card.nvm.snapshot(), standards=kit.IOT_1_0_1).es10("BF2D055C035A9F67").get(0xA0).children()[1]
    assert [item.tag for item in second.children()] == [0x5A]


# ------------------------------------------------------------------------------------------------------ whose turn


IPAE = PERSONALITIES["ipae"]


@pytest.mark.parametrize(
    ("standards", "capability", "mode"),
    [
        ("IOT", None, "ipae"),
        ("IOT", "A903840100", "ipae"),
        ("IOT", "A903840101", "ipad"),
        ("IOT", "A903830107", "ipae"),
        ("DUAL", "A903830107", "ipad"),
        ("DUAL", None, "ipae"),
        ("IOT_1_0_1", None, "ipad"),
    ],
)
def test_whose_turn_it_is(kit, standards, capability, mode):
    named = ASKS(capability) if capability else None
    card = kit.card(personality=IPAE, standards=getattr(kit, standards), capability=named)
    assert info2(card).ipa_mode_name == mode
    assert IsdrConfiguration.from_fci(card.fci).ipae_supported
    refused = {card.sw(request) for request in ("BF2B00", "BF2D00", "BF5500", "BF2E00", "BF3C00")}
    assert refused == ({0x6985} if mode == "ipae" else {0x9000})


def test_without_an_ipae_the_device_is_in_charge_whatever_it_says(kit):
    card = kit.card(capability=None)
    assert info2(card).ipa_mode_name == "ipad"
    assert card.code(es10_iot.ipae_activation()) == 1


def test_handing_over_to_the_ipae_lasts_until_the_reset(kit):
    card = kit.card(personality=IPAE, capability=terminal_capability())
    assert card.sw("BF5500") == 0x9000
    assert card.code(es10_iot.ipae_activation()) == 0
    assert (card.sw("BF5500"), info2(card).ipa_mode_name) == (0x6985, "ipae")
    card.reset()
    assert (card.sw("BF5500"), info2(card).ipa_mode_name) == (0x9000, "ipad")


# ------------------------------------------------------------------------------------------------------ manners


def test_the_refresh_flag_in_both_encodings(kit):
    card = kit.card()
    assert card.code("BF5B03010100") == 0
    assert card.proactive == 0
    assert card.code("BF5C0301 01FF".replace(" ", "")) == 0
    assert card.proactive > 0


def test_a_card_that_needs_a_reset_after_a_switch_refuses_iot_functions_too(kit):
    card, eim = kit.with_eim(personality=PERSONALITIES["reset-needed"])
    assert card.code(es10_iot.enable_emergency_profile(False)) == 0
    assert card.sw(es10_iot.disable_emergency_profile(False)) == 0x6985
    assert card.sw(eim.package()) == 0x6985
    card.reset()
    assert card.code(es10_iot.disable_emergency_profile(False)) == 0


def test_a_memory_reset_leaves_nothing_to_come_back_to(kit):
    profiles = ((1, {"profile_class": "provisioning"}), (2, {"fallback_allowed": True}))
    card, eim = kit.with_eim(*profiles)
    eim.load(SetFallbackAttribute(kit.iccid(2)))
    card.code(es10_iot.execute_fallback_mechanism(False))
    assert card.code(es10_iot.memory_reset(["deleteOperationalProfiles"])) == 0
    assert (card.enabled, card.profiles()) == (None, {kit.iccid(1): 0})
    assert card.code(es10_iot.return_from_fallback(False)) == 6
    assert card.violations() == []


@pytest.mark.parametrize(
    ("option", "left"),
    [
        ("deleteOperationalProfiles", {2, 4}),
        ("deleteProvisioningProfiles", {1, 2}),
        ("deletePreLoadedTestProfiles", {1, 4}),
        ("deleteFieldLoadedTestProfiles", {1, 2, 4}),
    ],
)
def test_which_profiles_a_memory_reset_deletes(kit, option, left):
    card = kit.card((1, {}), (2, {"profile_class": "test"}), (4, {"profile_class": "provisioning"}))
    assert card.code(es10_iot.memory_reset([option])) == (1 if len(left) == 3 else 0)
    assert set(card.profiles()) == {kit.iccid(number) for number in left}
