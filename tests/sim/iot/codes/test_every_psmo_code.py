"""Code by code: the result of each PSMO of eUICC Packages, reached by commands to a simulated IoT eUICC
(SGP.32 2.11.2.1).

The codes come from the codec. A code without a way here fails, so does a way to a code that the codec does not know.
"""

import pytest

from esim_bench.codec import es10_iot, euicc_package, tlv
from esim_bench.codec.euicc_operations import (
    ConfigureImmediateEnable,
    Delete,
    Disable,
    Enable,
    GetRat,
    ListProfileInfo,
    SetDefaultDpAddress,
    SetFallbackAttribute,
    UnknownOperation,
    UnsetFallbackAttribute,
)
from esim_bench.codec.euicc_package import SignedResult
from esim_bench.codec.euicc_results import RESULTS
from esim_drivers.sim.nvm import PowerLost

ECOS = ("addEim", "deleteEim", "updateEim", "listEim")
"""They have a table of their own."""
PPR1, PPR2 = bytes.fromhex("99020640"), bytes.fromhex("99020520")
WAYS = {}
UNREACHABLE = {
    ("listProfileInfo", 127),
    ("unsetFallbackAttribute", 7),
    ("unsetFallbackAttribute", 127),
    ("rollback", 127),
}
"""Deleting takes no memory and reads need none; the rollback that failed has another answer (ProfileRollback)."""

OF_SWITCHING = {
    *{("enable", 3), ("enable", 5), ("disable", 3), ("disable", 5), ("delete", 3), ("delete", 20), ("delete", 21)},
    *{("setFallbackAttribute", code) for code in (0, 1, 2, 3, 127)},
    *{("unsetFallbackAttribute", code) for code in (0, 2, 3)},
    *{("configureImmediateEnable", code) for code in (0, 1, 7, 127)},
    ("rollback", 0),
}


def way(what, code):
    def register(function):
        assert (what, code) not in WAYS
        WAYS[what, code] = function
        return function

    return register


def last(card, package):
    """Function and code of the last result of a package."""
    result = card.load(package)
    assert isinstance(result, SignedResult)
    return result.results[-1].function, result.results[-1].code


def code_of(response):
    member = response.children()[0]
    if member.tag == 0xA0:
        return 0
    assert member.tag in (0x80, 0x81)
    return member.integer()


@way("processingTerminated", 1)
def _(iot):
    card, eim = iot.associated(1, 2, personality=iot.personality(max_package_result_size=100))
    return last(card, eim.package(ListProfileInfo()))


@way("processingTerminated", 2)
def _(iot):
    card, eim = iot.associated()
    return last(card, eim.package(UnknownOperation(bytes.fromhex("BF7F00"))))


@way("processingTerminated", 3)
def _(iot):
    card, eim = iot.associated(1)
    card.nvm.cut_before = card.nvm.writes + 3
    with pytest.raises(PowerLost):
        card.load(eim.package(Enable(iot.iccid(1)), ListProfileInfo()))
    card.reset()
    (result,) = card.results()
    return result.results[-1].function, result.results[-1].code


@way("processingTerminated", 127)
def _(iot):
    """The memory takes the package, but not the results of its operations."""
    card, eim = iot.associated(1, personality=iot.personality(worn_memory=("iot/package/results",)))
    return last(card, eim.package(Enable(iot.iccid(1)), ListProfileInfo()))


# ------------------------------------------------------------------------------------------------------ PSMOs


@way("enable", 0)
def _(iot):
    card, eim = iot.associated(1)
    return last(card, eim.package(Enable(iot.iccid(1))))


@way("enable", 1)
def _(iot):
    card, eim = iot.associated(1)
    return last(card, eim.package(Enable(iot.iccid(2))))


@way("enable", 2)
def _(iot):
    card, eim = iot.associated(1, enabled=1)
    return last(card, eim.package(Enable(iot.iccid(1))))


@way("enable", 3)
def _(iot):
    card, eim = iot.associated((1, PPR1), 2, enabled=1)
    return last(card, eim.package(Enable(iot.iccid(2))))


@way("enable", 5)
def _(iot):
    """The REFRESH of an earlier switch waits to be fetched."""
    card, eim = iot.associated(1, 2)
    card.load(eim.package(Enable(iot.iccid(1))))
    return last(card, eim.package(Enable(iot.iccid(2))))


