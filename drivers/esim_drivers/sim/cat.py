"""Proactive commands that wait for the terminal (TS 102 223): REFRESH, for now.

A command is queued, then announced by 91xx on the next successful command, fetched, and answered by TERMINAL RESPONSE.
"""

from __future__ import annotations

from dataclasses import dataclass

from esim_bench.codec import tlv
from esim_bench.errors import CodecError

REFRESH = 0x01
UICC_RESET = 0x04
EUICC_PROFILE_STATE_CHANGE = 0x09

_PROACTIVE = 0xD0
_COMMAND_DETAILS = 0x01
_COMPREHENSION = 0x80


@dataclass(frozen=True, slots=True)
class ProactiveCommand:
    """A command of the UICC to the terminal."""

    number: int
    type: int
    qualifier: int

    def encode(self) -> bytes:
        """Return the proactive command (TS 102 223 6.6.13 and 9.4): details, and the way from UICC to terminal."""
        details = tlv.encode(_COMPREHENSION | _COMMAND_DETAILS, bytes((self.number, self.type, self.qualifier)))
        return tlv.encode(_PROACTIVE, details, tlv.encode(0x82, b"\x81\x82"))


class Toolkit:
    """The queue of proactive commands. Everything here is RAM."""

    def __init__(self) -> None:
        self._queue: list[ProactiveCommand] = []
        self._fetched: ProactiveCommand | None = None
        self._number = 0
        self.terminal_profile: bytes | None = None
        """What the terminal sent as TERMINAL PROFILE since the last reset."""
        self.last_result: int | None = None
        """General result of the last TERMINAL RESPONSE (TS 102 223 8.12): 00 to 09 performed."""

    def reset(self) -> None:
        """Forget everything."""
        self._queue.clear()
        self._fetched = None
        self._number = 0
        self.terminal_profile = None
        self.last_result = None

    @property
    def busy(self) -> bool:
        """Tell whether a command waits to be fetched or answered."""
        return bool(self._queue) or self._fetched is not None

    @property
    def announced(self) -> int:
        """Return the length of the command that waits to be fetched, 0 when there is none or one is being executed."""
        return len(self._queue[0].encode()) if self._queue and self._fetched is None else 0

    def queue(self, type_: int, qualifier: int) -> None:
        """Add a command; its number goes 1, 2, ... and starts again after 254 (TS 102 223 8.6)."""
        self._number = self._number % 0xFE + 1
        self._queue.append(ProactiveCommand(self._number, type_, qualifier))

    def fetch(self) -> bytes | None:
        """Give the next command to the terminal; None when nothing waits. A command in execution is not given again."""
        if self._fetched is not None or not self._queue:
            return None
        self._fetched = self._queue.pop(0)
        return self._fetched.encode()

    def respond(self, data: bytes) -> int:
        """Take a TERMINAL RESPONSE: return the status word."""
        if self._fetched is None:
            return 0x6985
        try:
            members = {item.tag & 0x7F: item.value for item in tlv.iterate(data, "of TERMINAL RESPONSE")}
        except CodecError:
            return 0x6A80
        details = bytes((self._fetched.number, self._fetched.type, self._fetched.qualifier))
        result = members.get(0x03, b"")
        if members.get(_COMMAND_DETAILS) != details or not result:
            return 0x6A80
        self.last_result = result[0]
        self._fetched = None
        return 0x9000
