"""The slot's screen with the real desk, in its own process, on a simulated rack."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from textual.pilot import Pilot
from textual.widgets import DataTable, Input, Static

from esim_bench.desk.client import RemoteDesk
from esim_bench.tui.app import BenchApp
from esim_bench.tui.slot.console import CommandLine
from esim_bench.tui.slot.download import DownloadDialog
from esim_bench.tui.slot.power import PowerMenu
from esim_bench.tui.slot.screen import SlotScreen

SECONDS = 30.0


async def until(pilot: Pilot[Any], holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if holds():
            await pilot.pause()
            return
        await pilot.pause(0.05)
    raise AssertionError("it did not come about")


def states(pane: Any) -> list[str]:
    table: DataTable[Any] = pane.query_one(DataTable)
    return [" ".join(map(str, table.get_row_at(number)[:3])) for number in range(table.row_count)]


async def test_an_engineer_downloads_switches_looks_and_cuts_the_power(bench_app: Callable[..., BenchApp]) -> None:
    app = bench_app("sim-3", lambda rack: RemoteDesk(rack.path, patience=5.0))
    async with app.run_test(size=(120, 40)) as pilot:
        try:
            app.open_slot("B1")
            await until(pilot, lambda: isinstance(app.screen, SlotScreen) and app.screen.pane is not None)
            screen: Any = app.screen

            async def tab(number: int) -> Any:
                screen.action_tab(number)
                await until(pilot, lambda: screen.number == number and screen.pane.is_mounted)
                await until(pilot, lambda: not screen.pane.working)
                assert not screen.pane.note.text, screen.pane.note.text
                return screen.pane

            await until(pilot, lambda: screen.about.reading is not None)
            assert "Bootstrap Global" in str(screen.header.visual)

            profiles = await tab(2)
            await pilot.press("l")
            await until(pilot, lambda: isinstance(app.screen, DownloadDialog))
            await until(pilot, lambda: app.screen.query_one("#names").option_count)  # type: ignore[attr-defined]
            app.screen.query_one("#what", Input).value = "operational-a"
            await pilot.press("enter")
            await until(pilot, lambda: len(states(profiles)) == 2 and not profiles.working)
            await pilot.press("down", "e")
            await until(pilot, lambda: states(profiles)[1].startswith("● enabled") and not profiles.working)
            # What is seen from beside says the same as what was asked.
            await until(
                pilot, lambda: screen.about.view.enabled and screen.about.view.enabled.iccid in states(profiles)[1]
            )

            euicc = await tab(3)
            assert euicc.query_one("#branches").root.children
            await tab(4)
            await tab(5)
            modem = await tab(6)
            modem.query_one(CommandLine).value = "AT+CSQ"
            await pilot.press("enter")
            await until(pilot, lambda: "dBm" in str(modem.query(".answer").last(Static).visual))
            apdu = await tab(7)
            apdu.query_one(CommandLine).value = "GetEID"
            await pilot.press("enter")
            await until(pilot, lambda: apdu.exchanges and apdu.exchanges[0].sw == "9000")
            files = await tab(8)
            assert files.known.root.children

            await pilot.press("o")
            await until(pilot, lambda: isinstance(app.screen, PowerMenu))
            await pilot.press("f")
            await until(pilot, lambda: "○ power off" in str(screen.header.visual))
            screen.action_tab(2)
            await pilot.press("r")
            await until(pilot, lambda: "power it on first" in profiles.note.text)
            await pilot.press("o", "n")
            await until(pilot, lambda: "● power on" in str(screen.header.visual))
            await until(pilot, lambda: not profiles.working and not profiles.note.text)
        finally:
            await app.context.desk.close()
