"""The watch over a rack: real runs of simulated slots in this process and in others, and all that may go wrong."""

import asyncio
import errno
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from esim_bench.desk.api import Busy, DeskLost, JournalOpened, Progress, RunBegan, RunQuestion, SlotTrouble, Trouble
from esim_bench.desk.watch import Watch
from esim_bench.desk.watching import Watching
from esim_bench.errors import ConfigError
from esim_bench.events import ApduEvent, AtEvent, PowerAction, PowerEvent
from esim_bench.rack.device_store import rack_folder
from esim_bench.rack.model import Rack, load_rack
from esim_bench.scenario.engine import RunOptions, run_scenario
from esim_bench.scenario.registry import scenario
from esim_bench.store.home import home, store_path
from esim_bench.trace import Journal
from esim_bench.trace.index import Filter

_RUN = """
import sys
from esim_bench.rack.model import load_rack
from esim_bench.scenario.engine import RunOptions, run_scenario
from esim_bench.scenario.registry import scenario
rack, wanted = load_rack(sys.argv[1]), scenario("switch")
run_scenario(rack, rack.select(["A1"]), wanted, wanted.params(), RunOptions(rate=float(sys.argv[2])))
"""


@pytest.fixture
def rack() -> Rack:
    """Return the packaged rack of three simulated slots: A1, B1, C1."""
    return load_rack("sim-3")


class Watched:
    """A watch, and what it told."""

    def __init__(self, rack: Rack) -> None:
        self.watch = Watch(rack)
        self.board = self.watch.board
        self.told: list[tuple[float, frozenset[str]]] = []

    def changed(self, what: frozenset[str]) -> None:
        self.told.append((time.monotonic(), what))

    def until(self, condition: Callable[[], object], seconds: float = 15.0) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, (self.board.slots(), self.board.trouble)
            time.sleep(0.02)


@pytest.fixture
def watched(rack: Rack) -> Iterator[Watched]:
    """Return a watch that was started."""
    found = Watched(rack)
    found.watch.start(found.changed)
    yield found
    found.watch.close()


@pytest.fixture
def foreign(rack: Rack) -> Iterator[Callable[[float], subprocess.Popen[bytes]]]:
    """Return what starts a run of "switch" on A1 in another process, at a rate."""
    started: list[subprocess.Popen[bytes]] = []

    def start(rate: float) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-c", _RUN, "sim-3", str(rate)])
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def run(rack: Rack, name: str = "switch", slots: tuple[str, ...] = ("A1",)) -> str:
    """Run a scenario in this process; return the run's id."""
    wanted = scenario(name)
    return run_scenario(rack, rack.select(slots), wanted, wanted.params(), RunOptions())[0].run


def by_hand(rack: Rack, name: str = "A1.pcapng") -> Path:
    """Return the path of a journal by hand."""
    return home() / "by-hand" / rack_folder(rack) / "20260102-030405-abcd" / name


# -------------------------------------------------------------------------------------------------------- what is there


def test_before_anything_is_known_the_rack_is_as_its_file_says(rack: Rack) -> None:
    """Also without a start: nothing is waited for."""
    views = Watch(rack).board.slots()
    assert [(view.name, view.form_factor, view.module) for view in views] == [
        ("A1", "4FF", ""),
        ("B1", "MFF2", "quectel-eg25"),
        ("C1", "iSIM", "sequans-gm02s"),
    ]
    assert all(view.power == "unknown" and view.activity == "idle" and not view.problem for view in views)


def test_what_a_run_of_former_times_left_is_shown(rack: Rack) -> None:
    """Outcome, EID and profiles, from the history and the journals."""
    done = run(rack, slots=("A1", "C1"))
    found = Watched(rack)
    found.watch.start(found.changed)
    found.until(lambda: found.board.slot("A1").enabled and found.board.slot("C1").enabled)
    view = found.board.slot("A1")
    assert (view.outcome, view.scenario, view.run, view.activity) == ("PASS", "switch", done, "idle")
    assert view.eid.startswith("89049032")
    assert view.power == "on"
    assert view.apdus > 100
    assert {one.label: one.state for one in view.profiles} == {
        "Bootstrap Global": "enabled",
        "Operational A": "disabled",
    }
    assert [(one.run, one.origin, one.live) for one in found.watch.sources("A1")] == [(done, "run", False)]
    assert found.board.slot("B1").outcome == ""
    assert found.watch.sources("B1") == ()
    found.watch.close()


