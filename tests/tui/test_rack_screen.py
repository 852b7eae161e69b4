"""The rack screen by keys and mouse: what each slot is, what is selected, and what is asked of the desk."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static

from esim_bench.desk.api import ProfileView, Trouble
from esim_bench.desk.board import SlotView
from esim_bench.desk.watch import Watch
from esim_bench.rack.model import load_rack
from esim_bench.scenario.engine import RunOptions, run_scenario
from esim_bench.scenario.registry import scenario
from esim_bench.tui.app import BenchApp
from esim_bench.tui.rack.grid import RackGrid
from esim_bench.tui.rack.power import PowerMenu
from esim_bench.tui.rack.screen import RackScreen

EID = "89049032123451234512345678901235"
PROFILES = (
    ProfileView(iccid="8988211000000000003", state="enabled", name="Bootstrap Global", provider="esim-bench"),
    ProfileView(iccid="8988211000000000011", state="disabled", name="Operational A"),
)
GONE = Trouble(kind="TransportError", what="the reader has gone", hint="plug it in again, then press R")


@pytest.fixture
def calm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the board to the test: nobody watches."""
    monkeypatch.setattr(Watch, "start", lambda self, changed: None)


@pytest.fixture
def big(tmp_path: Path) -> str:
    """Return the path of a rack of 64 slots: A01, B01, C01, A02, ..."""
    kinds = [("A", "4FF", ""), ("B", "MFF2", "quectel-eg25"), ("C", "iSIM", "sequans-gm02s")]
    lines = ['[rack]\nname = "big"\n']
    for number in range(64):
        letter, form_factor, module = kinds[number % 3]
        lines.append(f'[[slot]]\nname = "{letter}{number // 3 + 1:02}"\nform_factor = "{form_factor}"')
        lines.append(f'sim = {{ personality = "{form_factor.lower()}", profile = "bootstrap-global" }}')
        lines.append(f'module = "{module}"\n' if module else "")
    path = tmp_path / "big.toml"
    path.write_text("\n".join(lines))
    return str(path)


def grid_of(app: BenchApp) -> RackGrid:
    """Return the slots' widget."""
    return app.screen.query_one(RackGrid)


def seen(app: BenchApp) -> list[str]:
    """Return the lines of the slots' widget as they are on the screen."""
    grid = grid_of(app)
    return [grid.render_line(y).text for y in range(grid.size.height)]


def said(app: BenchApp, which: str) -> str:
    """Return the text of a part."""
    return str(app.screen.query_one(which, Static).content)


def put(app: BenchApp, name: str, **values: Any) -> SlotView:
    """Change what is known of a slot, and tell the screen."""
    board = app.context.watch.board
    view = replace(board.slot(name), **values)
    board.put([view])
    app.screen.on_bench(frozenset((name,)))  # type: ignore[attr-defined]
    return view


async def at(pilot: Pilot[None], name: str, **keys: bool) -> None:
    """Click on a slot."""
    grid = pilot.app.screen.query_one(RackGrid)
    place = grid.region_of(name)
    await pilot.click(grid, offset=(place.x + 4, place.y), **keys)


# -------------------------------------------------------------------------------- what is seen


@pytest.mark.usefixtures("calm")
async def test_the_rack_is_there_at_once(bench_app: Callable[..., BenchApp], size: tuple[int, int]) -> None:
    """From the rack file alone."""
    app = bench_app()
    async with app.run_test(size=size):
        lines = seen(app)
        assert all(any(name in line for line in lines) for name in ("A1", "B1", "C1", "MFF2"))
        assert any("not read" in line for line in lines)
        assert "3 slots" in said(app, "#summary")
        assert all(len(line) == grid_of(app).size.width for line in lines)


@pytest.mark.usefixtures("calm")
async def test_a_card_says_what_a_slot_is(bench_app: Callable[..., BenchApp], size: tuple[int, int]) -> None:
    """Two cards side by side also on the smallest screen."""
    app = bench_app()
    async with app.run_test(size=size) as pilot:
        put(app, "B1", eid=EID, profiles=PROFILES, operator="Example Net", registration="roaming", signal_dbm=-80)
        put(app, "B1", power="off", proof="the reader sees no card", outcome="PASS", scenario="switch", apdus=1234)
        put(app, "B1", activity="run", doing="download", progress=(3, 11), foreign=True)
        await pilot.press("d")
        await pilot.press("d")
        text = "\n".join(seen(app))
        assert grid_of(app).density == "cards"
        for part in ("quectel-eg25", EID, "◆ Bootstrap Global +1", "Example Net", "roaming ▂▄▆", "-80 dBm", "○ off"):
            assert part in text
        edges = [line.rstrip() for line in seen(app)]
        assert all(line[-1] in "╮┓│┃╯┛" for line in edges if line)
        for part in ("▶ switch download", "⇄ 3/11", "━━━"):
            assert part in text


