"""Cut the power cold: in idle, in mid-download, right after an enable; compare the state before and after.

In idle nothing may change. In mid-download the profile must not be there afterwards, and the download must succeed when
it is done again. Right after an enable the card must come back with the old or the new profile enabled, never with both
or a mixture, the switch must be able to finish, and a cut after that must not take it back.
"""

from __future__ import annotations

import asyncio
from typing import Literal

from pydantic import Field

from esim_bench.agents.lpa import Progress
from esim_bench.agents.switch import order_enable
from esim_bench.codec import es10
from esim_bench.errors import BenchError, PowerError, TransportError
from esim_bench.rack.slot import DeviceState
from esim_bench.rack.source import ProfileSource
from esim_bench.scenario import common
from esim_bench.scenario.context import Bench
from esim_bench.scenario.results import CheckFailed

NAME = "power_cycle"

Cut = Literal["all", "idle", "mid-download", "after-enable"]


class Params(ProfileSource):
    """The profile to install meanwhile (default: profiles/operational-a), where to cut, how long to stay dark."""

    cut: Cut = Field("all", description="idle, mid-download, after-enable, or all")
    off_s: float = Field(2.0, ge=0.0, le=3600.0, description="seconds without power")


async def run(bench: Bench, params: Params) -> None:
    """Cut one slot's power at each chosen moment."""
    await common.start(bench)
    await common.identify(bench)
    if params.cut in ("all", "idle"):
        await _idle(bench, params)
    if params.cut in ("all", "mid-download"):
        await _mid_download(bench, params)
    if params.cut in ("all", "after-enable"):
        await _after_enable(bench, params)
    await common.deliver(bench)


async def _idle(bench: Bench, params: Params) -> None:
    slot = bench.slot
    async with bench.step("cut in idle") as step:
        before = await slot.state()
        bench.mark("cut point: idle")
        await slot.power_cycle(params.off_s)
        compare(before, await slot.state())
        step.detail = f"{len(before.profiles)} profiles, ICCID {before.iccid}: unchanged"


async def _mid_download(bench: Bench, params: Params) -> None:
    slot = bench.slot
    order = await bench.order(params)
    if order.iccid is not None and await common.find(bench, order.iccid) is not None:
        async with bench.step("clear the way") as step:
            await common.leave(bench, order.iccid)
            await slot.delete(order.iccid)
            step.detail = f"{es10.iccid_to_text(order.iccid)} deleted"
    async with bench.step("cut in mid-download") as step:
        before = await slot.state()
        cut_at = 0

        async def cut(progress: Progress) -> None:
            nonlocal cut_at
            if not cut_at and progress.stage == "install" and progress.done * 2 >= progress.total:
                cut_at = progress.done
                bench.mark("cut point: mid-download")
                await slot.cut()

        try:
            await slot.install(
                order.activation_code,
                confirmation_code=params.confirmation_code,
                accept_rules=params.accept_rules,
                progress=cut,
            )
        except PowerError:
            raise
        except TransportError as exc:
            step.detail = f"cut after segment {cut_at}: {exc.what}"
        except BenchError:
            if slot.powered:
                raise
        else:
            raise CheckFailed("download without power", expected="a broken transport", found="success")
        await asyncio.sleep(params.off_s)
        await slot.start()
        after = await slot.state()
        # A card may report the interruption by a notification; everything else is as before.
        compare(before, after, notifications=False)
        bench.check(
            "old notifications", expected=before.notifications, found=after.notifications[: len(before.notifications)]
        )
        step.detail += f"; {len(after.profiles)} profiles as before"
    await common.install(bench, order, params)


async def _after_enable(bench: Bench, params: Params) -> None:
    slot = bench.slot
    order = await bench.order(params)
    iccid = await common.install(bench, order, params)
    async with bench.step("cut right after enable") as step:
        await common.leave(bench, iccid)
        before = await slot.state()
        await order_enable(slot.lpa, iccid, refresh=True)
        bench.mark("cut point: right after enable")
        await slot.power_cycle(params.off_s)
        after = await slot.state()
        now = [number for number, state in after.profiles if state == "enabled"]
        text = es10.iccid_to_text(iccid)
        old = [number for number, state in before.profiles if state == "enabled"]
        if now not in ([text], old):
            raise CheckFailed("enabled profile after the cut", expected=f"{text} or {old}", found=now)
        bench.check("profiles", expected=[n for n, _ in before.profiles], found=[n for n, _ in after.profiles])
        bench.check("EF.ICCID", expected=now[0] if now else None, found=after.iccid)
        step.detail = f"{'new' if now == [text] else 'old'} profile enabled, EF.ICCID {after.iccid}"
    await common.enable(bench, iccid, "finish the switch")
    await common.verify(bench, iccid, order.imsi)
    async with bench.step("cut after the switch") as step:
        # Some devices come up with another profile than the one that was switched to.
        before = await slot.state()
        bench.mark("cut point: after the switch")
        await slot.power_cycle(params.off_s)
        compare(before, await slot.state())
        step.detail = f"EF.ICCID {before.iccid}: unchanged"


def compare(before: DeviceState, after: DeviceState, *, notifications: bool = True) -> None:
    """Fail unless two states are equal, naming the first difference."""
    for name in ("eid", "iccid", "imsi", "profiles") + (("notifications",) if notifications else ()):
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            raise CheckFailed(f"{name} after the power cycle", expected=old, found=new)
