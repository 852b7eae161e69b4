"""Events to records and back: what stands in the packet, and what stands in the custom option beside it.

The custom option (2989, enterprise number 32473) holds what the packet cannot say. After the enterprise number::

    4   magic "eSB1"
    1   kind: 0 APDU, 1 ATR, 2 power, 3 AT line, 4 RSP message, 5 mark, 6 sniffed APDU, 7 sniffed event, 8 UART line,
        9 sample
    1   flags: 01 the exact bytes follow, because the packet had to differ from them
    2   number of masked spans
    8n  masked spans: offset, length (4 + 4), counted in the event's bytes (APDU: command || response;
        RSP message: request || response; AT line, UART line, mark: the UTF-8 text; sniffed event: its data)
    ..  APDU: session (8), duration in ns (8), length of the command in the packet (4); with flag 01: command, response
        ATR: cold (8), the ATR; power: action, detail; AT line: direction, line
        RSP message: duration (8), URL, status, request, response; mark: text
        sniffed APDU: duration in ns (8), length of the command in the packet (8), source, flaws; with flag 01: command,
        response; sniffed event: kind, source, data, detail; UART line: ended (8), bytes cut (8), source, line
        sample: source, then amperes and volts as decimal text, "" for what was not measured

Integers are little-endian and signed, byte strings and texts (UTF-8) have a length of 4 bytes before them. A value
that does not fit into one option continues in the next one.
"""

from __future__ import annotations

import struct
from typing import Final, TypeAlias, cast

from esim_bench.errors import CodecError
from esim_bench.events import (
    AnyApdu,
    ApduEvent,
    AtEvent,
    AtrEvent,
    Event,
    MarkEvent,
    PowerAction,
    PowerEvent,
    RspEvent,
    SampleEvent,
    SniffedApduEvent,
    SniffEvent,
    SniffKind,
    UartEvent,
)

Span: TypeAlias = tuple[int, int]
"""A masked stretch: offset and length."""

MAGIC: Final = b"eSB1"
EXACT: Final = 0x01

MAX_BODY: Final = 6 * 1024 * 1024
"""The most bytes of an RSP message's body that a record keeps: two of them must fit into one block."""

_HEAD = struct.Struct("<4sBBH")
_APDU = struct.Struct("<4sBBHqqI")
_APDU_BODY = struct.Struct("<qqI")
_SPAN = struct.Struct("<II")
_INT = struct.Struct("<q")
_LENGTH = struct.Struct("<I")

_ATR, _POWER, _AT, _RSP, _MARK = 1, 2, 3, 4, 5
SNIFFED_APDU: Final = 6
_SNIFF, _UART, _SAMPLE = 7, 8, 9


# ------------------------------------------------------------------------------------------------------------- writing


def apdu_packet(event: AnyApdu) -> bytes | None:
    """Return command || response data || status word as a GSMTAP SIM dissector expects it; None: it is no APDU.

    Dissectors read the T=0 form (ISO/IEC 7816-3 12.2): there is always a fifth byte, and where it is a length, that
    many bytes follow. Commands of case 1 get that byte; short answers to commands of case 2 (6Cxx, 6A82, 61xx) are
    given with the length that is there; answers to FETCH and AUTHENTICATE without the data that dissectors insist on
    get zero bytes. Where the packet differs from the exchange, ``apdu_detail`` keeps the exact bytes.
    """
    command, response = event.command, event.response
    if len(command) > 5 and len(response) >= 2 and command[1] not in FUSSY and 5 + command[4] <= len(command):
        return command + response
    if len(command) < 4 or len(response) < 2:
        return None
    if len(command) > 5:
        return _with_data(command, response)
    return _without_data(command, response)


FUSSY: Final = frozenset((0x14, 0x88, 0x89, 0xA4))
"""Instructions whose content dissectors take apart without looking whether it is all there."""

_AUTHENTICATE_BYTES: Final = 28
"""What dissectors take from an AUTHENTICATE after its header: RAND, SRES and Kc of GSM, status word included."""


def _with_data(command: bytes, response: bytes) -> bytes:
    ins, lc, data = command[1], command[4], command[5:]
    if ins in (0x88, 0x89):
        return command + _lengthened(response, _AUTHENTICATE_BYTES - len(data))
    if lc > len(data):
        lc = len(data)  # the command promises more than it has
    if ins == 0xA4 and lc > 4 and command[2] not in (0x04, 0x08, 0x09):
        lc = 2  # a file identifier has two bytes, dissectors take at most four for one
    if ins == 0x14 and not _is_comprehension_tlv(data[:lc]):
        lc = 0
    return command + response if lc == command[4] else command[:4] + bytes((lc,)) + data + response


