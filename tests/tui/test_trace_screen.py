"""The trace's screen on the journals of a real run: filters, search, ways, sources; by keys and by mouse."""

import asyncio
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.events import MouseScrollDown, MouseScrollUp
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, SelectionList, Static

from esim_bench.desk.api import JournalOpened
from esim_bench.desk.watch import Watch
from esim_bench.events import ApduEvent, AtEvent
from esim_bench.rack.model import Rack, load_rack
from esim_bench.scenario import engine, registry
from esim_bench.trace import Journal, Reader
from esim_bench.trace.index import TraceIndex, is_error
from esim_bench.tui.app import BenchApp
from esim_bench.tui.context import Context
from esim_bench.tui.state import TuiState
from esim_bench.tui.trace import screen as trace_screen
from esim_bench.tui.trace import tools
from esim_bench.tui.trace.filterbar import FilterDialog
from esim_bench.tui.trace.screen import TraceScreen
from esim_bench.tui.trace.sources import SourceDialog
from esim_bench.tui.trace.wish import Wish

Pilots = Pilot[None]


class NoDesk:
    """Nothing is asked of the desk here."""

    def listen(self, listener: Any) -> Callable[[], None]:
        return lambda: None

    async def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The journals of a real run on three slots."""
    folder = tmp_path_factory.mktemp("traces")
    rack, chosen = load_rack("sim-3"), registry.scenario("provision")
    options = engine.RunOptions(seed=0, trace_dir=folder)
    engine.run_scenario(rack, list(rack.slots), chosen, chosen.parse({}), options, lambda *_: None)
    return sorted(folder.glob("**/*.pcapng"))


@pytest.fixture
def app() -> Iterator[BenchApp]:
    """An app on the packaged rack."""
    made = BenchApp(Context.of(load_rack("sim-3"), TuiState(), lambda rack: NoDesk(), Watch))  # type: ignore[arg-type]
    made.trap = False
    yield made
    made.context.watch.close()


async def until(pilot: Pilots, true: Callable[[], bool]) -> None:
    for _ in range(1000):
        await pilot.pause(0.01)
        if true():
            return
    raise AssertionError("it never came")


async def opened(pilot: Pilots, paths: list[Path], at_ns: int | None = None) -> TraceScreen:
    """Show journals, wait until they are there."""
    app = pilot.app
    assert isinstance(app, BenchApp)
    app.open_trace(paths=paths, at_ns=at_ns)
    await until(pilot, lambda: isinstance(app.screen, TraceScreen) and app.screen.is_mounted)
    screen = app.screen
    assert isinstance(screen, TraceScreen)
    expected = sum(len(Reader(path)) for path in paths)
    await until(pilot, lambda: screen.log_view.total == expected and len(screen.log_view.shown()) > 1)
    await until(pilot, lambda: screen.log_view.page is not None and screen.log_view.page.behind == 0)
    return screen


def status(screen: TraceScreen) -> str:
    return str(screen.query_one("#status", Static).render())


async def typed(pilot: Pilots, text: str) -> None:
    """Fill the line that has the focus."""
    line = pilot.app.focused
    assert isinstance(line, Input)
    line.value = text
    await pilot.pause()


async def test_quick_keys_and_chips_filter_by_kind_and_errors(app: BenchApp, traces: list[Path], size) -> None:
    records = [record for path in traces for record in Reader(path)]
    async with app.run_test(size=size) as pilot:
        screen = await opened(pilot, traces)
        log = screen.log_view
        everything = log.total
        for key, kinds in (("1", {"apdu"}), ("2", {"at"}), ("3", {"rsp"}), ("4", {"power", "atr"}), ("5", {"mark"})):
            await pilot.press(key)
            await until(pilot, lambda: 0 < log.total < everything)
            await until(pilot, lambda kinds=kinds: {row.kind for row in log.shown()} <= kinds and bool(log.shown()))
            await pilot.press(key)
            await until(pilot, lambda: log.total == everything)
        wrong = sum(is_error(record.event) for record in records)
        await pilot.press("!")
        await until(pilot, lambda: log.total == wrong)
        assert all(row.error for row in log.shown())
        await pilot.press("0")
        await until(pilot, lambda: log.total == everything)
        await pilot.click("#group-rsp")
        await until(pilot, lambda: log.total < everything)
        assert {row.kind for row in log.shown()} == {"rsp"}
        assert "✓" in str(screen.query_one("#group-rsp", Static).render())
        await pilot.press("s")
        await until(pilot, lambda: {row.slot for row in log.shown()} == {log.cursor_row.slot if log.cursor_row else ""})


async def test_functions_and_status_words_are_chosen_from_what_there_is(app: BenchApp, traces, size) -> None:
    words = [
        record.event.response[-2:].hex()
        for path in traces
        for record in Reader(path)
        if isinstance(record.event, ApduEvent)
    ]
    async with app.run_test(size=size) as pilot:
        screen = await opened(pilot, traces)
        await pilot.press("F")
        await until(pilot, lambda: isinstance(app.screen, FilterDialog) and isinstance(app.focused, Input))
        await typed(pilot, "es10c.*")
        await pilot.press("enter")
        chosen: SelectionList[str] = app.screen.query_one("#functions", SelectionList)
        assert "ES10c.GetEID" in chosen.selected
        assert all(name.startswith("ES10c.") for name in chosen.selected)
        await pilot.press("enter")
        log = screen.log_view
        await until(pilot, lambda: bool(log.shown()) and all("ES10c." in row.text for row in log.shown()))
        assert "ES10c." in str(screen.query_one("#more", Static).render()) or size[0] < 200
        await pilot.press("0", "F")
        await until(pilot, lambda: isinstance(app.screen, FilterDialog) and isinstance(app.focused, Input))
        await typed(pilot, "61xx")
        await pilot.press("enter", "enter")
        await until(pilot, lambda: log.total == sum(word.startswith("61") for word in words))
        assert all(row.sw.startswith("61") for row in log.shown())
        await pilot.press("F")
        await until(pilot, lambda: isinstance(app.screen, FilterDialog) and isinstance(app.focused, Input))
        await typed(pilot, "nonsense")
        await pilot.press("enter")
        assert isinstance(app.screen, FilterDialog)
        await pilot.press("escape")
        assert app.screen is screen


async def test_a_search_streams_its_hits_and_ends_with_escape(app: BenchApp, traces, size) -> None:
    async with app.run_test(size=size) as pilot:
        screen = await opened(pilot, traces)
        log = screen.log_view
        await pilot.press("slash")
        await typed(pilot, "enableprofile")
        await pilot.press("enter")
        await until(pilot, lambda: screen.search.ended)
        assert screen.search.hits
        await until(pilot, lambda: log.cursor_row is not None and log.cursor_row.anchor == screen.search.hits[0])
        await until(pilot, lambda: "1 of " in str(screen.query_one("#found", Static).render()))
        await pilot.press("n")
        await until(pilot, lambda: log.cursor_row is not None and log.cursor_row.anchor == screen.search.hits[1])
        await pilot.press("N", "N")
        await until(pilot, lambda: log.cursor_row is not None and log.cursor_row.anchor == screen.search.hits[-1])
        await pilot.press("escape")
        assert not screen.search.active
        assert not log.hits
        assert app.screen is screen
        # Bytes are found too, and only where a filter lets them be seen.
        await pilot.press("2", "slash")
        await typed(pilot, "bf31")
        await pilot.press("enter")
        await until(pilot, lambda: screen.search.ended)
        at_lines = len(screen.search.hits)
        await pilot.press("0")
        await until(pilot, lambda: screen.search.ended and len(screen.search.hits) > at_lines)


async def test_go_to_a_record_a_part_a_time_and_the_next_error(app: BenchApp, traces: list[Path]) -> None:
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, traces)
        log = screen.log_view

        async def go(text: str, true: Callable[[], bool]) -> None:
            await pilot.press("g")
            await until(pilot, lambda: app.screen is not screen)
            await until(pilot, lambda: isinstance(app.focused, Input))
            await typed(pilot, text)
            await pilot.press("enter")
            await until(pilot, lambda: app.screen is screen and true())

        await go("100", lambda: log.cursor == 99)
        await go("50 %", lambda: log.cursor == round((log.total - 1) / 2))
        before = log.cursor_row
        assert before is not None
        await go("+1 s", lambda: log.cursor_row is not None and log.cursor_row.at_ns >= before.at_ns + 10**9)
        second = log.cursor_row
        assert second is not None
        assert second.at_ns - before.at_ns < 3 * 10**9
        await go("00:00:01.4", lambda: log.cursor_row is not None and log.cursor_row.kind == "atr")
        await go("end", lambda: log.cursor == log.total - 1)
        await go("begin", lambda: log.cursor == 0)
        await pilot.press("g")
        await until(pilot, lambda: isinstance(app.focused, Input) and app.screen is not screen)
        await typed(pilot, "no way")
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is screen)
        assert log.cursor == 0
        await pilot.press("n")
        await until(pilot, lambda: log.cursor_row is not None and log.cursor_row.error)
        first = log.cursor
        await pilot.press("n")
        await until(pilot, lambda: log.cursor > first)
        await pilot.press("N")
        await until(pilot, lambda: log.cursor == first)


async def test_it_opens_at_a_moment(app: BenchApp, traces: list[Path]) -> None:
    record = Reader(traces[1])[120]
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, traces, record.at_ns)
        log = screen.log_view
        await until(pilot, lambda: log.cursor_row is not None and log.cursor_row.at_ns >= record.at_ns)
        assert log.cursor_row is not None
        assert log.cursor_row.at_ns == record.at_ns
        assert not log.follow


async def test_the_trace_of_something_else_is_chosen_from_a_list(app: BenchApp, traces, tmp_path, size) -> None:
    with Journal.create(tmp_path / "other.pcapng", slot="X9") as journal:
        for number in range(7):
            journal.emit(ApduEvent(number, b"\x00\xb0\x00\x00\x00", b"\x90\x00", 5))
    async with app.run_test(size=size) as pilot:
        screen = await opened(pilot, traces)
        await pilot.press("o")
        await until(pilot, lambda: isinstance(app.screen, SourceDialog) and isinstance(app.focused, Input))
        assert app.screen.query_one(OptionList).option_count >= 4
        app.screen.query_one(Input).value = str(journal.path)
        await pilot.pause()
        await pilot.press("enter")
        await until(pilot, lambda: screen.log_view.total == 7)
        assert "other.pcapng" in str(screen.query_one("#source", Static).render())
        assert "reading" not in status(screen)
        await pilot.click("#source")
        await until(pilot, lambda: isinstance(app.screen, SourceDialog) and isinstance(app.focused, Input))
        await typed(pilot, "slot a1")
        await pilot.press("enter")
        await until(pilot, lambda: screen.scope.slots == ("A1",))
        await pilot.press("o", "escape")
        assert app.screen is screen


async def test_a_file_that_is_no_trace_is_a_problem_that_is_said(app: BenchApp, traces, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("no trace")
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, traces)
        app.open_trace(paths=[tmp_path / "note.txt"])
        await until(pilot, lambda: app.trouble_count == 1)
        app.open_trace(paths=[tmp_path / "missing.pcapng"])
        await until(pilot, lambda: app.trouble_count == 2)
        app.open_trace(paths=traces[:1])
        await until(pilot, lambda: screen.log_view.total == len(Reader(traces[0])))


async def test_what_was_shown_is_shown_at_the_next_start(app: BenchApp, traces: list[Path]) -> None:
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, traces)
        await pilot.press("1", "!")
        screen.action_pane()
        values = screen.saved()
    again = TraceScreen()
    again.restore(values)
    assert again.scope.paths == tuple(traces)
    assert again.saved()["wish"] == Wish(frozenset(("APDU",)), True).saved()
    assert again.saved()["pane"] is False
    TraceScreen().restore({"slots": 7, "paths": None, "wish": [], "title": 3, "pane": "x"})


async def test_a_journal_that_grows_is_followed(app: BenchApp, tmp_path: Path) -> None:
    with Journal.create(tmp_path / "S1.pcapng", slot="S1") as journal:
        journal.emit(ApduEvent(1, b"\x00\xb0\x00\x00\x00", b"\x90\x00", 5))
        journal.emit(ApduEvent(1, b"\x00\xb0\x00\x00\x00", b"\x90\x00", 5))
        async with app.run_test(size=(200, 60)) as pilot:
            screen = await opened(pilot, [journal.path])
            index: TraceIndex = await app.context.watch.read(app.context.watch.index, journal.path)
            for number in range(100):
                journal.emit(ApduEvent(number + 2, b"\x00\xb0\x00\x00\x00", b"\x6a\x82", 5))
            await until(pilot, lambda: len(index) == 102)
            await until(pilot, lambda: screen.log_view.total == 102)


async def test_a_slots_trace_shows_what_is_done_on_it_from_now_on(app: BenchApp, tmp_path: Path, size) -> None:
    async with app.run_test(size=size) as pilot:
        app.open_trace(slots=["A1"])
        await until(
            pilot,
            lambda: (
                isinstance(app.screen, TraceScreen) and app.screen.is_ready and "no journal yet" in status(app.screen)
            ),
        )
        screen = app.screen
        assert isinstance(screen, TraceScreen)
        with (
            Journal.create(tmp_path / "A1.pcapng", slot="A1") as first,
            Journal.create(tmp_path / "A1-2.pcapng", slot="A1") as second,
        ):
            app.context.watch.notice(JournalOpened(slot="A1", path=str(first.path)))
            first.emit(AtEvent(1_800_000_000_000_000_000, ">", "AT+CFUN=1"))
            await until(pilot, lambda: screen.log_view.total == 1)
            assert screen.log_view.follow
            assert "following" in status(screen)
            app.context.watch.notice(JournalOpened(slot="A1", path=str(second.path)))
            second.emit(AtEvent(1_800_000_000_000_000_001, "<", "OK"))
            await until(pilot, lambda: screen.log_view.total == 2)
            assert [row.text for row in screen.log_view.shown()] == ["> AT+CFUN=1", "< OK"]


async def test_runs_of_the_history_are_shown_one_after_another(app: BenchApp) -> None:
    """Each of them began at the same moment of its own, virtual time."""
    rack, chosen = load_rack("sim-3"), registry.scenario("provision")
    for _ in range(2):
        await asyncio.to_thread(record, rack, chosen)
    async with app.run_test(size=(80, 24)) as pilot:
        app.open_trace(slots=["A1"])
        await until(pilot, lambda: isinstance(app.screen, TraceScreen) and app.screen.log_view.total > 0)
        screen = app.screen
        assert isinstance(screen, TraceScreen)
        await until(pilot, lambda: len(screen.model.shifts) == 2)

        def members() -> list[int]:
            found = [screen.model.at(ordinal) for ordinal in range(screen.log_view.total)]
            return [anchor.member for anchor in found if anchor is not None]

        await until(pilot, lambda: screen.log_view.total == screen.model.written())
        order = await app.context.watch.read(members)
        assert set(order) == {0, 1}
        assert order == sorted(order, key=order.index)


def record(rack: Rack, chosen: Any) -> None:
    """Run a scenario into the history."""
    engine.run_scenario(rack, [rack.one("A1")], chosen, chosen.parse({}), engine.RunOptions(seed=0))


async def test_a_foreign_capture_is_shown_as_a_trace(app: BenchApp, tmp_path: Path) -> None:
    """As a SIMtrace 2 and its tools write it: GSMTAP in UDP in IP in a classic pcap."""
    packets = []
    for number, (command, response) in enumerate([("00A40004023F00", "9000"), ("00A40004022FE2", "6A82")]):
        payload = bytes.fromhex("02040400" + "00" * 12 + command + response)
        udp = struct.pack(">HHHH", 40000, 4729, 8 + len(payload), 0) + payload
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, b"\x7f\0\0\1", b"\x7f\0\0\1") + udp
        packets.append(struct.pack("<IIII", 1_700_000_000 + number, 0, len(ip), len(ip)) + ip)
    path = tmp_path / "simtrace.pcap"
    path.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 228) + b"".join(packets))
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, [path])
        assert "simtrace.pcap" in str(screen.query_one("#source", Static).render())
        await until(pilot, lambda: all(row.exact for row in screen.log_view.shown()))
        assert [row.sw for row in screen.log_view.shown()] == ["9000", "6A82"]
        assert "SELECT" in screen.log_view.shown()[1].text


class Seen(Static):
    """A pane that keeps what it is shown."""

    def __init__(self) -> None:
        super().__init__("", id="pane")
        self.records: list[tuple[Any, str]] = []

    def show(self, record: Any, slot: str) -> None:
        self.records.append((record, slot))


async def test_the_pane_shows_the_chosen_record_beside_the_log_or_below(app, traces, size, monkeypatch) -> None:
    pane, used = Seen(), []

    async def use(screen: TraceScreen, name: str) -> None:
        used.append(name)

    monkeypatch.setattr(trace_screen, "DecodePane", lambda id: pane)
    monkeypatch.setattr(tools, "use", use)
    async with app.run_test(size=size) as pilot:
        screen = await opened(pilot, traces)
        log = screen.log_view
        await until(pilot, lambda: bool(pane.records))
        await pilot.press("down", "down")
        await until(pilot, lambda: pane.records[-1][0].event == Reader(traces[0])[2].event)
        assert pane.records[-1][1] == "A1"
        await pilot.press("n")
        await until(pilot, lambda: is_error(pane.records[-1][0].event))
        wide = log.size.width
        if size[0] >= 110:
            assert pane.region.x >= log.region.right
            assert log.size.height > size[1] - 8
        else:
            assert pane.region.y >= log.region.bottom
            assert log.size.height >= 8
            assert wide == size[0]
        await pilot.press("p")
        await until(pilot, lambda: not pane.display or pane.region.width == 0)
        assert log.size.width == size[0]
        await pilot.press("p")
        await until(pilot, lambda: log.size.width == wide)
        for key in "dbBmye":
            await pilot.press(key)
        await until(pilot, lambda: len(used) == 6)
        assert used[0] == "diff.compare"


async def test_the_wheel_moves_the_log(app: BenchApp, traces: list[Path]) -> None:
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, traces)
        log = screen.log_view
        assert log.top == 0
        where = {"widget": log, "x": 10, "y": 10, "delta_x": 0, "delta_y": 0, "button": 0}
        where |= {"shift": False, "meta": False, "ctrl": False}
        log.post_message(MouseScrollDown(**where))
        await until(pilot, lambda: log.top == 3)
        log.post_message(MouseScrollUp(**where))
        await until(pilot, lambda: log.top == 0)


async def test_a_journal_that_is_closed_stays_where_it_is_and_says_what_its_apdus_mean(app: BenchApp, tmp_path) -> None:
    journal = Journal.create(tmp_path / "A1.pcapng", slot="A1")
    for number in range(200):
        journal.emit(ApduEvent(time.time_ns(), bytes.fromhex("00A40004023F00"), number.to_bytes(2, "big"), 5))
    async with app.run_test(size=(120, 40)) as pilot:
        app.open_trace(slots=["A1"])
        await until(pilot, lambda: isinstance(app.screen, TraceScreen) and app.screen.is_mounted)
        screen = app.screen
        assert isinstance(screen, TraceScreen)
        app.context.watch.notice(JournalOpened(slot="A1", path=str(journal.path)))
        log = screen.log_view
        await until(pilot, lambda: log.total == 200)
        first = screen.model.indexes[0]
        await pilot.press("pageup")
        before, cursor = [row.anchor for row in log.shown()], log.cursor_row
        await asyncio.to_thread(journal.close)
        # Asked for again, as it is when one looks at it anew: the file is another one now.
        await until(pilot, lambda: screen.model.indexes[0] is not first)
        await until(pilot, lambda: [row.anchor for row in log.shown()] == before)
        assert cursor is not None
        assert log.cursor_row is not None
        assert log.cursor_row.anchor == cursor.anchor
        assert log.cursor_row.exact
