"""The file format: pcapng blocks (IETF draft-ietf-opsawg-pcapng), and APDUs in them as GSMTAP over UDP over IPv4.

All integers of the blocks are little-endian on every machine, so that the same events give the same bytes. Network
headers are big-endian as always. Nothing here knows of events.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

SECTION_HEADER: Final = 0x0A0D0D0A
INTERFACE_DESCRIPTION: Final = 1
SIMPLE_PACKET: Final = 3
ENHANCED_PACKET: Final = 6

BYTE_ORDER_MAGIC: Final = 0x1A2B3C4D
MAX_BLOCK: Final = 16 * 1024 * 1024
"""The longest block that packet tools read; a longer one is taken for damage."""

LINKTYPE_IPV4: Final = 228
GSMTAP_PORT: Final = 4729
GSMTAP_HEADER: Final = 16
TYPE_SIM: Final = 4
TYPE_LOG: Final = 0x10
SUBTYPE_APDU: Final = 0
SUBTYPE_ATR: Final = 1

OPT_END: Final = 0
OPT_COMMENT: Final = 1
OPT_USERAPPL: Final = 4
OPT_IF_NAME: Final = 2
OPT_IF_TSRESOL: Final = 9
OPT_CUSTOM: Final = 2989
"""Custom option, binary, may be copied by a tool that rewrites the file."""

PEN: Final = 32473
"""Private enterprise number in our custom options: the one set aside for examples (RFC 5612); a magic follows it."""

USER_APPLICATION: Final = "esim-bench"

# A datagram can carry 65507 bytes; what is longer stands in the custom option alone.
MAX_PAYLOAD: Final = 65_507 - GSMTAP_HEADER
_OPTION_PIECE: Final = 65_532 - 4

_OPTION = struct.Struct("<HH")
_PACKET = struct.Struct("<IIIIIII")
_TAIL = struct.Struct("<I")
_NETWORK = struct.Struct(">HHIHHIIHHHH")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")

OWN: Final = 0x7F000001
SNIFFED: Final = 0x7F000002
"""The source address (127.0.0.2 instead of 127.0.0.1) tells what a sniffer heard from what the bench sent: packet
tools show nothing of GSMTAP's own header with an APDU."""
_IP_CONSTANT = 0x4500 + 0x4000 + 0x4011 + 0x7F00 + 0x0001
_KNOWN_SIZES: Final = 4096


def option(code: int, value: bytes) -> bytes:
    """Return one option, padded to 32 bits."""
    return _OPTION.pack(code, len(value)) + value + _PADDING[len(value) & 3]


def custom_options(value: bytes) -> bytes:
    """Return our custom option; a value over 64 KiB continues in the next custom option of the same block."""
    if len(value) <= _OPTION_PIECE:
        return _OPTION.pack(OPT_CUSTOM, len(value) + 4) + _TAIL.pack(PEN) + value + _PADDING[len(value) & 3]
    pieces = (value[start : start + _OPTION_PIECE] for start in range(0, len(value), _OPTION_PIECE))
    return b"".join(option(OPT_CUSTOM, _TAIL.pack(PEN) + piece) for piece in pieces)


def block(kind: int, body: bytes) -> bytes:
    """Return a block around a body whose length is a multiple of four."""
    length = len(body) + 12
    return struct.pack("<II", kind, length) + body + _TAIL.pack(length)


def file_header(slot: str, comment: str | None = None) -> bytes:
    """Return section header and the one interface: raw IPv4, named after the slot, nanosecond stamps."""
    options = [option(OPT_COMMENT, comment.encode())] if comment else []
    options += [option(OPT_USERAPPL, USER_APPLICATION.encode()), option(OPT_END, b"")]
    section = struct.pack("<IHHq", BYTE_ORDER_MAGIC, 1, 0, -1) + b"".join(options)
    interface = (
        struct.pack("<HHI", LINKTYPE_IPV4, 0, 0)
        + option(OPT_IF_NAME, slot.encode("utf-8", "backslashreplace"))
        + option(OPT_IF_TSRESOL, b"\x09")
        + option(OPT_END, b"")
    )
    return block(SECTION_HEADER, section) + block(INTERFACE_DESCRIPTION, interface)


