"""Policy rules, the Rules Authorisation Table and test profiles (SGP.22 2.9, 2.4.5.3, 5.7.16 to 5.7.19)."""

from dataclasses import replace

import pytest

from esim_bench.codec import es10
from esim_bench.codec.tlv import encode
from esim_drivers.sim.personality import ANY_OPERATOR, STANDARD, AuthorisationRule, Operator

OK, WRONG_STATE, BY_POLICY, WRONG_REENABLING, UNDEFINED = 0, 2, 3, 4, 127
ENABLE, DISABLE = 0xBF31, 0xBF32
TEST, PPR1, PPR2 = "950100", "99020640", "99020520"
RESET_OPERATIONAL, RESET_TEST = "BF340482020780", "BF340482020640"


def result(card, request):
    return card.es10(request).children()[0].value[0]


def switch(bench, card, tag, number):
    return result(card, bench.switch(tag, number, refresh=False))


def enabled(bench, card):
    """The number of the enabled profile, or None."""
    found = [one.get(0x5A).value for one in card.profiles() if one.get(0x9F70).value == b"\x01"]
    return next((number for number in range(1, 9) if found == [bench.iccid(number)]), None)


def events(card):
    """(event bit, ICCID) of the waiting notifications."""
    listed = card.es10("BF2800").get(0xA0).children()
    return [(8 - one.get(0x81).value[1].bit_length(), one.get(0x5A).value) for one in listed]


# ------------------------------------------------------------------------------------------------------ RAT


def test_the_table_is_read_as_it_stands_in_the_personality(bench):
    operators = (Operator(bytes.fromhex("62F210"), b"\x01"), Operator(bytes.fromhex("62FEEE"), b"", b"\x02\x03"))
    rules = (AuthorisationRule(("ppr1",), operators, consent_required=False), AuthorisationRule(("ppr1", "ppr2")))
    card = bench.card(personality=replace(STANDARD, rules_authorisation_table=rules))
    first, second = es10.authorisation_table(card.es10(es10.get_rat()).raw)
    assert (first.rules, first.consent_required) == (("ppr1",), False)
    assert first.operators == ((bytes.fromhex("62F210"), b"\x01", None), (bytes.fromhex("62FEEE"), None, b"\x02\x03"))
    assert (second.rules, second.consent_required) == (("ppr1", "ppr2"), True)
    assert second.operators == ((ANY_OPERATOR, None, None),)


@pytest.mark.parametrize(
    ("owner", "allowed"),
    [
        ("B7058003 62F210", False),
        ("B7088003 62F210 810101", True),
        ("B7088003 62F210 810102", False),
        ("B7088003 62F220 810101", False),
        ("B7058003 62F435", True),
        ("B7088003 62F499 810101", True),
        ("", False),
    ],
)
def test_whose_profiles_may_carry_a_rule(bench, owner, allowed):
    """A digit E stands for any digit, a missing group identifier for any group."""
    operators = (Operator(bytes.fromhex("62F210"), b"\x01"), Operator(bytes.fromhex("62F4EE")))
    who = replace(STANDARD, rules_authorisation_table=(AuthorisationRule(("ppr1", "ppr2"), operators),))
    answer = bench.download(bench.card(personality=who), 1, owner + PPR2)
    assert (answer.find(0xBF27, 0xA2, 0xA0) is not None) is allowed


def test_forbidden_rules_are_told_in_euicc_info2(bench):
    assert bench.card().es10("BF2200").find(0x99) is None
    card = bench.card(personality=replace(STANDARD, forbidden_policy_rules=("ppr1",)))
    assert card.es10("BF2200").get(0x99).value == bytes.fromhex("0640")
    assert bench.download(card, 1, PPR2).find(0xBF27, 0xA2, 0xA0) is not None


# ------------------------------------------------------------------------------------------------------ test profiles


def test_a_test_profile_stands_in_for_an_operational_one_and_gives_the_place_back(bench):
    card = bench.card(1, 2, (3, TEST))
    assert [switch(bench, card, ENABLE, number) for number in (1, 3)] == [OK, OK]
    assert switch(bench, card, ENABLE, 2) == WRONG_REENABLING
    assert switch(bench, card, DISABLE, 3) == OK
    assert enabled(bench, card) == 1
    disabled = [(2, bench.iccid(3)), (1, bench.iccid(1))]
    assert events(card)[-2:] == disabled
    assert switch(bench, card, ENABLE, 2) == OK