@pytest.mark.usefixtures("calm")
async def test_sixty_four_slots_fit(bench_app: Callable[..., BenchApp], big: str, size: tuple[int, int]) -> None:
    """All of them at once on 120x40, a part on 80x24; every line has exactly the widget's width."""
    app = bench_app(big)
    async with app.run_test(size=size) as pilot:
        put(app, "C21", profiles=PROFILES, outcome="FAIL", scenario="switch", reason="verify: " + "x" * 300)
        grid = grid_of(app)
        assert len(grid.names) == 64
        shown = [name for name in grid.names if any(name in line for line in seen(app))]
        assert len(shown) == (64 if size[0] >= 120 else grid.size.height)
        await pilot.press("end")
        await pilot.pause()
        assert any(grid.names[-1] in line for line in seen(app))
        assert grid.names[-1] in said(app, "#details")
        for density in ("cards", "lines"):
            while grid.density != density:
                await pilot.press("d")
            assert {len(line) for line in seen(app)} == {grid.size.width}
            # Nothing lies under the scroll bar.
            bar = grid.scrollbar_size_vertical
            assert max(grid.region_of(name).right for name in grid.names) <= grid.size.width - bar


@pytest.mark.usefixtures("calm")
async def test_a_problem_shows_without_colour(bench_app: Callable[..., BenchApp]) -> None:
    """By its frame and its sign; what to do is said below."""
    app = bench_app()
    async with app.run_test(size=(120, 40)) as pilot:
        put(app, "B1", trouble=GONE)
        text = "\n".join(seen(app))
        assert "╔═ ▲ B1 MFF2" in text
        assert "▲ the reader has gone" in text
        assert "▲ 1 problem" in said(app, "#summary")
        await pilot.press("right")
        assert "plug it in again" in said(app, "#details")
        put(app, "B1", trouble=None, activity="run", question="take the card out")
        assert "▲ waits for you: take the card out" in "\n".join(seen(app))
        assert "F4 takes the answer" in said(app, "#details")
        put(app, "B1", question="")
        assert "╔" not in "\n".join(seen(app))


@pytest.mark.usefixtures("calm")
async def test_only_what_changed_is_drawn_again(bench_app: Callable[..., BenchApp], big: str) -> None:
    """Counters alone are not worth it at once."""
    app = bench_app(big)
    async with app.run_test(size=(200, 60)) as pilot:
        await pilot.press("d")
        await pilot.pause()
        grid = grid_of(app)
        assert grid.density == "cards"
        drawn = grid.drawn
        app.screen.on_bench(frozenset(grid.names))  # type: ignore[attr-defined]
        put(app, "A01", apdus=100, at_ns=5)
        await pilot.pause()
        assert grid.drawn == drawn
        put(app, "B01", doing="download", activity="run")
        await pilot.pause()
        assert grid.drawn == drawn + 1
        await pilot.pause(1.2)
        assert any("100 APDUs" in line for line in seen(app))


@pytest.mark.usefixtures("calm")
async def test_trouble_of_the_board_is_said_above(bench_app: Callable[..., BenchApp], size: tuple[int, int]) -> None:
    """As long as it lasts."""
    app = bench_app()
    async with app.run_test(size=size) as pilot:
        app.context.watch.board.trouble = Trouble(kind="ConfigError", what="not a run history", hint="move it away")
        app.screen.on_bench(frozenset(("board",)))  # type: ignore[attr-defined]
        await pilot.pause()
        assert app.screen.query_one("#board-trouble").display
        assert "not a run history → move it away" in said(app, "#board-trouble")
        assert app.trouble_count == 1
        app.context.watch.board.trouble = None
        app.screen.on_bench(frozenset(("board",)))  # type: ignore[attr-defined]
        assert not app.screen.query_one("#board-trouble").display


# ------------------------------------------------------------------------------------------------- which are shown


