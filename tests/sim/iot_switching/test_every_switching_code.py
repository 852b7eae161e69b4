"""Every result code of the functions that switch profiles, reached by the commands that lead to it."""

import pytest

from esim_bench.codec import es10_iot, es10_iot_answers
from esim_bench.codec.es10_iot import MEMORY_RESET_1_0, IotTag
from esim_bench.codec.euicc_operations import Disable, Enable
from esim_bench.codec.sgp32 import Version

TAGS = (
    IotTag.PROFILE_ROLLBACK,
    IotTag.CONFIGURE_IMMEDIATE_PROFILE_ENABLING,
    IotTag.IMMEDIATE_ENABLE,
    IotTag.ENABLE_EMERGENCY_PROFILE,
    IotTag.DISABLE_EMERGENCY_PROFILE,
    IotTag.EXECUTE_FALLBACK_MECHANISM,
    IotTag.RETURN_FROM_FALLBACK,
    IotTag.EUICC_MEMORY_RESET,
    IotTag.SET_DEFAULT_DP_ADDRESS,
)
RESET_EIM, RESET_IMMEDIATE = "reset eIM", "reset immediate"
WANTED = {
    **{tag: set(es10_iot.codes(tag, Version.V1_2)) for tag in TAGS},
    MEMORY_RESET_1_0: set(es10_iot.codes(MEMORY_RESET_1_0, Version.V1_0_1)),
    # Their memory is that of the function, which then answers as a whole.
    RESET_EIM: set(es10_iot.RESET_EIM_RESULTS) - {127},
    RESET_IMMEDIATE: set(es10_iot.RESET_IMMEDIATE_ENABLE_RESULTS) - {127},
}
WAYS = {}
FALL, RETURN = es10_iot.execute_fallback_mechanism, es10_iot.return_from_fallback
CALL, HANG_UP = es10_iot.enable_emergency_profile, es10_iot.disable_emergency_profile
ROLLBACK, IMMEDIATE = es10_iot.profile_rollback, es10_iot.immediate_enable
CONFIGURE, RESET = es10_iot.configure_immediate_profile_enabling, es10_iot.memory_reset
PPR1 = {"policy_rules": ("ppr1",)}
OPERATIONAL = ["deleteOperationalProfiles"]


def way(what, code):
    def register(function):
        assert (what, code) not in WAYS
        WAYS[what, code] = function
        return function

    return register


def test_there_is_a_way_to_every_code():
    assert {(what, code) for what, codes in WANTED.items() for code in codes} == set(WAYS)


@pytest.mark.parametrize(
    ("what", "code"), WAYS, ids=[f"{what:X}-{c}" if isinstance(what, int) else f"{what}-{c}" for what, c in WAYS]
)
def test_the_switching_code_is_reached(kit, what, code):
    assert WAYS[what, code](kit) == code


def worn(card, request):
    """Send a request whose effect the memory does not take."""
    card.nvm.worn = ("euicc/", "iot/")
    return card.code(request)


def authorised(kit):
    card, eim = kit.with_eim()
    assert eim.load(Enable(kit.iccid(4), True)) == [0]
    card.refresh()
    return card


def installed(kit, **named):
    card = kit.card()
    assert card.code(CONFIGURE(True, **named)) == 0
    kit.smdp().download(card, 5)
    return card


# ------------------------------------------------------------------------------------------------------ rollback


@way(IotTag.PROFILE_ROLLBACK, 0)
def _(kit):
    return authorised(kit).code(ROLLBACK(True))


@way(IotTag.PROFILE_ROLLBACK, 1)
def _(kit):
    return kit.card().code(ROLLBACK(True))


@way(IotTag.PROFILE_ROLLBACK, 5)
def _(kit):
    """The REFRESH of the package itself waits."""
    card, eim = kit.with_eim()
    eim.load(Enable(kit.iccid(4), True))
    assert card.code(ROLLBACK(True)) == 5
    return card.code(ROLLBACK(True))


