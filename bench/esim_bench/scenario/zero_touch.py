"""From the bootstrap profile to the operational one without a hand: call home, download, enable, report.

The device comes up with its bootstrap profile, its IPA asks the eIM for work (the association is made first where there
is none), downloads the profile that the eIM triggers, directly or by way of the eIM, and enables it as the eIM orders.
In the end the eIM must know what the card shows.
"""

from __future__ import annotations

from esim_bench.codec import es10
from esim_bench.scenario import common, steering
from esim_bench.scenario.context import Bench
from esim_bench.scenario.steering import IotSource

NAME = "zero_touch"


class Params(IotSource):
    """The profile to download and enable (default: profiles/operational-a), and the way of the download."""


async def run(bench: Bench, params: Params) -> None:
    """Bring one slot from bootstrap to operation."""
    steered = await steering.begin(bench)
    async with bench.step("call home") as step:
        report = await steered.poll()
        cause = steered.eim.device(steered.eid).seen_ns
        bench.check("the eIM has heard of the device", expected=True, found=cause is not None)
        step.detail = ", ".join(report.kinds()) or "nothing to do"
    iccid, imsi = await steering.download(steered, params)
    async with bench.step("enable by the eIM") as step:
        profile = await common.find(bench, iccid)
        if profile is not None and profile.enabled:
            step.detail = f"{es10.iccid_to_text(iccid)} is already enabled"
        else:
            await steered.enable(iccid)
            step.detail = es10.iccid_to_text(iccid)
    await common.verify(bench, iccid, imsi)
    await steering.agree(steered, "report")
