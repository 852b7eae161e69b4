"""The log alone: it follows, stays where it is while journals grow, jumps, and draws only what is seen."""

import asyncio
import gc
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from esim_bench.desk.api import Trouble
from esim_bench.events import ApduEvent, AtEvent, Event, MarkEvent, PowerAction, PowerEvent
from esim_bench.trace import Journal
from esim_bench.trace.index import Filter, TraceIndex
from esim_bench.tui import collector, themes
from esim_bench.tui.trace.log import LogView
from esim_bench.tui.trace.model import LogModel

BEGIN = 1_767_225_600_000_000_000
SELECT = bytes.fromhex("00A4000402")


def event(number: int) -> Event:
    at_ns = BEGIN + number * 1_000_000
    match number % 10:
        case 0:
            return MarkEvent(at_ns, f"step {number}")
        case 1:
            return AtEvent(at_ns, "<", "ERROR" if number % 100 == 1 else "OK")
        case 2:
            return PowerEvent(at_ns, PowerAction.ON)
        case _:
            return ApduEvent(at_ns, SELECT + number.to_bytes(2, "big"), b"\x90\x00", 1_500_000)


class Journals:
    """Journals that grow."""

    def __init__(self, folder: Path, slots: int) -> None:
        self.journals = [Journal.create(folder / f"S{n}.pcapng", slot=f"S{n}") for n in range(slots)]
        self.indexes = [TraceIndex(journal.path) for journal in self.journals]
        self.written = 0

    def write(self, count: int) -> None:
        for _ in range(count):
            self.journals[self.written % len(self.journals)].emit(event(self.written))
            self.written += 1
        for index in self.indexes:
            while index.advance():
                pass


class Host(App[None]):
    """An app with nothing but the log."""

    def __init__(self, journals: Journals) -> None:
        super().__init__()
        self.reader = ThreadPoolExecutor(1)
        self.model = LogModel()
        self.model.open(journals.indexes, [index.slot for index in journals.indexes])
        self.reads = 0
        self.moves: list[int] = []
        self.failures: list[Trouble] = []

    def compose(self) -> ComposeResult:
        log = LogView(self.model, self.read)
        log.slot_width = 2
        yield log

    def on_mount(self) -> None:
        self.register_theme(themes.DARK)
        self.theme = themes.DARK.name
        self.query_one(LogView).focus()

    async def read(self, work: Callable[..., Any], *args: Any) -> Any:
        self.reads += 1
        return await asyncio.get_running_loop().run_in_executor(self.reader, work, *args)

    def on_log_view_failed(self, message: LogView.Failed) -> None:
        self.failures.append(message.trouble)

    def on_log_view_moved(self, message: LogView.Moved) -> None:
        if message.row is not None:
            self.moves.append(message.row.anchor.n)


@pytest.fixture
def journals(tmp_path: Path) -> Iterator[Journals]:
    made = Journals(tmp_path, 3)
    made.write(600)
    yield made
    for journal, index in zip(made.journals, made.indexes, strict=True):
        journal.close(comments=False)
        index.close()


async def until(pilot: Pilot[None], true: Callable[[], bool]) -> None:
    for _ in range(1000):
        await pilot.pause(0.01)
        if true():
            return
    raise AssertionError(f"never: {true}")


def lines(log: LogView) -> list[str]:
    return [log.render_line(y).text for y in range(log.size.height)]