def test_ppr1_gives_way_to_a_test_profile_only(bench):
    card = bench.card((1, PPR1), 2, (3, TEST))
    assert switch(bench, card, ENABLE, 1) == OK
    assert switch(bench, card, ENABLE, 2) == BY_POLICY
    assert switch(bench, card, ENABLE, 3) == OK
    assert switch(bench, card, ENABLE, 2) == WRONG_REENABLING
    assert switch(bench, card, DISABLE, 3) == OK
    assert (enabled(bench, card), switch(bench, card, DISABLE, 1)) == (1, BY_POLICY)


def test_a_test_profile_without_another_before_it_is_just_disabled(bench):
    card = bench.card(1, (3, TEST))
    assert [switch(bench, card, tag, 3) for tag in (ENABLE, DISABLE)] == [OK, OK]
    assert enabled(bench, card) is None
    assert switch(bench, card, ENABLE, 1) == OK


def test_from_one_test_profile_to_another_and_back(bench):
    card = bench.card(1, (3, TEST), (4, TEST))
    assert [switch(bench, card, ENABLE, number) for number in (1, 3, 4)] == [OK, OK, OK]
    card.reset()
    assert switch(bench, card, DISABLE, 4) == OK
    assert enabled(bench, card) == 1


def test_memory_reset_of_test_profiles_brings_the_operational_one_back(bench):
    card = bench.card(1, (3, TEST))
    assert [switch(bench, card, ENABLE, number) for number in (1, 3)] == [OK, OK]
    assert result(card, RESET_TEST) == OK
    assert enabled(bench, card) == 1
    assert [one.get(0x5A).value for one in card.profiles()] == [bench.iccid(1)]
    assert events(card)[-2:] == [(3, bench.iccid(3)), (1, bench.iccid(1))]
    assert result(card, RESET_TEST) == 1
    assert card.card.isdr.registry.violations() == []


def test_memory_reset_of_everything(bench):
    card = bench.card((1, PPR2), (3, TEST))
    assert [switch(bench, card, ENABLE, number) for number in (1, 3)] == [OK, OK]
    card.es10(encode(0xBF3F, encode(0x80, b"dp.example.com")))
    assert result(card, "BF3404820205E0") == OK
    assert (card.profiles(), enabled(bench, card)) == ([], None)
    assert card.es10("BF3C00").find(0x80) is None
    assert result(card, "BF3404820205E0") == 1


def test_memory_reset_of_operational_profiles_leaves_the_running_test_profile(bench):
    card = bench.card(1, (3, TEST))
    assert [switch(bench, card, ENABLE, number) for number in (1, 3)] == [OK, OK]
    assert result(card, RESET_OPERATIONAL) == OK
    assert enabled(bench, card) == 3
    assert switch(bench, card, DISABLE, 3) == OK
    assert enabled(bench, card) is None


# ------------------------------------------------------------------------------------------------------ memory


def test_a_switch_whose_notifications_find_no_room_does_not_happen(bench):
    """They share the memory with the profiles: the LPA has to deliver some first."""
    full = bench.card(1)
    card = bench.card(1, personality=replace(STANDARD, nvm_size=full.nvm.used + 1000))
    assert switch(bench, card, ENABLE, 1) == UNDEFINED
    assert enabled(bench, card) is None
    assert events(card) == []


def test_notifications_use_up_the_free_memory_until_they_are_removed(bench):
    def free(card):
        return es10.EuiccInfo2.parse(card.es10("BF2200").raw).free_memory

    card = bench.card(1)
    before = free(card)
    switch(bench, card, ENABLE, 1)
    with_one = free(card)
    assert 1000 < before - with_one < 2500
    (notification,) = card.es10("BF2800").get(0xA0).children()
    card.es10(encode(0xBF30, notification.get(0x80).raw))
    assert 0 <= before - free(card) < 100  # what stays is which profile is enabled


def test_several_addresses_for_one_event_get_a_notification_each(bench):
    def entry(bits, address):
        return encode(0x30, bytes.fromhex(bits), encode(0x81, address))

    addresses = encode(0xB6, entry("80020640", b"one.example.com"), entry("80020560", b"two.example.com"))
    card = bench.card()
    metadata = bench.kit.metadata(1, events=b"", more=addresses)
    assert bench.download(card, 1, metadata=metadata).find(0xBF27, 0xA2, 0xA0) is not None
    assert [switch(bench, card, tag, 1) for tag in (ENABLE, DISABLE)] == [OK, OK]
    heard = [one.get(0x0C).value for one in card.es10("BF2800").get(0xA0).children()][1:]
    assert heard == [b"one.example.com", b"two.example.com", b"two.example.com"]
