"""What a meter showed during each step: least, mean and greatest current and voltage."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from esim_bench.events import MarkEvent, SampleEvent
from esim_bench.trace.reader import Record

OUTSIDE: Final = ""
"""The name of the time before, between and after the steps."""
_STEP: Final = "step "


@dataclass(slots=True)
class Range:
    """Least, mean and greatest of some values."""

    count: int = 0
    least: float = float("inf")
    greatest: float = float("-inf")
    total: float = 0.0

    def add(self, value: float | None) -> None:
        """Take a value; None is none."""
        if value is not None:
            self.count += 1
            self.total += value
            self.least, self.greatest = min(self.least, value), max(self.greatest, value)

    def document(self) -> dict[str, float] | None:
        """Return JSON values; None where nothing was measured."""
        if not self.count:
            return None
        return {
            "min": round(self.least, 9),
            "avg": round(self.total / self.count, 9),
            "max": round(self.greatest, 9),
        }


@dataclass(slots=True)
class StepSamples:
    """The samples of one meter during one step of one slot."""

    slot: str
    source: str
    step: str
    """The step's name; "" outside of all steps."""
    samples: int = 0
    amperes: Range = field(default_factory=Range)
    volts: Range = field(default_factory=Range)

    def document(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        return {
            "slot": self.slot,
            "source": self.source,
            "step": self.step or None,
            "samples": self.samples,
            "amperes": self.amperes.document(),
            "volts": self.volts.document(),
        }


def samples(records: Iterable[Record]) -> list[StepSamples]:
    """Return a row per slot, meter and step, in the order of the first sample. A step that comes again adds to its row.

    A step's time is that between the marks ``step NAME`` and ``step NAME: OUTCOME`` of a run.
    """
    rows: dict[tuple[str, str, str], StepSamples] = {}
    steps: dict[str, str] = {}
    for record in records:
        event = record.event
        if isinstance(event, MarkEvent) and event.text.startswith(_STEP):
            running = steps.get(record.slot, OUTSIDE)
            ends = running and event.text.startswith(f"{_STEP}{running}: ")
            steps[record.slot] = OUTSIDE if ends else event.text.removeprefix(_STEP)
        elif isinstance(event, SampleEvent):
            key = record.slot, event.source, steps.get(record.slot, OUTSIDE)
            row = rows.setdefault(key, StepSamples(*key))
            row.samples += 1
            row.amperes.add(event.amperes)
            row.volts.add(event.volts)
    return list(rows.values())
