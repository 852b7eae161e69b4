"""The life of the demo: scenarios that begin by themselves on some slots, so that there is something to see."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Final

from esim_bench.desk.api import DeskError, RunRequest
from esim_bench.errors import InUseError

if TYPE_CHECKING:
    from esim_bench.tui.app import BenchApp

PAUSE: Final = 6.0
"""Seconds between the end of a run and the next one."""
_CONSUMER: Final = ("provision", "switch", "power_cycle")
_IOT: Final = ("zero_touch", "psmo_switch", "rollback", "fallback")


class Demo:
    """Plays with slots whose names end in 2 or 3, and reads the others once."""

    def __init__(self) -> None:
        self._seed = itertools.count(1)

    async def live(self, app: BenchApp) -> None:
        """Go on until the app ends."""
        slots = app.context.rack.slots
        own = [slot for slot in slots if slot.name[-1:] in "23"]
        for slot in slots:
            if slot not in own:
                app.job(app.context.desk.read(slot.name), f"read {slot.name}", slot=slot.name)
        iot = [slot.name for slot in own if slot.iot]
        consumer = [slot.name for slot in own if not slot.iot]
        await asyncio.gather(
            *(self._play(app, names, scenarios) for names, scenarios in ((consumer, _CONSUMER), (iot, _IOT)) if names)
        )

    async def _play(self, app: BenchApp, slots: list[str], scenarios: tuple[str, ...]) -> None:
        for scenario in itertools.cycle(scenarios):
            await asyncio.sleep(PAUSE / 3)
            request = RunRequest(scenario=scenario, slots=slots, seed=next(self._seed), rate=app.context.rate)
            try:
                key = await app.context.desk.start_run(request)
            except DeskError as exc:
                if exc.trouble.kind != InUseError.__name__:  # another demo plays with it: that is no problem of ours
                    app.problem(exc.trouble)
                await asyncio.sleep(PAUSE)
                continue
            run = app.live_runs.add(key, request)
            await run.over.wait()
            await asyncio.sleep(PAUSE)
