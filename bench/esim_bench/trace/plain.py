"""The hot path of the journal: the whole block of an ordinary APDU in two struct packs and one join.

What it makes is, byte for byte, what ``records.apdu_packet``, ``records.apdu_detail`` and ``pcapng.PacketWriter`` make
together; a test holds the two against each other.
"""

from __future__ import annotations

import struct
from typing import Final

from esim_bench.events import ApduEvent
from esim_bench.trace import pcapng, records

_HEAD = struct.Struct("<IIIIIII")
_TAIL = struct.Struct("<HHI4sBBHqqIII")
"""Our custom option without masked spans, the end of the options, the block's length."""
_OPTION: Final = 4 + 28
"""Length of that option: enterprise number and detail."""
_PACKET: Final = pcapng.ENHANCED_PACKET
_CUSTOM: Final = pcapng.OPT_CUSTOM
_PEN: Final = pcapng.PEN
_MAGIC: Final = records.MAGIC
_PADDING: Final = (b"", b"\0\0\0", b"\0\0", b"\0")
_FUSSY: Final = records.FUSSY
_KNOWN: Final = 4096


class PlainApdus:
    """Builds the blocks of APDUs that a packet shows just as they were; ``writer`` is the one for the others."""

    def __init__(self, writer: pcapng.PacketWriter) -> None:
        self._writer = writer
        self._frames: dict[int, tuple[int, int, bytes, bytes]] = {}

    def block(self, event: ApduEvent) -> bytes | None:
        """Return the block of an APDU with command data and a status word; None: it wants more than this path does."""
        command, response = event.command, event.response
        border = len(command)
        size = border + len(response)
        if border < 6 or size < border + 2 or command[1] in _FUSSY or 5 + command[4] > border:
            return None
        frame = self._frames.get(size)
        if frame is None:
            frame = self._frame(size)
            if frame is None:
                return None
        packet, length, headers, padding = frame
        at_ns = event.at_ns
        return b"".join(
            (
                _HEAD.pack(_PACKET, length, 0, at_ns >> 32 & 0xFFFFFFFF, at_ns & 0xFFFFFFFF, packet, packet),
                headers,
                command,
                response,
                padding,
                _TAIL.pack(
                    _CUSTOM, _OPTION, _PEN, _MAGIC, 0, 0, 0, event.session, event.duration_ns, border, 0, length
                ),
            )
        )

    def _frame(self, size: int) -> tuple[int, int, bytes, bytes] | None:
        """Return what depends on the packet's length alone: length of packet and block, headers, padding."""
        if size > pcapng.MAX_PAYLOAD:
            return None
        packet = size + 28 + pcapng.GSMTAP_HEADER
        padding = _PADDING[packet & 3]
        frame = packet, _HEAD.size + packet + len(padding) + _TAIL.size, self._writer.headers(size), padding
        if len(self._frames) < _KNOWN:
            self._frames[size] = frame
        return frame