def stamps(log: LogView) -> list[int]:
    return [(row.at_ns - BEGIN) // 1_000_000 for row in log.shown()]


async def shown(pilot: Pilot[None], log: LogView, first: int) -> None:
    await until(pilot, lambda: stamps(log)[:1] == [first] and len(log.shown()) == min(log.height, log.total))


async def test_it_follows_until_it_is_told_to_stay(journals: Journals, size: tuple[int, int]) -> None:
    app = Host(journals)
    async with app.run_test(size=size) as pilot:
        log = app.query_one(LogView)
        rows = size[1] - 1
        await shown(pilot, log, 600 - rows)
        assert log.cursor == 599
        journals.write(30)
        log.grown()
        await shown(pilot, log, 630 - rows)
        await pilot.press("up")
        assert not log.follow
        assert log.cursor == 628
        journals.write(300)
        log.grown()
        await until(pilot, lambda: log.total == 930)
        assert stamps(log) == [*range(630 - rows, 630)]
        assert log.cursor == 628
        await pilot.press("end")
        await shown(pilot, log, 930 - rows)
        assert log.follow


async def test_rows_say_time_slot_kind_meaning_status_word_and_duration(journals: Journals, size) -> None:
    app = Host(journals)
    async with app.run_test(size=size) as pilot:
        log = app.query_one(LogView)
        await shown(pilot, log, 601 - size[1])
        await pilot.press("home")
        await shown(pilot, log, 0)
        await until(pilot, lambda: all(row.exact for row in log.shown()))
        drawn = lines(log)
        assert all(len(line) == size[0] for line in drawn)
        assert drawn[0].split() == ["Time", "(UTC)", "Slot", "Kind", "Meaning", "SW", "Took"]
        assert "00:00:00.000" in drawn[1]
        assert "MARK step 0" in drawn[1]
        assert "✗" in drawn[2]
        assert "AT   < ERROR" in drawn[2]
        assert "PWR  power on" in drawn[3]
        assert "APDU SELECT" in drawn[4]
        assert "9000   1.5 ms" in drawn[4]
        assert "-> 9000" not in drawn[4]


async def test_times_are_of_the_day_since_the_row_before_or_since_the_reference(journals: Journals) -> None:
    app = Host(journals)
    async with app.run_test(size=(120, 40)) as pilot:
        log = app.query_one(LogView)
        await shown(pilot, log, 561)
        await pilot.press("home")
        await shown(pilot, log, 0)
        await pilot.press("t")
        assert "Δ previous" in lines(log)[0]
        assert "+0.001000" in lines(log)[3]
        assert "+" not in lines(log)[1]
        await pilot.press("down", "down", "down", "r")
        assert log.cursor == 3
        assert "Δ reference" in lines(log)[0]
        assert "-0.003000" in lines(log)[1]
        assert "+0.002000" in lines(log)[6]
        assert "⌖" in lines(log)[4]
        await pilot.press("t")
        assert "00:00:00.000000" in lines(log)[1]


async def test_keys_move_by_rows_and_pages(journals: Journals, size: tuple[int, int]) -> None:
    app = Host(journals)
    async with app.run_test(size=size) as pilot:
        log = app.query_one(LogView)
        rows = size[1] - 1
        await shown(pilot, log, 600 - rows)
        await pilot.press("pageup")
        await shown(pilot, log, 600 - rows - (rows - 1))
        assert log.cursor == 599 - (rows - 1)
        await pilot.press("pagedown", "pagedown")
        await shown(pilot, log, 600 - rows)
        await pilot.press("home", "down", "down")
        await shown(pilot, log, 0)
        assert log.cursor == 2
        for _ in range(rows - 1):
            log.action_move(1)
        await pilot.press("down")
        await shown(pilot, log, 3)
        assert log.cursor == rows + 2
        await until(
            pilot, lambda: log.cursor_row is not None and log.cursor_row.at_ns == BEGIN + log.cursor * 1_000_000
        )


async def test_wheel_click_and_scroll_bar(journals: Journals, size: tuple[int, int]) -> None:
    app = Host(journals)
    async with app.run_test(size=size) as pilot:
        log = app.query_one(LogView)
        rows = size[1] - 1
        await shown(pilot, log, 600 - rows)
        log.scroll_rows(-3)
        await shown(pilot, log, 597 - rows)
        assert not log.follow
        assert log.cursor == 596
        await pilot.click(LogView, offset=(20, 5))
        assert log.cursor == 597 - rows + 4
        # The top of the bar, then dragged to its end.
        await pilot.mouse_down(LogView, offset=(size[0] - 1, 1))
        await shown(pilot, log, 0)
        await pilot.hover(LogView, offset=(size[0] - 1, rows))
        await shown(pilot, log, 600 - rows)
        await pilot.mouse_up(LogView, offset=(size[0] - 1, rows))
        await pilot.click(LogView, offset=(size[0] - 1, rows // 2))
        await until(pilot, lambda: 200 < log.top < 360 and len(log.shown()) == rows)


async def test_a_filter_keeps_the_cursors_place(journals: Journals) -> None:
    app = Host(journals)
    async with app.run_test(size=(120, 40)) as pilot:
        log = app.query_one(LogView)
        await shown(pilot, log, 561)
        log.jump(await app.read(app.model.at, 300))
        await until(pilot, lambda: log.cursor_row is not None and log.cursor_row.at_ns == BEGIN + 300 * 1_000_000)
        await app.read(app.model.filter, Filter(kinds=frozenset((3,))))
        log.renewed()
        await until(pilot, lambda: log.total == 60)
        assert log.cursor_row is not None
        assert log.cursor_row.at_ns == BEGIN + 301 * 1_000_000
        assert all(row.kind == "at" for row in log.shown())
        await app.read(app.model.filter, Filter())
        log.renewed()
        await until(pilot, lambda: log.total == 600)
        assert log.cursor == 301


async def test_late_records_of_another_journal_do_not_move_what_is_seen(tmp_path: Path) -> None:
    journals = Journals(tmp_path, 2)
    for number in range(200):
        journals.journals[0].emit(event(number))
    journals.write(0)
    app = Host(journals)
    async with app.run_test(size=(80, 24)) as pilot:
        log = app.query_one(LogView)
        await shown(pilot, log, 177)
        await pilot.press("pageup", "up", "up")
        before, cursor = stamps(log), log.cursor_row
        for number in range(50):
            journals.journals[1].emit(event(number))
        journals.write(0)
        log.grown()
        await until(pilot, lambda: log.total == 250)
        assert stamps(log) == before
        assert log.cursor_row == cursor
        assert log.cursor == 174 - 22 + 50 + 23


async def test_nothing_is_read_while_nothing_happens(journals: Journals) -> None:
    app = Host(journals)
    async with app.run_test(size=(120, 40)) as pilot:
        log = app.query_one(LogView)
        await shown(pilot, log, 561)
        await until(pilot, lambda: all(row.exact for row in log.shown()))
        await pilot.pause(0.1)
        reads = app.reads
        await pilot.pause(0.2)
        assert app.reads == reads


async def test_an_empty_trace_is_no_error(tmp_path: Path) -> None:
    journals = Journals(tmp_path, 1)
    app = Host(journals)
    async with app.run_test(size=(80, 24)) as pilot:
        log = app.query_one(LogView)
        await until(pilot, lambda: log.page is not None)
        await pilot.press("up", "down", "pageup", "pagedown", "home", "end", "t", "t", "t", "r", "f", "f")
        log.scroll_rows(3)
        assert log.cursor_row is None
        journals.write(5)
        log.grown()
        await until(pilot, lambda: log.total == 5)
        assert len(log.shown()) == 5


async def test_what_came_too_fast_to_be_decoded_is_decoded_once_it_is_calm(journals: Journals) -> None:
    app = Host(journals)
    async with app.run_test(size=(120, 40)) as pilot:
        log = app.query_one(LogView)
        await shown(pilot, log, 561)
        journals.write(500)
        await until(pilot, lambda: log.total == 1100)
        await until(pilot, lambda: not log.rushes and all(row.exact for row in log.shown()))


async def test_other_journals_begin_where_they_begin(journals: Journals, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    others = Journals(tmp_path / "other", 2)
    others.write(300)
    app = Host(journals)
    async with app.run_test(size=(80, 24)) as pilot:
        log = app.query_one(LogView)
        await shown(pilot, log, 577)
        await pilot.press("pageup")
        for follow, first in ((False, 0), (True, 277)):
            await app.read(app.model.open, others.indexes, ["X", "Y"])
            log.reset(follow=follow)
            await until(pilot, lambda: log.total == 300)
            await shown(pilot, log, first)


async def test_a_journal_that_is_cut_off_is_a_problem_that_is_said(journals: Journals) -> None:
    app = Host(journals)
    async with app.run_test(size=(80, 24)) as pilot:
        log = app.query_one(LogView)
        await shown(pilot, log, 577)
        for journal in journals.journals:
            os.truncate(journal.path, 600)
        await pilot.press("home")
        await until(pilot, lambda: bool(app.failures))
        assert "became shorter" in app.failures[0].sentence


def test_memory_is_tidied_up_while_nobody_types(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(collector.time, "monotonic", lambda: now)
    before, one = gc.get_threshold(), collector.Collector()
    one.begin()
    try:
        assert gc.get_threshold()[2] > before[2]
        assert not one.look()
        now += collector.EVERY
        one.touched()
        assert not one.look()
        now += collector.REST
        assert one.look()
        assert not one.look()
        for _ in range(100):
            now += collector.LONGEST / 100
            one.touched()
        assert one.look()
    finally:
        one.end()
    assert gc.get_threshold() == before


async def test_another_theme_is_another_set_of_colours(journals: Journals) -> None:
    app = Host(journals)
    async with app.run_test(size=(80, 24)) as pilot:
        log = app.query_one(LogView)
        await shown(pilot, log, 577)
        app.register_theme(themes.LIGHT)
        dark = [segment.style for segment in log.render_line(5)]
        app.theme = themes.LIGHT.name
        await until(pilot, lambda: [segment.style for segment in log.render_line(5)] != dark)
        light = log.render_line(5)
        assert light.text == log.render_line(5).text
        style = next(iter(light)).style
        assert style is not None
        assert style.bgcolor is not None
        assert style.bgcolor.triplet is not None
        assert min(style.bgcolor.triplet) > 128