@way("enable", 20)
def _(iot):
    card, eim = iot.associated(1)
    return last(card, eim.package(Enable(iot.iccid(1), rollback=True)))


@way("enable", 127)
def _(iot):
    card, eim = iot.associated(1, 2)
    return last(card, eim.package(Enable(iot.iccid(1)), Enable(iot.iccid(2))))


@way("disable", 0)
def _(iot):
    card, eim = iot.associated(1, enabled=1)
    return last(card, eim.package(Disable(iot.iccid(1))))


@way("disable", 1)
def _(iot):
    card, eim = iot.associated(1, enabled=1)
    return last(card, eim.package(Disable(iot.iccid(2))))


@way("disable", 2)
def _(iot):
    card, eim = iot.associated(1)
    return last(card, eim.package(Disable(iot.iccid(1))))


@way("disable", 3)
def _(iot):
    card, eim = iot.associated((1, PPR1), enabled=1)
    return last(card, eim.package(Disable(iot.iccid(1))))


@way("disable", 5)
def _(iot):
    card, eim = iot.associated(1)
    card.load(eim.package(Enable(iot.iccid(1))))
    return last(card, eim.package(Disable(iot.iccid(1))))


@way("disable", 127)
def _(iot):
    """A disable after an enable would leave nothing enabled."""
    card, eim = iot.associated(1, 2)
    return last(card, eim.package(Enable(iot.iccid(1)), Disable(iot.iccid(1))))


@way("delete", 0)
def _(iot):
    card, eim = iot.associated(1)
    return last(card, eim.package(Delete(iot.iccid(1))))


@way("delete", 1)
def _(iot):
    card, eim = iot.associated(1)
    return last(card, eim.package(Delete(iot.iccid(2))))


@way("delete", 2)
def _(iot):
    card, eim = iot.associated(1, enabled=1)
    return last(card, eim.package(Delete(iot.iccid(1))))


@way("delete", 3)
def _(iot):
    card, eim = iot.associated((1, PPR2))
    return last(card, eim.package(Delete(iot.iccid(1))))


@way("delete", 20)
def _(iot):
    """The profile that a rollback would bring back."""
    card, eim = iot.associated(1, 2, enabled=1)
    return last(card, eim.package(Enable(iot.iccid(2), rollback=True), Delete(iot.iccid(1))))


@way("delete", 21)
def _(iot):
    """The profile to return to from the Fallback Profile."""
    card, eim = iot.associated(1, (2, iot.FALLBACK), enabled=1)
    card.load(eim.package(SetFallbackAttribute(iot.iccid(2))))
    assert code_of(card.es10(es10_iot.execute_fallback_mechanism(False))) == 0
    return last(card, eim.package(Delete(iot.iccid(1))))


@way("delete", 127)
def _(iot):
    card, eim = iot.associated(1)
    card.nvm.worn = ("notification/",)
    return last(card, eim.package(Delete(iot.iccid(1))))


@way("listProfileInfo", 0)
def _(iot):
    card, eim = iot.associated(1)
    return last(card, eim.package(ListProfileInfo()))


@way("listProfileInfo", 1)
def _(iot):
    """A search criterion that there is not."""
    card, eim = iot.associated(1)
    return last(card, eim.package(ListProfileInfo(bytes.fromhex("BF2D05A003990100"))))


@way("listProfileInfo", 11)
def _(iot):
    card, eim = iot.associated(1)
    card.load(eim.package(Enable(iot.iccid(1))))
    return last(card, eim.package(ListProfileInfo()))


@way("getRAT", 0)
def _(iot):
    card, eim = iot.associated()
    return last(card, eim.package(GetRat()))


@way("configureImmediateEnable", 0)
def _(iot):
    card, eim = iot.associated()
    return last(card, eim.package(ConfigureImmediateEnable(True)))


@way("configureImmediateEnable", 1)
def _(iot):
    card, eim = iot.associated()
    full = iot.again(card.nvm.snapshot(), personality=iot.personality(nvm_size=card.nvm.used + 600))
    return last(full, eim.package(ConfigureImmediateEnable(True, "2.999.10", "x" * 255)))


