"""How often each function was called and how long it took."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

from esim_bench.events import ApduEvent, RspEvent, SniffedApduEvent
from esim_bench.trace.decode import ApduDecoder, rsp_function
from esim_bench.trace.reader import Record


@dataclass(frozen=True, slots=True)
class FunctionStats:
    """One function of a trace: an ES10 or ES9+ function as a whole, or a plain command."""

    function: str
    count: int
    """Calls that came to an end, well or badly."""
    unfinished: int
    """Calls that did not: power was cut, another chain began, the trace ends."""
    total_ms: float
    median_ms: float

    def document(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        return {
            "function": self.function,
            "count": self.count,
            "unfinished": self.unfinished,
            "total_ms": round(self.total_ms, 6),
            "median_ms": round(self.median_ms, 6),
        }


def stats(records: Iterable[Record]) -> list[FunctionStats]:
    """Return a row per function in the order of first use; the records of several slots may be mixed.

    A function that takes many APDUs (a STORE DATA chain with its GET RESPONSEs, a whole bound profile package) counts
    once, from the beginning of its first APDU to the end of its last. Functions that a sniffer heard are rows of their
    own, "sniffed SELECT".
    """
    decoders: dict[str, ApduDecoder] = {}
    durations: dict[str, list[int]] = {}
    started: dict[str, int] = {}
    for record in records:
        event = record.event
        meaning = decoders.setdefault(record.slot, ApduDecoder()).observe(event)
        if isinstance(event, RspEvent):
            name = rsp_function(event.url)
            durations.setdefault(name, []).append(event.duration_ns)
            started[name] = started.get(name, 0) + 1
        if not isinstance(event, ApduEvent | SniffedApduEvent) or not meaning.function:
            continue
        ended = durations.setdefault(meaning.function, [])
        if meaning.started:
            started[meaning.function] = started.get(meaning.function, 0) + 1
        if meaning.ended:
            ended.append(meaning.elapsed_ns)
    return [
        FunctionStats(
            name,
            len(values),
            max(0, started.get(name, 0) - len(values)),
            sum(values) / 1e6,
            median(values) / 1e6 if values else 0.0,
        )
        for name, values in durations.items()
    ]
