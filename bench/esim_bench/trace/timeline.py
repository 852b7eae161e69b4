"""One time line over many journals that grow: which record stands where, without ever holding them all.

The order is that of time, then of the journal, then of the record in it; within a journal records keep their order
(``TraceIndex``'s times see to that). An ``Anchor`` names a record in it and stays true while journals grow; an ordinal
is the anchor's place among all that is wanted, as of the last ``refresh``.
"""

from __future__ import annotations

import heapq
import time
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

from esim_bench.trace.columns import ROWS
from esim_bench.trace.index import Filter, TraceIndex
from esim_bench.trace.reader import Record

_SOME_BLOCKS: Final = 32
"""Blocks that are counted between two looks at the clock."""


class Anchor(NamedTuple):
    """A record of the time line."""

    at_ns: int
    """Its time on the time line."""
    member: int
    """Its journal, by the number that it has among those of the time line."""
    n: int
    """Its number in the journal, from 0."""


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of the time line."""

    first: int
    """The ordinal of the first anchor."""
    anchors: list[Anchor]


class Lane:
    """What is wanted of one journal; without a filter, all of it."""

    def __init__(self, index: TraceIndex, shift: int = 0) -> None:
        self.index = index
        self._shift = shift
        self.size = 0
        """Records that were looked at."""
        self.hits = 0

    def refresh(self, deadline: float) -> bool:
        """Take note of what has come; return False if that is not done by the ``deadline`` of ``time.monotonic``."""
        self.size = self.hits = len(self.index)
        return True

    def rank(self, n: int) -> int:
        """Return how many hits there are before a record."""
        return min(n, self.size)

    def number(self, hit: int) -> int:
        """Return the number of a hit's record."""
        return hit

    def wants(self, n: int) -> bool:
        """Tell whether a record is a hit."""
        return n < self.size

    def before(self, at_ns: int, low: int = 0, high: int | None = None) -> int:
        """Return how many hits are earlier than a time; it is known to be ``low`` at least and ``high`` at most."""
        return self.index.at_time(at_ns - self._shift, low, self.size if high is None else high)

    def stamp(self, hit: int) -> int:
        """Return the time of a hit."""
        return self.index.stamp(self.number(hit)) + self._shift

    def stamp_of(self, n: int) -> int:
        """Return the time of a record."""
        return self.index.stamp(n) + self._shift