@way(IotTag.PROFILE_ROLLBACK, 7)
def _(kit):
    """In an emergency that did not cancel it."""
    card = authorised(kit)
    card.code(CALL(False))
    return card.code(ROLLBACK(False))


@way(IotTag.PROFILE_ROLLBACK, 127)
def _(kit):
    card = authorised(kit)
    assert worn(card, ROLLBACK(True)) == 127
    card.nvm.worn = ()
    assert card.enabled == 4
    return card.code("BF5800")


# ------------------------------------------------------------------------------------------------ immediate enable


@way(IotTag.CONFIGURE_IMMEDIATE_PROFILE_ENABLING, 0)
def _(kit):
    return kit.card().code(CONFIGURE(True, "2.999.10", "dp.example.com"))


@way(IotTag.CONFIGURE_IMMEDIATE_PROFILE_ENABLING, 1)
def _(kit):
    card = kit.card()
    full = kit.again(card.nvm.snapshot(), personality=kit.personality(nvm_size=card.nvm.used + 600))
    return full.code(CONFIGURE(True, "2.999.10", "x" * 255))


@way(IotTag.CONFIGURE_IMMEDIATE_PROFILE_ENABLING, 2)
def _(kit):
    card, _ = kit.with_eim()
    return card.code(CONFIGURE(True))


@way(IotTag.CONFIGURE_IMMEDIATE_PROFILE_ENABLING, 127)
def _(kit):
    assert kit.card(personality=kit.without("immediate_enable")).code(CONFIGURE(True)) == 127
    return kit.card().code("BF59038101FF")


@way(IotTag.IMMEDIATE_ENABLE, 0)
def _(kit):
    return installed(kit, smdp_oid="2.999.10", smdp_address="testsmdpplus1.example.com").code(IMMEDIATE(True))


@way(IotTag.IMMEDIATE_ENABLE, 1)
def _(kit):
    """Not configured; configured for another SM-DP+; not against PPR1; not in an emergency."""
    card = kit.card()
    kit.smdp().download(card, 5)
    assert card.code(IMMEDIATE(False)) == 1
    assert installed(kit, smdp_oid="2.999.11").code(IMMEDIATE(False)) == 1
    kept = kit.card((1, PPR1))
    kept.code(CONFIGURE(True))
    kit.smdp().download(kept, 5)
    assert kept.code(IMMEDIATE(False)) == 1
    calling = installed(kit)
    calling.code(CALL(False))
    assert calling.code(IMMEDIATE(False)) == 1
    return installed(kit, smdp_address="other.example.com").code(IMMEDIATE(False))


@way(IotTag.IMMEDIATE_ENABLE, 4)
def _(kit):
    card = kit.card()
    card.code(CONFIGURE(True))
    return card.code(IMMEDIATE(False))


@way(IotTag.IMMEDIATE_ENABLE, 5)
def _(kit):
    card = installed(kit)
    card.busy()
    assert card.code(IMMEDIATE(True)) == 5
    assert card.code(IMMEDIATE(False)) == 0
    other = installed(kit)
    other.busy()
    return other.code(IMMEDIATE(True))


@way(IotTag.IMMEDIATE_ENABLE, 127)
def _(kit):
    assert worn(installed(kit), IMMEDIATE(False)) == 127
    return kit.card().code("BF5A03810100")


# ------------------------------------------------------------------------------------------------------ emergency


@way(IotTag.ENABLE_EMERGENCY_PROFILE, 0)
def _(kit):
    return kit.card().code(CALL(True))


@way(IotTag.ENABLE_EMERGENCY_PROFILE, 2)
def _(kit):
    card = kit.card()
    card.code(CALL(False))
    return card.code(CALL(False))


@way(IotTag.ENABLE_EMERGENCY_PROFILE, 5)
def _(kit):
    card = kit.card()
    card.busy()
    return card.code(CALL(True))


