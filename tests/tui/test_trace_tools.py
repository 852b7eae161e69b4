"""What can be done with a record of the trace: look into it, mark it, copy it, export it, compare its journal."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, Static

from esim_bench.rack.model import load_rack
from esim_bench.scenario import engine, registry
from esim_bench.trace import Reader
from esim_bench.tui.app import BenchApp
from esim_bench.tui.slot.bytesview import BytesView
from esim_bench.tui.slot.nodetree import NodeTree
from esim_bench.tui.trace.bookmarks import MARK, BookmarkList, Bookmarks
from esim_bench.tui.trace.decode import DecodePane
from esim_bench.tui.trace.diff import DiffScreen, DiffView
from esim_bench.tui.trace.screen import TraceScreen

Pilots = Pilot[None]
App = Callable[[], BenchApp]


@pytest.fixture(scope="module")
def journals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs on a slot that part: another seed has another challenge."""
    rack, chosen = load_rack("sim-3"), registry.scenario("provision")
    found = []
    for seed in (0, 1):
        folder = tmp_path_factory.mktemp(f"seed{seed}")
        options = engine.RunOptions(seed=seed, trace_dir=folder)
        engine.run_scenario(rack, rack.select(["A1"]), chosen, chosen.parse({}), options, None)
        found += folder.glob("**/A1.pcapng")
    return found[0], found[1]


async def until(pilot: Pilots, true: Callable[[], object], what: str = "it") -> None:
    for _ in range(800):
        await pilot.pause(0.01)
        if true():
            return
    raise AssertionError(f"waited for {what}")


async def at_function(pilot: Pilots, path: Path, function: str) -> TraceScreen:
    """Open a journal at the last record of the first call of a function."""
    with Reader(path) as reader:
        wanted = next(one for one in reader if one.comment.startswith(f"{function} ->"))
    app = pilot.app
    assert isinstance(app, BenchApp)
    app.open_trace(paths=[path], at_ns=wanted.at_ns)
    await until(pilot, lambda: isinstance(app.screen, TraceScreen) and app.screen.is_mounted)
    screen = app.screen
    assert isinstance(screen, TraceScreen)
    await until(pilot, lambda: screen.row is not None and screen.row.anchor.n == wanted.index, "the record")
    return screen


def shown_bytes(screen: TraceScreen) -> bytes:
    view = screen.query_one(DecodePane).query_one(BytesView)
    return view.blocks[0] if view.blocks else b""


async def test_the_answer_of_a_function_is_put_together_and_its_fields_are_marked(
    bench_app: App, journals: tuple[Path, Path], size: tuple[int, int]
) -> None:
    app = bench_app()
    async with app.run_test(size=size) as pilot:
        screen = await at_function(pilot, journals[0], "ES10c.GetProfilesInfo")
        pane = screen.query_one(DecodePane)
        await until(pilot, lambda: shown_bytes(screen)[:2] == b"\xbf\x2d", "the answer")
        tree = pane.query_one(NodeTree)
        tree.focus_tree()
        await pilot.press("slash")
        app.focused.value = "iccid"  # type: ignore[union-attr]
        await pilot.press("enter")
        view = pane.query_one(BytesView)
        await until(pilot, lambda: view.marked is not None, "the mark")
        assert view.marked is not None
        _, start, end = view.marked
        assert shown_bytes(screen)[start : start + 2] == b"\x5a\x0a"
        assert end - start == 12
        assert "ICCID 8988" in str(pane.query_one("#whole", Static).render())


async def test_the_parts_of_a_record_are_reached_by_keys_and_a_byte_by_the_mouse(
    bench_app: App, journals: tuple[Path, Path]
) -> None:
    app = bench_app()
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await at_function(pilot, journals[0], "ES10c.GetProfilesInfo")
        pane = screen.query_one(DecodePane)
        await until(pilot, lambda: shown_bytes(screen)[:2] == b"\xbf\x2d", "the answer")
        pane.query_one(NodeTree).focus_tree()
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: shown_bytes(screen)[1:2] == b"\xc0", "the command")
        await pilot.press("left_square_bracket")
        await until(pilot, lambda: shown_bytes(screen)[:2] == b"\xbf\x2d", "the answer again")
        # The first byte of the value: behind the outer tag.
        await pilot.click(BytesView, offset=(1 + 6 + 3 * 3, 1))
        view = pane.query_one(BytesView)
        await until(pilot, lambda: view.marked is not None and view.marked[1] == 3, "the field under the mouse")


