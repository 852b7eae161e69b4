"""``make screenshots``: the pictures of the README, taken from the real screen on the demo's rack.

Everything in them has happened: runs of the scenarios fill the history, the desk reads the slots.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

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


def make_past() -> None:
    """Fill the history with runs of several seeds."""
    from esim_bench.rack.model import load_rack
    from esim_bench.scenario import engine, registry

    rack = load_rack("demo")
    for seed in range(REPEATS):
        for name, patterns in PAST:
            chosen = registry.scenario(name)
            engine.run_scenario(
                rack, rack.select(patterns), chosen, chosen.parse({}), engine.RunOptions(seed=seed), None
            )


async def take() -> None:
    """Go through the screens and save a picture of each."""
    from esim_bench.rack.model import load_rack
    from esim_bench.tui.start import make_app

    app = make_app(load_rack("demo"), rate=20.0)
    app.trap = False

    async with app.run_test(size=SIZE) as pilot:

        async def until(there: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
            for _ in range(int(seconds * 20)):
                await pilot.pause(0.05)
                if there():
                    return
            app.save_screenshot(str(PLACE / "stuck.svg"))
            raise SystemExit(f"gave up waiting for {what}; see stuck.svg")

        def shows(text: str) -> Callable[[], bool]:
            return lambda: text in app.export_screenshot().replace("&#160;", " ")

        async def save(name: str) -> None:
            await pilot.pause(0.5)
            (PLACE / f"{name}.svg").write_text(app.export_screenshot(title="esim-bench") + "\n")

        await STORY(app, pilot, until, shows, save)


async def STORY(app, pilot, until, shows, save) -> None:  # type: ignore[no-untyped-def]
    desk = app.context.desk
    await asyncio.gather(*(desk.read(slot.name) for slot in app.context.rack.slots))
    await until(shows("A1"), "the rack")
    await save("rack")


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
