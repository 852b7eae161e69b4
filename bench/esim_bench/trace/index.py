"""An index over a growing journal: what kind of record stands where, so that a filter finds its rows at once.

It is made for journals of millions of records that are read while they grow. In memory it keeps a summary for each
block of 1024 records; the columns of a block (kind, function, status word, place, time) lie in a temporary file, the
records themselves in the journal. ``advance`` goes on where it stopped, a bounded step at a time; everything else only
reads.
"""

from __future__ import annotations

import bisect
import os
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from esim_bench.errors import CodecError
from esim_bench.events import ApduEvent, AtEvent, Event, MarkEvent, RspEvent, SniffedApduEvent
from esim_bench.trace import pcapng, records
from esim_bench.trace.columns import ERROR, ROWS, Columns, Test, positions
from esim_bench.trace.decode import SNIFFED
from esim_bench.trace.labels import Labels
from esim_bench.trace.reader import Reader, Record

_STEP: Final = 256 * 1024
"""Bytes of the journal that one step reads."""
_PACKET: Final = struct.Struct("<IIIIII")
_OPTION: Final = struct.Struct("<HH")
_SHORT: Final = struct.Struct("<H")
_APDU: Final = struct.Struct("<qqI")
_BIG: Final = struct.Struct(">H")
_LENGTH: Final = struct.Struct("<I")
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

    Its times are those of a time line: no record's is earlier than the one's before it, also where a clock was set back
    or an event was told late. The record itself has its own.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._reader = Reader(path, scan=False)
        self.labels = Labels()
        self.slot = self._reader.slots[0] if self._reader.slots else ""
        self._columns = Columns()
        self._at = self._reader.whole
        self._count = 0
        self._latest = 0

    def close(self) -> None:
        """Close the journal and the temporary file."""
        self._reader.close()
        self._columns.close()

    def __del__(self) -> None:
        if hasattr(self, "_columns"):
            self.close()

    @property
    def path(self) -> Path:
        """Return the journal's file."""
        return self._reader.path

    def __len__(self) -> int:
        return self._count

    @property
    def behind(self) -> int:
        """Return how many bytes of the journal are not indexed."""
        return max(0, os.fstat(self._reader.fileno()).st_size - self._at)

    # ----------------------------------------------------------------------------------------------- making it

    def advance(self, steps: int = 1) -> int:
        """Index up to ``steps`` steps of what was written meanwhile; return the number of new records.

        Raises OSError when the temporary file takes no more, or the journal cannot be read; a later call goes on.
        """
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
                try:
                    self._add(self._at + at, high << 32 | low, *row)
                except OSError:
                    self._at += at  # no room for a block: what was added is not to be added again
                    raise
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
        if at_ns > self._latest:
            self._latest = at_ns
        if self._count % ROWS == 0:
            self._block, self._rows = self._columns.begin(offset, self._latest)
        keys = self._block.keys
        for key in (kind, 0x1_0000 | function, 0x2_0000 | sw) if function else (kind,):
            keys[key] = keys.get(key, 0) + 1
        if flags & ERROR:
            keys[_ERROR_KEY] = keys.get(_ERROR_KEY, 0) + 1
        rows = self._rows
        rows.kinds.append(kind)
        rows.flags.append(flags)
        rows.functions.append(function)
        rows.words.append(sw)
        rows.places.append((offset - self._block.offset) >> 2)
        rows.stamps.append(self._latest)
        self._count += 1  # last: from now on the reading thread may ask for it

    # ----------------------------------------------------------------------------------------------- reading it

    def record(self, index: int) -> Record:
        """Return a record. Raises IndexError past the end."""
        return self.records(index, 1)[0]

    def records(self, first: int, count: int) -> list[Record]:
        """Return up to ``count`` records from ``first`` on. Raises IndexError past the end."""
        if not 0 <= first < self._count:
            raise IndexError(f"record {first} of {self._count}")
        return [
            self._reader.record_at(self._columns.place(*divmod(index, ROWS)), index)
            for index in range(first, min(first + count, self._count))
        ]

    def at_time(self, at_ns: int, low: int = 0, high: int | None = None) -> int:
        """Return the number of the first record that is not earlier; the number of records where all are.

        ``low`` and ``high`` say between which numbers it is, where that is known.
        """
        high = self._count if high is None else min(high, self._count)
        first = self._columns.first
        block = bisect.bisect_left(first, at_ns, low // ROWS, -(-high // ROWS)) - 1
        if block < low // ROWS:
            return low
        found = block * ROWS + bisect.bisect_left(
            self._columns.stamps(block), at_ns, 0, min(ROWS, self._count - block * ROWS)
        )
        return min(max(low, found), high)

    def stamp(self, index: int) -> int:
        """Return a record's time on the time line in nanoseconds. Raises IndexError past the end."""
        if not 0 <= index < self._count:
            raise IndexError(f"record {index} of {self._count}")
        return self._columns.stamps(index // ROWS)[index % ROWS]

    def label(self, index: int) -> tuple[int, bool, str, int]:
        """Return kind, error, function ("" for what is no APDU) and status word of a record, without reading it."""
        if not 0 <= index < self._count:
            raise IndexError(f"record {index} of {self._count}")
        kind, flags, function, sw = self._columns.row(*divmod(index, ROWS))
        return kind, bool(flags & ERROR), self.labels.names[function], sw

    def raw(self, first: int, count: int) -> tuple[bytes, list[int]]:
        """Return the journal's bytes with the records ``first`` to ``first + count - 1``, and where each begins there.

        They must be of one block. Raises IndexError past the end.
        """
        if count < 1 or first < 0 or first + count > self._count:
            raise IndexError(f"records {first} to {first + count - 1} of {self._count}")
        block, row = divmod(first, ROWS)
        places = [self._columns.place(block, one) for one in range(row, row + count)]
        begin = places[0]
        (length,) = _LENGTH.unpack(os.pread(self._reader.fileno(), 4, places[-1] + 4))
        data = os.pread(self._reader.fileno(), places[-1] + length - begin, begin)
        return data, [place - begin for place in places]

    def columns(self, block: int, rows: int) -> bytes:
        """Return what a ``Test`` looks at: the columns of a block's first ``rows`` rows."""
        return self._columns.tested(block, rows)

    def words(self, block: int) -> list[int]:
        """Return the status words that there are in a block."""
        keys = [*self._columns.blocks[block].keys]
        return [key & 0xFFFF for key in keys if 0x2_0000 <= key < _ERROR_KEY]

    def count(self, wanted: Filter) -> int | None:
        """Return how many records a filter finds; None where only a search can tell (more than one field)."""
        if wanted.empty:
            return self._count
        keys = self._keys(wanted)
        if len(keys) != 1:
            return None
        return sum(block.keys.get(key, 0) for block in self._columns.blocks for key in keys[0])

    def census(self) -> tuple[Counter[str], Counter[int], Counter[int], int]:
        """Count the functions, the status words, the kinds, and what went wrong."""
        keys: Counter[int] = Counter()
        for block in self._columns.blocks:
            keys.update(dict(block.keys))
        functions = {self.labels.names[key & 0xFFFF]: keys[key] for key in keys if 0x1_0000 <= key < 0x2_0000}
        words = {key & 0xFFFF: keys[key] for key in keys if 0x2_0000 <= key < _ERROR_KEY}
        kinds = {key: keys[key] for key in keys if key < 0x1_0000}
        return Counter(functions), Counter(words), Counter(kinds), keys[_ERROR_KEY]

    def find(self, wanted: Filter, start: int, count: int, *, backward: bool = False) -> list[int]:
        """Return the numbers of up to ``count`` records that a filter wants, from ``start`` on, or before and with it.

        They come in the order of the search. Blocks that have none of what is wanted are not looked at.
        """
        found: list[int] = []
        if count > 0:
            for index in self.hits(wanted, start, backward=backward):
                found.append(index)
                if len(found) == count:
                    break
        return found

    def hits(self, wanted: Filter, start: int, *, backward: bool = False) -> Iterator[int]:
        """Yield the numbers of the records that a filter wants, as ``find`` does."""
        size = self._count
        if not size:
            return
        start = min(start, size - 1) if backward else max(start, 0)
        test, keys = self.test(wanted), self._keys(wanted)
        blocks = range(start // ROWS, -1, -1) if backward else range(start // ROWS, -(-size // ROWS))
        for block in blocks:
            summary = self._columns.blocks[block].keys
            if not all(any(key in summary for key in group) for group in keys):
                continue
            mask = test.mask(self._columns.tested(block, min(ROWS, size - block * ROWS)))
            first = block * ROWS
            if backward:
                for row in reversed([*positions(mask)]):
                    if first + row <= start:
                        yield first + row
                continue
            if first < start:
                # What lies before is not looked at again by who goes on where the last search ended.
                mask >>= 8 * (start - first)
                first = start
            for row in positions(mask):
                yield first + row

    def test(self, wanted: Filter) -> Test:
        """Return what a filter asks of the rows of this index, by the names it has seen so far."""
        numbers = (self.labels.known(name) for name in wanted.functions)
        return Test(
            wanted.kinds or None,
            frozenset(number for number in numbers if number) if wanted.functions else None,
            wanted.status_words or None,
            wanted.errors,
        )

    def hits_of(self, wanted: Filter, test: Test, block: int, rows: int = ROWS) -> int:
        """Count the first ``rows`` records of a block that a filter wants."""
        keys = self._keys(wanted)
        held = self._columns.blocks[block]
        if not all(any(key in held.keys for key in group) for group in keys):
            return 0
        if len(keys) == 1 and rows == ROWS:
            return sum(held.keys.get(key, 0) for key in keys[0])
        return test.mask(self._columns.tested(block, rows)).bit_count()

    def rows_of(self, test: Test, block: int, rows: int = ROWS) -> list[int]:
        """Return which of the first ``rows`` rows of a block fit."""
        return [*positions(test.mask(self._columns.tested(block, rows)))]

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
