"""Runs whose process died: found at the next start, and completed from what they left.

A killed run said nothing of its end. Its run.json and its traces tell how far it came: every record that a trace was
told of is there, and the marks in it say which steps ended how. The outcome of such a run is ABORTED, whatever its
steps were: nobody looked at the rest.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from esim_bench.errors import BenchError
from esim_bench.events import MarkEvent
from esim_bench.scenario import marks
from esim_bench.scenario.results import Outcome, StepResult
from esim_bench.store import RunStore
from esim_bench.store.files import sweep, write_whole
from esim_bench.store.home import RUN_FILE, home, runs_dir, store_path
from esim_bench.trace import Reader

REASON: Final = "interrupted: the process ended without a result"
_CLOCK_SLACK_NS: Final = 100_000_000
"""File systems stamp files by a coarser clock."""


def settle() -> list[str]:
    """Mark the runs of the history whose process is gone as interrupted; return their ids.

    What such a process left of temporary files is removed. Raises ConfigError when the history cannot be used.
    """
    store = RunStore(store_path())
    settled = []
    for kept in store.unfinished():
        folder = runs_dir() / str(kept["run"])
        written = _written(folder, kept)
        if written.get("state") == "finished":
            store.add(written)  # it died between the two places where a result is kept
        else:
            document = _completed(written)
            if not store.interrupt(document):
                continue  # somebody else was faster
            with suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                write_whole(folder / RUN_FILE, json.dumps(document, indent=2) + "\n")
            settled.append(str(kept["run"]))
        places = {folder, *(Path(slot["trace"]).parent for slot in kept["slots"] if slot.get("trace"))}
        for place in (*places, home() / "installed", *(home() / "sim").glob("*")):
            sweep(place)
    store.tidy()
    return settled


def _written(folder: Path, kept: dict[str, Any]) -> dict[str, Any]:
    """Return the run's own document, which may know more than the history."""
    with suppress(OSError, ValueError):
        document = json.loads((folder / RUN_FILE).read_bytes())
        if isinstance(document, dict) and document.get("run") == kept["run"]:
            return document
    return kept


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    process = document.get("process") or {}
    slots = [
        slot if slot.get("outcome") is not None else _slot(slot, int(process.get("since_ns", 0)))
        for slot in document["slots"]
    ]
    more = {key: value for key, value in document.items() if key not in ("process", "slots")}
    more |= {"state": "interrupted", "outcome": Outcome.ABORTED.value, "slots": slots, "reason": REASON}
    return more


def _slot(slot: dict[str, Any], since_ns: int) -> dict[str, Any]:
    """Return a slot's result as far as its trace tells."""
    found: dict[str, Any] = slot | {"outcome": Outcome.ABORTED.value}
    path = Path(slot["trace"]) if slot.get("trace") else None
    try:
        # A trace of that name may be older than the run, which then never came to write its own.
        if path is None or path.stat().st_mtime_ns < since_ns - _CLOCK_SLACK_NS:
            return found | {"trace": None, "detail": REASON}
        with Reader(path) as reader:
            return found | _told(reader)
    except (OSError, BenchError):
        return found | {"trace": None, "detail": REASON}


def _told(reader: Reader) -> dict[str, Any]:
    steps: list[StepResult] = []
    open_step: tuple[str, int] | None = None
    first = last = None
    for record in reader:
        first, last = record.at_ns if first is None else first, record.at_ns
        if not isinstance(record.event, MarkEvent):
            continue
        match marks.parse(record.event.text):
            case marks.StepBegan(name):
                open_step = (name, record.at_ns)
            case marks.StepEnded(name, outcome, detail):
                began = open_step[1] if open_step else record.at_ns
                steps.append(StepResult(name, outcome, (record.at_ns - began) / 1e9, detail))
                open_step = None
            case marks.ScenarioEnded(_, outcome):
                # This slot was done when the process died elsewhere.
                return _values(reader, steps, first, last) | {"outcome": outcome.value}
    if open_step is not None and last is not None:
        steps.append(StepResult(open_step[0], Outcome.ABORTED, (last - open_step[1]) / 1e9, REASON))
    return _values(reader, steps, first, last) | {"detail": REASON}


def _values(reader: Reader, steps: list[StepResult], first: int | None, last: int | None) -> dict[str, Any]:
    return {
        "seconds": 0.0 if first is None or last is None else (last - first) / 1e9,
        "steps": [step.document() for step in steps],
        "apdus": reader.apdus(),
    }
