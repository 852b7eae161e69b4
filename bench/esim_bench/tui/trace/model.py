"""What the log shows, worked out in the reader's thread: rows of a time line, its filter, its search."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from esim_bench.events import ApduEvent, RspEvent, SniffedApduEvent
from esim_bench.trace import show
from esim_bench.trace.index import Filter, TraceIndex, is_error
from esim_bench.trace.meanings import Meanings
from esim_bench.trace.reader import Record
from esim_bench.trace.search import Search
from esim_bench.trace.timeline import Anchor, Timeline

_KEPT: Final = 1024
"""Rows that are kept."""
_LONGEST: Final = 600
"""Characters of a meaning that a row keeps."""
COUNT_SECONDS: Final = 0.04
"""How long the hits of a filter are counted before a first page is shown."""


class Row(NamedTuple):
    """One line of the log."""

    anchor: Anchor
    at_ns: int
    """The record's own time."""
    slot: str
    kind: str
    """One of ``show.KINDS``."""
    text: str
    exact: bool
    """False: only the function is known yet, not the whole meaning."""
    sw: str
    duration_ns: int | None
    error: bool


@dataclass(frozen=True, slots=True)
class Ask:
    """Which rows are wanted. Without ``hold`` and ``top``: the last ones."""

    height: int
    top: int | None = None
    """The ordinal of the first row that is seen."""
    hold: Anchor | None = None
    """A record that is to be seen ``hold_row`` rows below the first one, wherever it stands now."""
    hold_row: int = 0
    cursor: Anchor | None = None
    spare: int = 0
    """Rows that are wanted before and behind those that are seen."""
    exact: float = 0.0
    """Seconds for decoding."""


@dataclass(frozen=True, slots=True)
class Page:
    """Rows that stand one after another."""

    ask: Ask
    first: int
    """The ordinal of the first of ``rows``."""
    rows: list[Row]
    top: int
    """The ordinal of the first row that is to be seen."""
    total: int
    counted: bool
    """False: the total is still being counted."""
    behind: int
    """Bytes of journals that are not indexed yet."""
    cursor: int | None = None
    """Where the cursor's record stands, or would stand."""
    before: Row | None = None
    """The row before the first one."""

    def row(self, ordinal: int) -> Row | None:
        """Return the row of an ordinal, if it is one of these."""
        place = ordinal - self.first
        return self.rows[place] if 0 <= place < len(self.rows) else None


@dataclass(slots=True)
class Census:
    """What there is to filter by, and how much of it."""

    functions: Counter[str] = field(default_factory=Counter)
    words: Counter[int] = field(default_factory=Counter)
    kinds: Counter[int] = field(default_factory=Counter)
    errors: int = 0


