"""What the screen keeps: its state between starts, live runs, problems, the rack file."""

import json
import os
from pathlib import Path

import pytest

from esim_bench.desk.api import RunBegan, RunEnded, RunQuestion, RunRequest, RunStep, Trouble
from esim_bench.rack.model import Rack, load_rack
from esim_bench.store.home import home
from esim_bench.tui import signs
from esim_bench.tui.live import KEPT, LiveRuns
from esim_bench.tui.problems import Problems
from esim_bench.tui.rackfile import RackFileWatch
from esim_bench.tui.state import TuiState


def test_state_is_there_at_the_next_start() -> None:
    state = TuiState()
    state.set("theme", "bench-light")
    state.set("screen.rack", {"filter": "MFF2"})
    assert state.dirty
    state.save()
    assert not state.dirty
    again = TuiState()
    assert again.get("theme", "") == "bench-light"
    assert again.get("screen.rack", {}) == {"filter": "MFF2"}


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "\x00\xff", '{"theme": 7}'])
def test_a_spoilt_state_file_counts_as_none(text: str) -> None:
    path = home() / "tui.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    assert TuiState().get("theme", "bench-dark") == "bench-dark"


def test_a_state_that_cannot_be_written_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    state = TuiState(tmp_path / "file" / "tui.json")
    state.set("theme", "bench-light")
    state.save()
    assert state.get("theme", "") == "bench-light"


def test_a_live_run_is_what_its_notices_tell() -> None:
    runs = LiveRuns()
    run = runs.add("k", RunRequest(scenario="switch", slots=["A1", "B1"]))
    runs.notice(RunBegan(key="k", run="20260101-000000-abc"))
    runs.notice(RunStep(key="k", slot="A1", step="read", outcome=None))
    runs.notice(RunStep(key="k", slot="B1", step="read", outcome=None))
    runs.notice(RunStep(key="k", slot="A1", step="read", outcome="PASS"))
    runs.notice(RunStep(key="k", slot="A1", step="enable", outcome=None))
    runs.notice(RunQuestion(key="k", slot="B1", text="take the card out"))
    assert [(step.slot, step.step, step.outcome) for step in run.steps] == [
        ("A1", "read", "PASS"),
        ("B1", "read", None),
        ("A1", "enable", None),
    ]
    assert run.step_of("A1") == run.steps[2]
    assert run.questions["B1"].text == "take the card out"
    runs.notice(RunQuestion(key="k", slot="B1", text=None))
    assert not run.questions
    assert runs.running == [run]
    runs.notice(RunEnded(key="k", run="20260101-000000-abc", outcome="PASS"))
    assert not runs.running
    assert run.over.is_set()


def test_notices_may_be_faster_than_the_answer_to_who_asked() -> None:
    runs = LiveRuns()
    runs.notice(RunStep(key="k", slot="A1", step="read", outcome=None))
    run = runs.add("k", RunRequest(scenario="switch", slots=["A1"]))
    assert run.request.scenario == "switch"
    assert run.steps[0].step == "read"
    assert runs.notice("something else") is None


def test_old_runs_are_left_to_the_history() -> None:
    runs = LiveRuns()
    for number in range(KEPT + 20):
        runs.add(str(number), RunRequest(scenario="switch", slots=[]))
        runs.notice(RunEnded(key=str(number), run=None, outcome="PASS"))
    assert len(runs) <= KEPT + 1
    assert runs.get(str(KEPT + 19)) is not None


def test_the_same_problem_again_is_counted_not_repeated() -> None:
    problems = Problems()
    gone = Trouble(kind="TransportError", what="the reader has gone", where="A1", hint="plug it in again")
    assert problems.add(gone)
    assert not problems.add(gone)
    assert problems.add(Trouble(kind="ConfigError", what="no such slot"))
    assert [(one.trouble.what, one.times) for one in problems] == [("no such slot", 1), ("the reader has gone", 2)]
    assert problems.unseen == 3


def test_trouble_is_a_sentence() -> None:
    trouble = Trouble(kind="TransportError", what="no answer", where="A1", expected="9000", found="nothing")
    assert trouble.sentence == "A1: no answer: expected 9000, found nothing"
    crash = Trouble.of(ValueError("odd"))
    assert crash.kind == "crash"
    assert "ValueError" in crash.what
    assert Trouble.of(OSError(28, "No space left on device", "/x")).sentence == "/x: No space left on device"


@pytest.fixture
def rack(tmp_path: Path) -> Rack:
    path = tmp_path / "rack.toml"
    path.write_text(load_rack("sim-3").path.read_text())
    return load_rack(path)


def test_a_changed_rack_file_is_found_once(rack: Rack) -> None:
    watch = RackFileWatch(rack)
    assert watch.look() is None
    rack.path.write_text(rack.path.read_text().replace('name = "A1"', 'name = "Z9"'))
    found = watch.look()
    assert isinstance(found, Rack)
    assert found.slots[0].name == "Z9"
    assert watch.look() is None
    watch.later()
    assert isinstance(watch.look(), Rack)


def test_a_broken_rack_file_is_said_with_its_line_and_what_to_do(rack: Rack) -> None:
    watch = RackFileWatch(rack)
    rack.path.write_text(rack.path.read_text() + "\n[[slot]]\nname = 7\n")
    found = watch.look()
    assert isinstance(found, Trouble)
    assert "rack.toml" in found.sentence
    assert "stays as it was" in found.hint
    assert watch.look() is None
    os.unlink(rack.path)
    assert isinstance(watch.look(), Trouble)


def test_signs_tell_outcomes_apart_without_colour() -> None:
    assert len({signs.outcome(name).sign for name in (None, "", *signs.OUTCOMES)}) == len(signs.OUTCOMES) + 2
    assert signs.signal_bars(None) == "    "
    assert [signs.signal_bars(dbm).strip() for dbm in (-120, -110, -95, -80, -60)] == ["", "▂", "▂▄", "▂▄▆", "▂▄▆█"]


def test_state_is_json_that_a_person_can_read() -> None:
    state = TuiState()
    state.set("a", [1, "ä"])
    state.save()
    assert json.loads((home() / "tui.json").read_text()) == {"a": [1, "ä"]}
