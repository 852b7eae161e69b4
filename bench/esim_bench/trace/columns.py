"""The columns of an index: for each record its kind, flags, function, status word, place and time, by blocks of rows.

The last block stands in memory, the others in a temporary file, column after column, so that a filter looks at a block
with a few operations on whole columns instead of one for each row. One thread may add while another one reads: what
counts for the reader is the number of rows that it took note of before.
"""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from array import array
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

ROWS: Final = 1024
"""Records of one block of the index."""
_KINDS, _FLAGS, _FUNCTIONS, _WORDS, _PLACES, _STAMPS = 0, ROWS, 2 * ROWS, 4 * ROWS, 6 * ROWS, 10 * ROWS
_TESTED: Final = _PLACES
"""The bytes of a block that a filter looks at."""
_SIZE: Final = 18 * ROWS
_KEPT: Final = 4
"""Sealed blocks whose places and stamps are kept at hand: there may be an index for each of 64 slots."""
ERROR: Final = 0x01
"""The flag of what went wrong."""


class _Rows:
    """The columns of the block that is not full yet."""

    __slots__ = ("flags", "functions", "kinds", "places", "stamps", "words")

    def __init__(self) -> None:
        self.kinds = bytearray()
        self.flags = bytearray()
        self.functions = array("H")
        self.words = array("H")
        self.places = array("I")
        self.stamps = array("Q")

    def packed(self) -> bytes:
        """Return a full block as it stands in the file."""
        two = self.functions.tobytes() + self.words.tobytes()
        return b"".join((self.kinds, self.flags, two, self.places.tobytes(), self.stamps.tobytes()))


@dataclass(slots=True)
class Block:
    """What is known of a block of rows without looking at them."""

    offset: int
    """Where its first record begins in the journal."""
    keys: dict[int, int] = field(default_factory=dict)
    """How many of its records have a value, by the value's key."""
    rows: _Rows | None = None
    """Its rows; None once they are in the file."""


class Test:
    """What a filter asks of a row: by the numbers that an index has given to kinds, functions, status words."""

    def __init__(
        self,
        kinds: frozenset[int] | None = None,
        functions: frozenset[int] | None = None,
        words: frozenset[int] | None = None,
        errors: bool = False,
    ) -> None:
        """Take what is wanted of each column; None: anything."""
        self._kinds = None if kinds is None else _table(kinds)
        self._functions = None if functions is None else _two_byte_tables(functions)
        self._words = None if words is None else _two_byte_tables(words)
        self._errors = errors

    def mask(self, columns: bytes) -> int:
        """Return a number whose byte ``i`` is 1 where row ``i`` of a block's columns fits, else 0."""
        rows = len(columns) // 6
        fits = int.from_bytes(b"\1" * rows, "little")
        if self._kinds is not None:
            fits &= int.from_bytes(columns[:rows].translate(self._kinds), "little")
        if self._errors:
            fits &= int.from_bytes(columns[rows : 2 * rows].translate(_ERRORS), "little")
        functions = columns[2 * rows : 4 * rows]
        if self._functions is not None and fits:
            fits &= _two_bytes(functions, self._functions)
        if self._words is not None and fits:
            # Zero bytes stand where there is no status word, beside the function that says so.
            fits &= _two_bytes(columns[4 * rows : 6 * rows], self._words)
            fits &= int.from_bytes(functions[::2].translate(_SOME), "little") | int.from_bytes(
                functions[1::2].translate(_SOME), "little"
            )
        return fits


