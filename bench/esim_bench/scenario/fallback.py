"""Lose the network and be caught by the Fallback Profile; come back when the network is there again.

The eIM downloads a profile that may be the Fallback Profile, gives it the attribute, and enables the operational one.
Then the operational profile loses its network: the IPA executes the fallback mechanism, and tells the eIM why the state
changed. While the Fallback Profile is enabled the attribute stays where it is, and the profile to return to cannot be
deleted. When the network is back, so is the operational profile. An eUICC of SGP.32 v1.0 has no fallback: there the
scenario checks that it says so, and that nothing changes.
"""

from __future__ import annotations

from pydantic import Field

from esim_bench.codec import es10, es10_iot, tlv
from esim_bench.codec.esipa_objects import STATE_CHANGE_CAUSES
from esim_bench.codec.euicc_operations import Delete, Enable, SetFallbackAttribute, UnsetFallbackAttribute
from esim_bench.codec.sgp32 import Version
from esim_bench.scenario import common, steering
from esim_bench.scenario.context import Bench
from esim_bench.scenario.steering import IotSource, Steered

NAME = "fallback"

_CAUSE = next(code for code, name in STATE_CHANGE_CAUSES.items() if name == "fallback")


class Params(IotSource):
    """The operational profile (default: profiles/operational-a), and the one to fall back to."""

    fallback: str = Field("fallback-global", description="profile of profiles/ that may be the Fallback Profile")


async def run(bench: Bench, params: Params) -> None:
    """Have one slot fall back and return."""
    steered = await steering.begin(bench)
    target, imsi = await steering.download(steered, params)
    if steered.version < Version.V1_2 or steered.eim.version < Version.V1_2:
        await _not_there(steered, target)
        await steering.agree(steered)
        return
    source = steering.profile_of(params, params.fallback)
    rescue, rescue_imsi = await steering.download(steered, source, "download of the Fallback Profile")
    home = await steering.home_profile(steered, target, rescue)
    async with bench.step("set the attribute") as step:
        await steered.refused(SetFallbackAttribute(target), outcome="setFallbackAttribute: fallbackNotAllowed")
        await steered.package(SetFallbackAttribute(rescue))
        await steered.package(Enable(target))
        step.detail = f"{es10.iccid_to_text(rescue)} is the Fallback Profile"
    with steering.without_network(bench.slot, target):
        await _fall_back(steered, rescue)
        await common.verify(bench, rescue, rescue_imsi, "verify the fallback")
        async with bench.step("what the fallback holds fast") as step:
            await steered.refused(UnsetFallbackAttribute(), outcome="unsetFallbackAttribute: fallbackProfileEnabled")
            await steered.refused(Delete(target), outcome="delete: returnFallbackProfile")
            step.detail = "the attribute, and the profile to return to"
    async with bench.step("the network is back") as step:
        bench.check("ReturnFromFallback", expected="ok", found=await steered.ipa.connectivity_returned())
        now = await common.enabled(bench)
        bench.check("enabled profile", expected=target, found=now and now.iccid)
        await steered.poll()
        step.detail = f"{es10.iccid_to_text(target)} is enabled again"
    await common.verify(bench, target, imsi, "verify the return")
    async with bench.step("back home") as step:
        await steered.package(Enable(home))
        await steered.package(UnsetFallbackAttribute())
        await steered.refused(UnsetFallbackAttribute(), outcome="unsetFallbackAttribute: noFallbackAttribute")
        step.detail = es10.iccid_to_text(home)
    await steering.agree(steered)


async def _fall_back(steered: Steered, rescue: bytes) -> None:
    bench = steered.bench
    async with bench.step("the network is lost") as step:
        bench.check("connectivity", expected=False, found=await bench.slot.connected())
        bench.check("ExecuteFallbackMechanism", expected="ok", found=await steered.ipa.connectivity_lost())
        now = await common.enabled(bench)
        bench.check("enabled profile", expected=rescue, found=now and now.iccid)
        bench.check("connectivity", expected=True, found=await bench.slot.connected())
        await steered.poll()
        cause = steered.eim.view(steered.eid).state_change_cause
        bench.check("stateChangeCause that the eIM was told", expected=_CAUSE, found=cause)
        step.detail = f"{es10.iccid_to_text(rescue)} is enabled, the eIM knows why"


async def _not_there(steered: Steered, target: bytes) -> None:
    """Check that an eUICC without fallback refuses it: by PSMO and by ES10b."""
    bench = steered.bench
    async with bench.step("no fallback in this version") as step:
        await steering.no_such_operation(steered, SetFallbackAttribute(target))
        if steered.version < Version.V1_2:
            request = tlv.encode(es10_iot.IotTag.EXECUTE_FALLBACK_MECHANISM, tlv.encode(0x80, b"\xff"))
            await steering.no_such_function(steered, request)
        step.detail = "setFallbackAttribute and ExecuteFallbackMechanism are refused"
