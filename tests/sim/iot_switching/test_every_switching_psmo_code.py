"""Every result code of the PSMOs that switch profiles, reached by the packages that lead to it."""

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
from esim_bench.codec.euicc_results import RESULTS

PSMOS = (
    *("enable", "disable", "delete", "configureImmediateEnable", "setFallbackAttribute", "unsetFallbackAttribute"),
)
# Erasing never fails in this memory.
WANTED = {(name, code) for name in PSMOS for code in RESULTS[name]} - {("unsetFallbackAttribute", 127)}
WAYS = {}
FALL = es10_iot.execute_fallback_mechanism
PPR1, PPR2 = {"policy_rules": ("ppr1",)}, {"policy_rules": ("ppr2",)}


def way(what, code):
    def register(function):
        assert (what, code) not in WAYS
        WAYS[what, code] = function
        return function

    return register


def test_there_is_a_way_to_every_psmo_code():
    assert set(WAYS) == WANTED


@pytest.mark.parametrize(("what", "code"), WAYS, ids=[f"{what}-{RESULTS[what][code]}" for what, code in WAYS])
def test_the_psmo_code_is_reached(kit, what, code):
    assert WAYS[what, code](kit)[-1] == code


@way("enable", 0)
def _(kit):
    return kit.with_eim()[1].load(Enable(kit.iccid(4)))


@way("enable", 1)
def _(kit):
    return kit.with_eim()[1].load(Enable(kit.iccid(9)))


@way("enable", 2)
def _(kit):
    return kit.with_eim()[1].load(Enable(kit.iccid(1)))


@way("enable", 3)
def _(kit):
    """Against PPR1; the Emergency Profile; another one than before a test profile."""
    assert kit.with_eim((1, PPR1), (2, {}))[1].load(Enable(kit.iccid(2))) == [3]
    test = {"profile_class": "test"}
    card, eim = kit.with_eim((1, {}), (2, test), (4, {}))
    eim.load(Enable(kit.iccid(2)))
    card.refresh()
    assert eim.load(Enable(kit.iccid(4))) == [3]
    assert eim.load(Enable(kit.iccid(1))) == [0]
    return kit.with_eim()[1].load(Enable(kit.iccid(3)))


@way("enable", 5)
def _(kit):
    card, eim = kit.with_eim()
    card.busy()
    return eim.load(Enable(kit.iccid(4)))


@way("enable", 20)
def _(kit):
    """No profile was enabled; the one that was is gone; it is the same."""
    assert kit.with_eim(enabled=None)[1].load(Enable(kit.iccid(4), True)) == [20]
    one = kit.iccid(1)
    assert kit.with_eim()[1].load(Disable(one), Delete(one), Enable(kit.iccid(4), True)) == [0, 0, 20]
    return kit.with_eim()[1].load(Disable(one), Enable(one, True))


@way("enable", 127)
def _(kit):
    card, eim = kit.with_eim()
    card.nvm.worn = ("euicc/enabled",)
    return eim.load(Enable(kit.iccid(4)))


@way("disable", 0)
def _(kit):
    return kit.with_eim()[1].load(Disable(kit.iccid(1)))


@way("disable", 1)
def _(kit):
    return kit.with_eim()[1].load(Disable(kit.iccid(9)))


@way("disable", 2)
def _(kit):
    return kit.with_eim()[1].load(Disable(kit.iccid(4)))


@way("disable", 3)
def _(kit):
    return kit.with_eim((1, PPR1))[1].load(Disable(kit.iccid(1)))


@way("disable", 5)
def _(kit):
    card, eim = kit.with_eim()
    card.busy()
    return eim.load(Disable(kit.iccid(1)))


@way("disable", 127)
def _(kit):
    card, eim = kit.with_eim()
    card.nvm.worn = ("notification/",)
    return eim.load(Disable(kit.iccid(1)))


@way("delete", 0)
def _(kit):
    return kit.with_eim()[1].load(Delete(kit.iccid(4)))


