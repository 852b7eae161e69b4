"""An index over a growing journal: what kind of record stands where, so that a filter finds its rows at once.

It is made for journals of millions of records that are read while they grow. In memory it keeps a summary for each
block of 1024 records; the columns of a block (kind, function, status word) lie in a temporary file, the records
themselves in the journal. ``advance`` goes on where it stopped, a bounded step at a time; everything else only reads.
"""

from __future__ import annotations

import bisect
import os
import struct
import tempfile
from array import array
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from esim_bench.errors import CodecError
from esim_bench.events import ApduEvent, AtEvent, Event, MarkEvent, RspEvent, SniffedApduEvent
from esim_bench.trace import pcapng, records
from esim_bench.trace.decode import SNIFFED
from esim_bench.trace.labels import Labels
from esim_bench.trace.reader import Reader, Record

ROWS: Final = 1024
"""Records of one block of the index."""
_STEP: Final = 256 * 1024
"""Bytes of the journal that one step reads."""
_ROW: Final = struct.Struct("<BBHH")
_KEPT: Final = 48
"""Blocks whose offsets or columns are kept at hand."""
ERROR: Final = 0x01
_PACKET: Final = struct.Struct("<IIIIII")
_OPTION: Final = struct.Struct("<HH")
_SHORT: Final = struct.Struct("<H")
_APDU: Final = struct.Struct("<qqI")
_BIG: Final = struct.Struct(">H")
_NETWORK: Final = 20 + 8 + pcapng.GSMTAP_HEADER
"""Bytes of a packet before its payload."""
_ATR, _POWER, _AT, _RSP, _MARK = 1, 2, 3, 4, 5
_TELLING: Final = (_AT, _RSP, _MARK)
"""Kinds that may tell of an error."""
FOREIGN: Final = 0xFF
"""The kind of a packet that is no record of ours."""
_GOOD: Final = frozenset((0x61, 0x62, 0x63, 0x6C, 0x91, 0x92))
_FAILED: Final = (": FAIL", ": ERROR", ": TIMEOUT")
"""In the marks of steps and scenarios."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records are wanted: each given field must hold; an empty filter wants all of them."""

    kinds: frozenset[int] = frozenset()
    """Of ``records``: 0 APDU, 1 ATR, 2 power, 3 AT line, 4 RSP message, 5 mark, ..."""
    functions: frozenset[str] = frozenset()
    """As ``ApduDecoder`` names them: "ES10c.EnableProfile", "READ BINARY"."""
    status_words: frozenset[int] = frozenset()
    errors: bool = False
    """Only what went wrong: error status words, ERROR on an AT line, HTTP statuses, marks of failures."""

    @property
    def empty(self) -> bool:
        """Tell whether it wants everything."""
        return not (self.kinds or self.functions or self.status_words or self.errors)


@dataclass(slots=True)
class _Block:
    offset: int
    """Where its first record begins in the journal."""
    first_ns: int
    keys: dict[int, int] = field(default_factory=dict)
    """How many of its records have a value, by the value's key."""


def _kind_key(kind: int) -> int:
    return kind


def _function_key(function: int) -> int:
    return 0x1_0000 | function


def _sw_key(sw: int) -> int:
    return 0x2_0000 | sw


_ERROR_KEY: Final = 0x3_0000


