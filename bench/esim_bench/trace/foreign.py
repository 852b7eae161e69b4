"""Captures that others made: classic pcap, and GSMTAP packets without our custom option."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from esim_bench.events import ApduEvent, AtrEvent, Event, MarkEvent
from esim_bench.trace import pcapng

_ANSWERS_ONLY: Final = frozenset((0x12, 0x70, 0x78, 0x84, 0xB0, 0xB2, 0xC0, 0xCA, 0xF2))
"""Instructions that carry no data to the card, so that P3 is Le (TS 102 221 table 10.5)."""

_BINARY_ANSWER: Final = frozenset((0x32, 0x50))
"""Instructions with data both ways whose answer may begin with a zero: no TLV, no tag."""


@dataclass(frozen=True, slots=True)
class PcapHeader:
    """What the header of a classic pcap file says."""

    order: str
    nanoseconds: int
    """Nanoseconds per unit of the sub-second stamp."""
    link_type: int


def parse_pcap_header(head: bytes) -> PcapHeader | None:
    """Read the 24 bytes of a pcap header; None when it is none."""
    if len(head) < 24:
        return None
    for order in "<>":
        magic = struct.unpack_from(order + "I", head)[0]
        if magic in (0xA1B2C3D4, 0xA1B23C4D):
            link_type = struct.unpack_from(order + "I", head, 20)[0] & 0x0FFFFFFF
            return PcapHeader(order, 1000 if magic == 0xA1B2C3D4 else 1, link_type)
    return None


def is_of_interest(packet: bytes, link_type: int) -> bool:
    """Tell whether a captured packet belongs into a trace: a card's GSMTAP message, or a GSMTAP log line."""
    message = pcapng.datagram(packet, link_type)
    return message is not None and message[0] in (pcapng.TYPE_SIM, pcapng.TYPE_LOG)


def foreign_event(at_ns: int, message: tuple[int, int, bytes] | None) -> Event:
    """Return the event of a GSMTAP message (type, sub type, payload)."""
    if message is None:
        return MarkEvent(at_ns, "unreadable packet")
    kind, sub_type, payload = message
    if kind == pcapng.TYPE_LOG:
        return MarkEvent(at_ns, payload[pcapng.LOG_HEADER :].decode("utf-8", "replace"))
    if sub_type == pcapng.SUBTYPE_ATR:
        return AtrEvent(at_ns, payload, cold=True)
    if sub_type != pcapng.SUBTYPE_APDU:
        return MarkEvent(at_ns, f"GSMTAP SIM sub type {sub_type}: {payload.hex().upper()}")
    border = split(payload)
    return ApduEvent(at_ns, payload[:border], payload[border:], 0)


def split(packet: bytes) -> int:
    """Return the length of the command in command || response || status word.

    By the lengths of ISO/IEC 7816-3 12.1: P3 is Lc when the instruction carries data and that many bytes are there,
    else Le. A zero after the data is a Le byte where the answer is a TLV, which cannot begin with one.
    """
    size = len(packet)
    if size < 7:
        return 4 if size == 6 else max(0, size - 2)
    ins, p3 = packet[1], packet[4]
    if ins in _ANSWERS_ONLY or p3 == 0 or 5 + p3 > size - 2:
        return 5
    border = 5 + p3
    if border < size - 2 and packet[border] == 0 and ins not in _BINARY_ANSWER:
        border += 1
    return border