def _without_data(command: bytes, response: bytes) -> bytes:
    size = len(response) - 2
    ins, le = command[1], command[4] if len(command) > 4 else 0
    if ins in (0x88, 0x89):
        return command[:4] + bytes((le,)) + _lengthened(response, _AUTHENTICATE_BYTES)
    if ins == 0x12:
        # The proactive command is taken to be as long as Le says, and there must be a tag.
        return command[:4] + (bytes((size & 0xFF,)) + response if size else b"\x02\0" + response)
    if le > size or ins in FUSSY:
        le = 0
    return command[:4] + bytes((le,)) + response


def _lengthened(response: bytes, size: int) -> bytes:
    """Return a response with zero bytes before its status word, so that it is at least ``size`` bytes long."""
    return response[:-2] + bytes(max(0, size - len(response))) + response[-2:]


def _is_comprehension_tlv(data: bytes) -> bool:
    """Tell whether data is a whole number of COMPREHENSION-TLV objects (TS 101 220 7.1.1)."""
    offset = 0
    while offset + 1 < len(data):
        length = data[offset + 1]
        offset += 2
        if length == 0x81 and offset < len(data):
            length = data[offset]
            offset += 1
        offset += length
    return offset == len(data)


def apdu_detail(event: AnyApdu, packet: bytes | None, spans: tuple[Span, ...]) -> bytes:
    """Return the custom option's value of an APDU."""
    command, response = event.command, event.response
    # The packet is the concatenation itself unless it had to differ; then it has other bytes or another length.
    exact = packet is None or len(packet) != len(command) + len(response) or not packet.startswith(command)
    if isinstance(event, SniffedApduEvent):
        value = _head(SNIFFED_APDU, spans, EXACT if exact else 0)
        value += _INT.pack(event.duration_ns) + _INT.pack(len(command)) + _text(event.source) + _text(event.flaws)
        return value + _bytes(command) + _bytes(response) if exact else value
    if not exact and not spans:
        return _APDU.pack(MAGIC, 0, 0, 0, event.session, event.duration_ns, len(command))
    value = _head(0, spans, EXACT if exact else 0) + _APDU_BODY.pack(event.session, event.duration_ns, len(command))
    return value + _bytes(command) + _bytes(response) if exact else value


def detail(event: Event, spans: tuple[Span, ...] = ()) -> bytes:
    """Return the custom option's value of any event but an APDU."""
    match event:
        case AtrEvent():
            return _head(_ATR, spans) + _INT.pack(event.cold) + _bytes(event.atr)
        case PowerEvent():
            return _head(_POWER, spans) + _text(event.action.value) + _text(event.detail)
        case AtEvent():
            return _head(_AT, spans) + _text(event.direction) + _text(event.line)
        case RspEvent():
            return b"".join(
                (
                    _head(_RSP, spans),
                    _INT.pack(event.duration_ns),
                    _text(event.url),
                    _text(event.status),
                    _bytes(event.request[:MAX_BODY]),
                    _bytes(event.response[:MAX_BODY]),
                )
            )
        case MarkEvent():
            return _head(_MARK, spans) + _text(event.text)
        case SniffEvent():
            head = _head(_SNIFF, spans) + _text(event.kind.value)
            return head + _text(event.source) + _bytes(event.data) + _text(event.detail)
        case UartEvent():
            head = _head(_UART, spans) + _INT.pack(event.ended) + _INT.pack(event.cut)
            return head + _text(event.source) + _text(event.line)
        case SampleEvent():
            return _head(_SAMPLE, spans) + _text(event.source) + _number(event.amperes) + _number(event.volts)
        case ApduEvent() | SniffedApduEvent():
            return apdu_detail(event, None, spans)


SUBSYSTEMS: Final = {
    AtrEvent: "atr",
    PowerEvent: "power",
    AtEvent: "at",
    RspEvent: "rsp",
    MarkEvent: "mark",
    SniffEvent: "sniffer",
    UartEvent: "uart",
    SampleEvent: "meter",
}


def _head(kind: int, spans: tuple[Span, ...], flags: int = 0) -> bytes:
    spans = spans[:0xFFFF]
    return _HEAD.pack(MAGIC, kind, flags, len(spans)) + b"".join(_SPAN.pack(*span) for span in spans)


def _bytes(value: bytes) -> bytes:
    return _LENGTH.pack(len(value)) + value


def _text(value: str) -> bytes:
    # A modem may send any byte; a driver hands those on as lone surrogates.
    return _bytes(value.encode("utf-8", "surrogatepass"))


