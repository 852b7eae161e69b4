"""A watchdog over all screens: what the loop's thread calls while they are shown, worked with and left."""

from __future__ import annotations

import gc
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import pytest
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Checkbox, Input, OptionList

from esim_bench.desk.client import RemoteDesk
from esim_bench.rack.model import load_rack
from esim_bench.scenario import engine, registry
from esim_bench.tui.app import BenchApp
from esim_bench.tui.runs.compare import CompareScreen
from esim_bench.tui.runs.screen import RunsScreen
from esim_bench.tui.runs.trends import TrendsScreen
from esim_bench.tui.scenarios.screen import ScenariosScreen
from esim_bench.tui.slot.download import DownloadDialog
from esim_bench.tui.slot.power import PowerMenu
from esim_bench.tui.slot.screen import SlotScreen
from esim_bench.tui.trace.screen import TraceScreen
from esim_drivers import usbtree

DRIVERS: Final = str(Path("drivers", "esim_drivers"))
BLOCKING: Final = frozenset(
    {
        *("open", "open_code", "stat", "lstat", "listdir", "scandir", "read", "pread", "readv", "preadv", "mmap"),
        *(
            "write",
            "pwrite",
            "fsync",
            "fdatasync",
            "replace",
            "rename",
            "unlink",
            "mkdir",
            "truncate",
            "flock",
            "lockf",
        ),
        *("sleep", "wait4", "waitpid", "fork_exec", "posix_spawn", "system", "getaddrinfo"),
        *("readinto", "readline", "readlines", "readall"),
        *("connect", "execute", "executemany", "executescript", "fetchone", "fetchmany", "fetchall", "commit", "close"),
    }
)
MODULES: Final = frozenset(
    {"posix", "io", "_io", "time", "mmap", "fcntl", "_posixsubprocess", "_socket", "sqlite3", "_sqlite3"}
)


class Watchdog:
    """Notes what blocks, or may block, when the thread calls it."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.calls = 0
        self._codes: dict[CodeType, bool] = {}

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        if event == "c_call":
            if arg.__name__ in BLOCKING:
                self._called(frame, arg)
        elif event == "call":
            self.calls += 1
            code = frame.f_code
            if code not in self._codes:
                self._codes[code] = DRIVERS in code.co_filename
            if self._codes[code]:
                self._note("driver", frame)

    def _called(self, frame: FrameType, call: Any) -> None:
        if frame.f_code.co_filename.endswith("asyncio/unix_events.py"):
            return  # pipes and sockets of the loop's, which never wait
        module = call.__module__ if getattr(call, "__module__", None) else type(call.__self__).__module__
        if module in MODULES:
            self._note(f"{module}.{call.__qualname__}", frame)

    def _note(self, what: str, frame: FrameType) -> None:
        lines = []
        at: FrameType | None = frame
        while at is not None and len(lines) < 40:
            place = at.f_code.co_filename
            if "importlib" in place:
                if at.f_code.co_name == "_find_and_load" and not lines:
                    lines.append(f"import {at.f_locals.get('name')}")
            elif "esim" in place:
                lines.append(f"{Path(place).name}:{at.f_lineno} {at.f_code.co_name}")
            at = at.f_back
        self.seen[f"{what} by {' < '.join(lines[:4]) or Path(frame.f_code.co_filename).name}"] += 1

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Look at what this thread does."""
        assert threading.current_thread() is threading.main_thread()
        sys.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(None)


def test_the_watchdog_barks(tmp_path: Path) -> None:
    dog = Watchdog()
    with dog.watch():
        (tmp_path / "file").write_text("x")
        sqlite3.connect(tmp_path / "store").execute("CREATE TABLE t (a)").connection.close()
        time.sleep(0)
        usbtree.natural("1-1.3")
    seen = {what.split(" by ")[0] for what in dog.seen}
    assert seen >= {"io.open", "_io.TextIOWrapper.write", "sqlite3.Connection.execute", "time.sleep", "driver"}


