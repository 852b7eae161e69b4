"""Where to go, as a person writes it: a record's number, a part of all, a time, a time from here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

_NUMBER: Final = re.compile(r"#?\s*(\d[\d,_ ]*)")
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_STEP: Final = re.compile(r"([+-])\s*(\d+(?:\.\d+)?)\s*(ns|us|µs|ms|s|min|m|h|d)")
_TIME: Final = re.compile(
    r"(?:(\d{4})-(\d\d)-(\d\d)[T ])?(\d{1,2}):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?Z?", re.IGNORECASE
)
_UNITS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "min": 60_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
EXAMPLES: Final = "4711 · 50 % · 14:03:22.5 · +1.5 s · -200 ms · end"


@dataclass(frozen=True, slots=True)
class Way:
    """Exactly one of them."""

    ordinal: int | None = None
    part: float | None = None
    at_ns: int | None = None


def parse_way(text: str, here_ns: int, span: tuple[int, int] | None) -> Way | None:
    """Return where a text leads, None if it cannot be understood.

    A time of day is that of the first day of ``span`` (UTC) on which it lies in it, else of the day of ``here_ns``.
    """
    text = text.strip()
    if text.lower() in ("end", "last"):
        return Way(part=1.0)
    if text.lower() in ("begin", "start", "first"):
        return Way(part=0.0)
    if match := _PART.fullmatch(text):
        return Way(part=min(1.0, float(match[1]) / 100))
    if match := _NUMBER.fullmatch(text):
        number = int(re.sub(r"[,_ ]", "", match[1]))
        return Way(ordinal=max(0, number - 1))
    if match := _STEP.fullmatch(text):
        way = round(float(match[2]) * _UNITS[match[3]])
        return Way(at_ns=here_ns + (way if match[1] == "+" else -way))
    if match := _TIME.fullmatch(text):
        return _time(match, here_ns, span)
    return None


def _time(match: re.Match[str], here_ns: int, span: tuple[int, int] | None) -> Way | None:
    year, month, day, hour, minute, second, fraction = match.groups()
    nanoseconds = int((fraction or "0").ljust(9, "0"))
    try:
        clock = timedelta(hours=int(hour), minutes=int(minute), seconds=int(second or 0))
        if clock >= timedelta(days=1) or int(minute) > 59:
            return None
        if year:
            days = [datetime(int(year), int(month), int(day), tzinfo=UTC)]
        else:
            days = [_day(here_ns)]
            if span is not None:
                first = _day(span[0])
                days = [first, first + timedelta(days=1), *days]
        found = [int((one + clock).timestamp()) * 1_000_000_000 + nanoseconds for one in days]
    except (ValueError, OverflowError, OSError):
        return None
    inside = [at_ns for at_ns in found if span is None or span[0] <= at_ns <= span[1]]
    return Way(at_ns=inside[0] if inside else found[-1])


def _day(at_ns: int) -> datetime:
    moment = datetime.fromtimestamp(at_ns // 1_000_000_000, UTC)
    return moment.replace(hour=0, minute=0, second=0)
