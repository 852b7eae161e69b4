"""Fallback, emergency, rollback and immediate enable: what is enabled, what comes back, and who is told."""

import pytest

from esim_bench.codec import es10, es10_iot, es10_iot_answers
from esim_bench.codec.euicc_operations import (
    ConfigureImmediateEnable,
    Delete,
    Disable,
    Enable,
    GetRat,
    SetFallbackAttribute,
)
from esim_bench.codec.tlv import parse

FALL, RETURN = es10_iot.execute_fallback_mechanism, es10_iot.return_from_fallback
CALL, HANG_UP = es10_iot.enable_emergency_profile, es10_iot.disable_emergency_profile
ROLLBACK, IMMEDIATE = es10_iot.profile_rollback, es10_iot.immediate_enable


def with_fallback(kit, **options):
    card, eim = kit.with_eim(**options)
    assert eim.load(SetFallbackAttribute(kit.iccid(2))) == [0]
    return card, eim


# ------------------------------------------------------------------------------------------------------ fallback


@pytest.mark.parametrize("refresh", [True, False])
def test_a_fallback_and_the_way_back(kit, refresh):
    card, _ = with_fallback(kit)
    assert card.code(FALL(refresh)) == 0
    assert card.enabled == 2
    assert (card.shown() == kit.iccid(1), card.proactive > 0) == (refresh, refresh)
    if refresh:
        assert card.refresh()[6] == 0x04
    assert card.shown() == kit.iccid(2)
    assert card.events() == [("disable", 1), ("enable", 2)]
    assert card.code(RETURN(refresh)) == 0
    if refresh:
        card.refresh()
    assert card.enabled == 1
    assert card.shown() == kit.iccid(1)
    assert card.events()[2:] == [("disable", 2), ("enable", 1)]
    assert card.code(RETURN(refresh)) == 6
    assert card.violations() == []


def test_a_fallback_outlives_a_power_cycle(kit):
    card, _ = with_fallback(kit)
    card.code(FALL(True))
    card.reset()
    assert card.code(RETURN(True)) == 0
    assert card.enabled == 1


def test_ppr1_does_not_hold_against_a_fallback(kit):
    profiles = ((1, {"policy_rules": ("ppr1",)}), (2, {"fallback_allowed": True}))
    card, eim = kit.with_eim(*profiles)
    eim.load(SetFallbackAttribute(kit.iccid(2)))
    assert card.code(FALL(False)) == 0
    assert card.enabled == 2


@pytest.mark.parametrize("order", [Enable, Disable])
def test_an_order_of_the_eim_ends_the_fallback(kit, order):
    card, eim = with_fallback(kit)
    card.code(FALL(False))
    assert eim.load(order(kit.iccid(4 if order is Enable else 2))) == [0]
    card.reset()
    assert card.code(RETURN(False)) == 6
    assert card.violations() == []


def test_the_attribute_goes_with_the_profile(kit):
    card, eim = with_fallback(kit)
    assert eim.load(Delete(kit.iccid(2))) == [0]
    assert card.code(FALL(False)) == 6
    assert card.violations() == []


def test_the_attribute_is_seen_and_moves(kit):
    card, eim = kit.with_eim((1, {"fallback_allowed": True}), (2, {"fallback_allowed": True}), enabled=None)

    def holders():
        found = card.es10("BF2D00").get(0xA0).children()
        return [one.get(0x5A).value for one in found if one.find(0x9F26) is not None]

    assert holders() == []
    for number in (1, 2, 2):
        assert eim.load(SetFallbackAttribute(kit.iccid(number))) == [0]
        assert holders() == [kit.iccid(number)]


# ------------------------------------------------------------------------------------------------------ emergency