class LogModel:
    """For the reader's thread alone."""

    def __init__(self) -> None:
        self._indexes: list[TraceIndex] = []
        self._names: list[str] = []
        self._shifts: list[int] = []
        self._wanted = Filter()
        self._slots: frozenset[str] = frozenset()
        self._line = Timeline(())
        self._meanings = Meanings(())
        self._rows: OrderedDict[Anchor, Row] = OrderedDict()

    def open(
        self, indexes: Sequence[TraceIndex], names: Sequence[str], shifts: Sequence[int] = (), *, keep: bool = False
    ) -> bool:
        """Take other journals, or with ``keep`` the same and more at the end; tell whether anything is new."""
        shifts = [*shifts] or [0] * len(indexes)
        if keep and [*indexes] == self._indexes and shifts == self._shifts:
            return False
        keep = keep and shifts[: len(self._shifts)] == self._shifts
        self._indexes, self._names, self._shifts = [*indexes], [*names], shifts
        self._meanings = Meanings(self._indexes)
        if not keep:
            self._rows.clear()
        self._renew()
        return True

    @property
    def indexes(self) -> list[TraceIndex]:
        """Return the journals, in the order of their numbers in anchors."""
        return [*self._indexes]

    @property
    def shifts(self) -> list[int]:
        """Return how much later each journal is than its clock said, in nanoseconds."""
        return [*self._shifts]

    def written(self) -> int:
        """Return how many records there are, wanted or not. From any thread: it reads nothing."""
        return sum(map(len, self._indexes))

    def filter(self, wanted: Filter, slots: frozenset[str] = frozenset()) -> None:
        """Show what a filter wants; of some slots only, if any are given."""
        if (wanted, slots) != (self._wanted, self._slots):
            self._wanted, self._slots = wanted, slots
            self._renew()

    def _renew(self) -> None:
        members: Collection[int] | None = None
        if self._slots:
            members = {number for number, name in enumerate(self._names) if name in self._slots}
        self._line = Timeline(self._indexes, self._wanted, members, self._shifts)

    # --------------------------------------------------------------------------------------------- pages

    def page(self, ask: Ask) -> Page:
        """Return the rows that are asked for, and some around them."""
        line = self._line
        counted = line.refresh(COUNT_SECONDS)
        total = len(line)
        last = max(0, total - ask.height)
        held = line.ordinal(ask.hold) if ask.hold is not None else None
        wanted = held - ask.hold_row if held is not None else last if ask.top is None else ask.top
        top = max(0, min(wanted, last))
        first = max(0, top - ask.spare - 1)
        end = top + ask.height + ask.spare
        if held is not None and ask.hold is not None and first <= held < end:
            window = line.window(ask.hold, held - first, end - held)
        else:
            window = line.stretch(first, end - first)
        deadline = time.monotonic() + ask.exact
        rows = [self._row(anchor, deadline if ask.exact else 0.0) for anchor in window.anchors]
        before = None
        first = window.first
        if rows and first < top:
            before, rows, first = rows[0], rows[1:], first + 1
        cursor = line.ordinal(ask.cursor) if ask.cursor is not None else None
        behind = sum(index.behind for index in self._indexes)
        return Page(ask, first, rows, top, total, counted, behind, cursor, before)

    def _row(self, anchor: Anchor, deadline: float) -> Row:
        row = self._rows.get(anchor)
        if row is None or (not row.exact and deadline):
            row = self._made(anchor, self._line.record(anchor), deadline)
            self._rows[anchor] = row
            if len(self._rows) > _KEPT:
                self._rows.popitem(last=False)
        return row

    def _made(self, anchor: Anchor, record: Record, deadline: float) -> Row:
        event = record.event
        sw, duration = "", None
        if isinstance(event, ApduEvent | SniffedApduEvent):
            sw, duration = event.response[-2:].hex().upper(), event.duration_ns
        elif isinstance(event, RspEvent):
            sw, duration = event.status[:4], event.duration_ns
        text = self._meanings.known(anchor, record)
        if text is None and deadline:
            text = self._meanings.exact(anchor, record, deadline)
        exact = text is not None
        if text is None:
            text = self._meanings.quick(anchor)
        slot = self._names[anchor.member]
        text = show.printable(text[:_LONGEST])
        return Row(anchor, record.at_ns, slot, show.kind_of(record), text, exact, sw, duration, is_error(event))

    # --------------------------------------------------------------------------------------------- ways

    def record(self, anchor: Anchor) -> Record:
        """Return a record, with its whole meaning."""
        record = self._line.record(anchor)
        if record.comment:
            return record
        text = self._meanings.exact(anchor, record) or ""
        return Record(record.index, record.at_ns, record.event, text, record.slot, record.masked)

    def slot(self, anchor: Anchor) -> str:
        """Return the slot that a record is of."""
        return self._names[anchor.member]

    def index_of(self, anchor: Anchor) -> TraceIndex:
        """Return the journal that a record is of."""
        return self._indexes[anchor.member]

    def anchor_of(self, path: Path, number: int) -> Anchor | None:
        """Return the record of a journal's number; None where that journal is not shown, or has no such record."""
        for member, index in enumerate(self._indexes):
            if index.path == path and number < len(index):
                return self._line.anchor(member, number)
        return None

    def neighbour(self, wanted: Filter, anchor: Anchor | None, backward: bool) -> Anchor | None:
        """Return the next record that another filter wants too, or the one before."""
        self._line.refresh(COUNT_SECONDS)
        found = self._line.find(wanted, anchor, backward=backward)
        return found[0] if found else None

    def at(self, ordinal: int) -> Anchor | None:
        """Return the record of an ordinal, the last one past the end; None where there is none."""
        self._line.refresh(COUNT_SECONDS)
        return self._line.at(max(0, min(ordinal, len(self._line) - 1))) if len(self._line) else None

    def at_time(self, at_ns: int, near: Anchor | None = None) -> Anchor | None:
        """Return the first record that is not earlier, by its own clock, or the last one."""
        self._line.refresh(COUNT_SECONDS)
        return self._line.at_clock(at_ns, near) or self.at(len(self._line))

    def at_fraction(self, part: float) -> Anchor | None:
        """Return the record at a part of all."""
        self._line.refresh(COUNT_SECONDS)
        return self.at(self._line.at_fraction(part))

    def span(self) -> tuple[int, int] | None:
        """Return the earliest and the latest time of a record, by their own clocks."""
        spans = [(index.stamp(0), index.stamp(len(index) - 1)) for index in self._indexes if len(index)]
        return (min(first for first, _ in spans), max(last for _, last in spans)) if spans else None

    def wants(self, anchor: Anchor) -> bool:
        """Tell whether a record is shown."""
        return self._line.wants(anchor)

    def search(self, text: str, start: Anchor | None) -> Search:
        """Begin to look for a text."""
        return Search(self._line, text, self._meanings, start)

    def census(self) -> Census:
        """Count what there is to filter by."""
        census = Census()
        for number, index in enumerate(self._indexes):
            if not self._slots or self._names[number] in self._slots:
                functions, words, kinds, errors = index.census()
                census.functions.update(functions)
                census.words.update(words)
                census.kinds.update(kinds)
                census.errors += errors
        return census
