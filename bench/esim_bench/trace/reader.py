"""Reads traces: random access to any record, of our journals and of foreign captures with GSMTAP in them.

Opening scans the block headers once and keeps an index of offsets; a record is read when it is asked for. The file may
grow meanwhile, written by another process: ``refresh`` goes on where the last scan ended. A torn record at the end
(half written, or its writer was killed) does not count; bytes that are no block end the index there.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, overload

from esim_bench.errors import CodecError, ConfigError
from esim_bench.events import ApduEvent, Event, MarkEvent, SniffedApduEvent
from esim_bench.trace import pcapng, records
from esim_bench.trace.decode import describe_event
from esim_bench.trace.foreign import PcapHeader, foreign_event, is_of_interest, parse_pcap_header

_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a trace."""

    index: int
    at_ns: int
    event: Event
    comment: str
    """What it means; "" for the APDUs of foreign files, and of journals that were never closed (``show.annotated``)."""
    slot: str = ""
    masked: tuple[records.Span, ...] = ()
    """Stretches of the event's bytes that were hidden when the record was written."""


@dataclass(frozen=True, slots=True)
class _Interface:
    order: str
    link_type: int
    name: str
    multiply: int
    divide: int
    offset_ns: int

    def nanoseconds(self, stamp: int) -> int:
        return stamp * self.multiply // self.divide + self.offset_ns