@pytest.mark.parametrize("before", [1, None])
def test_an_emergency_call_and_its_end(kit, before):
    card = kit.card(enabled=before)
    assert card.code(CALL(False)) == 0
    assert (card.enabled, card.shown()) == (3, kit.iccid(3))
    card.reset()
    assert card.code(HANG_UP(False)) == 0
    assert card.enabled == before
    told = [("enable", 3), ("disable", 3)]
    assert card.events() == (told if before is None else [("disable", 1), *told, ("enable", 1)])
    assert card.violations() == []


def test_an_emergency_in_the_middle_of_a_fallback(kit):
    card, _ = with_fallback(kit)
    card.code(FALL(False))
    assert card.code(CALL(False)) == 0
    assert (card.code(FALL(False)), card.code(RETURN(False))) == (104, 7)
    assert card.violations() == []
    assert card.code(HANG_UP(False)) == 0
    assert card.enabled == 2
    assert card.code(RETURN(False)) == 0
    assert card.enabled == 1


def test_all_that_is_refused_during_an_emergency(kit):
    card, eim = with_fallback(kit)
    card.code(CALL(False))
    assert eim.load(GetRat()) == 104
    assert card.code(es10_iot.memory_reset(["deleteOperationalProfiles", "resetEimConfigData"])) == 104
    assert card.code(FALL(False)) == 104
    assert card.enabled == 3
    assert card.code(HANG_UP(False)) == 0
    assert eim.load(GetRat()) == [0]


def test_only_its_own_functions_enable_the_emergency_profile(kit):
    card, eim = kit.with_eim(standards=kit.DUAL)
    assert eim.load(Enable(kit.iccid(3))) == [3]
    assert card.code(es10.enable_profile(kit.iccid(3), False)) == 3
    assert eim.load(SetFallbackAttribute(kit.iccid(3))) == [2]
    card.code(CALL(False))
    assert card.code(es10.disable_profile(kit.iccid(3), False)) == 3
    assert card.code(es10.enable_profile(kit.iccid(4), False)) == 3
    assert card.code(es10.memory_reset(operational=True)) == 127
    assert card.enabled == 3


def test_a_consumer_euicc_knows_no_emergencies(kit):
    card = kit.card(standards=kit.CONSUMER)
    assert card.code(es10.enable_profile(kit.iccid(3), False)) == 0
    assert card.sw(CALL(False)) == 0x6A88


# ------------------------------------------------------------------------------------------------------ rollback


def test_a_rollback_gives_a_new_result_and_happens_once(kit):
    card, eim = kit.with_eim()
    assert eim.load(Enable(kit.iccid(4), True)) == [0]
    card.refresh()
    (first,) = card.results()
    answer = es10_iot_answers.RollbackResult.parse(card.es10(ROLLBACK(True)).raw)
    assert (answer.code, card.enabled) == (0, 1)
    card.refresh()
    assert card.shown() == kit.iccid(1)
    (second,) = card.results()
    assert second.raw == answer.package_result
    assert [(one.function, one.code) for one in second.results] == [("enable", 0), ("rollback", 0)]
    assert (second.counter, second.seq > first.seq) == (first.counter, True)
    assert card.events() == [("disable", 1), ("enable", 4), ("disable", 4), ("enable", 1)]
    assert card.code(ROLLBACK(True)) == 1
    assert card.violations() == []


@pytest.mark.parametrize(
    ("what", "allowed"),
    [
        (lambda card, eim: eim.load(GetRat()), False),
        (lambda card, eim: card.code(FALL(False)), False),
        (lambda card, eim: (card.code(CALL(True)), card.reset(), card.code(HANG_UP(False))), False),
        (lambda card, eim: (card.code(CALL(False)), card.code(HANG_UP(True)), card.reset()), False),
        (lambda card, eim: (card.code(CALL(False)), card.code(HANG_UP(False))), True),
        (lambda card, eim: card.reset(), True),
    ],
)
def test_what_cancels_the_authorisation(kit, what, allowed):
    card, eim = with_fallback(kit)
    assert eim.load(Enable(kit.iccid(4), True)) == [0]
    card.refresh()
    what(card, eim)
    assert (card.code(ROLLBACK(False)) == 0) == allowed
    assert card.violations() == []