def test_a_run_that_is_over_at_once_is_noticed(rack: Rack, watched: Watched) -> None:
    """It may begin and end between two looks."""
    done = run(rack)
    watched.until(lambda: watched.board.slot("A1").outcome and watched.board.slot("A1").activity == "idle")
    assert (watched.board.slot("A1").outcome, watched.board.slot("A1").run) == ("PASS", done)
    assert any("runs" in what for _, what in watched.told)


def test_runs_of_another_rack_are_not_ours(tmp_path: Path, rack: Rack, watched: Watched) -> None:
    """Its slots may have the same names."""
    text = rack.path.read_text().replace('name = "sim-3"', 'name = "elsewhere"', 1)
    path = tmp_path / "elsewhere.toml"
    path.write_text(text)
    run(load_rack(path))
    run(rack, slots=("C1",))
    watched.until(lambda: watched.board.slot("C1").outcome)
    assert watched.board.slot("A1").outcome == ""


# --------------------------------------------------------------------------------------------- runs of other processes


def test_a_run_of_another_process_is_seen_while_it_goes_on(
    rack: Rack, watched: Watched, foreign: Callable[[float], subprocess.Popen[bytes]]
) -> None:
    """Its steps, and how far it is by what the same scenario did before."""
    before = run(rack)
    watched.until(lambda: watched.board.slot("A1").run == before and watched.board.slot("A1").outcome)
    process = foreign(2.0)
    watched.until(lambda: watched.board.slot("A1").activity == "run", 30)
    view = watched.board.slot("A1")
    assert (view.scenario, view.foreign, view.outcome) == ("switch", True, "PASS")
    watched.until(lambda: watched.board.slot("A1").doing == "download")
    assert watched.board.slot("A1").progress == (3, 11)
    source = watched.watch.sources("A1")[-1]
    assert source.live
    assert source.run == watched.board.slot("A1").run
    watched.until(lambda: watched.board.slot("A1").steps_done > 4)
    process.wait()
    watched.until(lambda: watched.board.slot("A1").activity == "idle" and not watched.watch.sources("A1")[-1].live)
    assert watched.board.slot("A1").outcome == "PASS"
    gaps = [later[0] - earlier[0] for earlier, later in itertools.pairwise(watched.told)]
    assert min(gaps) > 0.09


def test_a_run_of_our_own_desk_is_not_foreign(
    watched: Watched, foreign: Callable[[float], subprocess.Popen[bytes]]
) -> None:
    """The desk's notice says whose it is."""
    foreign(1.0)
    watched.until(lambda: watched.board.slot("A1").activity == "run", 30)
    watched.watch.notice(RunBegan(key="run-1", run=watched.board.slot("A1").run))
    watched.until(lambda: not watched.board.slot("A1").foreign, 3)
    assert watched.board.slot("A1").activity == "run"
    watched.watch.notice(RunQuestion(key="run-1", slot="A1", text="take the card out"))
    watched.until(lambda: watched.board.slot("A1").question == "take the card out", 3)
    assert watched.board.slot("A1").problem
    watched.watch.notice(RunQuestion(key="run-1", slot="A1", text=None))
    watched.until(lambda: not watched.board.slot("A1").problem, 3)


def test_a_run_whose_process_was_killed_is_aborted_and_says_where(
    rack: Rack, watched: Watched, foreign: Callable[[float], subprocess.Popen[bytes]]
) -> None:
    """The history still says that it runs; the next run on the slot ends the trouble."""
    process = foreign(0.5)
    watched.until(lambda: watched.board.slot("A1").doing == "start", 30)
    process.kill()
    watched.until(lambda: watched.board.slot("A1").activity == "idle")
    view = watched.board.slot("A1")
    assert view.outcome == "ABORTED"
    assert view.problem
    assert view.trouble is not None
    assert "at start" in view.trouble.what
    assert "cycle its power" in view.trouble.hint
    assert not watched.watch.sources("A1")[-1].live
    later = run(rack)
    watched.until(lambda: watched.board.slot("A1").run == later and not watched.board.slot("A1").problem)


# ---------------------------------------------------------------------------------------------------------- by hand


