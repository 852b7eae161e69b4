"""The scenarios' screen: a plan, its mistakes, a live run, questions, abort; by keys and by mouse."""

from collections.abc import Callable
from typing import Any

from textual.pilot import Pilot
from textual.widgets import Input, OptionList, Static

from esim_bench.desk.api import RunEnded, RunQuestion, RunStep
from esim_bench.scenario.registry import SCENARIOS
from esim_bench.tui.app import BenchApp
from esim_bench.tui.dialogs import Confirm
from esim_bench.tui.scenarios.live import LivePane, QuestionDialog
from esim_bench.tui.scenarios.plan import Field, PlanForm
from esim_bench.tui.scenarios.screen import ScenariosScreen
from esim_bench.tui.trace.screen import TraceScreen

Pilots = Pilot[None]
Make = Callable[..., BenchApp]


async def until(pilot: Pilots, true: Callable[[], object], what: str = "it") -> None:
    for _ in range(800):
        await pilot.pause(0.01)
        if true():
            return
    raise AssertionError(f"waited for {what}")


async def opened(app: BenchApp, pilot: Pilots, scenario: str = "switch") -> ScenariosScreen:
    await pilot.press("f4")
    await until(pilot, lambda: isinstance(app.screen, ScenariosScreen), "the screen")
    screen = app.screen
    assert isinstance(screen, ScenariosScreen)
    screen.plan(["A1"], scenario, {})
    wanted = {item["name"] for item in SCENARIOS[scenario].parameters()}
    await until(
        pilot,
        lambda: {one.key for one in screen.query("#fields Field").results(Field) if one.query(Input)} == wanted,
        "the form",
    )
    await pilot.pause(0.1)
    return screen


def log(screen: ScenariosScreen) -> list[str]:
    steps = screen.query_one("#steps", OptionList)
    return [str(steps.get_option_at_index(number).prompt).strip() for number in range(steps.option_count)]


async def started(app: BenchApp, pilot: Pilots, screen: ScenariosScreen) -> str:
    await pilot.press("s")
    await until(pilot, lambda: len(app.live_runs), "the run")
    return next(iter(app.live_runs)).key


async def test_a_run_is_planned_started_and_watched(bench_app: Make, size: tuple[int, int]) -> None:
    app = bench_app()
    async with app.run_test(size=size) as pilot:
        screen = await opened(app, pilot)
        key = await started(app, pilot, screen)
        desk: Any = app.context.desk
        request = next(iter(app.live_runs)).request
        assert (request.scenario, request.slots) == ("switch", ["A1"])
        desk.tell(RunStep(key=key, slot="A1", step="a step of ours", outcome=None))
        await until(pilot, lambda: any("a step of ours" in line for line in log(screen)), "the step")
        desk.tell(RunStep(key=key, slot="A1", step="a step of ours", outcome="PASS"))
        await until(pilot, lambda: any(line.startswith("✓ a step of ours") for line in log(screen)), "its end")
        desk.tell(RunEnded(key=key, run="r", outcome="PASS"))
        head = screen.query_one("#head", Static)
        await until(pilot, lambda: "✓ PASS" in str(head.render()), "the outcome")
        await pilot.press("t")
        await until(pilot, lambda: isinstance(app.screen, TraceScreen), "the trace")


async def test_mistakes_are_said_beside_their_fields(bench_app: Make, size: tuple[int, int]) -> None:
    app = bench_app()
    async with app.run_test(size=size) as pilot:
        screen = await opened(app, pilot)
        fields = {field.key: field for field in screen.query(Field)}
        fields["rounds"].query_one(Input).value = "many"
        fields["seed"].query_one(Input).value = "-1"
        assert screen.query_one(PlanForm).request() is None
        assert fields["rounds"].query_one(".wrong").display
        assert "expected a number" in str(fields["seed"].query_one(".wrong", Static).render())
        fields["rounds"].query_one(Input).value = "2"
        fields["seed"].query_one(Input).value = "7"
        request = screen.query_one(PlanForm).request()
        assert request is not None
        assert (request.params, request.seed) == ({"rounds": "2"}, 7)
        screen.plan([], None, {})
        assert screen.query_one(PlanForm).request() is None
        assert "No slot is ticked" in str(screen.query_one("#wrong", Static).render())


async def test_slots_that_cannot_run_it_are_not_offered(bench_app: Make) -> None:
    app = bench_app()
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(app, pilot, "psmo_switch")
        assert screen.query_one(PlanForm).request() is None
        assert "it needs a device with an IPA" in str(screen.query_one("#none", Static).render())
        screen.plan([], "switch", {})
        assert not screen.query_one("#none").display


async def test_slots_are_ticked_by_keys_and_by_mouse(bench_app: Make, size: tuple[int, int]) -> None:
    app = bench_app()
    async with app.run_test(size=size) as pilot:
        screen = await opened(app, pilot)
        screen.plan([], "switch", {})
        await pilot.pause(0.1)
        await pilot.press("enter", "space", "down")
        await pilot.press("space")
        await until(pilot, lambda: (r := screen.query_one(PlanForm).request()) and r.slots == ["A1", "B1"], "two")
        await pilot.click("#slots", offset=(8, 2))
        await until(pilot, lambda: (r := screen.query_one(PlanForm).request()) and len(r.slots) == 3, "three")


async def test_a_question_is_asked_answered_and_goes_away(bench_app: Make, size: tuple[int, int]) -> None:
    app = bench_app()
    async with app.run_test(size=size) as pilot:
        screen = await opened(app, pilot)
        key = await started(app, pilot, screen)
        desk: Any = app.context.desk
        desk.tell(RunQuestion(key=key, slot="A1", text="take the card out of A1"))
        await until(pilot, lambda: isinstance(app.screen, QuestionDialog), "the question")
        desk.tell(RunQuestion(key=key, slot="A1", text=None))
        await until(pilot, lambda: app.screen is screen, "that it goes away")
        desk.tell(RunQuestion(key=key, slot="A1", text="put it in again"))
        await until(pilot, lambda: isinstance(app.screen, QuestionDialog), "the next question")
        await pilot.press("d")
        await until(pilot, lambda: any(call[0] == "answer" for call in desk.calls), "the answer")


async def test_an_abort_asks_once(bench_app: Make) -> None:
    app = bench_app()
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(app, pilot)
        await started(app, pilot, screen)
        await until(pilot, lambda: screen.query_one(LivePane).own is not None, "the run in the list")
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the question")
        await pilot.press("y")
        desk: Any = app.context.desk
        await until(pilot, lambda: any(call[0] == "abort_run" for call in desk.calls), "the abort")