@way("delete", 1)
def _(kit):
    return kit.with_eim()[1].load(Delete(kit.iccid(9)))


@way("delete", 2)
def _(kit):
    return kit.with_eim()[1].load(Delete(kit.iccid(1)))


@way("delete", 3)
def _(kit):
    return kit.with_eim((1, {}), (2, PPR2))[1].load(Delete(kit.iccid(2)))


@way("delete", 20)
def _(kit):
    """The one that a rollback would go back to."""
    return kit.with_eim()[1].load(Enable(kit.iccid(4), True), Delete(kit.iccid(1)))


@way("delete", 21)
def _(kit):
    """The one that the end of the fallback would go back to."""
    card, eim = kit.fallback()
    card.code(FALL(False))
    return eim.load(Delete(kit.iccid(1)))


@way("delete", 127)
def _(kit):
    card, eim = kit.with_eim()
    card.nvm.worn = ("notification/",)
    return eim.load(Delete(kit.iccid(4)))


@way("configureImmediateEnable", 0)
def _(kit):
    assert kit.with_eim()[1].load(ConfigureImmediateEnable()) == [0]
    return kit.with_eim()[1].load(ConfigureImmediateEnable(True))


@way("configureImmediateEnable", 1)
def _(kit):
    card, eim = kit.with_eim()
    full = kit.again(card.nvm.snapshot(), personality=kit.personality(nvm_size=card.nvm.used + 650))
    eim.card = full
    return eim.load(ConfigureImmediateEnable(True, "2.999.10", "x" * 255))


@way("configureImmediateEnable", 7)
def _(kit):
    assert kit.with_eim()[1].load(ConfigureImmediateEnable(False, "2.999.10")) == [7]
    return kit.with_eim(personality=kit.without("immediate_enable"))[1].load(ConfigureImmediateEnable(True))


@way("configureImmediateEnable", 127)
def _(kit):
    card, eim = kit.with_eim()
    card.nvm.worn = ("iot/immediate",)
    return eim.load(ConfigureImmediateEnable(True))


@way("setFallbackAttribute", 0)
def _(kit):
    """Also where it has it already, even enabled."""
    card, eim = kit.fallback()
    card.code(FALL(False))
    return eim.load(SetFallbackAttribute(kit.iccid(2)))


@way("setFallbackAttribute", 1)
def _(kit):
    return kit.with_eim()[1].load(SetFallbackAttribute(kit.iccid(9)))


@way("setFallbackAttribute", 2)
def _(kit):
    make = kit.without("fallback")
    assert kit.with_eim(personality=make)[1].load(SetFallbackAttribute(kit.iccid(2))) == [2]
    return kit.with_eim()[1].load(SetFallbackAttribute(kit.iccid(4)))


@way("setFallbackAttribute", 3)
def _(kit):
    allowed = {"fallback_allowed": True}
    card, eim = kit.with_eim((1, {}), (2, allowed), (4, allowed))
    eim.load(SetFallbackAttribute(kit.iccid(2)))
    card.code(FALL(False))
    return eim.load(SetFallbackAttribute(kit.iccid(4)))


@way("setFallbackAttribute", 127)
def _(kit):
    card, eim = kit.with_eim()
    card.nvm.worn = ("iot/fallback/",)
    return eim.load(SetFallbackAttribute(kit.iccid(2)))


@way("unsetFallbackAttribute", 0)
def _(kit):
    return kit.fallback()[1].load(UnsetFallbackAttribute())


@way("unsetFallbackAttribute", 2)
def _(kit):
    return kit.with_eim()[1].load(UnsetFallbackAttribute())


@way("unsetFallbackAttribute", 3)
def _(kit):
    card, eim = kit.fallback()
    card.code(FALL(False))
    return eim.load(UnsetFallbackAttribute())


@way("unsetFallbackAttribute", 7)
def _(kit):
    return kit.with_eim(personality=kit.without("fallback"))[1].load(UnsetFallbackAttribute())
