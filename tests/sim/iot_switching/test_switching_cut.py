"""The power goes before any write of any function that switches profiles: it has happened, or it has not."""

import pytest

from esim_bench.codec import es10_iot
from esim_bench.codec.euicc_operations import (
    ConfigureImmediateEnable,
    Delete,
    Disable,
    Enable,
    SetFallbackAttribute,
    UnsetFallbackAttribute,
)
from esim_drivers.sim.nvm import PowerLost


def with_fallback(card, eim, kit):
    assert eim.load(SetFallbackAttribute(kit.iccid(2))) == [0]


def fallen(card, eim, kit):
    with_fallback(card, eim, kit)
    assert card.code(es10_iot.execute_fallback_mechanism(False)) == 0


def calling(card, eim, kit):
    assert card.code(es10_iot.enable_emergency_profile(False)) == 0


def authorised(card, eim, kit):
    assert eim.load(Enable(kit.iccid(4), True)) == [0]
    card.reset()


def nothing(card, eim, kit):
    pass


RESET = [
    *("deleteOperationalProfiles", "resetDefaultSmdpAddress", "resetEimConfigData", "resetImmediateEnableConfig"),
]
FUNCTIONS = {
    "rollback": (authorised, es10_iot.profile_rollback(True)),
    "enable emergency": (authorised, es10_iot.enable_emergency_profile(True)),
    "disable emergency": (calling, es10_iot.disable_emergency_profile(True)),
    "fallback": (with_fallback, es10_iot.execute_fallback_mechanism(True)),
    "return": (fallen, es10_iot.return_from_fallback(True)),
    "memory reset": (fallen, es10_iot.memory_reset(RESET)),
    "default address": (nothing, es10_iot.set_default_dp_address("dp.example.com")),
}


def cut_everywhere(kit, start, request):
    """Send a request to copies of a card, cut before each of its writes; the contents before, after, and at each."""
    whole = kit.again(start)
    before, first = whole.nvm.contents(), whole.nvm.writes
    assert whole.code(request) == 0
    after = whole.nvm.contents()
    assert after != before
    contents = []
    for number in range(whole.nvm.writes - first):
        card = kit.again(start)
        card.nvm.cut_before = card.nvm.writes + number
        with pytest.raises(PowerLost):
            card.es10(request)
        card.reset()
        assert card.violations() == []
        contents.append(card.nvm.contents())
        # And it can be done now.
        assert card.code(request) == 0
        card.reset()
        assert card.violations() == []
    return before, after, contents


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_cut_leaves_all_or_nothing(kit, name):
    prepare, request = FUNCTIONS[name]
    card, eim = kit.with_eim()
    prepare(card, eim, kit)
    before, _, contents = cut_everywhere(kit, card.nvm.snapshot(), request)
    assert contents
    # Each function is one transaction: a cut before its last write leaves nothing of it.
    assert all(each == before for each in contents)


def test_a_cut_while_a_profile_is_enabled_at_once(kit):
    def installed():
        card = kit.card()
        card.code(es10_iot.configure_immediate_profile_enabling(True))
        kit.smdp().download(card, 5)
        return card

    card = installed()
    first = card.nvm.writes
    assert card.code(es10_iot.immediate_enable(True)) == 0
    for number in range(card.nvm.writes - first):
        card = installed()
        before = card.nvm.contents()
        card.nvm.cut_before = card.nvm.writes + number
        with pytest.raises(PowerLost):
            card.es10(es10_iot.immediate_enable(True))
        card.reset()
        assert (card.nvm.contents(), card.violations()) == (before, [])


@pytest.mark.parametrize(
    ("prepare", "operation"),
    [
        (nothing, lambda kit: Enable(kit.iccid(4), True)),
        (fallen, lambda kit: Enable(kit.iccid(4), True)),
        (fallen, lambda kit: Disable(kit.iccid(2))),
        (with_fallback, lambda kit: Delete(kit.iccid(2))),
        (nothing, lambda kit: SetFallbackAttribute(kit.iccid(2))),
        (with_fallback, lambda kit: UnsetFallbackAttribute()),
        (nothing, lambda kit: ConfigureImmediateEnable(True, "2.999.10")),
    ],
)
def test_a_cut_in_a_package_leaves_the_operation_done_or_not(kit, prepare, operation):
    card, eim = kit.with_eim()
    prepare(card, eim, kit)
    start = card.nvm.snapshot()
    package = eim.package(operation(kit))
    ours = ("euicc/isdp", "euicc/enabled", "notification/", "iot/rollback", "iot/fallback", "iot/immediate")

    def own(one):
        return {key: value for key, value in one.nvm.contents().items() if key.startswith(ours)}

    whole = kit.again(start)
    # The package is accepted in any case; that is what makes an end of an earlier authorisation.
    before, first = own(whole), whole.nvm.writes
    whole.es10(package)
    after, writes = own(whole), whole.nvm.writes - first
    seen = set()
    for number in range(writes):
        card = kit.again(start)
        card.nvm.cut_before = card.nvm.writes + number
        with pytest.raises(PowerLost):
            card.es10(package)
        card.reset()
        assert own(card) in (before, after)
        assert card.violations() == []
        seen.add(own(card) == after)
    assert False in seen