@pytest.mark.usefixtures("calm")
async def test_a_filter_takes_any_words(bench_app: Callable[..., BenchApp], big: str) -> None:
    """Each word must be there; escape shows all again."""
    app = bench_app(big)
    async with app.run_test(size=(80, 24)) as pilot:
        put(app, "C05", outcome="FAIL", scenario="power_cycle")
        await pilot.press("slash", *"isim fail")
        assert grid_of(app).names == ["C05"]
        await pilot.press("enter")
        assert app.focused is grid_of(app)
        assert '1 of 64 slots  only "isim fail"' in said(app, "#summary").replace("  ▲ 1 problem", "")
        put(app, "C06", outcome="FAIL")
        assert grid_of(app).names == ["C05", "C06"]
        await pilot.press("slash", *" zz", "enter")
        assert grid_of(app).names == []
        assert any("No slot has" in line for line in seen(app))
        await pilot.press("r", "t", "p", "enter", "space", "a", "down")
        assert isinstance(app.screen, RackScreen)
        await pilot.press("escape")
        assert len(grid_of(app).names) == 64


@pytest.mark.usefixtures("calm")
async def test_only_problems(bench_app: Callable[..., BenchApp]) -> None:
    """They come and go as the slots change."""
    app = bench_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("exclamation_mark")
        assert any("No slot has a problem" in line for line in seen(app))
        put(app, "C1", outcome="TIMEOUT", reason="start: no answer")
        assert grid_of(app).names == ["C1"]
        await pilot.press("exclamation_mark")
        assert grid_of(app).names == ["A1", "B1", "C1"]


@pytest.mark.usefixtures("calm")
async def test_groups_by_form_factor(bench_app: Callable[..., BenchApp], big: str, size: tuple[int, int]) -> None:
    """Each with its title; the arrows go over it."""
    app = bench_app(big)
    async with app.run_test(size=size) as pilot:
        put(app, "A02", trouble=GONE)
        await pilot.press("g")
        assert any("4FF: 22 slots, ▲ 1 problem" in line for line in seen(app))
        grid = grid_of(app)
        assert grid.names[:3] == ["A01", "A02", "A03"]
        column = [name for name in grid.names if grid.region_of(name).x == 0]
        for name in column[1:6]:
            await pilot.press("down")
            assert grid.cursor == name
        await pilot.press("home")
        await pilot.pause()
        assert seen(app)[0].startswith("── 4FF")


# ----------------------------------------------------------------------------------------- the cursor and the selection