class FilteredLane(Lane):
    """Counts the hits of each block once; where they stand in a block is looked up when it is asked."""

    def __init__(self, index: TraceIndex, wanted: Filter, shift: int = 0) -> None:
        super().__init__(index, shift)
        self._wanted = wanted
        self._test = index.test(wanted)
        self._sums = array("L", (0,))
        """Hits before each full block, and after the last of them."""
        self._tail: list[int] = []
        """Rows of the hits in the block that was not full."""
        self._rows: dict[int, list[int]] = {}
        self._names = 0

    def refresh(self, deadline: float) -> bool:
        """Count the hits in what has come."""
        size = len(self.index)
        if size == self.size:
            return True
        if len(self.index.labels.names) != self._names:
            self._names = len(self.index.labels.names)
            self._test = self.index.test(self._wanted)
        for block in range(len(self._sums) - 1, size // ROWS):
            self._sums.append(self._sums[-1] + self.index.hits_of(self._wanted, self._test, block))
            self.size, self.hits, self._tail = (block + 1) * ROWS, self._sums[-1], []
            if block % _SOME_BLOCKS == 0 and time.monotonic() > deadline:
                return False
        block, rows = divmod(size, ROWS)
        self._tail = []
        if rows and self.index.hits_of(self._wanted, self._test, block, rows):
            self._tail = self.index.rows_of(self._test, block, rows)
        self.size, self.hits = size, self._sums[-1] + len(self._tail)
        return True

    def rank(self, n: int) -> int:
        """Return how many hits there are before a record."""
        block, row = divmod(min(n, self.size), ROWS)
        return self._sums[block] + (bisect_left(self._rows_of(block), row) if row else 0)

    def number(self, hit: int) -> int:
        """Return the number of a hit's record."""
        block = bisect_right(self._sums, hit) - 1
        return block * ROWS + self._rows_of(block)[hit - self._sums[block]]

    def wants(self, n: int) -> bool:
        """Tell whether a record is a hit."""
        return n < self.size and self.rank(n + 1) > self.rank(n)

    def before(self, at_ns: int, low: int = 0, high: int | None = None) -> int:
        """Return how many hits are earlier than a time."""
        return self.rank(self.index.at_time(at_ns - self._shift))

    def _rows_of(self, block: int) -> list[int]:
        if block == len(self._sums) - 1:
            return self._tail
        known = self._rows.get(block)
        if known is None:
            if len(self._rows) > 1:
                del self._rows[next(iter(self._rows))]
            known = self._rows[block] = self.index.rows_of(self._test, block)
        return known


class Timeline:
    """What a filter wants of several journals. For one thread; the indexes may be advanced in another one.

    ``members`` are the journals' numbers that are wanted, None: all. The numbers are the places in ``indexes``.
    ``shifts``: nanoseconds that the records of each journal are later on the time line than their own clock said; so
    that runs in virtual time, which all begin at the same moment, stand one after another.
    """

    def __init__(
        self,
        indexes: Sequence[TraceIndex],
        wanted: Filter | None = None,
        members: Collection[int] | None = None,
        shifts: Sequence[int] = (),
    ) -> None:
        self.indexes = tuple(indexes)
        self.shifts = tuple(shifts) or (0,) * len(self.indexes)
        self.wanted = wanted or Filter()
        self._lanes = {
            number: Lane(index, shift) if self.wanted.empty else FilteredLane(index, self.wanted, shift)
            for number, (index, shift) in enumerate(zip(self.indexes, self.shifts, strict=True))
            if members is None or number in members
        }
        self._size = 0

    def refresh(self, seconds: float = 3600.0) -> bool:
        """Take note of what the indexes have now; return False if it took too long: then go on with another call.

        Until it is True, what stands behind the part that was looked at is missing.
        """
        deadline = time.monotonic() + seconds
        whole = True
        for lane in self._lanes.values():
            whole = lane.refresh(deadline) and whole
        self._size = sum(lane.hits for lane in self._lanes.values())
        return whole

    def __len__(self) -> int:
        return self._size

    # --------------------------------------------------------------------------------------------- ordinal and anchor

    def ordinal(self, anchor: Anchor) -> int:
        """Return how many wanted records there are before an anchor; the anchor need not be wanted itself."""
        return sum(self._before(anchor).values())

    def at(self, ordinal: int) -> Anchor:
        """Return the anchor of an ordinal. Raises IndexError past the end."""
        if not 0 <= ordinal < self._size:
            raise IndexError(f"record {ordinal} of {self._size}")
        hits = self._select(ordinal)
        return next(self._forward(hits))

    def at_time(self, at_ns: int) -> int:
        """Return how many wanted records are earlier than a time: the ordinal of the first that is not."""
        return sum(lane.before(at_ns) for lane in self._lanes.values())

    def at_fraction(self, part: float) -> int:
        """Return the ordinal at a part of all wanted records: 0.0 is the first, 1.0 the last; 0 where there is none."""
        return max(0, min(self._size - 1, round(part * (self._size - 1))))

    def wants(self, anchor: Anchor) -> bool:
        """Tell whether an anchor's record is wanted."""
        lane = self._lanes.get(anchor.member)
        return lane is not None and lane.wants(anchor.n)

    def anchor(self, member: int, n: int) -> Anchor:
        """Return the anchor of a journal's record. Raises IndexError past its end."""
        return Anchor(self.indexes[member].stamp(n) + self.shifts[member], member, n)

    def at_clock(self, at_ns: int, near: Anchor | None = None) -> Anchor | None:
        """Return the first wanted record that is not earlier by its journal's own clock; None where there is none.

        That may be several records, where journals are shifted: then it is the one of the journal of ``near``, else of
        the last journal that was written at that time, else of the first that was written later.
        """
        found: list[tuple[bool, Anchor]] = []
        for member, lane in self._lanes.items():
            hit = lane.before(at_ns + self.shifts[member])
            if hit < lane.hits:
                anchor = Anchor(lane.stamp(hit), member, lane.number(hit))
                within = hit > 0 or lane.stamp(0) - self.shifts[member] == at_ns
                if within and near is not None and member == near.member and self.shifts[member]:
                    return anchor
                found.append((within, anchor))
        inside = [anchor for within, anchor in found if within]
        if not inside:
            return min((anchor for _, anchor in found), default=None)
        # Journals with one shift are of one run: the first of them.
        last = max(self.shifts[anchor.member] for anchor in inside)
        return min(anchor for anchor in inside if self.shifts[anchor.member] == last)

    def span(self) -> tuple[int, int] | None:
        """Return the times of the first and of the last wanted record; None where there is none."""
        lanes = [lane for lane in self._lanes.values() if lane.hits]
        if not lanes:
            return None
        return min(lane.stamp(0) for lane in lanes), max(lane.stamp(lane.hits - 1) for lane in lanes)

    # --------------------------------------------------------------------------------------------- stretches

    def window(self, anchor: Anchor, before: int, after: int) -> Window:
        """Return up to ``before`` wanted records before an anchor, and up to ``after`` from the anchor on."""
        hits = self._before(anchor)
        ahead = [*islice(self._forward(hits), after)] if after > 0 else []
        back = [*islice(self._backward(hits), before)] if before > 0 else []
        back.reverse()
        return Window(sum(hits.values()) - len(back), back + ahead)

    def stretch(self, first: int, count: int) -> Window:
        """Return up to ``count`` wanted records from an ordinal on, from the first one if it lies before that."""
        first = max(0, min(first, self._size))
        if count <= 0:
            return Window(first, [])
        if first >= self._size - count:
            return self.tail(self._size - first)
        return Window(first, [*islice(self._forward(self._select(first)), count)])

    def tail(self, count: int) -> Window:
        """Return the last ``count`` wanted records."""
        hits = {member: lane.hits for member, lane in self._lanes.items()}
        anchors = [*islice(self._backward(hits), max(0, count))]
        anchors.reverse()
        return Window(self._size - len(anchors), anchors)

    def record(self, anchor: Anchor) -> Record:
        """Return an anchor's record."""
        return self.indexes[anchor.member].record(anchor.n)

    def find(self, wanted: Filter, anchor: Anchor | None, count: int = 1, *, backward: bool = False) -> list[Anchor]:
        """Return up to ``count`` records after an anchor (or before it) that are wanted here and by another filter.

        They come in the order of the search. ``anchor`` None: from the beginning, or backward from the end.
        """
        lanes = [self._hits(wanted, member, anchor, backward) for member in self._lanes]
        return [*islice(heapq.merge(*lanes, reverse=backward), count)]

    def _hits(self, wanted: Filter, member: int, anchor: Anchor | None, backward: bool) -> Iterator[Anchor]:
        lane = self._lanes[member]
        if anchor is None:
            start = lane.size - 1 if backward else 0
        elif member == anchor.member:
            start = anchor.n - 1 if backward else anchor.n + 1
        else:
            start = lane.index.at_time(anchor.at_ns - self.shifts[member] + (member < anchor.member)) - backward
        if start < 0:
            return
        for n in lane.index.hits(wanted, start, backward=backward):
            if lane.wants(n):
                yield Anchor(lane.stamp_of(n), member, n)

    # --------------------------------------------------------------------------------------------- the merge

    def _before(self, anchor: Anchor) -> dict[int, int]:
        """Return how many hits of each lane stand before an anchor."""
        at_ns, member, n = anchor
        return {
            number: lane.rank(n) if number == member else lane.before(at_ns + (number < member))
            for number, lane in self._lanes.items()
        }

    def _forward(self, hits: dict[int, int]) -> Iterator[Anchor]:
        """Yield the anchors from those hits of the lanes on."""
        heads = [
            (lane.stamp(hits[member]), member, hits[member])
            for member, lane in self._lanes.items()
            if hits[member] < lane.hits
        ]
        heapq.heapify(heads)
        while heads:
            stamp, member, hit = heads[0]
            lane = self._lanes[member]
            yield Anchor(stamp, member, lane.number(hit))
            if hit + 1 < lane.hits:
                heapq.heapreplace(heads, (lane.stamp(hit + 1), member, hit + 1))
            else:
                heapq.heappop(heads)

    def _backward(self, hits: dict[int, int]) -> Iterator[Anchor]:
        """Yield the anchors before those hits of the lanes, the latest first."""
        heads = [
            (-lane.stamp(hits[member] - 1), -member, 1 - hits[member])
            for member, lane in self._lanes.items()
            if hits[member] > 0
        ]
        heapq.heapify(heads)
        while heads:
            stamp, member, hit = heads[0]
            lane = self._lanes[-member]
            yield Anchor(-stamp, -member, lane.number(-hit))
            if hit < 0:
                heapq.heapreplace(heads, (-lane.stamp(-hit - 1), member, hit + 1))
            else:
                heapq.heappop(heads)

    def _select(self, ordinal: int) -> dict[int, int]:
        """Return how many hits of each lane stand before an ordinal: the time is searched for, in halves."""
        span = self.span()
        lows = dict.fromkeys(self._lanes, 0)
        if span is None:
            return lows
        highs = {member: lane.hits for member, lane in self._lanes.items()}
        early, late = span[0], span[1] + 1
        # There are at most ``ordinal`` hits before ``early``, and more before ``late``.
        while late - early > 1:
            middle = (early + late) // 2
            found = {
                member: low if low == (high := highs[member]) else self._lanes[member].before(middle, low, high)
                for member, low in lows.items()
            }
            if sum(found.values()) > ordinal:
                late, highs = middle, found
            else:
                early, lows = middle, found
        left = ordinal - sum(lows.values())
        # What is left has all the same time: in the order of the journals.
        for member, low in lows.items():
            taken = min(left, highs[member] - low)
            lows[member] = low + taken
            left -= taken
        return lows
