"""Runs from the desk: each in a process of its own, with steps, questions, an end whatever happens."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from esim_bench.desk.api import RunBegan, RunEnded, RunQuestion, RunRequest, RunStep, Trouble

SWITCH = RunRequest(scenario="switch", slots=["A1"])


@pytest.fixture(scope="module")
def on(open_desk: Callable[..., Any]) -> Any:
    """Return a desk on the packaged simulated rack."""
    return open_desk("sim-3")


def _ended(on: Any, key: str) -> RunEnded:
    ended = on(on.notice(RunEnded, lambda one: one.key == key))
    assert isinstance(ended, RunEnded)
    return ended


def _children(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_run_tells_its_steps_and_its_end(on: Any) -> None:
    on(on.desk.profiles("A1"))
    key = on(on.desk.start_run(RunRequest(scenario="switch", slots=["A1", "B1"], seed=7)))
    end = _ended(on, key)

    began = next(one for one in on.notices if isinstance(one, RunBegan) and one.key == key)
    assert (end.outcome, end.run, end.trouble) == ("PASS", began.run, None)
    steps = [one for one in on.notices if isinstance(one, RunStep) and one.key == key]
    assert {one.slot for one in steps} == {"A1", "B1"}
    first = [one.outcome for one in steps if one.slot == "A1"][:2]
    assert first == [None, "PASS"]
    # The card by hand goes on from what the run left: its seed, its profiles.
    assert len(on(on.desk.profiles("A1"))) == 2


def test_a_question_waits_for_its_answer_and_the_slot_for_the_run(on: Any) -> None:
    key = on(on.desk.start_run(RunRequest(scenario="hot_swap", slots=["A1"], rate=60.0)))
    question = on(on.notice(RunQuestion, lambda one: one.key == key and one.text))
    assert (question.slot, question.action) == ("A1", "remove-card")

    for job in (on.desk.profiles("A1"), on.desk.power_off("A1"), on.desk.start_run(SWITCH)):
        trouble = on.trouble(job)
        assert (trouble.kind, trouble.what) == ("InUseError", "slot A1 is in a run")
    assert on(on.desk.profiles("B1")), "other slots go on"

    on(on.desk.answer(key, "A1", "done"))
    withdrawn = on(on.notice(RunQuestion, lambda one: one.key == key and one.text is None))
    assert withdrawn.slot == "A1"
    on(on.notice(RunQuestion, lambda one: one.key == key and one.action == "insert-card"))
    on(on.desk.answer(key, "A1", "skip"))
    assert _ended(on, key).outcome == "SKIPPED"
    assert on(on.desk.profiles("A1"))


def test_an_aborted_run_ends_and_says_so(on: Any) -> None:
    key = on(on.desk.start_run(RunRequest(scenario="power_cycle", slots=["A1", "C1"], rate=0.5)))
    on(on.desk.abort_run(key))

    assert _ended(on, key).outcome == "ABORTED"
    assert on.trouble(on.desk.abort_run(key)).what == "no such run is under way"
    assert on.trouble(on.desk.answer(key, "A1", "done")).found == key
    assert on(on.desk.profiles("A1"))


def test_what_cannot_be_run_is_said_at_once(on: Any) -> None:
    before = len(on.notices)
    troubles: list[Trouble] = [
        on.trouble(on.desk.start_run(request))
        for request in (
            RunRequest(scenario="nonsense", slots=["A1"]),
            RunRequest(scenario="switch", slots=["Q7"]),
            RunRequest(scenario="switch", slots=[]),
        )
    ]
    assert [one.kind for one in troubles] == ["ConfigError"] * 3
    assert troubles[0].what == "no scenario of this name"
    assert "hot_swap" in troubles[0].expected
    assert [one for one in on.notices[before:] if isinstance(one, RunBegan | RunEnded)] == []
    assert on(on.desk.profiles("A1")), "the slot is free again"


def test_a_run_whose_process_dies_has_an_end_too(on: Any) -> None:
    key = on(on.desk.start_run(RunRequest(scenario="power_cycle", slots=["A1"], rate=0.5)))
    (runner,) = _children(on.desk.pid)
    os.kill(runner, signal.SIGKILL)

    end = _ended(on, key)
    assert end.outcome is None
    assert end.trouble is not None
    assert (end.trouble.what, end.trouble.found) == ("the run's process ended without a result", "signal 9")
    assert on(on.desk.profiles("A1"))