class TraceIndex:
    """The index of one of our journals. Raises ConfigError for a file that is none, or cannot be read.

    ``advance`` may run in another thread than what reads, as long as each is called by one thread at a time.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._reader = Reader(path, scan=False)
        self.labels = Labels()
        self.slot = self._reader.slots[0] if self._reader.slots else ""
        self._columns = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        self._blocks: list[_Block] = []
        self._first: list[int] = []
        """The stamp of each block's first record."""
        self._open = bytearray()
        """Columns of the last block, which is not full."""
        self._at = self._reader.whole
        self._count = 0
        self._offsets: OrderedDict[int, array[int]] = OrderedDict()
        self._sealed: OrderedDict[int, bytes] = OrderedDict()

    def close(self) -> None:
        """Close the journal and the temporary file."""
        self._reader.close()
        self._columns.close()

    def __del__(self) -> None:
        if hasattr(self, "_columns"):
            self.close()

    def __len__(self) -> int:
        return self._count

    @property
    def behind(self) -> int:
        """Return how many bytes of the journal are not indexed."""
        return max(0, os.fstat(self._reader.fileno()).st_size - self._at)

    # ----------------------------------------------------------------------------------------------- making it

    def advance(self, steps: int = 1) -> int:
        """Index up to ``steps`` steps of what was written meanwhile; return the number of new records."""
        before = self._count
        for _ in range(steps):
            chunk = os.pread(self._reader.fileno(), _STEP, self._at)
            used = self._take(chunk)
            if used == 0 and len(chunk) == _STEP:
                # A record that is longer than a step.
                length = struct.unpack_from("<I", chunk, 4)[0]
                used = self._take(os.pread(self._reader.fileno(), length, self._at)) if length > _STEP else 0
            self._at += used
            if used == 0 or len(chunk) < _STEP:
                break
        return self._count - before

    def _take(self, chunk: bytes) -> int:
        at, end = 0, len(chunk)
        unpack = _PACKET.unpack_from
        while at + 32 <= end:
            kind, length, _, high, low, captured = unpack(chunk, at)
            if length < 12 or length & 3 or length > pcapng.MAX_BLOCK:
                break
            after = at + length
            if after > end:
                break
            if kind == pcapng.ENHANCED_PACKET:
                row = self._row(chunk, at, after, captured)
                self._add(self._at + at, high << 32 | low, *row)
            at = after
        return at

    def _row(self, chunk: bytes, at: int, after: int, captured: int) -> tuple[int, int, int, int]:
        """Return kind, flags, function and status word of the record that stands there."""
        packet = at + 28
        place = packet + captured + (-captured & 3)
        while place + 4 <= after:
            code, size = _OPTION.unpack_from(chunk, place)
            if code == pcapng.OPT_CUSTOM:
                break
            if code == pcapng.OPT_END:
                return FOREIGN, 0, 0, 0
            place += 4 + size + (-size & 3)
        else:
            return FOREIGN, 0, 0, 0
        detail = place + 8
        kind = chunk[detail + 4]
        if kind != 0 and kind != records.SNIFFED_APDU:
            return self._other(kind, chunk[detail:after])
        if kind == 0 and not chunk[detail + 5] & records.EXACT:
            spans = _SHORT.unpack_from(chunk, detail + 6)[0]
            session, _, border = _APDU.unpack_from(chunk, detail + 8 + 8 * spans)
            begin = packet + _NETWORK
            command = chunk[begin : begin + border]
            sw = _BIG.unpack_from(chunk, packet + captured - 2)[0] if captured >= _NETWORK + 2 else 0
        else:
            event, _ = records.parse(0, chunk[detail : detail + size - 4], chunk[packet + _NETWORK : packet + captured])
            assert isinstance(event, ApduEvent | SniffedApduEvent)
            command, session = event.command, event.session if isinstance(event, ApduEvent) else -1
            sw = int.from_bytes(event.response[-2:], "big")
        function = self.labels.apdu(command, session)
        if kind == records.SNIFFED_APDU:
            function = self.labels.number(f"{SNIFFED} {self.labels.names[function]}")
        return kind, 0 if sw >> 8 in _GOOD or sw == 0x9000 else ERROR, function, sw

    def _other(self, kind: int, detail: bytes) -> tuple[int, int, int, int]:
        if kind in (_ATR, _POWER):
            self.labels.reset()
        error = False
        if kind in _TELLING:
            try:
                event, _ = records.parse(0, detail, b"")
            except CodecError:
                return kind, ERROR, 0, 0
            error = is_error(event)
        return kind, ERROR if error else 0, 0, 0

    def _add(self, offset: int, at_ns: int, kind: int, flags: int, function: int, sw: int) -> None:
        if self._count % ROWS == 0:
            self._seal()
            self._blocks.append(_Block(offset, at_ns))
            self._first.append(at_ns)
        keys = self._blocks[-1].keys
        for key in (_kind_key(kind), *((_function_key(function), _sw_key(sw)) if function else ())):
            keys[key] = keys.get(key, 0) + 1
        if flags & ERROR:
            keys[_ERROR_KEY] = keys.get(_ERROR_KEY, 0) + 1
        self._open += _ROW.pack(kind, flags, function, sw)
        self._count += 1

    def _seal(self) -> None:
        if self._open:
            os.pwrite(self._columns.fileno(), self._open, (len(self._blocks) - 1) * ROWS * _ROW.size)
            self._open = bytearray()

    # ----------------------------------------------------------------------------------------------- reading it

    def record(self, index: int) -> Record:
        """Return a record. Raises IndexError past the end."""
        return self.records(index, 1)[0]

    def records(self, first: int, count: int) -> list[Record]:
        """Return up to ``count`` records from ``first`` on. Raises IndexError past the end."""
        if not 0 <= first < self._count:
            raise IndexError(f"record {first} of {self._count}")
        found = []
        for index in range(first, min(first + count, self._count)):
            offsets = self._offsets_of(index // ROWS)
            found.append(self._reader.record_at(offsets[index % ROWS], index))
        return found

    def at_time(self, at_ns: int) -> int:
        """Return the number of the first record that is not earlier; the number of records where all are."""
        block = max(0, bisect.bisect_left(self._first, at_ns) - 1)
        for index in range(block * ROWS, min((block + 2) * ROWS, self._count)):
            if self.stamp(index) >= at_ns:
                return index
        return self._count

    def stamp(self, index: int) -> int:
        """Return a record's time in nanoseconds."""
        offset = self._offsets_of(index // ROWS)[index % ROWS]
        high, low = struct.unpack("<II", os.pread(self._reader.fileno(), 8, offset + 12))
        return int(high << 32 | low)

    def count(self, wanted: Filter) -> int | None:
        """Return how many records a filter finds; None where only a search can tell (more than one field)."""
        if wanted.empty:
            return self._count
        keys = self._keys(wanted)
        if len(keys) != 1:
            return None
        return sum(block.keys.get(key, 0) for block in self._blocks for key in keys[0])

    def find(self, wanted: Filter, start: int, count: int, *, backward: bool = False) -> list[int]:
        """Return the numbers of up to ``count`` records that a filter wants, from ``start`` on, or before and with it.

        They come in the order of the search. Blocks that have none of what is wanted are not looked at.
        """
        if not self._count or count <= 0:
            return []
        start = min(start, self._count - 1) if backward else max(start, 0)
        found: list[int] = []
        fits = self._test(wanted)
        keys = self._keys(wanted)
        blocks = range(start // ROWS, -1, -1) if backward else range(start // ROWS, len(self._blocks))
        for block in blocks:
            summary = self._blocks[block].keys
            if not all(any(key in summary for key in group) for group in keys):
                continue
            rows = self._columns_of(block)
            numbers = range(len(rows) // _ROW.size)
            for number in reversed(numbers) if backward else numbers:
                index = block * ROWS + number
                if (index > start) if backward else (index < start):
                    continue
                if fits(*_ROW.unpack_from(rows, number * _ROW.size)):
                    found.append(index)
                    if len(found) == count:
                        return found
        return found

    def _keys(self, wanted: Filter) -> list[list[int]]:
        """Return the keys of a filter, one group for each field."""
        groups = []
        if wanted.kinds:
            groups.append([_kind_key(kind) for kind in wanted.kinds])
        if wanted.functions:
            known = (self.labels.known(name) for name in wanted.functions)
            groups.append([_function_key(number) for number in known if number])
        if wanted.status_words:
            groups.append([_sw_key(sw) for sw in wanted.status_words])
        if wanted.errors:
            groups.append([_ERROR_KEY])
        return groups

    def _test(self, wanted: Filter) -> Callable[[int, int, int, int], bool]:
        functions = {self.labels.known(name) for name in wanted.functions} - {None}

        def fits(kind: int, flags: int, function: int, sw: int) -> bool:
            return (
                (not wanted.kinds or kind in wanted.kinds)
                and (not wanted.functions or function in functions)
                and (not wanted.status_words or (function != 0 and sw in wanted.status_words))
                and (not wanted.errors or bool(flags & ERROR))
            )

        return fits

    def _offsets_of(self, block: int) -> array[int]:
        """Return where the records of a block begin."""
        known = self._offsets.get(block)
        size = min(ROWS, self._count - block * ROWS)
        if known is not None and len(known) >= size:
            self._offsets.move_to_end(block)
            return known
        begin = self._blocks[block].offset
        end = self._blocks[block + 1].offset if block + 1 < len(self._blocks) else self._at
        data = os.pread(self._reader.fileno(), end - begin, begin)
        offsets = array("Q")
        at = 0
        while at + 12 <= len(data) and len(offsets) < size:
            kind, length = struct.unpack_from("<II", data, at)
            if kind == pcapng.ENHANCED_PACKET:
                offsets.append(begin + at)
            at += length
        self._offsets[block] = offsets
        if len(self._offsets) > _KEPT:
            self._offsets.popitem(last=False)
        return offsets

    def _columns_of(self, block: int) -> bytes:
        if block == len(self._blocks) - 1:
            return bytes(self._open)
        known = self._sealed.get(block)
        if known is None:
            known = os.pread(self._columns.fileno(), ROWS * _ROW.size, block * ROWS * _ROW.size)
            self._sealed[block] = known
            if len(self._sealed) > _KEPT:
                self._sealed.popitem(last=False)
        else:
            self._sealed.move_to_end(block)
        return known


def is_error(event: Event) -> bool:
    """Tell whether an event says that something went wrong."""
    match event:
        case ApduEvent() | SniffedApduEvent():
            sw = int.from_bytes(event.response[-2:], "big")
            return sw != 0x9000 and sw >> 8 not in _GOOD
        case AtEvent():
            line = event.line.strip()
            return event.direction != ">" and (line == "ERROR" or line.startswith(("+CME ERROR", "+CMS ERROR")))
        case RspEvent():
            return not event.status.startswith("2")
        case MarkEvent():
            return any(word in event.text for word in _FAILED)
    return False
