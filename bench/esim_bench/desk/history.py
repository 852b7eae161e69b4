"""The run history as values for a front: searched, compared, and as series over time.

All of it reads files: it is for a thread that may wait (``Watch.read``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from esim_bench.scenario import marks
from esim_bench.store import RunStore
from esim_bench.store.home import store_path
from esim_bench.trace.index import Filter, TraceIndex

MOST: Final = 10_000
"""Runs that are listed."""
TREND_RUNS: Final = 400
"""Runs that trends are made of, the latest ones."""
PASS_WINDOW: Final = 10
"""Runs that each point of a pass rate is over."""
_MARK: Final = 5
"""Kind of a mark in an index."""


@dataclass(frozen=True, slots=True)
class Summary:
    """One run in a list."""

    run: str
    started: str
    """ISO 8601."""
    scenario: str
    rack: str
    state: str
    outcome: str | None
    """None: it goes on."""
    slots: tuple[tuple[str, str, str | None], ...]
    """Name, form factor, outcome."""

    def has(self, words: Iterable[str]) -> bool:
        """Tell whether each word is in it somewhere: scenario, rack, date, slot, form factor, outcome."""
        slots = " ".join(f"{name} {form} {outcome or 'running'}" for name, form, outcome in self.slots)
        text = (
            f"{self.run} {self.started} {self.scenario} {self.rack} {self.state} {self.outcome or ''} {slots}".lower()
        )
        return all(word in text for word in words)


def summaries(text: str = "", limit: int = MOST) -> list[Summary]:
    """Return the runs that a search finds, the newest first. Raises ConfigError for a history that cannot be read."""
    words = text.lower().split()
    found = []
    for one in RunStore(store_path()).list(limit):
        slots = tuple((slot["slot"], slot["form_factor"], slot["outcome"]) for slot in one["slots"])
        summary = Summary(
            *(one["run"], one["started"], one["scenario"], one["rack"], one["state"], one["outcome"], slots)
        )
        if summary.has(words):
            found.append(summary)
    return found


def document(run: str) -> dict[str, Any]:
    """Return a run's whole document. Raises ConfigError when there is none."""
    return RunStore(store_path()).get(run)


# --------------------------------------------------------------------------------------------------------- comparison


@dataclass(frozen=True, slots=True)
class Compared:
    """One step of two runs; None where a run has no such step."""

    slot: str
    step: str
    left: tuple[str, float] | None
    """Outcome, seconds."""
    right: tuple[str, float] | None

    @property
    def differs(self) -> bool:
        """Tell whether the outcomes are not the same."""
        return (self.left and self.left[0]) != (self.right and self.right[0])

    @property
    def ratio(self) -> float | None:
        """Return how much longer the right one took; None where that says nothing."""
        if self.left is None or self.right is None or min(self.left[1], self.right[1]) < 0.05:
            return None
        return self.right[1] / self.left[1]


def compare(left: dict[str, Any], right: dict[str, Any]) -> list[Compared]:
    """Set the steps of two runs beside each other, slot by slot, the same step of the same slot in one row.

    Slots that only one of them has come with that one's steps; repetitions of a run count as they come.
    """
    ours, theirs = _steps(left), _steps(right)
    rows = []
    for key in [*ours, *(key for key in theirs if key not in ours)]:
        rows.append(Compared(key[0], key[1], ours.get(key), theirs.get(key)))
    order = {slot: place for place, slot in enumerate(dict.fromkeys(row.slot for row in rows))}
    return sorted(rows, key=lambda row: order[row.slot])


def _steps(document: dict[str, Any]) -> dict[tuple[str, str, int], tuple[str, float]]:
    found: dict[tuple[str, str, int], tuple[str, float]] = {}
    for slot in document.get("slots") or ():
        for step in slot.get("steps") or ():
            number = 0
            while (slot["slot"], step["name"], number) in found:
                number += 1
            found[slot["slot"], step["name"], number] = (step["outcome"], float(step["seconds"]))
    return found