@way("configureImmediateEnable", 7)
def _(iot):
    """An SM-DP+ without the flag: nothing could be enabled from it."""
    card, eim = iot.associated()
    return last(card, eim.package(ConfigureImmediateEnable(False, "2.999.10", "dp.example.com")))


@way("configureImmediateEnable", 127)
def _(iot):
    card, eim = iot.associated()
    card.nvm.worn = ("iot/immediate",)
    return last(card, eim.package(ConfigureImmediateEnable(True, "2.999.10", "dp.example.com")))


@way("setFallbackAttribute", 0)
def _(iot):
    card, eim = iot.associated((1, iot.FALLBACK))
    return last(card, eim.package(SetFallbackAttribute(iot.iccid(1))))


@way("setFallbackAttribute", 1)
def _(iot):
    card, eim = iot.associated(1)
    return last(card, eim.package(SetFallbackAttribute(iot.iccid(2))))


@way("setFallbackAttribute", 2)
def _(iot):
    card, eim = iot.associated(1)
    return last(card, eim.package(SetFallbackAttribute(iot.iccid(1))))


def in_fallback(iot):
    card, eim = iot.associated(1, (2, iot.FALLBACK), (3, iot.FALLBACK), enabled=1)
    card.load(eim.package(SetFallbackAttribute(iot.iccid(2))))
    assert code_of(card.es10(es10_iot.execute_fallback_mechanism(False))) == 0
    return card, eim


@way("setFallbackAttribute", 3)
def _(iot):
    card, eim = in_fallback(iot)
    return last(card, eim.package(SetFallbackAttribute(iot.iccid(3))))


@way("setFallbackAttribute", 127)
def _(iot):
    card, eim = iot.associated((1, iot.FALLBACK))
    card.nvm.worn = ("iot/fallback",)
    return last(card, eim.package(SetFallbackAttribute(iot.iccid(1))))


@way("unsetFallbackAttribute", 0)
def _(iot):
    card, eim = iot.associated((1, iot.FALLBACK))
    return last(card, eim.package(SetFallbackAttribute(iot.iccid(1)), UnsetFallbackAttribute()))


@way("unsetFallbackAttribute", 2)
def _(iot):
    card, eim = iot.associated(1)
    return last(card, eim.package(UnsetFallbackAttribute()))


@way("unsetFallbackAttribute", 3)
def _(iot):
    card, eim = in_fallback(iot)
    return last(card, eim.package(UnsetFallbackAttribute()))


@way("setDefaultDpAddress", 0)
def _(iot):
    card, eim = iot.associated()
    return last(card, eim.package(SetDefaultDpAddress("dp.example.com")))


@way("setDefaultDpAddress", 127)
def _(iot):
    card, eim = iot.associated(personality=iot.personality(worn_memory=("euicc/default-dp",)))
    return last(card, eim.package(SetDefaultDpAddress("dp.example.com")))


@way("rollback", 0)
def _(iot):
    card, eim = iot.associated(1, 2, enabled=1)
    card.load(eim.package(Enable(iot.iccid(2), rollback=True)))
    response = card.es10(es10_iot.profile_rollback(False))
    result = euicc_package.parse_result(response.get(0xBF51).raw)
    return result.results[-1].function, result.results[-1].code


# ------------------------------------------------------------------------------------------------------ the table


def test_every_code_has_a_way_or_a_reason():
    known = {(name, code) for name, codes in RESULTS.items() if name not in ECOS for code in codes}
    assert set(WAYS) | UNREACHABLE == known
    assert not set(WAYS) & UNREACHABLE


@pytest.mark.parametrize(("name", "code"), WAYS, ids=[f"{name}-{RESULTS[name].get(code)}" for name, code in WAYS])
def test_the_code_is_reached(iot, name, code):
    if (name, code) in OF_SWITCHING and not iot.has_switching:
        pytest.skip("needs the switching of profiles")
    assert WAYS[name, code](iot) == (name, code)


def test_the_raw_result_carries_the_code_under_its_tag(iot):
    """So that the table's names can be trusted: bytes of three results."""
    card, eim = iot.associated(1)
    result = card.load(eim.package(Enable(iot.iccid(1)), Disable(iot.iccid(1))))
    assert result.signed_raw.endswith(tlv.encode(0x30, bytes.fromhex("83010084017F")))