@way(IotTag.ENABLE_EMERGENCY_PROFILE, 8)
def _(kit):
    assert kit.card(personality=kit.without("ecall")).code(CALL(False)) == 8
    return kit.card((1, {})).code(CALL(False))


@way(IotTag.ENABLE_EMERGENCY_PROFILE, 127)
def _(kit):
    card = kit.card()
    full = kit.again(card.nvm.snapshot(), personality=kit.personality(nvm_size=card.nvm.used + 10))
    assert full.code(CALL(False)) == 127
    assert full.enabled == 1
    return worn(card, CALL(False))


@way(IotTag.DISABLE_EMERGENCY_PROFILE, 0)
def _(kit):
    card = kit.card()
    card.code(CALL(False))
    return card.code(HANG_UP(True))


@way(IotTag.DISABLE_EMERGENCY_PROFILE, 2)
def _(kit):
    return kit.card().code(HANG_UP(True))


@way(IotTag.DISABLE_EMERGENCY_PROFILE, 5)
def _(kit):
    """The call ends before the terminal has fetched the REFRESH of its beginning."""
    card = kit.card()
    card.code(CALL(True))
    return card.code(HANG_UP(True))


@way(IotTag.DISABLE_EMERGENCY_PROFILE, 127)
def _(kit):
    card = kit.card()
    card.code(CALL(False))
    full = kit.again(card.nvm.snapshot(), personality=kit.personality(nvm_size=card.nvm.used + 10))
    assert full.code(HANG_UP(False)) == 127
    assert full.enabled == 3
    return worn(card, HANG_UP(False))


# ------------------------------------------------------------------------------------------------------ fallback


@way(IotTag.EXECUTE_FALLBACK_MECHANISM, 0)
def _(kit):
    return kit.fallback()[0].code(FALL(True))


@way(IotTag.EXECUTE_FALLBACK_MECHANISM, 2)
def _(kit):
    card, _ = kit.fallback()
    card.code(FALL(False))
    return card.code(FALL(False))


@way(IotTag.EXECUTE_FALLBACK_MECHANISM, 5)
def _(kit):
    card, _ = kit.fallback()
    card.busy()
    return card.code(FALL(True))


@way(IotTag.EXECUTE_FALLBACK_MECHANISM, 6)
def _(kit):
    return kit.card().code(FALL(True))


@way(IotTag.EXECUTE_FALLBACK_MECHANISM, 7)
def _(kit):
    """No profile is enabled, which is said before anything else."""
    card, eim = kit.fallback()
    eim.load(Disable(kit.iccid(1)))
    return card.code(FALL(False))


@way(IotTag.EXECUTE_FALLBACK_MECHANISM, 104)
def _(kit):
    card, _ = kit.fallback()
    card.code(CALL(False))
    return card.code(FALL(False))


@way(IotTag.EXECUTE_FALLBACK_MECHANISM, 127)
def _(kit):
    card, _ = kit.fallback()
    assert card.code("BF5D00") == 127
    full = kit.again(card.nvm.snapshot(), personality=kit.personality(nvm_size=card.nvm.used + 10))
    assert full.code(FALL(False)) == 127
    return worn(card, FALL(False))


@way(IotTag.RETURN_FROM_FALLBACK, 0)
def _(kit):
    card, _ = kit.fallback()
    card.code(FALL(False))
    return card.code(RETURN(True))


@way(IotTag.RETURN_FROM_FALLBACK, 5)
def _(kit):
    card, _ = kit.fallback()
    card.code(FALL(True))
    return card.code(RETURN(True))


@way(IotTag.RETURN_FROM_FALLBACK, 6)
def _(kit):
    return kit.fallback()[0].code(RETURN(False))


@way(IotTag.RETURN_FROM_FALLBACK, 7)
def _(kit):
    card, _ = kit.fallback()
    card.code(FALL(False))
    card.code(CALL(False))
    return card.code(RETURN(False))


@way(IotTag.RETURN_FROM_FALLBACK, 127)
def _(kit):
    card, _ = kit.fallback()
    card.code(FALL(False))
    return worn(card, RETURN(False))


