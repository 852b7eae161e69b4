"""Looks at the history for the runs of one rack: those that go on, in whatever process, and how others ended."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from esim_bench.scenario.results import Outcome, worst
from esim_bench.store import RunStore
from esim_bench.store.claims import claimed
from esim_bench.store.home import RUN_FILE, runs_dir, store_path
from esim_bench.store.runs import RUNNING

KEPT: Final = 30
"""Runs of the rack that are at hand: their journals can be looked at, their steps tell how far a running one is."""
PATIENCE: Final = 1.0
"""Seconds that a look waits for somebody who writes."""


@dataclass(frozen=True, slots=True)
class SlotRun:
    """One slot in a run, in one repetition."""

    slot: str
    form_factor: str
    repetition: int
    trace: Path | None
    outcome: str
    """"" while it has none."""
    steps: int
    reason: str
    """The first step that was not good, and its words."""
    eid: str


@dataclass(frozen=True, slots=True)
class RunSeen:
    """A run as its document tells of it."""

    run: str
    running: bool
    """The history says so; its process may be gone all the same."""
    scenario: str
    started_ns: int
    number: int
    """Of the history: the later run has the greater one."""
    slots: tuple[SlotRun, ...]

    def of(self, slot: str) -> list[SlotRun]:
        """Return what it did on a slot, by repetition."""
        return [one for one in self.slots if one.slot == slot]

    def outcome_on(self, slot: str) -> str:
        """Return the worst outcome on a slot; "" where none has ended there."""
        ended = [Outcome(one.outcome) for one in self.of(slot) if one.outcome in _OUTCOMES]
        return worst(ended).value if ended else ""

    def reason_on(self, slot: str) -> str:
        """Return why it was not good there."""
        return next((one.reason for one in self.of(slot) if one.reason), "")


_OUTCOMES: Final = frozenset(outcome.value for outcome in Outcome)


@dataclass(frozen=True, slots=True)
class LastRun:
    """The last run that ended on a slot."""

    run: str
    scenario: str
    outcome: str
    at_ns: int
    reason: str = ""
    number: int = 0
    """Of the history; 0 for one of long ago."""


class Lookout:
    """Looks when it is told to, and reads only what it has not read yet. Its calls raise ConfigError, OSError."""

    def __init__(self, rack: str, slots: frozenset[str]) -> None:
        self._rack = rack
        self._slots = slots
        self._path = store_path()
        self._store = RunStore(self._path, PATIENCE)
        self._stamp: tuple[int, int, int] | None = None
        self._runs: dict[str, RunSeen] = {}
        """The newest last."""
        self._older: dict[str, LastRun | None] = {}
        """Of slots on which none of these has ended."""
        self._written: dict[str, int] = {}
        """When the documents in the folders of running runs were written."""

    @property
    def runs(self) -> tuple[RunSeen, ...]:
        """Return the runs that are at hand, the newest last."""
        return tuple(self._runs.values())

    def look(self) -> bool:
        """Look at the history; tell whether it is another one than before."""
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return self._look_at_folders()
        runs: dict[str, RunSeen] = {}
        for number, run, state in reversed(self._store.of_rack(self._rack, KEPT)):
            known = self._runs.get(run)
            if known is None or known.running or state == RUNNING:
                known = self._read(run, number) or known
            if known is not None:
                runs[run] = known
        self._runs = runs
        self._stamp = stamp
        self._look_at_folders()
        return True

    def _read(self, run: str, number: int) -> RunSeen | None:
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            return _seen(self._store.get(run), self._slots, number)
        return None  # somebody else's document

    def _look_at_folders(self) -> bool:
        """Read what running runs say in their folders: a repetition that began is not in the history yet."""
        running = [run for run in self._runs.values() if run.running]
        changed = False
        for run in running:
            with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
                path = runs_dir() / run.run / RUN_FILE
                written = path.stat().st_mtime_ns
                if self._written.get(run.run) != written:
                    self._written[run.run] = written
                    seen = _seen(json.loads(path.read_bytes()), self._slots, run.number)
                    if seen.running and seen != run:
                        self._runs[run.run] = seen
                        changed = True
        if len(self._written) > len(running):
            self._written = {run.run: self._written.get(run.run, 0) for run in running}
        return changed

    def alive(self, run: str) -> bool:
        """Tell whether a living process works on a run."""
        return claimed(self._path.parent / "running", run)

    def last_on(self, slot: str) -> LastRun | None:
        """Return how the last run ended on a slot."""
        for run in reversed(self._runs.values()):
            outcome = "" if run.running else run.outcome_on(slot)
            if outcome:
                return LastRun(run.run, run.scenario, outcome, _ended_ns(run, slot), run.reason_on(slot), run.number)
        if slot not in self._older:
            found = self._store.last_on(self._rack, slot)
            self._older[slot] = None if found is None else LastRun(found[0], found[2], found[3], _ns(found[1]))
        return self._older[slot]

    def expected_steps(self, scenario: str, slot: str, form_factor: str) -> int:
        """Return how many steps a scenario had the last time it passed, there or on a slot alike; 0: not known."""
        alike = 0
        for run in reversed(self._runs.values()):
            if run.running or run.scenario != scenario:
                continue
            for one in run.slots:
                if one.outcome == Outcome.PASS.value and one.steps:
                    if one.slot == slot:
                        return one.steps
                    if one.form_factor == form_factor and not alike:
                        alike = one.steps
        return alike


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _ns(started: str) -> int:
    try:
        return int(datetime.datetime.fromisoformat(started).timestamp() * 1e9)
    except ValueError:
        return 0


def _ended_ns(run: RunSeen, slot: str) -> int:
    """Return when a slot was done: its trace was written last then."""
    latest = run.started_ns
    for one in run.of(slot):
        if one.trace is not None:
            with suppress(OSError):
                latest = max(latest, one.trace.stat().st_mtime_ns)
    return latest


def _seen(document: dict[str, Any], known: frozenset[str], number: int) -> RunSeen:
    return RunSeen(
        str(document["run"]),
        document.get("state") == RUNNING,
        str(document.get("scenario") or ""),
        int((document.get("process") or {}).get("since_ns") or _ns(str(document.get("started", "")))),
        number,
        tuple(_slots(document, known)),
    )


def _slots(document: dict[str, Any], known: frozenset[str]) -> Iterator[SlotRun]:
    for slot in document.get("slots") or ():
        if slot.get("slot") not in known:
            continue
        steps = slot.get("steps") or []
        bad = next((step for step in steps if step.get("outcome") not in ("PASS", "SKIPPED")), None)
        reason = ": ".join(text for text in (bad.get("name"), bad.get("detail")) if text) if bad else ""
        yield SlotRun(
            str(slot["slot"]),
            str(slot.get("form_factor", "")),
            int(slot.get("repetition") or 1),
            Path(slot["trace"]) if slot.get("trace") else None,
            str(slot.get("outcome") or ""),
            len(steps),
            reason or str(slot.get("detail") or ""),
            str((slot.get("device") or {}).get("eid") or ""),
        )
