"""``esim-bench power``: one slot's power by hand, with its proof."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from esim_bench.cli.common import JsonOption, RackOption, SlotArgument, app, note, print_json, say

if TYPE_CHECKING:
    from esim_bench.rack.slot import Slot

ColdOption = Annotated[
    bool,
    typer.Option(
        "--cold", help="Cut the supply without asking the module: what a test does on purpose, and an accident else."
    ),
]

cli = app("One slot's power: on, off, cycle, each with its proof.")


@cli.command("on")
def switch_on(slot: SlotArgument, rack: RackOption = None, json: JsonOption = False) -> None:
    """Switch a slot on. The device boots after this returns."""

    async def job(opened: Slot) -> None:
        await opened.restore_power()

    _do(slot, rack, json, job, powered=True)


@cli.command("off")
def switch_off(slot: SlotArgument, cold: ColdOption = False, rack: RackOption = None, json: JsonOption = False) -> None:
    """Switch a slot off, and see that it is. A module with a command for it powers down in order first.

    It stays off until "power on", or until something else uses the slot."""

    async def job(opened: Slot) -> None:
        if opened.spec.simulated:
            await opened.restore_power()
        await (opened.cut() if cold else opened.power_down())
        opened.leave_dark()
        if opened.cut_unproven:
            note("not proven: boot lines prove it when the power is back (power cycle waits for them)")

    _do(slot, rack, json, job, powered=False)


@cli.command("cycle")
def cycle(
    slot: SlotArgument,
    off: Annotated[
        float | None,
        typer.Option(
            "--off", metavar="SECONDS", min=0.0, max=3600.0, help="How long it stays off; never less than off_s."
        ),
    ] = None,
    cold: ColdOption = False,
    rack: RackOption = None,
    json: JsonOption = False,
) -> None:
    """Switch a slot off and on again."""
    import asyncio

    async def job(opened: Slot) -> None:
        if opened.spec.simulated:
            await opened.restore_power()
        await (opened.cut() if cold else opened.power_down())
        await asyncio.sleep(off or 0.0)
        await opened.restore_power()

    _do(slot, rack, json, job, powered=True)


def _do(slot: str, rack: str | None, json: bool, job: Callable[[Slot], Awaitable[None]], *, powered: bool) -> None:
    from esim_bench.cli.session import on_slot
    from esim_bench.events import ListSink, PowerEvent

    sink = ListSink()
    on_slot(rack, slot, job, sink=sink, start=False)
    events = [event for event in sink.events if isinstance(event, PowerEvent)]
    if json:
        rows = [{"at_ns": event.at_ns, "action": event.action.value, "detail": event.detail} for event in events]
        print_json({"slot": slot, "power": "on" if powered else "off", "events": rows})
        return
    for event in events:
        say(f"{event.action.value:<6} {event.detail}".rstrip())