class Reader:
    """Random access to a trace file. ``reader[i]``, ``len(reader)``, slices, iteration."""

    def __init__(self, path: str | os.PathLike[str], *, scan: bool = True) -> None:
        """Open and index a file. Raises ConfigError when it is missing or is neither pcapng nor pcap.

        ``scan``: False for a file that somebody else indexes (``trace.index``); it must be ours then, and only
        ``record_at`` finds its records.
        """
        self._descriptor = -1
        self.path = Path(path)
        self.own = False
        """The file was written by a journal of this bench (else: a foreign capture)."""
        self.damage: str | None = None
        """Why the index ends before the file does, where that is not a torn record at the end."""
        self._interfaces: list[_Interface] = []
        self._offsets = array("Q")
        self._owners = array("L")
        self._order = "<"
        self._first_interface = 0
        self._scanned = 0
        self._pcap: PcapHeader | None = None
        try:
            self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as exc:
            raise ConfigError("cannot read the trace", where=str(path), found=exc.strerror) from None
        try:
            self._identify()
            if scan:
                self.refresh()
            else:
                self._read_headers()
        except BaseException:
            self.close()
            raise

    # ----------------------------------------------------------------------------------------------- the index

    def _identify(self) -> None:
        try:
            head = os.pread(self._descriptor, 28, 0)
        except OSError as exc:
            raise ConfigError("cannot read the trace", where=str(self.path), found=exc.strerror) from None
        magic = struct.pack("<I", pcapng.SECTION_HEADER)
        if head[:4] == magic[: len(head)]:
            return  # also an empty file: its writer may just have made it
        self._pcap = parse_pcap_header(head)
        if self._pcap is None:
            raise ConfigError(
                "not a trace", where=str(self.path), expected="a pcapng or pcap file", found=head[:4].hex()
            )
        self._scanned = 24
        self._interfaces.append(_Interface(self._pcap.order, self._pcap.link_type, "", self._pcap.nanoseconds, 1, 0))

    def refresh(self) -> int:
        """Index what was written since the last look; return the number of new records."""
        before = len(self._offsets)
        if self.damage is None:
            if os.fstat(self._descriptor).st_size < self._scanned:
                self.damage = "the file became shorter"
            elif self._pcap is not None:
                self._scan_pcap(self._pcap)
            else:
                self._scan_pcapng()
        return len(self._offsets) - before

    def _read_headers(self) -> None:
        """Read what stands before the first record of a file of ours. Raises ConfigError."""
        chunk = os.pread(self._descriptor, _CHUNK, 0)
        while len(chunk) >= self._scanned + 12:
            kind, length = struct.unpack_from("<II", chunk, self._scanned)
            if kind not in (pcapng.SECTION_HEADER, pcapng.INTERFACE_DESCRIPTION) or length < 12:
                break
            if self._scanned + length > len(chunk):
                break
            self._index_header(kind, chunk[self._scanned + 8 : self._scanned + length - 4])
            self._scanned += length
        if not self.own or len(self._interfaces) != 1:
            raise ConfigError("not a journal of this bench", where=str(self.path), expected="a trace of one slot")

    def _scan_pcapng(self) -> None:
        while True:
            base = self._scanned
            chunk = os.pread(self._descriptor, _CHUNK, base)
            at = self._scan_chunk(chunk, base)
            self._scanned = base + at
            if self.damage is not None:
                return
            # Nothing whole in the chunk: a block longer than the chunk, or the end of the file.
            if at == 0 and (len(chunk) < _CHUNK or not self._long_block(chunk, base)):
                return

    def _scan_chunk(self, chunk: bytes, base: int) -> int:
        """Index the whole blocks of a chunk that stands at ``base`` in the file; return where they end."""
        unpack = struct.Struct(self._order + "III").unpack_from
        add_offset, add_owner = self._offsets.append, self._owners.append
        own, first, interfaces = self.own, self._first_interface, len(self._interfaces)
        at, end = 0, len(chunk)
        while at + 12 <= end:
            kind, length, interface = unpack(chunk, at)
            if kind == pcapng.SECTION_HEADER:
                self._order = ">" if chunk[at + 8 : at + 12] == b"\x1a\x2b\x3c\x4d" else "<"
                unpack = struct.Struct(self._order + "III").unpack_from
                length = unpack(chunk, at)[1]
            if kind == 0 and length == 0:
                break  # what a power failure of the host makes of a file's last pages: torn, not damaged
            if length < 12 or length & 3 or length > pcapng.MAX_BLOCK:
                self.damage = f"no block at byte {base + at}"
                break
            after = at + length
            if after > end:
                break
            if chunk[after - 4 : after] != chunk[at + 4 : at + 8]:
                self.damage = f"block at byte {base + at} has two different lengths"
                break
            if kind == pcapng.ENHANCED_PACKET:
                # The hot path: a record of ours.
                interface += first
                if interface < interfaces and length >= 32 and (own or self._wanted(chunk, at, length, interface)):
                    add_offset(base + at)
                    add_owner(interface)
            elif kind in (pcapng.SECTION_HEADER, pcapng.INTERFACE_DESCRIPTION):
                self._index_header(kind, chunk[at + 8 : after - 4])
                own, first, interfaces = self.own, self._first_interface, len(self._interfaces)
            at = after
        return at

    def _long_block(self, chunk: bytes, base: int) -> bool:
        """Index the one block at ``base`` that is longer than a chunk; tell whether it was whole."""
        length = struct.unpack_from(self._order + "I", chunk, 4)[0]
        data = os.pread(self._descriptor, length, base)
        if len(data) < length:
            return False
        self._scanned = base + self._scan_chunk(data, base)
        return self._scanned > base

    def _wanted(self, chunk: bytes, at: int, length: int, interface: int) -> bool:
        """Tell whether a packet of a foreign capture belongs into a trace."""
        captured = struct.unpack_from(self._order + "I", chunk, at + 20)[0]
        packet = chunk[at + 28 : min(at + 28 + captured, at + length - 4)]
        return is_of_interest(packet, self._interfaces[interface].link_type)

    def _index_header(self, kind: int, body: bytes) -> None:
        if kind == pcapng.SECTION_HEADER:
            self._first_interface = len(self._interfaces)
            options = dict(pcapng.options_of(body[16:], self._order))
            self.own = options.get(pcapng.OPT_USERAPPL) == pcapng.USER_APPLICATION.encode()
            return
        link_type = struct.unpack_from(self._order + "H", body)[0] if len(body) >= 2 else 0
        options = dict(pcapng.options_of(body[8:], self._order))
        name = options.get(pcapng.OPT_IF_NAME, b"").rstrip(b"\0").decode("utf-8", "replace")
        resolution = (options.get(pcapng.OPT_IF_TSRESOL) or b"\x06")[0]
        # Decimal digits of a second, or with the top bit binary ones.
        divide = 1 << (resolution & 0x7F) if resolution & 0x80 else 10 ** (resolution & 0x7F)
        self._interfaces.append(_Interface(self._order, link_type, name, 1_000_000_000, divide, 0))

    def _scan_pcap(self, pcap: PcapHeader) -> None:
        header = struct.Struct(pcap.order + "IIII")
        while True:
            chunk = os.pread(self._descriptor, _CHUNK, self._scanned)
            at = 0
            while at + 16 <= len(chunk):
                captured = header.unpack_from(chunk, at)[2]
                if captured > _CHUNK - 16:
                    self.damage = f"no packet at byte {self._scanned + at}"
                    break
                if at + 16 + captured > len(chunk):
                    break
                if is_of_interest(chunk[at + 16 : at + 16 + captured], pcap.link_type):
                    self._offsets.append(self._scanned + at)
                    self._owners.append(0)
                at += 16 + captured
            self._scanned += at
            if at == 0 or self.damage is not None:
                return

    # ----------------------------------------------------------------------------------------------- the records

    @property
    def slots(self) -> tuple[str, ...]:
        """Return the names of the interfaces, which in our files are the slots."""
        return tuple(interface.name for interface in self._interfaces)

    @property
    def whole(self) -> int:
        """Return the length of the file up to the end of its last whole block."""
        return self._scanned

    @property
    def torn(self) -> int:
        """Return the number of bytes after the last whole block, as of now."""
        return max(0, os.fstat(self._descriptor).st_size - self._scanned)

    def apdus(self) -> int:
        """Count the bench's own APDUs that a packet tool shows as such, sniffed ones apart."""
        count = 0
        for index in range(len(self)):
            interface, _, packet, options = self._packet(index)
            message = pcapng.datagram(packet, interface.link_type)
            if message is not None and message[:2] == (pcapng.TYPE_SIM, pcapng.SUBTYPE_APDU):
                count += not records.is_sniffed(_detail(options, interface.order)[1])
        return count

    def __len__(self) -> int:
        return len(self._offsets)

    def __iter__(self) -> Iterator[Record]:
        """Yield the records indexed so far."""
        for index in range(len(self)):
            yield self._record(index)

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...

    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        """Return a record, or a list of them. Raises IndexError past the end."""
        if isinstance(index, slice):
            return [self._record(item) for item in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        return self._record(index)

    def _packet(self, index: int) -> tuple[_Interface, int, bytes, bytes]:
        """Read one record: interface, stamp in ns, packet, options."""
        return self._packet_at(self._offsets[index], self._interfaces[self._owners[index]])

    def _packet_at(self, offset: int, interface: _Interface) -> tuple[_Interface, int, bytes, bytes]:
        if self._pcap is not None:
            seconds, fraction, captured, _ = struct.unpack(self._pcap.order + "IIII", self._read(16, offset))
            at_ns = seconds * 1_000_000_000 + fraction * self._pcap.nanoseconds
            return interface, at_ns, self._read(captured, offset + 16), b""
        # Most records fit into one read.
        data = os.pread(self._descriptor, 1024, offset)
        length = struct.unpack_from(interface.order + "I", data, 4)[0] if len(data) >= 32 else 32
        if length > len(data):
            data = self._read(length, offset)
        high, low, captured = struct.unpack_from(interface.order + "III", data, 12)
        captured = min(captured, length - 32)
        options = data[28 + captured + (-captured & 3) : length - 4]
        return interface, interface.nanoseconds(high << 32 | low), data[28 : 28 + captured], options

    def _read(self, size: int, offset: int) -> bytes:
        data = os.pread(self._descriptor, size, offset)
        if len(data) != size:
            raise ConfigError("the trace became shorter while it was read", where=str(self.path))
        return data

    def record_at(self, offset: int, index: int) -> Record:
        """Return the record whose block begins at ``offset``, as number ``index``; for a file that was not scanned."""
        return self._made(index, *self._packet_at(offset, self._interfaces[0]))

    def fileno(self) -> int:
        """Return the descriptor of the open file."""
        return self._descriptor

    def _record(self, index: int) -> Record:
        return self._made(index, *self._packet(index))

    def _made(self, index: int, interface: _Interface, at_ns: int, packet: bytes, options: bytes) -> Record:
        comment, detail = _detail(options, interface.order)
        message = pcapng.datagram(packet, interface.link_type)
        payload = message[2] if message else b""
        spans: tuple[records.Span, ...] = ()
        event: Event
        if detail.startswith(records.MAGIC):
            try:
                event, spans = records.parse(at_ns, detail, payload)
            except CodecError as exc:
                event = MarkEvent(at_ns, f"unreadable record: {exc}")
        else:
            event = foreign_event(at_ns, message)
        if not isinstance(event, ApduEvent | SniffedApduEvent) and comment in ("", "[masked]"):
            comment = f"{describe_event(event)} {comment}".rstrip()
        return Record(index, at_ns, event, comment, interface.name, spans)

    # ----------------------------------------------------------------------------------------------- the file

    def extent(self, index: int) -> tuple[int, int]:
        """Return where the block of a record of a pcapng begins and ends in the file."""
        start = self._offsets[index]
        order = self._interfaces[self._owners[index]].order
        return start, start + int(struct.unpack(order + "I", self._read(4, start + 4))[0])

    def raw(self, start: int, end: int) -> bytes:
        """Return bytes of the file. Raises ConfigError when they are no longer there."""
        return self._read(end - start, start)

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _detail(options: bytes, order: str) -> tuple[str, bytes]:
    """Return a packet's comment, and what our custom options hold together."""
    comment = ""
    pieces: list[bytes] = []
    pen = struct.pack(order + "I", pcapng.PEN)
    for code, value in pcapng.options_of(options, order):
        if code == pcapng.OPT_COMMENT and not comment:
            comment = value.decode("utf-8", "replace")
        elif code == pcapng.OPT_CUSTOM and value[:4] == pen:
            pieces.append(value[4:])
    return comment, pieces[0] if len(pieces) == 1 else b"".join(pieces)
