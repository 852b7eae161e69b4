"""The runs' screen on a history of real runs, by keys and by mouse."""

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, Static

from esim_bench.rack.model import load_rack
from esim_bench.scenario import engine, registry
from esim_bench.tui.app import BenchApp
from esim_bench.tui.runs.compare import CompareScreen
from esim_bench.tui.runs.screen import RunsScreen
from esim_bench.tui.runs.trends import TrendsScreen
from esim_bench.tui.scenarios.screen import ScenariosScreen
from esim_bench.tui.trace.screen import TraceScreen
from esim_bench.tui.widgets.plot import Plot

Pilots = Pilot[None]
Make = Callable[..., BenchApp]


@pytest.fixture
def app(bench_app: Make) -> BenchApp:
    """An app, and two runs in the history."""
    rack = load_rack("sim-3")
    for name, slots in (("provision", ["A1"]), ("switch", ["A1", "B1"])):
        chosen = registry.scenario(name)
        engine.run_scenario(rack, rack.select(slots), chosen, chosen.parse({}), engine.RunOptions(), None)
    return bench_app()


async def until(pilot: Pilots, true: Callable[[], object], what: str = "it") -> None:
    for _ in range(800):
        await pilot.pause(0.01)
        if true():
            return
    raise AssertionError(f"waited for {what}")


async def opened(app: BenchApp, pilot: Pilots) -> RunsScreen:
    await pilot.press("f5")
    await until(pilot, lambda: isinstance(app.screen, RunsScreen), "the screen")
    screen = app.screen
    assert isinstance(screen, RunsScreen)
    await until(pilot, lambda: screen.query_one("#steps", OptionList).option_count, "a run")
    return screen


def about(screen: RunsScreen) -> str:
    return str(screen.query_one("#about", Static).render())


async def test_a_run_is_found_and_looked_into(app: BenchApp, size: tuple[int, int]) -> None:
    async with app.run_test(size=size) as pilot:
        screen = await opened(app, pilot)
        await until(pilot, lambda: "switch" in about(screen), "the newest")
        await pilot.press("down")
        await until(pilot, lambda: "provision" in about(screen), "the one before")
        await pilot.press("slash", *"switch")
        await until(pilot, lambda: screen.query_one("#runs", OptionList).option_count == 1, "the search")
        await until(pilot, lambda: "switch" in about(screen), "what was found")
        await pilot.press("enter", "enter")
        assert app.focused is screen.query_one("#steps")
        await pilot.press("escape", "slash", "escape")
        await until(pilot, lambda: screen.query_one("#runs", OptionList).option_count == 2, "all of them")


async def test_a_step_leads_to_the_trace_where_it_began(app: BenchApp) -> None:
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(app, pilot)
        await pilot.press("enter")
        steps = screen.query_one("#steps", OptionList)
        place = next(i for i in range(steps.option_count) if "switch there" in str(steps.get_option_at_index(i).prompt))
        steps.highlighted = place
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, TraceScreen), "the trace")
        trace = app.screen
        assert isinstance(trace, TraceScreen)
        await until(
            pilot, lambda: any("step switch there" in row.text for row in trace.log_view.shown()), "where it began"
        )
        assert trace.row is not None
        assert trace.row.anchor.n > 50


async def test_a_click_chooses_a_run(app: BenchApp, size: tuple[int, int]) -> None:
    async with app.run_test(size=size) as pilot:
        screen = await opened(app, pilot)
        await pilot.click("#runs", offset=(6, 1))
        await until(pilot, lambda: "provision" in about(screen), "the second")


async def test_two_runs_are_compared_and_trends_are_drawn(app: BenchApp, size: tuple[int, int]) -> None:
    async with app.run_test(size=size) as pilot:
        await opened(app, pilot)
        await pilot.press("c", "down", "c")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen), "the comparison")
        told = str(app.screen.query_one("#which", Static).render())
        assert "steps ended otherwise" in told
        await pilot.press("n", "escape")
        await until(pilot, lambda: isinstance(app.screen, RunsScreen))
        await pilot.press("v")
        await until(pilot, lambda: isinstance(app.screen, TrendsScreen), "the trends")
        await until(pilot, lambda: len(app.screen.query(Plot)) >= 1, "plots")
        await pilot.press("s")
        await until(pilot, lambda: "Runs of provision" in str(app.screen.query_one("#of", Static).render()), "of one")


async def test_a_report_is_written_and_the_run_planned_again(app: BenchApp, tmp_path: Path) -> None:
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(app, pilot)
        target = tmp_path / "report.xml"
        await pilot.press("j")
        await until(pilot, lambda: isinstance(app.focused, Input) and app.focused.id == "text", "the line")
        app.focused.value = str(target)  # type: ignore[union-attr]
        await pilot.press("enter")
        await until(pilot, target.exists, "the file")
        assert ET.fromstring(target.read_text()).tag == "testsuites"
        await until(pilot, lambda: isinstance(app.screen, RunsScreen))
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, ScenariosScreen), "the plan")


async def test_an_empty_history_says_what_to_do(bench_app: Make, size: tuple[int, int]) -> None:
    app = bench_app()
    async with app.run_test(size=size) as pilot:
        await pilot.press("f5")
        await until(pilot, lambda: isinstance(app.screen, RunsScreen))
        count = app.screen.query_one("#count", Static)
        await until(pilot, lambda: "no run yet: F4 starts one" in str(count.render()), "the sentence")
