"""Switch to another profile and back by orders of the eIM (PSMO enable), as often as wanted.

The profile is downloaded first where it is missing. Each time the right profile's files must be readable, and the
eIM must have been told the result and the notifications.
"""

from __future__ import annotations

from pydantic import Field

from esim_bench.codec import es10
from esim_bench.codec.euicc_operations import Disable, Enable
from esim_bench.scenario import common, steering
from esim_bench.scenario.context import Bench
from esim_bench.scenario.steering import IotSource, Steered

NAME = "psmo_switch"


class Params(IotSource):
    """The profile to switch to (default: profiles/operational-a), and how often."""

    rounds: int = Field(1, ge=1, le=10_000, description="how many times there and back")


async def run(bench: Bench, params: Params) -> None:
    """Switch one slot there and back by its eIM."""
    steered = await steering.begin(bench)
    target, imsi = await steering.download(steered, params)
    home = await steering.home_profile(steered, target)
    home_imsi = await bench.slot.card.read_imsi()
    for number in range(1, params.rounds + 1):
        suffix = f" {number}" if params.rounds > 1 else ""
        await _switch(steered, target, f"switch there{suffix}")
        await common.verify(bench, target, imsi, f"verify there{suffix}")
        await _switch(steered, home, f"switch back{suffix}")
        await common.verify(bench, home, home_imsi, f"verify back{suffix}")
    async with bench.step("disable and enable in one package") as step:
        results = await steered.package(Disable(home), Enable(target))
        step.detail = ", ".join(f"{one.function} {one.name}" for one in results)
    await common.verify(bench, target, imsi, "verify the package")
    await _switch(steered, home, "back home")
    async with bench.step("enable twice") as step:
        await steered.refused(Enable(home), outcome="enable: profileNotInDisabledState")
        step.detail = "profileNotInDisabledState"
    await steering.agree(steered)


async def _switch(steered: Steered, iccid: bytes, name: str) -> None:
    async with steered.bench.step(name) as step:
        await steered.enable(iccid)
        step.detail = es10.iccid_to_text(iccid)
