"""What the records of a time line mean, asked in any order.

A closed journal says it itself. While it grows, what an APDU means depends on what went before: then a bounded stretch
before it is decoded, and the decoder goes on from there as long as the questions do. An answer can be had at once from
the index alone (``Meaning.exact`` False: function and status word), or in full within a given time.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from esim_bench.events import ApduEvent, SniffedApduEvent
from esim_bench.trace import names
from esim_bench.trace.decode import LOAD_BPP, ApduDecoder, sw_short
from esim_bench.trace.index import Filter, TraceIndex
from esim_bench.trace.reader import Record
from esim_bench.trace.timeline import Anchor

BEFORE: Final = 320
"""Records that are decoded before the one that is asked for: longer than any STORE DATA chain."""
LOAD_BEFORE: Final = 4096
"""The same for those of a profile's download."""
_KEPT: Final = 32_768
"""Texts that are kept."""
_TOGETHER: Final = 16
"""Records that are decoded between two looks at the clock."""
_RESETS: Final = Filter(kinds=frozenset((1, 2)))
"""An ATR, or the power: nothing that went before matters any more."""
_LOADS: Final = Filter(functions=frozenset((LOAD_BPP,)))
_IN_A_LOAD: Final = frozenset(("", LOAD_BPP, *(names.INSTRUCTIONS[ins] for ins in (0x12, 0x14, 0xC0, 0xC2, 0xF2))))
"""Functions that may come while a package is loaded."""


@dataclass(slots=True)
class _Past:
    """A decoder of one journal, and the record that it expects next."""

    decoder: ApduDecoder
    next: int


class Meanings:
    """For one thread, the one that reads the indexes."""

    def __init__(self, indexes: Sequence[TraceIndex]) -> None:
        self._indexes = indexes
        self._pasts: dict[int, _Past] = {}
        self._texts: OrderedDict[tuple[int, int], str] = OrderedDict()

    def known(self, anchor: Anchor, record: Record) -> str | None:
        """Return the whole meaning if that takes no decoding."""
        if record.comment or not isinstance(record.event, ApduEvent | SniffedApduEvent):
            return record.comment
        return self._texts.get((anchor.member, anchor.n))

    def quick(self, anchor: Anchor) -> str:
        """Return function and status word of an APDU, which the index knows."""
        _, _, function, sw = self._indexes[anchor.member].label(anchor.n)
        return f"{function or '?'} -> {sw_short(sw)}"

    def exact(self, anchor: Anchor, record: Record, deadline: float | None = None) -> str | None:
        """Return the whole meaning; None if the ``deadline`` of ``time.monotonic`` came first: then ask again."""
        text = self.known(anchor, record)
        if text is not None:
            return text
        index, past = self._indexes[anchor.member], self._past(anchor)
        while past.next <= anchor.n:
            if deadline is not None and time.monotonic() > deadline:
                return None
            for one in index.records(past.next, min(_TOGETHER, anchor.n + 1 - past.next)):
                text = self._observe(index, past, one)
                self._texts[anchor.member, one.index] = text
            while len(self._texts) > _KEPT:
                self._texts.popitem(last=False)
        return self._texts[anchor.member, anchor.n]

    def _past(self, anchor: Anchor) -> _Past:
        """Return a decoder that stands before a record, not too far."""
        past = self._pasts.get(anchor.member)
        if past is None or not past.next <= anchor.n <= past.next + BEFORE:
            first = self._first(self._indexes[anchor.member], anchor.n)
            if past is None or not first <= past.next <= anchor.n:
                past = self._pasts[anchor.member] = _Past(ApduDecoder(), first)
        return past

    @staticmethod
    def _first(index: TraceIndex, n: int) -> int:
        """Return from where on a record's past matters."""
        first = max(0, n - BEFORE)
        load = next(index.hits(_LOADS, first, backward=True), -1)
        others = Filter(functions=frozenset(index.labels.names) - _IN_A_LOAD)
        if load >= 0 and not others.empty:
            begin = next(index.hits(others, first, backward=True), 0)
            if begin < load:
                first = max(begin, n - LOAD_BEFORE, 0)
        return max(first, next(index.hits(_RESETS, n, backward=True), 0))

    def _observe(self, index: TraceIndex, past: _Past, record: Record) -> str:
        past.next = record.index + 1
        meaning = past.decoder.observe(record.event)
        if record.comment or not isinstance(record.event, ApduEvent | SniffedApduEvent):
            return record.comment
        function = index.label(record.index)[2]
        text = meaning.text
        if function and meaning.function != function and text.startswith("STORE DATA"):
            # The chain, or the package that it is of, began before what was decoded; the index knows of which it is.
            text = text.replace("STORE DATA", function, 1)
        return f"{text} [masked]" if record.masked else text