@pytest.mark.usefixtures("calm")
async def test_enter_and_two_clicks_open_a_slot(
    bench_app: Callable[..., BenchApp], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One click puts the cursor there."""
    opened: list[str] = []
    monkeypatch.setattr(BenchApp, "open_slot", lambda self, name: opened.append(name))
    app = bench_app()
    async with app.run_test(size=size) as pilot:
        await at(pilot, "C1")
        assert grid_of(app).cursor == "C1"
        assert opened == []
        await pilot.press("enter")
        assert opened == ["C1"]
        grid = grid_of(app)
        place = grid.region_of("A1")
        await pilot.click(grid, offset=(place.x + 2, place.y), times=2)
        assert opened == ["C1", "A1"]


@pytest.mark.usefixtures("calm")
async def test_many_are_selected_by_keys_and_mouse(
    bench_app: Callable[..., BenchApp], big: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Space, a, shift with arrows, ctrl and shift with the mouse; escape lets go."""
    asked: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(BenchApp, "plan_run", lambda self, slots: asked.append(("run", [*slots])))
    monkeypatch.setattr(BenchApp, "open_trace", lambda self, slots: asked.append(("trace", [*slots])))
    app = bench_app(big)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("r")
        await pilot.press("space", "down", "shift+down", "t")
        assert asked == [("run", ["A01"]), ("trace", ["A01", "C01", "A02"])]
        assert "◉ 3 selected" in said(app, "#summary")
        assert seen(app)[0].startswith(" ◉")
        await pilot.press("escape")
        assert grid_of(app).selected == set()
        await at(pilot, "B02")
        await at(pilot, "B03", shift=True)
        await at(pilot, "C02", control=True)
        await pilot.press("r")
        assert asked[-1] == ("run", ["B02", "A03", "B03"])
        await pilot.press("a", "t")
        assert asked[-1] == ("trace", grid_of(app).names)
        await pilot.press("a")
        assert grid_of(app).selected == set()


@pytest.mark.usefixtures("calm")
async def test_the_mouse_wheel_scrolls(bench_app: Callable[..., BenchApp], big: str) -> None:
    """And the page keys move the cursor by what is seen."""
    app = bench_app(big)
    async with app.run_test(size=(80, 24)) as pilot:
        grid = grid_of(app)
        await pilot.press("pagedown")
        await pilot.pause()
        assert 10 < grid.names.index(grid.cursor) <= grid.size.height
        await pilot.press("pageup")
        assert grid.cursor == grid.names[0]
        grid.scroll_to(y=12, animate=False)
        await pilot.pause()
        assert grid.names[12] in seen(app)[0]
        await at(pilot, grid.names[14])
        assert grid.cursor == grid.names[14]


# -------------------------------------------------------------------------------- what is done


@pytest.mark.usefixtures("calm")
@pytest.mark.parametrize(("key", "method"), [("o", "power_off"), ("n", "power_on")])
async def test_power_of_what_is_selected(bench_app: Callable[..., BenchApp], key: str, method: str) -> None:
    """The menu says of how many; escape does nothing."""
    app = bench_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("space", "space", "p")
        assert isinstance(app.screen, PowerMenu)
        assert "2 slots" in str(app.screen.query_one("Vertical").border_title)
        await pilot.press("escape", "p", key)
        await pilot.pause()
        assert sorted(app.context.desk.called(method)) == [("A1",), ("B1",)]  # type: ignore[attr-defined]


@pytest.mark.usefixtures("calm")
async def test_a_power_cycle_asks_for_the_seconds(bench_app: Callable[..., BenchApp]) -> None:
    """What is no number is said, and nothing is done."""
    app = bench_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("p", "enter")
        await pilot.pause()
        await pilot.press("backspace", *"0.5", "enter")
        await pilot.pause()
        assert app.context.desk.called("power_cycle") == [("A1", 0.5)]  # type: ignore[attr-defined]
        await pilot.press("p", "c")
        await pilot.pause()
        await pilot.press(*"x", "enter")
        await pilot.pause()
        assert len(app.context.desk.called("power_cycle")) == 1  # type: ignore[attr-defined]
        assert app.trouble_count == 1


@pytest.mark.usefixtures("calm")
async def test_reading_what_is_selected(bench_app: Callable[..., BenchApp], big: str) -> None:
    """All of them, some at a time; a slot that fails does not stop the others."""
    app = bench_app(big)
    async with app.run_test(size=(80, 24)) as pilot:
        desk: Any = app.context.desk
        desk.fail("read", GONE)
        await pilot.press("a", "R")
        for _ in range(200):
            if len(desk.called("read")) == 64:
                break
            await pilot.pause(0.02)
        assert sorted(desk.called("read")) == sorted((name,) for name in grid_of(app).names)
        await pilot.pause()
        assert app.trouble_count == 1


@pytest.mark.usefixtures("calm")
async def test_what_was_chosen_is_remembered(bench_app: Callable[..., BenchApp]) -> None:
    """And a state that somebody spoiled does no harm."""
    app = bench_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("g", "d", "right", "slash", *"1", "enter", "down")
        kept = app.screen.saved()  # type: ignore[attr-defined]
    assert (kept["grouped"], kept["density"], kept["filter"]) == (True, "lines", "1")
    for values in (kept, {"density": 5, "filter": None, "cursor": ["x"], "grouped": "yes"}):
        again = bench_app()
        again.context.state.set("screen.rack", values)
        async with again.run_test(size=(120, 40)):
            grid = grid_of(again)
            if values is kept:
                assert (grid.density, grid.cursor) == ("lines", kept["cursor"])
                assert again.screen.query_one("#filter", Input).value == "1"
            assert len(grid.names) == 3


@pytest.mark.usefixtures("calm")
async def test_every_theme_has_its_colours(bench_app: Callable[..., BenchApp]) -> None:
    """The cards are drawn anew with another theme."""
    app = bench_app()
    async with app.run_test(size=(80, 24)) as pilot:
        colours = set()
        for theme in ("bench-dark", "bench-light", "bench-contrast"):
            app.theme = theme
            await pilot.pause()
            colours.add(str(grid_of(app).render_line(1)._segments[2].style))
        assert len(colours) == 3


# -------------------------------------------------------------------------------- with a real watch


async def test_a_real_run_is_seen_as_it_goes(bench_app: Callable[..., BenchApp], size: tuple[int, int]) -> None:
    """It is run by another thread at a rate, found in the history and followed in its journals."""
    rack, wanted = load_rack("sim-3"), scenario("switch")
    app = bench_app()
    steps = set()
    async with app.run_test(size=size) as pilot:
        running = asyncio.create_task(
            asyncio.to_thread(run_scenario, rack, rack.select(["A1"]), wanted, wanted.params(), RunOptions(rate=6.0))
        )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            await pilot.pause(0.05)
            view = app.context.watch.board.slot("A1")
            steps.add(view.doing)
            if running.done() and view.activity == "idle" and view.outcome:
                break
        await running
        await pilot.pause(0.3)
        text = "\n".join(seen(app))
        assert "download" in steps
        assert "✓ PASS switch" in text
        assert "◆ Bootstrap Global" in text
