"""Medians, and a table of them: absolute times say more about the machine than about the program."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROUNDS = 15


@dataclass(frozen=True)
class Figure:
    """One figure: ``limit`` is what it must not exceed, or with ``least`` what it must reach; None: only stated."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    least: bool = False

    @property
    def ok(self) -> bool:
        if self.limit is None:
            return True
        return self.value >= self.limit if self.least else self.value <= self.limit


def seconds(work: Callable[[], Any], times: int = 1, rounds: int = ROUNDS) -> float:
    """Return the median seconds of one call, over ``rounds`` rounds of ``times`` calls."""
    work()
    return statistics.median(_round(work, times) for _ in range(rounds))


def ratio(ours: Callable[[], Any], floor: Callable[[], Any], times: int = 1, rounds: int = ROUNDS) -> float:
    """Return the median of ours / floor; each round measures both, as the machine's speed drifts."""
    ours()
    floor()
    return statistics.median(_round(ours, times) / _round(floor, times) for _ in range(rounds))


def _round(work: Callable[[], Any], times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - began) / times


def report(figures: list[Figure], target: Path) -> bool:
    """Print the table, write it as JSON, tell whether all limits are met."""
    for one in figures:
        bound = "at least" if one.least else "at most"
        limit = "" if one.limit is None else f"  ({bound} {one.limit:g}: {'ok' if one.ok else 'NOT MET'})"
        sys.stdout.write(f"{one.name:<64} {one.value:>9.3f} {one.unit:<4}{limit}\n")
    target.parent.mkdir(exist_ok=True)
    rows = []
    for one in figures:
        row = asdict(one) | {"value": round(one.value, 3), "ok": one.ok}
        del row["least"]
        rows.append(row)
    target.write_text(json.dumps(rows, indent=2) + "\n")
    return all(one.ok for one in figures)
