"""The slot's screen: its tabs, what stands above them, the power, and what goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Footer, Input, Static

from esim_bench.desk.api import Trouble
from esim_bench.tui.app import BenchApp
from esim_bench.tui.help import Help
from esim_bench.tui.slot.download import DownloadDialog
from esim_bench.tui.slot.header import Header, TabLabel
from esim_bench.tui.slot.overview import OverviewPane
from esim_bench.tui.slot.pane import Note
from esim_bench.tui.slot.power import PowerMenu
from esim_bench.tui.slot.screen import PANES, SlotScreen
from esim_bench.tui.trace.screen import TraceScreen

Make = Callable[..., BenchApp]
GONE = Trouble(kind="TransportError", what="the reader has gone", where="B1", hint="plug it in again")


async def until(pilot: Pilot[Any], holds: Callable[[], object]) -> None:
    for _ in range(200):
        if holds():
            await pilot.pause()
            return
        await pilot.pause(0.02)
    raise AssertionError("it did not come about")


async def opened(app: BenchApp, pilot: Pilot[Any], slot: str = "B1") -> SlotScreen:
    app.open_slot(slot)
    await until(pilot, lambda: isinstance(app.screen, SlotScreen) and app.screen.pane is not None)
    screen = app.screen
    assert isinstance(screen, SlotScreen)
    await until(pilot, lambda: screen.pane is not None and not screen.pane.working)
    return screen


async def test_a_slot_opens_with_what_is_known_of_it(bench_app: Make, size: tuple[int, int]) -> None:
    app = bench_app("sim-iot-3")
    async with app.run_test(size=size) as pilot:
        screen = await opened(app, pilot)
        await until(pilot, lambda: screen.about.reading is not None)
        head = str(screen.header.visual)
        assert "B1" in head
        assert "MFF2 · quectel-eg25" in head
        assert "● power on" in head
        assert "Bootstrap Global" in head
        overview = screen.query_one(OverviewPane)
        assert "89049032123451234539334277723602" in str(overview._card("identity").visual)
        assert "● enabled" in str(overview._card("profiles").visual)
        assert "home (cs, ps, eps, 5gs)" in str(overview._card("network").visual)
        # Nobody needs to scroll sideways, and all names of tabs are in sight.
        assert all(tab.region.right <= size[0] for tab in screen.query(TabLabel))
        assert screen.query_one(Footer).max_scroll_x == 0


async def test_the_overview_tells_what_is_known_also_when_there_is_nothing_to_read(
    bench_app: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OverviewPane, "wanted", False)
    app = bench_app("sim-iot-3")
    desk: Any = app.context.desk
    desk.hold("power")
    async with app.run_test(size=(120, 40)) as pilot:
        app.open_slot("B1")
        await until(pilot, lambda: app.screen.query(OverviewPane))
        overview = app.screen.query_one(OverviewPane)
        await until(pilot, lambda: "B1, MFF2, simulated" in str(overview._card("identity").visual))
        assert "not read yet" in str(overview._card("identity").visual)
        assert "Not read yet" in str(overview._card("profiles").visual)
        desk.go("power")


async def test_the_overview_leads_to_a_download(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(app, pilot)
        await pilot.press("l")
        await until(pilot, lambda: isinstance(app.screen, DownloadDialog))
        await pilot.press("escape")
        assert isinstance(screen.pane, PANES[1])


async def test_escape_leads_back_from_the_trace_to_the_slot(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(app, pilot)
        await pilot.press("t")
        await until(pilot, lambda: isinstance(app.screen, TraceScreen) and app.screen.is_ready)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen)
        # A key of the bar is no way that leads back.
        await pilot.press("f3", "escape")
        assert isinstance(app.screen, TraceScreen)


async def test_every_tab_fits(bench_app: Make, size: tuple[int, int]) -> None:
    app = bench_app("sim-iot-3")
    async with app.run_test(size=size) as pilot:
        screen = await opened(app, pilot)
        for number, pane in enumerate(PANES, 1):
            screen.action_tab(number)
            await until(pilot, lambda pane=pane: isinstance(screen.pane, pane) and not screen.pane.working)  # type: ignore[misc]
            # All keys are in sight, and the tab has the room between the names of the tabs and the keys.
            footer = screen.query_one(Footer)
            assert footer.max_scroll_x == 0, pane.LABEL
            assert screen.pane is not None
            assert screen.pane.region.bottom == footer.region.y
            assert screen.pane.max_scroll_y == 0
        screen.action_power()
        await until(pilot, lambda: isinstance(app.screen, PowerMenu))
        assert app.screen.query_one("#cycle").region.bottom < size[1]


async def test_tabs_by_keys_and_by_mouse(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(app, pilot)
        await pilot.press("2", "4")
        assert isinstance(screen.pane, PANES[3])
        for tab in [*screen.query(TabLabel)][5:]:
            await pilot.click(tab)
            await until(pilot, lambda tab=tab: isinstance(screen.pane, PANES[tab.number - 1]))  # type: ignore[misc]
            assert tab.has_class("-active")
            assert [pane for pane in screen._panes.values() if pane.display] == [screen.pane]
        await pilot.press("ctrl+pagedown")
        assert screen.number == 1
        await pilot.press("ctrl+pageup")
        assert screen.number == 8


async def test_a_tab_is_read_when_it_is_first_shown_and_when_asked_to(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    desk: Any = app.context.desk
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(app, pilot)
        assert not desk.called("info")
        await pilot.press("3")
        await until(pilot, lambda: desk.called("info"))
        await pilot.press("1")
        await pilot.press("3")
        await until(pilot, lambda: screen.pane is not None and not screen.pane.working)
        assert len(desk.called("info")) == 1
        await pilot.press("r")
        await until(pilot, lambda: len(desk.called("info")) == 2)


async def test_a_job_says_what_it_is_and_since_when(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    desk: Any = app.context.desk
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(app, pilot)
        desk.hold("info")
        await pilot.press("3")
        await until(pilot, lambda: "reading the eUICC's information  for 0 s" in str(screen.header.visual))
        screen.about.since -= 75
        screen.header.renew()
        assert "for 1:15 min" in str(screen.header.visual)
        assert screen.query_one("#pane-euicc").query_one(Note).text == "Reading B1 …"
        desk.go("info")
        await until(pilot, lambda: "idle" in str(screen.header.visual))


async def test_what_goes_wrong_is_a_sentence_with_a_hint_in_place(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    desk: Any = app.context.desk
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(app, pilot)
        desk.fail("info", GONE)
        await pilot.press("3")
        await until(pilot, lambda: screen.pane is not None and screen.pane.note.text)
        await until(pilot, lambda: screen.pane is not None and not screen.pane.working)
        assert screen.pane is not None
        assert screen.pane.note.text == "B1: the reader has gone → plug it in again"
        assert app.problems.unseen == 1
        assert not [*app._notifications]
        # It is not asked again by itself, only when somebody says so.
        await pilot.pause(0.3)
        assert len(desk.called("info")) == 1
        await pilot.press("r")
        await until(pilot, lambda: len(desk.called("info")) == 2 and not screen.pane.note.text)  # type: ignore[union-attr]


async def test_what_goes_wrong_after_the_screen_was_left_is_still_said(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    desk: Any = app.context.desk
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(app, pilot)
        desk.hold("info")
        desk.fail("info", GONE)
        await pilot.press("3")
        await until(pilot, lambda: desk.called("info"))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, SlotScreen))
        desk.go("info")
        await until(pilot, lambda: [*app._notifications])
        assert "plug it in again" in next(iter(app._notifications)).message


async def test_power_by_keys(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    desk: Any = app.context.desk
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(app, pilot)
        await pilot.press("o")
        await until(pilot, lambda: isinstance(app.screen, PowerMenu))
        await pilot.press("f")
        await until(pilot, lambda: "○ power off" in str(screen.header.visual))
        assert "(the modem's port is gone)" in str(screen.header.visual)
        await pilot.press("o", "n")
        await until(pilot, lambda: "(the modem's port speaks)" in str(screen.header.visual))
        assert [name for name, _ in desk.calls if name.startswith("power_")] == ["power_off", "power_on"]


async def test_power_cycle_by_mouse_with_seconds_that_are_remembered(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    desk: Any = app.context.desk
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(app, pilot)
        await pilot.press("o")
        await until(pilot, lambda: isinstance(app.screen, PowerMenu))
        seconds = app.screen.query_one("#seconds", Input)
        seconds.value = "soon"
        await pilot.click("#cycle")
        assert "0 to 3600" in str(app.screen.query_one("#wrong", Static).visual)
        seconds.value = "2,5"
        await until(pilot, lambda: not app.screen.query_one("#cycle").has_class("-active"))
        await pilot.click("#cycle")
        await until(pilot, lambda: desk.called("power_cycle"))
        assert desk.called("power_cycle") == [("B1", 2.5)]
        await until(pilot, lambda: isinstance(app.screen, SlotScreen))
        await pilot.press("o")
        await until(pilot, lambda: isinstance(app.screen, PowerMenu))
        assert app.screen.query_one("#seconds", Input).value == "2.5"
        await pilot.press("escape")


async def test_a_cut_breaks_into_what_goes_on(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    desk: Any = app.context.desk
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(app, pilot)
        desk.hold("info")
        await pilot.press("3")
        await until(pilot, lambda: screen.about.view.activity == "by hand")
        await pilot.press("o")
        await until(pilot, lambda: isinstance(app.screen, PowerMenu))
        assert "reading the eUICC's information" in str(app.screen.query_one("#state", Static).visual)
        await pilot.press("f")
        await until(pilot, lambda: screen.pane is not None and "cut during" in screen.pane.note.text)
        desk.go("info")
        await pilot.pause(0.3)
        assert "cut during" in screen.pane.note.text  # type: ignore[union-attr]
        await pilot.press("o", "n")
        # With the power back, the tab is read without having been asked to.
        await until(pilot, lambda: len(desk.called("info")) == 2 and screen.pane and not screen.pane.note.text)


async def test_without_power_nothing_is_asked_for(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    desk: Any = app.context.desk
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(app, pilot)
        await pilot.press("o", "f")
        await until(pilot, lambda: screen.about.power.state == "off")
        await pilot.press("3")
        await until(pilot, lambda: isinstance(screen.pane, PANES[2]) and "has no power" in screen.pane.note.text)
        assert not desk.called("info")
        await pilot.press("o", "n")
        await until(pilot, lambda: desk.called("info") and screen.pane and not screen.pane.note.text)


async def test_a_run_has_the_slot(bench_app: Make) -> None:
    import dataclasses

    app = bench_app("sim-iot-3")
    desk: Any = app.context.desk
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(app, pilot)
        app.context.watch.close()  # the board is what the test says from now on
        board = app.context.watch.board
        idle = board.slot("B1")
        run = dataclasses.replace(
            idle, activity="run", scenario="switch", doing="enable", foreign=True, progress=(2, 5)
        )
        board.put([run])
        screen.on_bench(frozenset(("B1",)))
        assert "▶ run switch: enable  2/5 ███░░░░░  for 0 s  by another process" in str(screen.header.visual)
        await pilot.press("3")
        await until(pilot, lambda: isinstance(screen.pane, PANES[2]) and screen.pane.note.text)
        assert "belongs to a run of another process (switch)" in screen.pane.note.text  # type: ignore[union-attr]
        assert not desk.called("info")
        board.put([dataclasses.replace(idle, scenario="switch", outcome="FAIL", reason="enable: 6A88")])
        screen.on_bench(frozenset(("B1",)))
        await until(pilot, lambda: desk.called("info"))
        assert "✗ FAIL" in str(screen.header.visual)
        await pilot.press("1")
        await pilot.pause()
        assert "enable: 6A88" in str(screen.query_one(OverviewPane)._card("runs").visual)


async def test_trouble_of_a_slot_stands_on_top_of_the_overview(bench_app: Make) -> None:
    import dataclasses

    app = bench_app("sim-iot-3")
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(app, pilot)
        app.context.watch.close()
        board = app.context.watch.board
        board.put([dataclasses.replace(board.slot("B1"), trouble=GONE)])
        screen.on_bench(frozenset(("B1",)))
        await pilot.pause()
        card = screen.query_one(OverviewPane)._card("wrong")
        assert "the reader has gone" in str(card.visual)
        assert "plug it in again" in str(card.visual)
        assert card.region.y < screen.query_one(OverviewPane)._card("identity").region.y
        assert "▲" in str(screen.query_one(Header).visual)


async def test_help_and_ways_out(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(app, pilot)
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(app.screen, Help))
        await pilot.press("escape")
        titles = [title for title, _, _ in screen.commands()]
        assert "B1: power off" in titles
        assert "B1: Files" in titles
        ways: list[Any] = []
        app.open_trace = lambda *args: ways.append(("trace", *args))  # type: ignore[method-assign]
        app.plan_run = lambda *args: ways.append(("run", *args))  # type: ignore[method-assign]
        await pilot.press("t", "x")
        assert ways == [("trace", ["B1"]), ("run", ["B1"])]
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, SlotScreen))


async def test_a_slot_that_the_rack_file_has_no_more_is_left(bench_app: Make) -> None:
    app = bench_app("sim-iot-3")
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(app, pilot)
        app.context.rack.slots = tuple(slot for slot in app.context.rack.slots if slot.name != "B1")
        screen.on_bench(frozenset(("rack",)))
        await until(pilot, lambda: not isinstance(app.screen, SlotScreen))
