"""Download a profile by way of the eIM: the IPA speaks to it alone, the eIM relays to the SM-DP+.

First the trigger carries the activation code; then it is empty and the eIM keeps the code (eimDownloadDataHandling).
Each time a profile that is there is deleted before, by the eIM as well; the installation result must come to the eIM,
and by it to the SM-DP+. With the mode "direct" the IPA makes one download of its own in between.
"""

from __future__ import annotations

from esim_bench.codec import es10
from esim_bench.codec.euicc_operations import Delete
from esim_bench.scenario import common, steering
from esim_bench.scenario.context import Bench
from esim_bench.scenario.steering import IotSource, Mode, Steered

NAME = "indirect_download"


class Params(IotSource):
    """The profile to download (default: profiles/operational-a)."""


async def run(bench: Bench, params: Params) -> None:
    """Download to one slot by its eIM."""
    steered = await steering.begin(bench)
    code = str((await bench.order(params)).activation_code)
    iccid, imsi = await steering.download(steered, params.model_copy(update={"mode": "indirect"}))
    home = await steering.home_profile(steered, iccid)
    ways: tuple[tuple[str, Mode, bool], ...] = (
        ("the trigger has the activation code", "indirect", False),
        ("the eIM keeps the activation code", "indirect", True),
    )
    if params.mode == "direct":
        ways = (ways[0], ("the IPA on its own", "direct", False), ways[1])
    for name, mode, held in ways:
        await _clear(steered, iccid)
        async with bench.step(name) as step:
            found = await steering.trigger(steered, code, mode, held=held)
            bench.check("ICCID", expected=es10.iccid_to_text(iccid), found=es10.iccid_to_text(found))
            step.detail = f"{es10.iccid_to_text(iccid)} installed"
    async with bench.step("enable") as step:
        await steered.enable(iccid)
        step.detail = es10.iccid_to_text(iccid)
    await common.verify(bench, iccid, imsi)
    async with bench.step("back home") as step:
        await steered.enable(home)
        step.detail = es10.iccid_to_text(home)
    await steering.agree(steered)


async def _clear(steered: Steered, iccid: bytes) -> None:
    async with steered.bench.step("delete by the eIM") as step:
        await steered.package(Delete(iccid))
        bench = steered.bench
        bench.check("profile", expected=None, found=await common.find(bench, iccid))
        step.detail = es10.iccid_to_text(iccid)
