"""The messages of SIMtrace2's sniffer firmware, bytes to values and back. Pure.

Each message has a header of eight bytes (class, type, sequence number, slot, two reserved, length with the header;
integers are little-endian), then by type:

====  ========  ====================================================================================
type  name      payload
====  ========  ====================================================================================
0     change    u32 flags: what happened to the card and its lines
1     Fi/Di     u8: the new speed, coded like TA1 (ISO/IEC 7816-3 8.3)
2     ATR       u32 flags (errors), u16 length, the bytes
3     PPS       the same; request and response come one after the other
4     TPDU      the same: header, data, status word; the procedure bytes are left out
====  ========  ====================================================================================

Messages follow each other without gaps; a USB transfer may hold several, or a part of one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final, TypeAlias

from esim_bench.errors import CodecError

SNIFF: Final = 3
"""The class of the sniffer's messages; others (0 general, 1 card emulation, 2 modem) are passed over."""
HEADER: Final = struct.Struct("<BBBBHH")
_DATA = struct.Struct("<IH")
MAX_MESSAGE: Final = 512
"""Longer than any message (the longest TPDU has 263 bytes): a length beyond it shows that the stream is out of step."""


class Kind(IntEnum):
    """The types of the sniffer's messages."""

    CHANGE = 0
    FIDI = 1
    ATR = 2
    PPS = 3
    TPDU = 4


class Change(IntFlag):
    """What happened on the card's lines."""

    INSERT = 1 << 0
    EJECT = 1 << 1
    RESET = 1 << 2
    RELEASE = 1 << 3
    TIMEOUT = 1 << 4


class Flaw(IntFlag):
    """What is wrong with the bytes of a message."""

    INCOMPLETE = 1 << 5
    MALFORMED = 1 << 6
    CHECKSUM = 1 << 7
    OVERRUN = 1 << 8
    FRAMING = 1 << 9
    PARITY = 1 << 10


SOUND: Final = Flaw(0)


@dataclass(frozen=True, slots=True)
class ChangeMessage:
    """The card came or went, its reset line changed, or it stayed silent too long."""

    sequence: int
    flags: Change


@dataclass(frozen=True, slots=True)
class FidiMessage:
    """Card and terminal go on at another speed."""

    sequence: int
    fidi: int


@dataclass(frozen=True, slots=True)
class DataMessage:
    """An ATR, a PPS or a TPDU."""

    sequence: int
    kind: Kind
    data: bytes
    flaws: Flaw = SOUND


Message: TypeAlias = ChangeMessage | FidiMessage | DataMessage


def flaws_text(flaws: Flaw) -> str:
    """Return flaws in words: ``incomplete, parity``."""
    return ", ".join(flaw.name.lower() for flaw in Flaw if flaw in flaws and flaw.name)


def encode(message: Message) -> bytes:
    """Return a message as the firmware sends it."""
    match message:
        case ChangeMessage(flags=flags):
            kind, payload = Kind.CHANGE, struct.pack("<I", int(flags))
        case FidiMessage(fidi=fidi):
            kind, payload = Kind.FIDI, bytes((fidi,))
        case DataMessage(kind=kind, data=data, flaws=flaws):
            payload = _DATA.pack(int(flaws), len(data)) + data
    return HEADER.pack(SNIFF, kind, message.sequence & 0xFF, 0, 0, HEADER.size + len(payload)) + payload


def decode(raw: bytes) -> Message | None:
    """Return one whole message; None for one of another class or of a type that is not known. Raises CodecError."""
    if len(raw) < HEADER.size:
        raise CodecError("message of the sniffer", expected=f"at least {HEADER.size} bytes", found=len(raw))
    group, kind, sequence, _, _, length = HEADER.unpack_from(raw)
    if length != len(raw):
        raise CodecError("message of the sniffer", expected=f"{length} bytes, as its header says", found=len(raw))
    if group != SNIFF or kind not in tuple(Kind):
        return None
    payload = raw[HEADER.size :]
    match Kind(kind):
        case Kind.CHANGE:
            return ChangeMessage(sequence, Change(int.from_bytes(_exactly(payload, 4, "change"), "little") & 0x1F))
        case Kind.FIDI:
            return FidiMessage(sequence, _exactly(payload, 1, "Fi/Di")[0])
        case data_kind:
            flags, size = _DATA.unpack_from(_exactly(payload, _DATA.size, data_kind.name))
            data = payload[_DATA.size : _DATA.size + size]
            if len(data) != size:
                raise CodecError(f"{data_kind.name} of the sniffer", expected=f"{size} bytes", found=len(data))
            return DataMessage(sequence, data_kind, data, Flaw(flags & 0x7E0))


def _exactly(payload: bytes, size: int, what: str) -> bytes:
    if len(payload) < size:
        raise CodecError(f"{what} message of the sniffer", expected=f"{size} bytes", found=len(payload))
    return payload


class Splitter:
    """Cuts the stream of a bulk endpoint into messages, however the transfers cut it."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._in_step = True
        self.lost = 0
        """Bytes that were thrown away, because they were no message."""

    def feed(self, data: bytes) -> list[Message]:
        """Take what came; return the messages that are whole now. Never raises: what is no message is counted."""
        self._buffer += data
        found: list[Message] = []
        while len(self._buffer) >= HEADER.size:
            group, kind, _, _, reserved, length = HEADER.unpack_from(self._buffer)
            if reserved or not self._fits(group, kind, length):
                # Out of step (the start of a transfer was lost): look for the next place that could be a header.
                del self._buffer[0]
                self.lost += 1
                self._in_step = False
                continue
            if len(self._buffer) < length:
                break
            raw = bytes(self._buffer[:length])
            try:
                message = decode(raw)
                self._in_step = True
            except CodecError:
                self.lost += length
                message = None
            del self._buffer[:length]
            if message is not None:
                found.append(message)
        return found

    def _fits(self, group: int, kind: int, length: int) -> bool:
        """Tell whether a header can be one, by its class, type and length."""
        if group != SNIFF:
            # Zeros are easily taken for a header of class 0, so these count only where one is due.
            return self._in_step and group < SNIFF and HEADER.size <= length <= MAX_MESSAGE
        match kind:
            case Kind.CHANGE:
                return length == HEADER.size + 4
            case Kind.FIDI:
                return length == HEADER.size + 1
            case Kind.ATR | Kind.PPS | Kind.TPDU:
                return HEADER.size + _DATA.size <= length <= MAX_MESSAGE
        return HEADER.size <= length <= MAX_MESSAGE