async def until(pilot: Pilot[None], true: Callable[[], object], what: str) -> None:
    for _ in range(1500):
        await pilot.pause(0.02)
        if true():
            return
    strips = pilot.app.screen._compositor.render_strips()
    shown = "\n".join("".join(segment.text for segment in line) for line in strips)
    raise AssertionError(f"waited for {what}; shown:\n{shown}")


@pytest.fixture
def app(bench_app: Callable[..., BenchApp]) -> BenchApp:
    """An app on a rack with runs in its history, with the real desk."""
    rack = load_rack("sim-iot-3")
    for name, slots in (("provision", ["A1"]), ("switch", ["A1"])):
        chosen = registry.scenario(name)
        engine.run_scenario(rack, rack.select(slots), chosen, chosen.parse({}), engine.RunOptions(), None)
    gc.collect()  # what has been used up here is not closed under the dog's eyes
    return bench_app("sim-iot-3", lambda one: RemoteDesk(one.path))


async def work_through(app: BenchApp, pilot: Pilot[None]) -> None:
    """Show everything, and work with it."""

    async def press(*keys: str) -> None:
        for key in keys:
            await pilot.press(key)

    async def shown(kind: type[Screen[Any]]) -> None:
        await until(pilot, lambda: isinstance(app.screen, kind), kind.__name__)

    async def idle() -> None:
        await until(pilot, lambda: (pane := app.screen.pane) and not pane.working, "the tab")  # type: ignore[attr-defined]

    await until(pilot, lambda: app.context.watch.board.slot("A1").eid, "the rack")
    await press("d", "d", "g", "slash", "A", "escape", "space", "p", "escape", "R")
    # A slot, tab by tab, with work in each; its power is cut in the middle of a download.
    await press("enter")
    await shown(SlotScreen)
    for _ in range(7):
        await idle()
        await press("ctrl+pagedown")
    await idle()
    await press("down", "enter")
    await idle()
    await press("ctrl+pageup", *"00A40004022FE2", "enter")
    await idle()
    await press("escape", "2", "l")
    await shown(DownloadDialog)
    await until(pilot, lambda: app.screen.query_one("#names", OptionList).option_count, "the names")
    app.screen.query_one("#what", Input).value = "operational-b"
    app.screen.query_one("#cut", Checkbox).value = True
    await press("enter")
    await until(pilot, lambda: app.context.watch.board.slot("B1").power == "off", "the cut")
    await press("o")
    await shown(PowerMenu)
    await press("n")
    await until(pilot, lambda: app.context.watch.board.slot("B1").power == "on", "the power")
    # Its trace: filters, search, marks, a copy, a diff, an export.
    await press("t")
    await shown(TraceScreen)
    await until(pilot, lambda: app.screen.log_view.total > 100, "the trace")  # type: ignore[attr-defined]
    await press("home", "end", "up", "p", "p", "exclamation_mark", "0", "f", "t", "t", "b", "B", "escape", "y")
    await press("slash", *"9000", "enter", "n", "escape", "F", "escape", "g", "escape", "d", "escape", "e", "escape")
    # A plan that is run, the history, what is wrong, the help, the palette.
    await press("f4")
    await shown(ScenariosScreen)
    app.plan_run(["A1"], "zero_touch")
    await until(pilot, lambda: app.screen.query("#fields Field"), "the plan")
    await press("s")
    await until(pilot, lambda: len(app.live_runs.running) == 0 and len(app.live_runs), "the run")
    await press("f5")
    await shown(RunsScreen)
    await until(pilot, lambda: app.screen.query_one("#steps", OptionList).option_count, "a run")
    await press("c", "down", "c")
    await shown(CompareScreen)
    await press("escape", "v")
    await shown(TrendsScreen)
    await press("escape", "f6", "escape", "f1", "escape", "ctrl+p", "escape", "f2")


async def test_nothing_waits_for_a_file_a_database_or_a_device(app: BenchApp) -> None:
    dog = Watchdog()
    async with app.run_test(size=(80, 24)) as pilot:
        try:
            with dog.watch():
                await work_through(app, pilot)
        finally:
            await app.context.desk.close()
    assert dog.calls > 100_000
    assert dict(dog.seen) == {}
    assert [one.trouble.kind for one in app.problems] == ["PowerCut"]