def test_what_is_done_by_hand_is_shown(rack: Rack, watched: Watched) -> None:
    """By notices, and by the journal that grows."""
    path = by_hand(rack)
    journal = Journal.create(path, slot="A1")
    watched.watch.notice(Busy(slot="A1", what="switching the power"))
    watched.watch.notice(JournalOpened(slot="A1", path=str(path)))
    watched.until(lambda: watched.board.slot("A1").doing == "switching the power", 2)
    journal.emit(PowerEvent(time.time_ns(), PowerAction.OFF))
    journal.emit(PowerEvent(time.time_ns(), PowerAction.PROOF, "the reader sees no card"))
    watched.until(lambda: watched.board.slot("A1").proof)
    view = watched.board.slot("A1")
    assert (view.power, view.proof, view.activity) == ("off", "the reader sees no card", "by hand")
    watched.watch.notice(Progress(slot="A1", what="downloading a profile", done=3, total=8))
    watched.until(lambda: watched.board.slot("A1").progress == (3, 8))
    watched.watch.notice(Busy(slot="A1", what=None))
    watched.until(lambda: watched.board.slot("A1").activity == "idle")
    assert watched.board.slot("A1").progress is None
    (source,) = watched.watch.sources("A1")
    assert (source.path, source.origin, source.live) == (path, "by hand", True)
    journal.close(comments=False)


def test_work_by_hand_of_another_process_is_found(rack: Rack, watched: Watched) -> None:
    """Its journal appears in the rack's folder, with a number when it is not the first."""
    with Journal.create(by_hand(rack, "C1-2.pcapng"), slot="C1") as journal:
        journal.emit(AtEvent(time.time_ns(), "<", "+CEREG: 0,1"))
        watched.until(lambda: watched.board.slot("C1").registration == "home")
    assert [one.origin for one in watched.watch.sources("C1")] == ["by hand"]


def test_troubles_come_and_go(watched: Watched) -> None:
    """As the desk tells them; what was done by hand ends with the desk."""
    trouble = Trouble(kind="TransportError", what="the reader has gone", hint="plug it in again")
    watched.watch.notice(Busy(slot="B1", what="reading the slot"))
    watched.watch.notice(SlotTrouble(slot="B1", trouble=trouble))
    watched.until(lambda: watched.board.slot("B1").trouble == trouble, 2)
    watched.watch.notice(SlotTrouble(slot="nobody", trouble=trouble))
    watched.watch.notice(SlotTrouble(slot="B1", trouble=None))
    watched.watch.notice(DeskLost(trouble=trouble))
    watched.until(lambda: watched.board.slot("B1").activity == "idle")
    assert watched.board.slot("B1").trouble is None


# ------------------------------------------------------------------------------------------------------- reading


def test_screens_read_in_one_thread_one_after_the_other(watched: Watched) -> None:
    """What fails there fails where it was asked for; after the end it still works."""

    def slow(number: int) -> tuple[int, str, float]:
        time.sleep(0.01)
        return number, threading.current_thread().name, time.monotonic()

    async def ask() -> list[tuple[int, str, float]]:
        return await asyncio.gather(*(watched.watch.read(slow, number) for number in range(5)))

    answers = asyncio.run(ask())
    assert [number for number, _, _ in answers] == [0, 1, 2, 3, 4]
    assert len({name for _, name, _ in answers}) == 1
    assert [at for _, _, at in answers] == sorted(at for _, _, at in answers)
    calls: list[int] = []

    def broken() -> None:
        calls.append(1)
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        asyncio.run(watched.watch.read(broken))
    assert calls == [1]
    watched.watch.close()
    assert asyncio.run(watched.watch.read(slow, 7))[0] == 7


def test_an_index_is_shared_and_grows(rack: Rack, watched: Watched) -> None:
    """Any journal's: that of a file too, which is nobody's slot."""
    path = by_hand(rack)
    journal = Journal.create(path, slot="A1")
    index = asyncio.run(watched.watch.read(watched.watch.index, path))
    assert asyncio.run(watched.watch.read(watched.watch.index, path)) is index
    for _ in range(3000):
        journal.emit(ApduEvent(1, bytes.fromhex("80F2000C"), b"\x90\x00", 1))
    watched.until(lambda: len(index) == 3000)
    assert index.count(Filter(functions=frozenset(("STATUS",)))) == 3000
    journal.close(comments=False)
    with pytest.raises(ConfigError, match="cannot read the trace"):
        asyncio.run(watched.watch.read(watched.watch.index, path.with_name("missing.pcapng")))


# ------------------------------------------------------------------------------------------------ what may go wrong


