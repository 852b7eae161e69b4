"""Proactive commands (TS 102 223): what a terminal of few means answers to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from esim_bench.codec import comprehension, tlv
from esim_bench.errors import CodecError

REFRESH: Final = 0x01
NAMES: Final = {
    0x01: "REFRESH",
    0x02: "MORE TIME",
    0x03: "POLL INTERVAL",
    0x04: "POLLING OFF",
    0x05: "SET UP EVENT LIST",
    0x13: "SEND SHORT MESSAGE",
    0x21: "DISPLAY TEXT",
    0x25: "SET UP MENU",
    0x26: "PROVIDE LOCAL INFORMATION",
    0x27: "TIMER MANAGEMENT",
    0x40: "OPEN CHANNEL",
    0x41: "CLOSE CHANNEL",
    0x42: "RECEIVE DATA",
    0x43: "SEND DATA",
    0x44: "GET CHANNEL STATUS",
}
REFRESH_MODES: Final = {
    0x00: "NAA Initialization and Full File Change",
    0x01: "File Change Notification",
    0x02: "NAA Initialization and File Change",
    0x03: "NAA Initialization",
    0x04: "UICC Reset",
    0x09: "eUICC Profile State Change",
}
_POLL_INTERVAL, _PROVIDE_LOCAL_INFORMATION = 0x03, 0x26
_PERFORMED: Final = b"\x00"
_NO_SERVICE: Final = b"\x20\x04"
"""Terminal currently unable to process: no service (TS 102 223 8.12.2)."""
_BEYOND_CAPABILITIES: Final = b"\x30"
_UNDERSTOOD: Final = (0x01, 0x02, 0x03, 0x04, 0x05)
_DURATION: Final = 0x04
_OF_THE_NETWORK: Final = (0x00, 0x02, 0x05, 0x06)
"""Qualifiers of PROVIDE LOCAL INFORMATION about the cell: location, measurements, timing advance, technology."""


@dataclass(frozen=True, slots=True)
class ProactiveCommand:
    """A fetched proactive command (D0): number, type and qualifier of its command details (TS 102 223 8.6)."""

    details: bytes
    """The three bytes of the command details."""
    duration: bytes = b""
    """Duration (TS 102 223 8.8): unit and value; empty where the command has none."""

    @property
    def kind(self) -> int:
        """Return the type of command."""
        return self.details[1]

    @property
    def qualifier(self) -> int:
        """Return the qualifier; of a REFRESH its mode."""
        return self.details[2]

    @property
    def name(self) -> str:
        """Say the command."""
        return NAMES.get(self.kind, f"proactive command {self.kind:02X}")

    @classmethod
    def parse(cls, data: bytes) -> ProactiveCommand:
        """Read the answer to FETCH. Raises CodecError."""
        command = tlv.parse(data, "proactive command")
        if command.tag != 0xD0:
            raise CodecError("not a proactive command", expected="D0", found=f"{command.tag:X}")
        members = comprehension.first(command.value, "of a proactive command")
        details = members.get(0x01)
        if details is None:
            raise CodecError("proactive command without command details", expected="81 03", found=data.hex().upper())
        if len(details) != 3:
            raise CodecError("command details", expected="3 bytes", found=len(details))
        return cls(details, members.get(_DURATION, b""))

    def terminal_response(self) -> bytes:
        """Return the data of TERMINAL RESPONSE (TS 102 223 6.8): performed, or why not.

        A terminal without a radio has no service for what is asked of its network; the rest is beyond its capabilities.
        """
        result, more = _BEYOND_CAPABILITIES, b""
        if self.kind in _UNDERSTOOD:
            result = _PERFORMED
            if self.kind == _POLL_INTERVAL and self.duration:
                # Accepted as asked; who drives this terminal decides when it sends STATUS.
                more = tlv.encode(0x80 | _DURATION, self.duration)
        elif self.kind == _PROVIDE_LOCAL_INFORMATION and self.qualifier in _OF_THE_NETWORK:
            result = _NO_SERVICE
        return tlv.encode(0x81, self.details) + tlv.encode(0x82, b"\x82\x81") + tlv.encode(0x83, result) + more
