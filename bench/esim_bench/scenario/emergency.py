"""Enable the Emergency Profile for an eCall, and come back.

While it is enabled nothing else may happen: packages, data requests and downloads of the eIM are refused with
ecallActive. Afterwards the profile from before is enabled again and the eIM is obeyed. An eUICC of SGP.32 v1.0 has no
Emergency Profile: there the scenario checks that it says so, and that nothing changes.
"""

from __future__ import annotations

from pydantic import Field

from esim_bench.codec import es10, es10_iot, tlv
from esim_bench.codec.esipa_objects import STATE_CHANGE_CAUSES
from esim_bench.codec.euicc_operations import ListProfileInfo
from esim_bench.codec.sgp32 import Version
from esim_bench.scenario import common, steering
from esim_bench.scenario.context import Bench
from esim_bench.scenario.steering import IotSource
from esim_bench.servers.eim import DataOrder, DownloadOrder

NAME = "emergency"

_CAUSE = next(code for code, name in STATE_CHANGE_CAUSES.items() if name == "emergencyProfile")
_INFO2 = 0xBF22


class Params(IotSource):
    """The Emergency Profile, and the one whose download is refused meanwhile (default: profiles/operational-a)."""

    emergency: str = Field("emergency", description="profile of profiles/ with the ecallIndication")


async def run(bench: Bench, params: Params) -> None:
    """Have one slot make an eCall."""
    steered = await steering.begin(bench)
    if steered.version < Version.V1_2:
        async with bench.step("no Emergency Profile in this version") as step:
            request = tlv.encode(es10_iot.IotTag.ENABLE_EMERGENCY_PROFILE, tlv.encode(0x80, b"\xff"))
            await steering.no_such_function(steered, request)
            step.detail = "EnableEmergencyProfile is refused"
        await steering.agree(steered)
        return
    source = steering.profile_of(params, params.emergency)
    ecall, ecall_imsi = await steering.download(steered, source, "download of the Emergency Profile")
    home = await steering.home_profile(steered, ecall)
    home_imsi = await bench.slot.card.read_imsi()
    code = str((await bench.order(params)).activation_code)
    async with bench.step("eCall") as step:
        bench.check("EnableEmergencyProfile", expected="ok", found=await steered.ipa.emergency(True))
        now = await common.enabled(bench)
        bench.check("enabled profile", expected=ecall, found=now and now.iccid)
        step.detail = f"{es10.iccid_to_text(ecall)} is enabled"
    await common.verify(bench, ecall, ecall_imsi, "verify the Emergency Profile")
    async with bench.step("nothing else meanwhile") as step:
        await steered.refused(ListProfileInfo(), outcome="ecallActive")
        cause = steered.eim.view(steered.eid).state_change_cause
        bench.check("stateChangeCause that the eIM was told", expected=_CAUSE, found=cause)
        for order in (DataOrder((_INFO2,)), DownloadOrder(code)):
            found = await steered.order(order)
            bench.check(f"{found.kind} order", expected="ecallActive", found=found.outcome)
        step.detail = "package, data request and download are refused: ecallActive"
    async with bench.step("after the eCall") as step:
        bench.check("DisableEmergencyProfile", expected="ok", found=await steered.ipa.emergency(False))
        now = await common.enabled(bench)
        bench.check("enabled profile", expected=home, found=now and now.iccid)
        step.detail = f"{es10.iccid_to_text(home)} is enabled again"
    await common.verify(bench, home, home_imsi, "verify the return")
    await steering.agree(steered)