async def test_a_bookmark_and_its_note_are_found_again_after_a_restart(
    bench_app: App, journals: tuple[Path, Path], size: tuple[int, int]
) -> None:
    app = bench_app()
    async with app.run_test(size=size) as pilot:
        screen = await at_function(pilot, journals[0], "ES10c.GetProfilesInfo")
        row = screen.row
        assert row is not None
        await pilot.press("m")
        await until(pilot, lambda: isinstance(app.focused, Input), "the line")
        app.focused.value = "here it is"  # type: ignore[union-attr]
        await pilot.press("enter")
        await until(pilot, lambda: screen.log_view.signs.get(row.anchor) == MARK, "the star")
        assert [one.note for one in Bookmarks().all] == ["here it is"]
    again = bench_app()
    async with again.run_test(size=size) as pilot:
        again.action_mode("trace")
        await until(pilot, lambda: isinstance(again.screen, TraceScreen) and again.screen.is_mounted)
        await pilot.press("B")
        await until(pilot, lambda: isinstance(again.screen, BookmarkList), "the list")
        assert "here it is" in str(again.screen.query_one(OptionList).get_option_at_index(0).prompt)
        await pilot.press("enter")
        await until(
            pilot,
            lambda: (
                isinstance(again.screen, TraceScreen)
                and again.screen.row is not None
                and again.screen.row.anchor.n == row.anchor.n
            ),
            "the record",
        )
        await pilot.press("b")
        await until(pilot, lambda: not Bookmarks().all, "its end")


async def test_a_record_is_copied_with_its_bytes(bench_app: App, journals: tuple[Path, Path]) -> None:
    app = bench_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await at_function(pilot, journals[0], "ES10c.GetProfilesInfo")
        await pilot.press("y")
        await until(pilot, lambda: app.clipboard, "the clipboard")
        assert "ES10c.GetProfilesInfo" in app.clipboard
        assert "BF2D" in app.clipboard


@pytest.mark.parametrize("ending", ["json", "txt", "pcapng"])
async def test_a_journal_is_exported(bench_app: App, journals: tuple[Path, Path], tmp_path: Path, ending: str) -> None:
    app = bench_app()
    target = tmp_path / f"out.{ending}"
    async with app.run_test(size=(120, 40)) as pilot:
        await at_function(pilot, journals[0], "ES10c.GetProfilesInfo")
        for _ in range(2):
            await pilot.press("e")
            await until(pilot, lambda: isinstance(app.focused, Input), "the line")
            app.focused.value = str(target)  # type: ignore[union-attr]
            await pilot.press("enter")
            await until(pilot, target.exists, "the file")
            await until(pilot, lambda: isinstance(app.screen, TraceScreen))
        await until(pilot, lambda: len(app.problems), "that it exists is said")
        assert "the file exists" in next(iter(app.problems)).trouble.what
    with Reader(journals[0]) as reader:
        if ending == "json":
            assert len(json.loads(target.read_text())["records"]) == len(reader)
        elif ending == "txt":
            assert len(target.read_text().splitlines()) == len(reader)
        else:
            with Reader(target) as copy:
                assert len(copy) == len(reader)


async def test_an_export_that_cannot_be_is_said(bench_app: App, journals: tuple[Path, Path], tmp_path: Path) -> None:
    app = bench_app()
    (tmp_path / "file").write_text("in the way")
    async with app.run_test(size=(120, 40)) as pilot:
        await at_function(pilot, journals[0], "ES10c.GetProfilesInfo")
        for name in (f"{tmp_path}/out.doc", f"{tmp_path}/file/out.txt"):
            before = len(app.problems)
            await pilot.press("e")
            await until(pilot, lambda: isinstance(app.focused, Input), "the line")
            app.focused.value = name  # type: ignore[union-attr]
            await pilot.press("enter")
            await until(pilot, lambda before=before: len(app.problems) > before, "what is wrong")


async def test_two_journals_are_compared(
    bench_app: App, journals: tuple[Path, Path], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = bench_app()
    async with app.run_test(size=size) as pilot:
        await at_function(pilot, journals[0], "ES10c.GetProfilesInfo")
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.focused, Input), "the list")
        app.focused.value = str(journals[1])  # type: ignore[union-attr]
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, DiffScreen), "the comparison")
        told = str(app.screen.query_one("#sides", Static).render())
        assert "difference" in told
        await pilot.press("n")
        view = app.screen.query_one(DiffView)
        await until(pilot, lambda: view.cursor > 0)
        below = str(app.screen.query_one("#both", Static).render())
        assert below.startswith(("-", "+"))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, TraceScreen))