def test_a_journal_that_is_taken_away_is_said(rack: Rack, watched: Watched) -> None:
    """The next one ends the trouble."""
    path = by_hand(rack)
    journal = Journal.create(path, slot="A1")
    watched.watch.notice(JournalOpened(slot="A1", path=str(path)))
    journal.emit(PowerEvent(1, PowerAction.ON))
    watched.until(lambda: watched.board.slot("A1").power == "on")
    path.unlink()
    watched.until(lambda: watched.board.slot("A1").trouble is not None)
    assert "gone" in watched.board.slot("A1").trouble.what  # type: ignore[union-attr]
    assert watched.watch.sources("A1") == ()
    other = by_hand(rack, "A1-2.pcapng")
    with Journal.create(other, slot="A1"):
        watched.watch.notice(JournalOpened(slot="A1", path=str(other)))
        watched.until(lambda: watched.board.slot("A1").trouble is None)
    journal.close(comments=False)


def test_a_journal_that_became_shorter_is_said(rack: Rack, watched: Watched) -> None:
    """What was read of it stays on the board."""
    path = by_hand(rack)
    journal = Journal.create(path, slot="A1")
    watched.watch.notice(JournalOpened(slot="A1", path=str(path)))
    for _ in range(50):
        journal.emit(PowerEvent(1, PowerAction.ON))
    watched.until(lambda: watched.board.slot("A1").power == "on")
    time.sleep(1.1)
    os.truncate(path, 400)
    watched.until(lambda: watched.board.slot("A1").trouble is not None)
    assert "shorter" in watched.board.slot("A1").trouble.what  # type: ignore[union-attr]
    assert watched.board.slot("A1").power == "on"


def test_a_file_that_is_no_journal_is_said(rack: Rack, watched: Watched) -> None:
    """Whoever wrote it there."""
    path = by_hand(rack)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no trace at all" * 10)
    watched.until(lambda: watched.board.slot("A1").trouble is not None)
    assert "not a trace" in watched.board.slot("A1").trouble.sentence  # type: ignore[union-attr]


def test_a_broken_history_is_said_until_it_is_mended(rack: Rack, watched: Watched) -> None:
    """The watching goes on meanwhile."""
    store_path().parent.mkdir(parents=True, exist_ok=True)
    store_path().write_bytes(b"this is no database, but it is long enough to look at" * 40)
    watched.until(lambda: watched.board.trouble is not None)
    trouble = watched.board.trouble
    assert trouble is not None
    assert "not a run history" in trouble.what
    assert trouble.hint
    with Journal.create(by_hand(rack), slot="A1") as journal:
        journal.emit(AtEvent(1, "<", "+CEREG: 0,1"))
        watched.until(lambda: watched.board.slot("A1").registration == "home")
    store_path().unlink()
    watched.until(lambda: watched.board.trouble is None)
    done = run(rack)
    watched.until(lambda: watched.board.slot("A1").run == done)


def test_a_full_disk_is_said_and_nothing_is_lost(rack: Rack, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index goes on, without a record twice, when there is room again."""
    full = threading.Event()
    full.set()
    write = os.pwrite

    def pwrite(descriptor: int, data: bytes, offset: int) -> int:
        if full.is_set():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data, offset)

    monkeypatch.setattr("esim_bench.trace.columns.os.pwrite", pwrite)
    path = by_hand(rack)
    journal = Journal.create(path, slot="A1")
    watched.watch.notice(JournalOpened(slot="A1", path=str(path)))
    for _ in range(2500):
        journal.emit(ApduEvent(1, bytes.fromhex("80F2000C"), b"\x90\x00", 1))
    watched.until(lambda: watched.board.trouble is not None)
    trouble = watched.board.trouble
    assert trouble is not None
    assert "No space left" in trouble.what
    assert "TMPDIR" in trouble.hint
    full.clear()
    watched.until(lambda: watched.board.trouble is None)
    watched.until(lambda: watched.board.slot("A1").apdus == 2500)
    journal.close(comments=False)


def test_a_mistake_of_our_own_does_not_end_the_watching(
    rack: Rack, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is on the board, and gone when it does not happen again."""
    look = Watching.look
    monkeypatch.setattr("esim_bench.desk.watch.CRASH_SECONDS", 0.1)
    monkeypatch.setattr(Watching, "look", lambda self: 1 // 0)
    watched.until(lambda: watched.board.trouble is not None)
    assert watched.board.trouble is not None
    assert watched.board.trouble.kind == "crash"
    monkeypatch.setattr(Watching, "look", look)
    watched.until(lambda: watched.board.trouble is None)
    done = run(rack)
    watched.until(lambda: watched.board.slot("A1").run == done)


def test_closing_twice_or_before_the_start_is_no_error(rack: Rack) -> None:
    """The app closes whatever there is."""
    watch = Watch(rack)
    watch.close()
    watch.close()
    watch.start(lambda what: None)
    assert threading.active_count() < 50
