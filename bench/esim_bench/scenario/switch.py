"""Switch to another profile and back; each time the right profile's files must be readable after the REFRESH.

The profile is downloaded first where it is missing. Back means the profile that was enabled before; where none was, the
new one is disabled again.
"""

from __future__ import annotations

from pydantic import Field

from esim_bench.codec import es10
from esim_bench.rack.source import ProfileSource
from esim_bench.scenario import common
from esim_bench.scenario.context import Bench

NAME = "switch"


class Params(ProfileSource):
    """The profile to switch to (default: profiles/operational-a), and how often."""

    rounds: int = Field(1, ge=1, le=10_000, description="how many times there and back")


async def run(bench: Bench, params: Params) -> None:
    """Switch one slot there and back."""
    slot = bench.slot
    await common.start(bench)
    await common.identify(bench)
    order = await bench.order(params)
    target = await common.install(bench, order, params)
    async with bench.step("home profile") as step:
        home = await common.enabled(bench)
        if home is not None and home.iccid == target:
            # Interrupted half-way earlier: any other profile serves as home.
            home = next((p for p in await slot.lpa.profiles() if p.iccid != target), None)
        home_imsi = None
        if home is not None and home.enabled:
            home_imsi = await slot.card.read_imsi()
        step.detail = es10.iccid_to_text(home.iccid) if home and home.iccid else "none: back means disabled"
    for number in range(1, params.rounds + 1):
        suffix = f" {number}" if params.rounds > 1 else ""
        await common.enable(bench, target, f"switch there{suffix}")
        await common.verify(bench, target, order.imsi, f"verify there{suffix}")
        await common.deliver(bench, f"notifications there{suffix}")
        if home is not None and home.iccid is not None:
            await common.enable(bench, home.iccid, f"switch back{suffix}")
            await common.verify(bench, home.iccid, home_imsi, f"verify back{suffix}")
        else:
            async with bench.step(f"switch back{suffix}") as step:
                await common.switch_off(bench, target)
                bench.check("enabled profile", expected=None, found=await common.enabled(bench))
                step.detail = "disabled again"
        await common.deliver(bench, f"notifications back{suffix}")
