"""Proactive commands (TS 102 223): what a terminal of few means answers to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from esim_bench.codec import tlv
from esim_bench.errors import CodecError

REFRESH: Final = 0x01
NAMES: Final = {
    0x01: "REFRESH",
    0x03: "POLL INTERVAL",
    0x05: "SET UP EVENT LIST",
    0x13: "SEND SHORT MESSAGE",
    0x21: "DISPLAY TEXT",
    0x25: "SET UP MENU",
    0x26: "PROVIDE LOCAL INFORMATION",
    0x40: "OPEN CHANNEL",
}
REFRESH_MODES: Final = {
    0x00: "NAA Initialization and Full File Change",
    0x01: "File Change Notification",
    0x02: "NAA Initialization and File Change",
    0x03: "NAA Initialization",
    0x04: "UICC Reset",
    0x09: "eUICC Profile State Change",
}
_PERFORMED: Final = b"\x00"
_BEYOND_CAPABILITIES: Final = b"\x30"


@dataclass(frozen=True, slots=True)
class ProactiveCommand:
    """A fetched proactive command (D0): number, type and qualifier of its command details (TS 102 223 8.6)."""

    details: bytes
    """The three bytes of the command details."""

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
        for member in command.children():
            # Comprehension-TLV: bit 8 of the tag only says whether it must be understood.
            if member.tag & 0x7F == 0x01:
                if len(member.value) != 3:
                    raise CodecError("command details", expected="3 bytes", found=len(member.value))
                return cls(member.value)
        raise CodecError("proactive command without command details", expected="81 03", found=data.hex().upper())

    def terminal_response(self) -> bytes:
        """Return the data of TERMINAL RESPONSE: performed, or beyond this terminal's capabilities (TS 102 223 6.8)."""
        understood = self.kind in (0x01, 0x03, 0x05)
        result = _PERFORMED if understood else _BEYOND_CAPABILITIES
        return tlv.encode(0x81, self.details) + tlv.encode(0x82, b"\x82\x81") + tlv.encode(0x83, result)