# ------------------------------------------------------------------------------------------------------------- trends


@dataclass(slots=True)
class Series:
    """What one kind of device did, run after run, the oldest first."""

    name: str
    """Module and firmware."""
    values: list[float] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Trend:
    """One measure of all kinds of devices."""

    title: str
    unit: str
    series: list[Series] = field(default_factory=list)


def trends(scenario: str = "", limit: int = TREND_RUNS) -> list[Trend]:
    """Return pass rate, download time and recovery time, per module and firmware, over the latest runs.

    ``scenario``: only of that one. Series with most values come first.
    """
    store = RunStore(store_path())
    passed: dict[str, Series] = {}
    outcomes: dict[str, list[bool]] = {}
    downloads: dict[str, Series] = {}
    recoveries: dict[str, Series] = {}
    for one in reversed(store.list(limit)):
        if one["state"] == "running" or (scenario and one["scenario"] != scenario):
            continue
        for slot in store.get(one["run"]).get("slots") or ():
            if slot.get("outcome") in (None, "SKIPPED", "ABORTED"):
                continue
            name = kind_of(slot)
            window = outcomes.setdefault(name, [])
            window.append(slot["outcome"] == "PASS")
            del window[:-PASS_WINDOW]
            _add(passed, name, one["run"], 100.0 * sum(window) / len(window))
            times = [(step["name"], float(step["seconds"])) for step in slot["steps"] if step["outcome"] == "PASS"]
            loading = max((seconds for step, seconds in times if step.startswith("download")), default=0.0)
            if loading > 0.2:  # less: it was there already
                _add(downloads, name, one["run"], loading)
            cuts = [seconds for step, seconds in times if step.startswith(("cut ", "recover"))]
            if cuts:
                _add(recoveries, name, one["run"], median(cuts))
    return [
        Trend(f"Pass rate, over {PASS_WINDOW} runs", "%", _sorted(passed)),
        Trend("Download time", "s", _sorted(downloads)),
        Trend("Recovery time after a power cut", "s", _sorted(recoveries)),
    ]


def kind_of(slot: dict[str, Any]) -> str:
    """Return what kind of device a slot of a run had: module and firmware, else form factor and firmware."""
    device = slot.get("device") or {}
    modem = device.get("modem") or {}
    model = str(modem.get("model") or "")
    if model:
        return " ".join(filter(None, (model, str(modem.get("revision") or ""))))
    firmware = (device.get("euicc") or {}).get("firmware")
    return f"{slot.get('form_factor', '?')} card" + (f" {firmware}" if firmware else "")


def _add(series: dict[str, Series], name: str, run: str, value: float) -> None:
    one = series.setdefault(name, Series(name))
    one.values.append(value)
    one.runs.append(run)


def _sorted(series: dict[str, Series]) -> list[Series]:
    return sorted(series.values(), key=lambda one: (-len(one.values), one.name))


# ------------------------------------------------------------------------------------------------------- steps in time


def step_time(index: TraceIndex, number: int) -> int | None:
    """Return when a run's step began, by its number in the run's document; None where the journal does not tell."""
    wanted = Filter(kinds=frozenset((_MARK,)))
    at = 0
    seen = -1
    while found := index.find(wanted, at, 200):
        for place in found:
            record = index.record(place)
            if isinstance(marks.parse(getattr(record.event, "text", "")), marks.StepBegan):
                seen += 1
                if seen == number:
                    return record.at_ns
        at = found[-1] + 1
    return None


def traces(document: dict[str, Any], slots: Sequence[str] = ()) -> list[Path]:
    """Return the journals of a run that are there, all or those of slots."""
    found = [
        Path(slot["trace"])
        for slot in document.get("slots") or ()
        if slot.get("trace") and (not slots or slot["slot"] in slots)
    ]
    return [path for path in found if path.exists()]