# ------------------------------------------------------------------------------------------------------ memory reset


@way(IotTag.EUICC_MEMORY_RESET, 0)
def _(kit):
    card = kit.card()
    assert card.code(RESET(OPERATIONAL)) == 0
    assert card.profiles() == {}
    return card.code(RESET(["resetEimConfigData"]))


@way(IotTag.EUICC_MEMORY_RESET, 1)
def _(kit):
    assert kit.card().code(RESET(["deleteProvisioningProfiles", "resetDefaultSmdpAddress"])) == 1
    return kit.card().code(RESET([]))


@way(IotTag.EUICC_MEMORY_RESET, 5)
def _(kit):
    """And nothing of it is done, not even what needs no REFRESH."""
    card, _ = kit.with_eim()
    card.busy()
    code = card.code(RESET([*OPERATIONAL, "resetEimConfigData"]))
    assert len(card.es10("BF5500").get(0xA0).children()) == 1
    return code


@way(IotTag.EUICC_MEMORY_RESET, 104)
def _(kit):
    card = kit.card()
    card.code(CALL(False))
    return card.code(RESET(OPERATIONAL))


@way(IotTag.EUICC_MEMORY_RESET, 127)
def _(kit):
    card = kit.card()
    assert card.code("BF6400") == 127
    return worn(card, RESET(OPERATIONAL))


@way(MEMORY_RESET_1_0, 0)
def _(kit):
    return kit.card(standards=kit.IOT_1_0_1).code(RESET(OPERATIONAL, Version.V1_0_1))


@way(MEMORY_RESET_1_0, 1)
def _(kit):
    return kit.card(standards=kit.IOT_1_0_1).code(RESET(["resetDefaultSmdpAddress"], Version.V1_0_1))


@way(MEMORY_RESET_1_0, 5)
def _(kit):
    card = kit.card(standards=kit.IOT_1_0_1)
    card.busy()
    return card.code(RESET(OPERATIONAL, Version.V1_0_1))


@way(MEMORY_RESET_1_0, 127)
def _(kit):
    return worn(kit.card(standards=kit.IOT_1_0_1), RESET(OPERATIONAL, Version.V1_0_1))


def reset_eim(card):
    return es10_iot_answers.MemoryResetResult.parse(card.es10(RESET(["resetEimConfigData"])).raw).eim_code


def reset_immediate(card):
    raw = card.es10(RESET(["resetImmediateEnableConfig"])).raw
    return es10_iot_answers.MemoryResetResult.parse(raw).immediate_enable_code


@way(RESET_EIM, 0)
def _(kit):
    return reset_eim(kit.with_eim()[0])


@way(RESET_EIM, 1)
def _(kit):
    return reset_eim(kit.card())


@way(RESET_EIM, 2)
def _(kit):
    return reset_eim(kit.with_eim(personality=kit.without("eim_reset"))[0])


@way(RESET_IMMEDIATE, 0)
def _(kit):
    card = installed(kit)
    assert reset_immediate(card) == 0
    assert card.code(IMMEDIATE(False)) == 1
    return reset_immediate(card)


@way(RESET_IMMEDIATE, 1)
def _(kit):
    return reset_immediate(kit.card(personality=kit.without("immediate_enable")))


@way(IotTag.SET_DEFAULT_DP_ADDRESS, 0)
def _(kit):
    card = kit.card()
    assert card.code(es10_iot.set_default_dp_address("dp.example.com")) == 0
    assert card.es10("BF3C00").get(0x80).value == b"dp.example.com"
    code = card.code(es10_iot.set_default_dp_address(""))
    assert card.es10("BF3C00").find(0x80) is None
    return code


@way(IotTag.SET_DEFAULT_DP_ADDRESS, 127)
def _(kit):
    assert worn(kit.card(), es10_iot.set_default_dp_address("dp.example.com")) == 127
    return kit.card().code("BF6500")