def _number(value: float | None) -> bytes:
    return _text("" if value is None else repr(float(value)))


# ------------------------------------------------------------------------------------------------------------- reading


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.offset = 0

    def take(self, size: int) -> bytes:
        end = self.offset + size
        if end > len(self.data):
            raise CodecError(
                "record detail is cut short", expected=f"{size} more bytes", found=len(self.data) - self.offset
            )
        piece = self.data[self.offset : end]
        self.offset = end
        return piece

    def integer(self) -> int:
        return int(_INT.unpack(self.take(8))[0])

    def bytes(self) -> bytes:
        return self.take(int(_LENGTH.unpack(self.take(4))[0]))

    def text(self) -> str:
        raw = self.bytes()
        try:
            return raw.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return raw.decode("utf-8", "replace")

    def number(self) -> float | None:
        text = self.text()
        try:
            return float(text) if text else None
        except ValueError:
            raise CodecError("measured value", expected="a number", found=repr(text)) from None


def is_sniffed(value: bytes) -> bool:
    """Tell whether a custom option's value is that of a sniffed APDU."""
    return value[:5] == MAGIC + bytes((SNIFFED_APDU,))


def parse(at_ns: int, value: bytes, packet: bytes) -> tuple[Event, tuple[Span, ...]]:
    """Return the event and its masked spans from a custom option's value and the packet. Raises CodecError."""
    cursor = _Cursor(value)
    magic, kind, flags, count = _HEAD.unpack(cursor.take(_HEAD.size))
    if magic != MAGIC:
        raise CodecError("record detail", expected=f"magic {MAGIC!r}", found=repr(magic))
    spans = tuple(cast(Span, _SPAN.unpack(cursor.take(_SPAN.size))) for _ in range(count))
    return _event(at_ns, kind, flags, cursor, packet), spans


def _event(at_ns: int, kind: int, flags: int, cursor: _Cursor, packet: bytes) -> Event:
    match kind:
        case 0:
            session, duration, border = _APDU_BODY.unpack(cursor.take(_APDU_BODY.size))
            if flags & EXACT:
                return ApduEvent(at_ns, cursor.bytes(), cursor.bytes(), duration, session)
            return ApduEvent(at_ns, packet[:border], packet[border:], duration, session)
        case 1:
            cold = bool(cursor.integer())
            return AtrEvent(at_ns, cursor.bytes(), cold)
        case 2:
            action = cursor.text()
            try:
                return PowerEvent(at_ns, PowerAction(action), cursor.text())
            except ValueError:
                known = ", ".join(item.value for item in PowerAction)
                raise CodecError("power action", expected=known, found=repr(action)) from None
        case 3:
            direction = cursor.text()
            if direction not in (">", "<", "!"):
                raise CodecError("direction of an AT line", expected="> < or !", found=repr(direction))
            return AtEvent(at_ns, direction, cursor.text())  # type: ignore[arg-type]
        case 4:
            duration = cursor.integer()
            url, status = cursor.text(), cursor.text()
            return RspEvent(at_ns, url, cursor.bytes(), cursor.bytes(), status, duration)
        case 5:
            return MarkEvent(at_ns, cursor.text())
        case _:
            return _observed(at_ns, kind, flags, cursor, packet)


def _observed(at_ns: int, kind: int, flags: int, cursor: _Cursor, packet: bytes) -> Event:
    """Return an event that was heard beside the bench's own link."""
    match kind:
        case 6:
            duration, border = cursor.integer(), cursor.integer()
            source, flaws = cursor.text(), cursor.text()
            if flags & EXACT:
                return SniffedApduEvent(at_ns, cursor.bytes(), cursor.bytes(), duration, source, flaws)
            if not 0 <= border <= len(packet):
                raise CodecError("length of a sniffed command", expected=f"0 to {len(packet)}", found=border)
            return SniffedApduEvent(at_ns, packet[:border], packet[border:], duration, source, flaws)
        case 7:
            name = cursor.text()
            try:
                sniffed = SniffKind(name)
            except ValueError:
                known = ", ".join(item.value for item in SniffKind)
                raise CodecError("sniffed event", expected=known, found=repr(name)) from None
            source = cursor.text()
            return SniffEvent(at_ns, sniffed, source, cursor.bytes(), cursor.text())
        case 8:
            ended, cut = bool(cursor.integer()), cursor.integer()
            source = cursor.text()
            return UartEvent(at_ns, source, cursor.text(), ended, cut)
        case 9:
            return SampleEvent(at_ns, cursor.text(), cursor.number(), cursor.number())
    raise CodecError("kind of a record", expected="0 to 9", found=kind)
