"""What goes wrong while the screen is open: it says what happened and what to do, and goes on."""

import asyncio
import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from esim_bench.desk.api import SlotTrouble, Trouble
from esim_bench.desk.client import RemoteDesk
from esim_bench.desk.local import LocalDesk
from esim_bench.rack.model import load_rack
from esim_bench.tui.app import BenchApp
from esim_bench.tui.problems import ProblemList
from esim_bench.tui.rack.screen import RackScreen
from esim_bench.tui.slot.screen import SlotScreen

Pilots = Pilot[None]
App = Callable[..., BenchApp]
SIZE = (120, 40)


async def until(pilot: Pilots, true: Callable[[], object], what: str) -> None:
    for _ in range(1500):
        await pilot.pause(0.02)
        if true():
            return
    raise AssertionError(f"waited for {what}")


async def ended(app: BenchApp) -> None:
    while app.return_code is None:  # noqa: ASYNC110 (there is no event for it)
        await asyncio.sleep(0.01)


def said(app: BenchApp) -> list[Trouble]:
    return [problem.trouble for problem in app.problems]


def screen_text(app: BenchApp) -> str:
    return app.export_screenshot().replace("&#160;", " ")


async def read(app: BenchApp, pilot: Pilots, slot: str) -> int:
    """Read a slot's profiles by a job of the app; return how many there are."""
    found: list[Any] = []
    app.job(app.context.desk.profiles(slot), "read", slot=slot, done=found.append)
    await until(pilot, lambda: found, f"the profiles of {slot}")
    return len(found[0])


CARDS = """
[rack]
name = "cards"
[[slot]]
name = "A1"
form_factor = "4FF"
sim = { personality = "4ff", profile = "bootstrap-global" }
[[slot]]
name = "B1"
form_factor = "4FF"
sim = { personality = "4ff", profile = "bootstrap-global" }
"""


async def test_a_card_that_is_pulled(bench_app: App, tmp_path: Path) -> None:
    (tmp_path / "cards.toml").write_text(CARDS)
    app = bench_app(str(tmp_path / "cards.toml"), lambda rack: LocalDesk(rack))
    async with app.run_test(size=SIZE) as pilot:
        assert await read(app, pilot, "A1") == 1
        desk: Any = app.context.desk
        hand = desk.keepers["A1"].slot.hardware.extras["hand"]
        hand.remove_card()
        await until(pilot, lambda: said(app), "what happened")
        trouble = said(app)[-1]
        assert "A1" in trouble.sentence
        assert trouble.hint
        await until(pilot, lambda: app.context.watch.board.slot("A1").trouble is not None, "the rack's card")
        await until(pilot, lambda: "▲" in screen_text(app), "a sign that needs no colour")
        assert await read(app, pilot, "B1") == 1, "another slot goes on"
        hand.insert_card()
        await desk.release("A1")
        assert await read(app, pilot, "A1") == 1
        await desk.close()


async def test_a_desk_whose_process_is_killed(bench_app: App) -> None:
    app = bench_app("sim-3", lambda rack: RemoteDesk(rack.path))
    async with app.run_test(size=SIZE) as pilot:
        assert await read(app, pilot, "A1") == 1
        desk: Any = app.context.desk
        os.kill(desk.pid, signal.SIGKILL)
        await until(pilot, lambda: said(app), "what happened")
        assert said(app)[-1].hint
        assert await read(app, pilot, "A1") == 1, "the next one works"
        await desk.close()


async def test_a_driver_s_task_that_dies(bench_app: App) -> None:
    app = bench_app()
    async with app.run_test(size=SIZE) as pilot:
        dead = Trouble(kind="crash", what="the driver's task ended: ValueError: odd", where="B1", hint="read the slot")
        app.context.desk.tell(SlotTrouble(slot="B1", trouble=dead))  # type: ignore[attr-defined]
        await until(pilot, lambda: dead in said(app), "what happened")
        await until(pilot, lambda: app.context.watch.board.slot("B1").trouble == dead, "the rack's card")
        await pilot.press("f6")
        await until(pilot, lambda: isinstance(app.screen, ProblemList), "the list")
        assert "the driver's task ended" in screen_text(app).replace("&#x27;", "'")
        assert "what to do" in screen_text(app)
        await pilot.press("escape")
        app.context.desk.tell(SlotTrouble(slot="B1", trouble=None))  # type: ignore[attr-defined]
        await until(pilot, lambda: app.context.watch.board.slot("B1").trouble is None, "its end")


async def test_a_full_disk(bench_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    write, full = os.write, True

    def limited(descriptor: int, data: bytes) -> int:
        if full and os.readlink(f"/proc/self/fd/{descriptor}").endswith(".pcapng"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", limited)
    app = bench_app("sim-3", lambda rack: LocalDesk(rack))
    async with app.run_test(size=SIZE) as pilot:
        assert await read(app, pilot, "A1") == 1, "the work goes on"
        await until(pilot, lambda: any("No space left" in one.sentence for one in said(app)), "what happened")
        assert any("make room" in one.hint for one in said(app))
        full = False
        assert await read(app, pilot, "A1") == 1
        await app.context.desk.close()


async def test_a_state_that_cannot_be_saved(bench_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("esim_bench.tui.state.write_whole", fails)
    app = bench_app()
    async with app.run_test(size=SIZE) as pilot:
        app.context.state.set("x", 1)
        app._save()
        await pilot.pause(0.2)
        assert await read(app, pilot, "A1")


async def test_a_rack_file_that_is_broken_and_mended(bench_app: App, tmp_path: Path) -> None:
    path = tmp_path / "rack.toml"
    good = load_rack("sim-3").path.read_text()
    path.write_text(good)
    app = bench_app(str(path))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: "A1" in screen_text(app), "the rack")
        path.write_text(good + "\n[[slot]\n")
        await until(pilot, lambda: said(app), "what is wrong")
        assert "rack.toml" in said(app)[-1].sentence
        assert "stays as it was" in said(app)[-1].hint
        assert "A1" in screen_text(app)
        path.write_text(good.replace('name = "A1"', 'name = "Z9"'))
        await until(pilot, lambda: "Z9" in screen_text(app), "the new slot")
        assert app.context.rack.slots[0].name == "Z9"
        app.open_slot("Z9")
        await until(pilot, lambda: isinstance(app.screen, SlotScreen), "its screen")
        path.write_text(good)
        await until(pilot, lambda: isinstance(app.screen, RackScreen), "the rack: the slot is gone")


def test_no_traceback_is_shown_for_our_own_mistakes(bench_app: App, capsys: pytest.CaptureFixture[str]) -> None:
    app = bench_app()
    app.trap = True

    async def main() -> None:
        async with app.run_test(size=SIZE) as pilot:
            await pilot.pause()

            def wrong() -> None:
                raise ValueError("a mistake of ours")

            app.call_later(wrong)
            async with asyncio.timeout(30):
                await ended(app)

    asyncio.run(asyncio.wait_for(main(), 30))
    assert app.return_code == 2
    said = capsys.readouterr().err
    assert "stopped by a mistake of its own: a mistake of ours" in said
    assert "Traceback" not in said
    log = Path(os.environ["ESIM_BENCH_HOME"], "tui.log").read_text()
    assert "Traceback" in log
    assert "a mistake of ours" in log
