"""``make screenshots``: the pictures of the README, taken from the real screen on the demo's rack.

Everything in them has happened: runs of the scenarios fill the history, the desk reads the slots.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from textual.pilot import Pilot

from esim_bench.desk.api import RunRequest
from esim_bench.rack.model import load_rack
from esim_bench.scenario import engine, registry
from esim_bench.store import RunStore
from esim_bench.store.home import store_path
from esim_bench.tui.app import BenchApp
from esim_bench.tui.start import make_app
from esim_bench.tui.trace.screen import TraceScreen

PLACE = Path(__file__).resolve().parents[2] / "docs" / "screens"
SIZE = (120, 36)
PAST = (
    ("provision", ("A*", "B1", "B3")),
    ("switch", ("A*", "B1", "B3")),
    ("power_cycle", ("A*", "B1", "B3")),
    ("zero_touch", ("A3", "B2", "C*")),
    ("psmo_switch", ("A3", "B2", "C*")),
    ("rollback", ("B2", "C*")),
    ("fallback", ("B2", "C*")),
)
"""Scenarios of the history, with their slots."""
REPEATS = 4
RATE = 20.0
"""Of the time of simulated devices."""


def make_past() -> None:
    """Fill the history with runs of several seeds."""
    rack = load_rack("demo")
    for seed in range(REPEATS):
        for name, patterns in PAST:
            chosen = registry.scenario(name)
            engine.run_scenario(
                rack, rack.select(patterns), chosen, chosen.parse({}), engine.RunOptions(seed=seed), None
            )


class Tour:
    """Goes through the screens and saves a picture of each."""

    def __init__(self, app: BenchApp, pilot: Pilot[None]) -> None:
        self.app, self.pilot = app, pilot

    async def until(self, there: Callable[[], object], what: str, seconds: float = 60.0) -> None:
        """Wait for something that is shown."""
        for _ in range(int(seconds * 20)):
            await self.pilot.pause(0.05)
            if there():
                return
        self.app.save_screenshot(str(PLACE / "stuck.svg"))
        raise SystemExit(f"gave up waiting for {what}; see stuck.svg")

    def shows(self, text: str) -> Callable[[], bool]:
        """Return what tells whether a text is on the screen."""
        return lambda: text in self.app.export_screenshot().replace("&#160;", " ")

    async def save(self, name: str) -> None:
        """Save a picture."""
        await self.pilot.pause(0.5)
        self.app.clear_notifications()
        await self.pilot.pause(0.2)
        (PLACE / f"{name}.svg").write_text(self.app.export_screenshot(title="esim-bench") + "\n")

    async def go(self) -> None:
        """Take them all."""
        await self.rack()
        await self.slot()
        await self.trace()
        await self.scenarios()
        await self.runs()

    async def rack(self) -> None:
        """Show the rack while two runs go on."""
        app, desk = self.app, self.app.context.desk
        await asyncio.gather(*(desk.read(slot.name) for slot in app.context.rack.slots))
        for scenario, slots in (("power_cycle", ["A2", "B3"]), ("zero_touch", ["C2"])):
            request = RunRequest(scenario=scenario, slots=slots, seed=9, rate=RATE)
            app.live_runs.add(await desk.start_run(request), request)
        await self.until(lambda: app.context.watch.board.slot("A2").activity == "run", "the runs")
        await self.pilot.pause(0.7)
        await self.save("rack")
        await self.until(lambda: not app.live_runs.running, "the end of the runs")

    async def slot(self) -> None:
        """Show what is on a slot, and its files."""
        self.app.open_slot("B1")
        await self.until(self.shows("Modem and network"), "the slot")
        await self.pilot.press("r")
        await self.until(self.shows("IMEI"), "its modem")
        await self.save("slot")
        await self.pilot.press("8")
        await self.until(self.shows("EF.IMSI"), "its files", 90.0)
        await self.pilot.press(*["down"] * 10, "enter")
        await self.until(self.shows("001010"), "the IMSI")
        await self.save("files")
        await self.pilot.press("escape", "escape")

    async def trace(self) -> None:
        """Show a record and what it means, byte by byte."""
        run = next(one for one in RunStore(store_path()).list(50) if one["scenario"] == "provision")
        document = RunStore(store_path()).get(run["run"])
        path = next(Path(slot["trace"]) for slot in document["slots"] if slot["slot"] == "A1")
        self.app.open_trace(paths=[path])
        await self.until(lambda: isinstance(self.app.screen, TraceScreen), "the trace")
        screen = self.app.screen
        assert isinstance(screen, TraceScreen)
        await self.until(lambda: screen.log_view.total > 100, "its records")
        await self.pilot.press("slash", *"AuthenticateServer ->", "enter")
        await self.until(lambda: screen.row is not None and "AuthenticateServer ->" in screen.row.text, "the hit")
        await self.pilot.press("escape")
        await self.until(self.shows("EuiccSigned1"), "the tree")
        screen.query_one("#pane Tree").focus()
        await self.pilot.press(*["down"] * 4)
        await self.save("trace")

    async def scenarios(self) -> None:
        """Show a plan, and a run that goes on."""
        self.app.plan_run(["A1", "B1"], "power_cycle")
        await self.until(self.shows("Parameters"), "the plan")
        await self.save("scenarios")
        await self.pilot.press("s")
        await self.until(self.shows("cut in mid-download"), "the run")
        await self.save("live")
        await self.until(lambda: not self.app.live_runs.running, "its end", 120.0)

    async def runs(self) -> None:
        """Show what was, and how it changes."""
        await self.pilot.press("f5")
        await self.until(self.shows("PASS"), "the runs")
        await self.pilot.press("down", "down")
        await self.save("runs")
        await self.pilot.press("v")
        await self.until(lambda: len(self.app.screen.query("Plot")) > 1, "the trends")
        await self.save("trends")


async def take() -> None:
    """Go through the screens and save a picture of each."""
    app = make_app(load_rack("demo"), rate=RATE)
    app.trap = False
    async with app.run_test(size=SIZE) as pilot:
        try:
            await Tour(app, pilot).go()
        finally:
            await app.context.desk.close()


def main() -> None:
    """Take them all."""
    PLACE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(ESIM_BENCH_HOME=folder, ESIM_BENCH_LOCKS=f"{folder}/locks", TZ="UTC")
        make_past()
        asyncio.run(take())
    sys.stdout.write(f"{len([*PLACE.glob('*.svg')])} pictures in {PLACE}\n")


if __name__ == "__main__":
    main()