class PacketWriter:
    """Builds packet blocks of one GSMTAP type; what does not change from packet to packet is computed once.

    The UDP checksum is zero, which says that none was computed (RFC 768): nothing travels here, and summing up every
    payload would cost as much as the rest of the block.
    """

    def __init__(self, gsmtap_type: int, source: int = OWN) -> None:
        # version 2, header length in 32-bit words, type, time slot; ARFCN, levels, frame number; sub type, antenna, ...
        self._gsmtap = bytes((2, GSMTAP_HEADER // 4, gsmtap_type, 0)) + bytes(12)
        self._source = source
        self._headers: dict[int, bytes] = {}

    def headers(self, size: int) -> bytes:
        """Return IPv4, UDP and GSMTAP header of a payload of ``size`` bytes."""
        known = self._headers.get(size)
        if known is None:
            udp = size + 8 + GSMTAP_HEADER
            packet = udp + 20
            # The Internet checksum is the number modulo FFFF, because 2^16 = 1 (mod FFFF).
            checksum = 0xFFFF - (_IP_CONSTANT + (self._source >> 16) + (self._source & 0xFFFF) + packet) % 0xFFFF
            known = (
                _NETWORK.pack(
                    0x4500, packet, 0x4000, 0x4011, checksum, self._source, OWN, GSMTAP_PORT, GSMTAP_PORT, udp, 0
                )
                + self._gsmtap
            )
            if len(self._headers) < _KNOWN_SIZES:
                self._headers[size] = known
        return known

    def block(self, at_ns: int, payload: bytes, comment: bytes, detail: bytes) -> bytes:
        """Return an enhanced packet block; ``comment`` empty: no comment."""
        packet = len(payload) + 28 + GSMTAP_HEADER
        options = custom_options(detail) + b"\0\0\0\0"
        if comment:
            options = option(OPT_COMMENT, comment) + options
        padding = _PADDING[packet & 3]
        length = 32 + packet + len(padding) + len(options)
        head = _PACKET.pack(ENHANCED_PACKET, length, 0, (at_ns >> 32) & 0xFFFFFFFF, at_ns & 0xFFFFFFFF, packet, packet)
        return b"".join((head, self.headers(len(payload)), payload, padding, options, _TAIL.pack(length)))


def commented(data: bytes, comment: bytes) -> bytes:
    """Return one of our enhanced packet blocks with a comment put before its other options."""
    captured = int.from_bytes(data[20:24], "little")
    at = 28 + captured + (-captured & 3)
    added = option(OPT_COMMENT, comment)
    length = _TAIL.pack(len(data) + len(added))
    return b"".join((data[:4], length, data[8:at], added, data[at:-4], length))


def log_payload(at_ns: int, subsystem: str, slot: str, text: str) -> bytes:
    """Return a GSMTAP log message (osmocore's header of 84 bytes, then text), which packet tools print as a line."""
    seconds, nanoseconds = divmod(max(at_ns, 0), 1_000_000_000)
    header = struct.pack(
        ">II16sIB3x16s32sI",
        seconds & 0xFFFFFFFF,
        nanoseconds // 1000,
        USER_APPLICATION.encode(),
        0,
        3,
        subsystem.encode(),
        slot.encode("utf-8", "replace")[:31],
        0,
    )
    return header + text.encode("utf-8", "replace")[: MAX_PAYLOAD - len(header)]


LOG_HEADER: Final = 84


def options_of(data: bytes, order: str = "<") -> Iterator[tuple[int, bytes]]:
    """Yield the options of a block; ends quietly at the first one that does not fit."""
    offset = 0
    while offset + 4 <= len(data):
        code, length = struct.unpack_from(order + "HH", data, offset)
        offset += 4
        if code == OPT_END or offset + length > len(data):
            return
        yield code, data[offset : offset + length]
        offset += length + (-length & 3)


def datagram(packet: bytes, link_type: int) -> tuple[int, int, bytes] | None:
    """Find the GSMTAP message in a captured packet: (type, sub type, payload), or None when there is none."""
    start = _ip_offset(packet, link_type)
    if start is None or start >= len(packet):
        return None
    version = packet[start] >> 4
    if version == 4:
        header = (packet[start] & 0x0F) * 4
        if header < 20 or start + header + 8 > len(packet) or packet[start + 9] != 17:
            return None
        if int.from_bytes(packet[start + 6 : start + 8], "big") & 0x1FFF:
            return None  # a later fragment
        start += header
    elif version == 6:
        if start + 48 > len(packet) or packet[start + 6] != 17:
            return None
        start += 40
    else:
        return None
    source, destination, length = struct.unpack_from(">HHH", packet, start)
    if GSMTAP_PORT not in (source, destination) or length < 8:
        return None
    message = packet[start + 8 : start + length]
    if len(message) < GSMTAP_HEADER or message[0] != 2 or message[1] < 4 or message[1] * 4 > len(message):
        return None
    return message[2], message[12], message[message[1] * 4 :]


def _ip_offset(packet: bytes, link_type: int) -> int | None:
    """Return where the IP header starts in a packet of a link type (tcpdump.org/linktypes), None when there is none."""
    if link_type in (LINKTYPE_IPV4, 229, 101, 12, 14):  # raw IPv4, raw IPv6, raw IP (and its old numbers)
        return 0
    if link_type in (0, 108):  # BSD loopback
        return 4
    at = {1: 12, 113: 14, 276: 0}.get(link_type)  # Ethernet, Linux cooked v1 and v2
    if at is None or len(packet) < at + 2:
        return None
    ether_type = int.from_bytes(packet[at : at + 2], "big")
    if link_type == 276:
        return 20 if ether_type in (0x0800, 0x86DD) else None
    while ether_type in (0x8100, 0x88A8) and len(packet) >= at + 6:
        at += 4
        ether_type = int.from_bytes(packet[at : at + 2], "big")
    return at + 2 if ether_type in (0x0800, 0x86DD) else None