def positions(mask: int) -> Iterator[int]:
    """Yield the rows of a mask, in their order."""
    found = mask.to_bytes((mask.bit_length() + 7) // 8, "little")
    at = found.find(1)
    while at >= 0:
        yield at
        at = found.find(1, at + 1)


@lru_cache(maxsize=256)
def _table(values: frozenset[int]) -> bytes:
    return bytes(value in values for value in range(256))


@lru_cache(maxsize=256)
def _two_byte_tables(values: frozenset[int]) -> tuple[tuple[bytes, bytes], ...]:
    """Return pairs of tables for the low and the high byte: a value is wanted if both of one pair say so."""
    lows: dict[int, set[int]] = {}
    for value in values:
        lows.setdefault(value >> 8, set()).add(value & 0xFF)
    same: dict[frozenset[int], set[int]] = {}
    for high, low in lows.items():
        same.setdefault(frozenset(low), set()).add(high)
    return tuple((_table(low), _table(frozenset(high))) for low, high in same.items())


def _two_bytes(column: bytes, tables: tuple[tuple[bytes, bytes], ...]) -> int:
    low, high = (column[::2], column[1::2]) if _LITTLE else (column[1::2], column[::2])
    fits = 0
    for lows, highs in tables:
        fits |= int.from_bytes(low.translate(lows), "little") & int.from_bytes(high.translate(highs), "little")
    return fits


_LITTLE: Final = array("H", (1,)).tobytes()[0] == 1
_ERRORS: Final = bytes(value & ERROR for value in range(256))
_SOME: Final = bytes(value != 0 for value in range(256))


class Columns:
    """All columns of one index."""

    def __init__(self) -> None:
        self._file = -1
        # A bare descriptor: whoever drops an index without closing it gives the file back too, in whatever order.
        self._file, name = tempfile.mkstemp(prefix="esim-bench-index-")
        os.unlink(name)
        self.blocks: list[Block] = []
        self.first: list[int] = []
        """The stamp of each block's first row."""
        self._places: OrderedDict[int, array[int]] = OrderedDict()
        self._stamps: OrderedDict[int, array[int]] = OrderedDict()
        self._looking = threading.Lock()
        """Two threads may read: who adds looks at what it added."""

    def close(self) -> None:
        """Give the temporary file back; a second time does nothing."""
        if self._file >= 0:
            descriptor, self._file = self._file, -1
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()

    def begin(self, offset: int, stamp: int) -> tuple[Block, _Rows]:
        """Begin a block whose first record stands at ``offset``; the one before goes into the file."""
        if self.blocks:
            last = self.blocks[-1]
            if last.rows is not None:
                written = os.pwrite(self._file, last.rows.packed(), (len(self.blocks) - 1) * _SIZE)
                if written != _SIZE:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), tempfile.gettempdir())
                last.rows = None
        rows = _Rows()
        block = Block(offset, rows=rows)
        self.first.append(stamp)
        self.blocks.append(block)
        return block, rows

    def tested(self, block: int, rows: int) -> bytes:
        """Return the first four columns of a block's first ``rows`` rows."""
        held = self.blocks[block].rows
        if held is not None:
            two = held.functions[:rows].tobytes() + held.words[:rows].tobytes()
            return b"".join((held.kinds[:rows], held.flags[:rows], two))
        data = os.pread(self._file, _TESTED, block * _SIZE)
        if rows == ROWS:
            return data
        parts = ((_KINDS, rows), (_FLAGS, rows), (_FUNCTIONS, 2 * rows), (_WORDS, 2 * rows))
        return b"".join(data[begin : begin + size] for begin, size in parts)

    def row(self, block: int, row: int) -> tuple[int, int, int, int]:
        """Return kind, flags, function and status word of one row."""
        held = self.blocks[block].rows
        if held is not None:
            return held.kinds[row], held.flags[row], held.functions[row], held.words[row]
        data = os.pread(self._file, _TESTED, block * _SIZE)
        two = array("H", data[_FUNCTIONS:_PLACES])
        return data[row], data[_FLAGS + row], two[row], two[ROWS + row]

    def place(self, block: int, row: int) -> int:
        """Return where a record begins in the journal."""
        held = self.blocks[block].rows
        places = self._column(self._places, block, "I", _PLACES, 4) if held is None else held.places
        return self.blocks[block].offset + places[row] * 4

    def stamps(self, block: int) -> array[int]:
        """Return the stamps of a block, at least those of the rows that were there when it was asked."""
        held = self.blocks[block].rows
        return self._column(self._stamps, block, "Q", _STAMPS, 8) if held is None else held.stamps

    def _column(self, kept: OrderedDict[int, array[int]], block: int, code: str, begin: int, size: int) -> array[int]:
        with self._looking:
            known = kept.get(block)
            if known is not None:
                kept.move_to_end(block)
                return known
            known = array(code)
            known.frombytes(os.pread(self._file, size * ROWS, block * _SIZE + begin))
            kept[block] = known
            if len(kept) > _KEPT:
                kept.popitem(last=False)
            return known
