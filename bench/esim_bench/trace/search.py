"""Free text in a time line: in what the records mean, and in their bytes as hex. It takes its time, step by step.

The first pass looks at the raw bytes of whole blocks, at function names and status words; that finds nearly all there
is, at hundreds of megabytes a second. The second one decodes what no closed journal has said yet. Both begin at a given
record, go on to the end and then from the beginning; what is written meanwhile comes last.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from esim_bench.events import ApduEvent, SniffedApduEvent
from esim_bench.trace import show
from esim_bench.trace.columns import ROWS, Test, positions
from esim_bench.trace.decode import sw_short
from esim_bench.trace.meanings import Meanings
from esim_bench.trace.reader import Record
from esim_bench.trace.timeline import Anchor, Timeline

MOST: Final = 100_000
"""Hits after which a search ends: nobody looks at all of them."""
_DECODED: Final = 32
"""Records that are decoded between two looks at the clock."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a step of a search has found."""

    hits: list[Anchor]
    """New ones, in no order."""
    searched: int
    """Records that have been looked at, of ``total``: each counts once for each pass."""
    total: int
    ended: bool
    """Everything that was there has been looked at; another step looks at what has come since."""


class Search:
    """One search. For the thread that reads the time line."""

    def __init__(self, line: Timeline, text: str, meanings: Meanings, start: Anchor | None = None) -> None:
        self.text = text
        self._line, self._meanings = line, meanings
        self._needle = text.lower()
        self._raw = self._needle.encode("utf-8", "surrogatepass")
        self._bytes = _hex(text)
        self._hits: set[tuple[int, int]] = set()
        self._sizes = [len(index) for index in line.indexes]
        self._words: dict[int, bool] = {}
        self._searched, self._total = 0, 2 * sum(self._sizes)
        self._work = self._all(start)
        self._new: list[Anchor] = []

    def step(self, seconds: float) -> Found:
        """Go on for about so long."""
        deadline = time.monotonic() + seconds
        self._new = []
        ended = False
        while time.monotonic() < deadline:
            if len(self._hits) >= MOST or next(self._work, None) is None:
                ended = True
                break
        if ended and len(self._hits) < MOST and self._grown():
            ended = False
        return Found(self._new, min(self._searched, self._total), self._total, ended)

    def _grown(self) -> bool:
        """Plan to look at what has come since."""
        sizes = [len(index) for index in self._line.indexes]
        if sizes == self._sizes:
            return False
        self._total += 2 * (sum(sizes) - sum(self._sizes))
        self._work = self._later([*enumerate(zip(self._sizes, sizes, strict=True))])
        self._sizes = sizes
        return True

    def _later(self, grown: list[tuple[int, tuple[int, int]]]) -> Iterator[bool]:
        for member, (first, last) in grown:
            for begin in range(first, last, ROWS):
                rows = min(ROWS, last - begin)
                yield from self._quickly(member, begin, rows)
                yield from self._thoroughly(member, begin, rows)

    def _all(self, start: Anchor | None) -> Iterator[bool]:
        for look in (self._quickly, self._thoroughly):
            for _, member, block in self._blocks(start):
                first = block * ROWS
                yield from look(member, first, min(ROWS, self._sizes[member] - first))

    def _blocks(self, start: Anchor | None) -> Iterator[tuple[int, int, int]]:
        """Yield (time, member, block): those from the start on, then those before it."""
        begins = [0] * len(self._sizes)
        if start is not None:
            begins = [max(0, index.at_time(start.at_ns) - 1) // ROWS for index in self._line.indexes]
        yield from heapq.merge(*(self._of(member, begins[member], None) for member in range(len(begins))))
        yield from heapq.merge(*(self._of(member, 0, begins[member]) for member in range(len(begins))))

    def _of(self, member: int, first: int, last: int | None) -> Iterator[tuple[int, int, int]]:
        end = -(-self._sizes[member] // ROWS) if last is None else last
        for block in range(first, end):
            yield self._line.indexes[member].stamp(block * ROWS), member, block

    # --------------------------------------------------------------------------------------------- the passes

    def _quickly(self, member: int, first: int, rows: int) -> Iterator[bool]:
        """Look at the raw bytes, the names of the functions and the status words."""
        index = self._line.indexes[member]
        for n in self._labelled(member, first, rows):
            self._hit(member, n)
        data, places = index.raw(first, rows)
        found = _places_of(self._raw, data.lower())
        if self._bytes:
            found |= _places_of(self._bytes, data)
        row = 0
        for at in sorted(found):
            while row + 1 < len(places) and places[row + 1] <= at:
                row += 1
            if (member, first + row) not in self._hits:
                record = index.record(first + row)
                if self._in_bytes(record) or self._needle in record.comment.lower():
                    self._hit(member, first + row)
        self._searched += rows
        yield True

    def _labelled(self, member: int, first: int, rows: int) -> Iterator[int]:
        index = self._line.indexes[member]
        functions = frozenset(n for n, name in enumerate(index.labels.names) if name and self._needle in name.lower())
        block, row = divmod(first, ROWS)
        columns = index.columns(block, row + rows)
        if functions:
            yield from (block * ROWS + one for one in positions(Test(functions=functions).mask(columns)) if one >= row)
        words = frozenset(word for word in index.words(block) if self._in_word(word))
        if words:
            yield from (block * ROWS + one for one in positions(Test(words=words).mask(columns)) if one >= row)

    def _in_word(self, word: int) -> bool:
        known = self._words.get(word)
        if known is None:
            known = self._words[word] = self._needle in sw_short(word).lower()
        return known

    def _thoroughly(self, member: int, first: int, rows: int) -> Iterator[bool]:
        """Decode the APDUs that have no meaning yet."""
        index = self._line.indexes[member]
        for begin in range(first, first + rows, _DECODED):
            count = min(_DECODED, first + rows - begin)
            for record in index.records(begin, count):
                if record.comment or not isinstance(record.event, ApduEvent | SniffedApduEvent):
                    continue
                if (member, record.index) in self._hits:
                    continue
                text = self._meanings.exact(Anchor(record.at_ns, member, record.index), record)
                if text is not None and self._needle in text.lower():
                    self._hit(member, record.index)
            self._searched += count
            yield True

    def _in_bytes(self, record: Record) -> bool:
        if not self._bytes:
            return False
        text, wanted = show.hex_of(record), self._bytes.hex().upper()
        return any(wanted in part and _aligned(part, wanted) for part in text.split(" "))

    def _hit(self, member: int, n: int) -> None:
        if (member, n) not in self._hits and len(self._hits) < MOST:
            anchor = self._line.anchor(member, n)
            if self._line.wants(anchor):
                self._hits.add((member, n))
                self._new.append(anchor)


def _hex(text: str) -> bytes:
    """Return the bytes that a text may stand for in hex, b"" for none."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


def _places_of(wanted: bytes, data: bytes) -> set[int]:
    found = set()
    at = data.find(wanted)
    while at >= 0:
        found.add(at)
        at = data.find(wanted, at + 1)
    return found


def _aligned(text: str, wanted: str) -> bool:
    """Tell whether hex digits stand in a text at the border of a byte."""
    at = text.find(wanted)
    while at >= 0 and at & 1:
        at = text.find(wanted, at + 1)
    return at >= 0
