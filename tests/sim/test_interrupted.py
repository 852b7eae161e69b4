"""Runs that ended otherwise than by their scenario: killed, out of room, given up."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from esim_bench.cli.main import invoke
from esim_bench.events import MarkEvent
from esim_bench.scenario import marks
from esim_bench.scenario.interrupted import REASON, settle
from esim_bench.scenario.results import Outcome
from esim_bench.store import RunStore
from esim_bench.store.home import runs_dir, store_path
from esim_bench.trace import Journal, Reader

RUN = "20260101-000000-abcdef"


def dead_run(*slots: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Put a run into the history whose process is no more."""
    document: dict[str, Any] = {
        "run": RUN,
        "state": "running",
        "outcome": None,
        "seed": 0,
        "scenario": "provision",
        "rack": "sim-3",
        "started": "2026-01-01T00:00:00+00:00",
        "slots": list(slots),
        "process": {"pid": 999_999_999, "host": "here", "since_ns": 0},
    }
    store = RunStore(store_path())
    store.begin(document | more)
    store.close()
    return document | more


def slot(name: str, trace: Path | None) -> dict[str, Any]:
    return {
        "slot": name,
        "form_factor": "4FF",
        "scenario": "provision",
        "outcome": None,
        "seconds": 0.0,
        "steps": [],
        "trace": None if trace is None else str(trace),
        "apdus": 0,
        "repetition": 1,
    }


def trace(path: Path, *texts: str) -> Path:
    with Journal.create(path, slot=path.stem) as journal:
        for number, text in enumerate(texts):
            journal.emit(MarkEvent(number * 1_000_000_000, text))
    return path


def test_a_dead_run_is_completed_from_its_traces(tmp_path: Path) -> None:
    began = [marks.begun("provision", "4FF", "A1"), marks.step_began("start")]
    passed = [*began, marks.step_ended("start", Outcome.PASS, "ATR: 3B"), marks.step_began("download")]
    done = [*began, marks.step_ended("start", Outcome.FAIL, ""), marks.ended("provision", Outcome.FAIL)]
    dead_run(
        slot("A1", trace(tmp_path / "A1.pcapng", *passed)),
        slot("B1", trace(tmp_path / "B1.pcapng", *done)),
        slot("C1", tmp_path / "C1.pcapng"),
    )
    assert settle() == [RUN]
    assert settle() == []
    document = RunStore(store_path()).get(RUN)
    assert json.loads((runs_dir() / RUN / "run.json").read_text()) == document
    assert (document["state"], document["outcome"], document["reason"]) == ("interrupted", "ABORTED", REASON)
    a1, b1, c1 = document["slots"]
    assert [(step["name"], step["outcome"]) for step in a1["steps"]] == [("start", "PASS"), ("download", "ABORTED")]
    assert (a1["outcome"], a1["steps"][0]["detail"], a1["steps"][0]["seconds"]) == ("ABORTED", "ATR: 3B", 1.0)
    assert (b1["outcome"], b1["seconds"]) == ("FAIL", 3.0)
    assert (c1["outcome"], c1["trace"], c1["steps"]) == ("ABORTED", None, [])


def test_passed_slots_do_not_make_a_dead_run_pass(tmp_path: Path) -> None:
    dead_run(slot("A1", trace(tmp_path / "A1.pcapng", marks.ended("provision", Outcome.PASS))))
    settle()
    assert RunStore(store_path()).list()[0]["outcome"] == "ABORTED"


def test_a_trace_that_is_older_than_the_run_is_not_its_own(tmp_path: Path) -> None:
    old = trace(tmp_path / "A1.pcapng", marks.ended("provision", Outcome.PASS))
    os.utime(old, (1.0, 1.0))
    dead_run(slot("A1", old), process={"pid": 1, "host": "here", "since_ns": 1_700_000_000_000_000_000})
    settle()
    (found,) = RunStore(store_path()).get(RUN)["slots"]
    assert (found["outcome"], found["trace"]) == ("ABORTED", None)


def test_a_result_that_was_written_counts(tmp_path: Path) -> None:
    document = dead_run(slot("A1", None))
    ended = document | {"state": "finished", "outcome": "PASS"}
    (runs_dir() / RUN).mkdir(parents=True)
    (runs_dir() / RUN / "run.json").write_text(json.dumps(ended))
    assert settle() == []
    assert RunStore(store_path()).get(RUN) == ended


def test_marks_are_read_as_they_were_written() -> None:
    assert marks.parse(marks.step_began("cut in idle")) == marks.StepBegan("cut in idle")
    ended = marks.step_ended("verify: IMSI", Outcome.FAIL, "expected 1: found 2\nsecond line")
    assert marks.parse(ended) == marks.StepEnded("verify: IMSI", Outcome.FAIL, "expected 1: found 2\nsecond line")
    assert marks.parse(marks.ended("provision", Outcome.TIMEOUT)) == marks.ScenarioEnded("provision", Outcome.TIMEOUT)
    assert marks.parse("all is well") is None


def test_a_full_disk_is_an_error_of_the_slot_and_of_no_other(tmp_path: Path) -> None:
    # No file of the process may become longer than this: the traces of two slots would, that of the third does not.
    script = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60000, 60000))\n"
        "from esim_bench.cli.main import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", script, "run", "provision", "--live", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    document = json.loads(done.stdout)
    assert document["outcome"] == "ERROR"
    assert {one["slot"]: one["outcome"] for one in document["slots"]} == {"A1": "PASS", "B1": "ERROR", "C1": "ERROR"}
    for one in document["slots"][1:]:
        assert one["steps"][-1]["name"] == "trace"
        assert "cannot write the trace" in one["steps"][-1]["detail"]
        with Reader(one["trace"]) as reader:
            assert (reader.damage, reader.torn) == (None, 0)
            printed = sum(line.startswith(one["slot"]) for line in done.stderr.splitlines())
            assert len(reader) == printed > 0
    assert RunStore(store_path()).get("latest") == document


def test_a_run_that_could_not_begin_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["run", "provision", "-p", "package=/nowhere/there.der"]) == 2
    capsys.readouterr()
    assert RunStore(store_path()).list() == []
    assert list(runs_dir().glob("*")) == []


def test_a_folder_without_room_for_traces_is_the_slot_s_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "traces" / "A1.pcapng").mkdir(parents=True)
    arguments = ["run", "provision", "--slot", "A1", "--trace-dir", str(tmp_path / "traces"), "--json"]
    assert invoke(arguments) == 3
    (only,) = json.loads(capsys.readouterr().out)["slots"]
    assert only["outcome"] == "ERROR"
    assert "cannot write the trace" in only["steps"][-1]["detail"]