def test_a_package_that_is_refused_cancels_nothing(kit):
    card, eim = kit.with_eim()
    eim.load(Enable(kit.iccid(4), True))
    card.refresh()
    eim.counter -= 1
    assert eim.load(GetRat()) == 4
    assert card.code(ROLLBACK(False)) == 0


def test_after_a_disable_in_the_same_package_the_rollback_goes_back_to_that_profile(kit):
    card, eim = kit.with_eim()
    assert eim.load(Disable(kit.iccid(1)), Enable(kit.iccid(4), True)) == [0, 0]
    card.refresh()
    assert card.code(ROLLBACK(False)) == 0
    assert card.enabled == 1


# ------------------------------------------------------------------------------------------------------ packages


def test_one_refresh_after_the_whole_package(kit):
    card, eim = kit.with_eim()
    assert eim.load(Disable(kit.iccid(1)), Enable(kit.iccid(4))) == [0, 0]
    assert card.shown() == kit.iccid(1)
    assert card.refresh()[6] == 0x04
    assert card.proactive == 0
    assert card.shown() == kit.iccid(4)


def test_no_refresh_when_the_same_profile_is_enabled_again(kit):
    card, eim = kit.with_eim()
    assert eim.load(Disable(kit.iccid(1)), Enable(kit.iccid(1))) == [0, 0]
    assert card.proactive == 0


def test_files_of_a_deleted_profile_are_not_seen_until_the_reset(kit):
    card, eim = kit.with_eim()
    assert eim.load(Enable(kit.iccid(4)), Delete(kit.iccid(1))) == [0, 0]
    assert card.shown() == kit.iccid(4)
    assert card.proactive


# ------------------------------------------------------------------------------------------------ immediate enable


@pytest.mark.parametrize("named", [{}, {"smdp_oid": "2.999.10"}, {"smdp_address": "TESTSMDPPLUS1.example.com"}])
def test_a_profile_is_enabled_at_once(kit, named):
    card = kit.card()
    assert card.code(es10_iot.configure_immediate_profile_enabling(True, **named)) == 0
    kit.smdp().download(card, 5)
    assert card.code(IMMEDIATE(False)) == 0
    assert (card.enabled, card.shown()) == (5, kit.iccid(5))
    assert card.events() == [("install", 5), ("disable", 1), ("enable", 5)]
    assert card.code(IMMEDIATE(False)) == 4


@pytest.mark.parametrize("end", [lambda card: card.reset(), lambda card: card.es10("BF2E00")])
def test_the_session_context_ends(kit, end):
    card = kit.card()
    card.code(es10_iot.configure_immediate_profile_enabling(True))
    kit.smdp().download(card, 5)
    end(card)
    assert card.code(IMMEDIATE(False)) == 4
    assert card.enabled == 1


def test_without_refresh_the_rollback_stays_possible(kit):
    for refresh, code in ((False, 0), (True, 1)):
        card, eim = kit.with_eim()
        eim.load(ConfigureImmediateEnable(True))
        eim.load(Enable(kit.iccid(4), True))
        card.refresh()
        kit.smdp().download(card, 5)
        assert card.code(IMMEDIATE(refresh)) == 0
        card.reset()
        assert card.code(ROLLBACK(False)) == code
        assert card.enabled == (1 if code == 0 else 5)


def test_metadata_of_a_download_are_kept(kit):
    card = kit.card()
    kit.smdp().download(card, 5, fallback_allowed=True, ecall=False)
    listed = [one for one in card.es10("BF2D00").get(0xA0).children() if one.get(0x5A).value == kit.iccid(5)]
    assert [one.tag for one in listed[0].children()] == [0x5A, 0x4F, 0x9F70, 0x91, 0x92, 0x95, 0x9F7B, 0x9F67]
    assert parse(listed[0].get(0x9F67).raw).value == b"\xff"
