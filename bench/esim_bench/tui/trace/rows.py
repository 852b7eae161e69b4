"""A row of the log as text: its columns by the width there is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from esim_bench.tui.trace.model import Row

TimeMode = Literal["clock", "previous", "reference"]
TIME_MODES: Final[tuple[TimeMode, ...]] = ("clock", "previous", "reference")
TIME_TITLES: Final = {"clock": "Time (UTC)", "previous": "Δ previous", "reference": "Δ reference"}
KIND_NAMES: Final = {
    "apdu": "APDU",
    "atr": "ATR",
    "power": "PWR",
    "at": "AT",
    "rsp": "RSP",
    "mark": "MARK",
    "sniff": "SNIF",
    "wire": "WIRE",
    "uart": "UART",
    "meter": "METR",
}
STYLES: Final = ("time", "slot", "apdu", "atr", "power", "at", "rsp", "mark", "other", "text", "muted", "error", "sign")
"""Names of the styles that a row is made of."""


def clock_text(at_ns: int, digits: int = 6) -> str:
    """Return the time of day in UTC."""
    seconds, rest = divmod(at_ns, 1_000_000_000)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return "?"
    return f"{moment:%H:%M:%S}.{rest // 10 ** (9 - digits):0{digits}d}"


def delta_text(delta_ns: int) -> str:
    """Return a time between two records, with its sign: "+0.012345", "+12:03.456", "-1 d 02:03:04"."""
    sign, rest = "-" if delta_ns < 0 else "+", abs(delta_ns)
    seconds = rest / 1e9
    if seconds < 100:
        return f"{sign}{seconds:.6f}"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{sign}{int(minutes)}:{seconds:06.3f}"
    hours, minutes = divmod(int(minutes), 60)
    if hours < 24:
        return f"{sign}{hours}:{minutes:02}:{int(seconds):02}"
    return f"{sign}{hours // 24} d {hours % 24:02}:{minutes:02}:{int(seconds):02}"


def duration_text(duration_ns: int | None) -> str:
    """Return how long something took: "412 us", "12.3 ms", "4.21 s"; "" where that is not known."""
    if duration_ns is None:
        return ""
    if duration_ns < 1_000_000:
        return f"{duration_ns / 1e3:.0f} us"
    if duration_ns < 1_000_000_000:
        return f"{duration_ns / 1e6:.1f} ms"
    return f"{duration_ns / 1e9:.2f} s"


@dataclass(frozen=True, slots=True)
class Columns:
    """The widths of the columns."""

    time: int
    digits: int
    slot: int
    text: int
    duration: int
    sw: int = 4
    kind: int = 4

    @classmethod
    def of(cls, width: int, slot: int) -> Columns:
        """Share a width out; ``slot``: the longest name, 0 for no such column."""
        wide = width >= 100
        slot = slot and max(4, min(slot, 14 if width >= 150 else 10 if wide else 6))
        duration = 8 if width >= 72 else 0
        time = 15 if wide else 12
        taken = 2 + time + 1 + (slot + 1 if slot else 0) + 4 + 1 + 1 + 4 + (duration + 1 if duration else 0)
        return cls(time, 6 if wide else 3, slot, max(8, width - taken), duration)

    def header(self, mode: TimeMode) -> list[str]:
        """Return the titles, padded to the columns."""
        parts = ["  ", fit(TIME_TITLES[mode], self.time), " "]
        if self.slot:
            parts += [fit("Slot", self.slot), " "]
        parts += [fit("Kind", self.kind), " ", fit("Meaning", self.text), " ", fit("SW", self.sw)]
        if self.duration:
            parts += [" ", f"{'Took':>{self.duration}}"]
        return parts


def fit(text: str, width: int) -> str:
    """Return a text in exactly that many cells; the end of a longer one is cut with a sign for it."""
    if text.isascii():
        return text.ljust(width) if len(text) <= width else text[: width - 1] + "…"
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(text, width - 1) + "…"


def meaning(row: Row) -> str:
    """Return what a row says, without the status word where that is plain success, as it has a column of its own."""
    return row.text.removesuffix(" -> 9000") if row.sw == "9000" else row.text


def strip_of(row: Row, columns: Columns, time_text: str, sign: str, styles: dict[str, Style], over: Style) -> Strip:
    """Return a row's line. ``sign``: what is marked at it; ``over``: the style on top (the cursor's, a hit's)."""
    kind = row.kind if row.kind in styles else "other"
    words = styles["error"] if row.error else styles[kind]
    segments = [
        Segment(sign, styles["sign"] + over),
        Segment("✗" if row.error else " ", styles["error"] + over),
        Segment(f"{time_text:>{columns.time}} "[: columns.time + 1], styles["time"] + over),
    ]
    if columns.slot:
        segments.append(Segment(fit(row.slot, columns.slot) + " ", styles["slot"] + over))
    segments.append(Segment(fit(KIND_NAMES.get(row.kind, row.kind), columns.kind) + " ", styles[kind] + over))
    text = fit(meaning(row), columns.text)
    segments.append(Segment(text + " ", (words if row.error or row.kind != "apdu" else styles["text"]) + over))
    plain = row.sw in ("9000", "200")
    segments.append(Segment(fit(row.sw, columns.sw), (styles["muted"] if plain else words) + over))
    if columns.duration:
        took = duration_text(row.duration_ns)
        segments.append(Segment(" " * (columns.duration + 1 - len(took)), styles["muted"] + over))
        segments.append(Segment(took, styles["muted"] + over))
    return Strip(segments)
