"""Proactive commands that wait for the terminal, and what the terminal tells by ENVELOPE (TS 102 223).

A command is queued, then announced by 91xx on the next successful command, fetched, and answered by TERMINAL RESPONSE.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from esim_bench.codec import comprehension, tlv
from esim_bench.errors import CodecError

REFRESH, MORE_TIME, POLL_INTERVAL, POLLING_OFF, SET_UP_EVENT_LIST = 0x01, 0x02, 0x03, 0x04, 0x05
PROVIDE_LOCAL_INFORMATION, TIMER_MANAGEMENT = 0x26, 0x27
UICC_RESET = 0x04
EUICC_PROFILE_STATE_CHANGE = 0x09
DEFAULT_POLL_SECONDS = 30.0
"""How often a terminal sends STATUS that was not asked for another interval (TS 102 221 14.6.3)."""

_PROACTIVE = 0xD0
_COMMAND_DETAILS, _RESULT, _DURATION, _EVENT_LIST, _TIMER_ID = 0x01, 0x03, 0x04, 0x19, 0x24
_COMPREHENSION = 0x80
_UICC, _TERMINAL = 0x81, 0x82
_EVENT_DOWNLOAD, _TIMER_EXPIRATION = 0xD6, 0xD7
_TIMER_STOP = 0x01
_UNITS = {0x00: 60.0, 0x01: 1.0, 0x02: 0.1}
_MOST_SECONDS = 255
_PROFILE_BITS = {REFRESH: (3, 8), MORE_TIME: (3, 4), POLL_INTERVAL: (3, 6), POLLING_OFF: (3, 7)}
_PROFILE_BITS |= {SET_UP_EVENT_LIST: (5, 1), TIMER_MANAGEMENT: (8, 1)}
"""Byte and bit of TERMINAL PROFILE that announce a command (TS 102 223 5.2), both counted from 1."""


@dataclass(frozen=True, slots=True)
class ProactiveCommand:
    """A command of the UICC to the terminal."""

    number: int
    type: int
    qualifier: int
    members: bytes = b""
    """The data objects behind command details and device identities, encoded."""

    def encode(self) -> bytes:
        """Return the proactive command (TS 102 223 6.6 and 9.4): details, the way from UICC to terminal, the rest."""
        return tlv.encode(_PROACTIVE, self.details, tlv.encode(0x82, bytes((_UICC, _TERMINAL))), self.members)

    @property
    def details(self) -> bytes:
        """Return the command details, which the terminal's answer repeats."""
        return tlv.encode(_COMPREHENSION | _COMMAND_DETAILS, bytes((self.number, self.type, self.qualifier)))


class Toolkit:
    """The queue of proactive commands, and what came of them. Everything here is RAM."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._queue: list[ProactiveCommand] = []
        self._fetched: ProactiveCommand | None = None
        self._number = 0
        self.terminal_profile: bytes | None = None
        """What the terminal sent as TERMINAL PROFILE since the last reset."""
        self.last_result: int | None = None
        """General result of the last TERMINAL RESPONSE (TS 102 223 8.12): 00 to 09 performed."""
        self.last_answer: Mapping[int, bytes] = {}
        """The data objects of the last TERMINAL RESPONSE, by tag without its comprehension bit."""
        self.poll_seconds: float | None = DEFAULT_POLL_SECONDS
        """How often the terminal polls, as far as the card knows; None: POLLING OFF was performed."""
        self.events = b""
        """The events that the terminal reports: what it accepted with SET UP EVENT LIST."""
        self.timers: dict[int, bool] = {}
        """The timers that run, by their identifiers 1 to 8."""

    @property
    def busy(self) -> bool:
        """Tell whether a command waits to be fetched or answered."""
        return bool(self._queue) or self._fetched is not None

    @property
    def announced(self) -> int:
        """Return the length of the command that waits to be fetched, 0 when there is none or one is being executed."""
        return len(self._queue[0].encode()) if self._queue and self._fetched is None else 0

    def terminal_can(self, type_: int) -> bool:
        """Tell whether TERMINAL PROFILE announces a command; of those without a known bit it is believed."""
        if self.terminal_profile is None:
            return False
        byte, bit = _PROFILE_BITS.get(type_, (0, 0))
        if not byte:
            return True
        return len(self.terminal_profile) >= byte and bool(self.terminal_profile[byte - 1] >> (bit - 1) & 1)

    # ------------------------------------------------------------------------------------------------- to terminal

    def queue(self, type_: int, qualifier: int = 0, members: bytes = b"") -> None:
        """Add a command; its number goes 1, 2, ... and starts again after 254 (TS 102 223 8.6)."""
        self._number = self._number % 0xFE + 1
        self._queue.append(ProactiveCommand(self._number, type_, qualifier, members))

    def ask_for_polling(self, seconds: int) -> None:
        """Queue POLL INTERVAL (TS 102 223 6.4.5) where the terminal can do it, with 1 second to 255 minutes."""
        if not self.terminal_can(POLL_INTERVAL):
            return
        unit, value = (0x01, seconds) if seconds <= _MOST_SECONDS else (0x00, min(-(-seconds // 60), _MOST_SECONDS))
        self.queue(POLL_INTERVAL, 0, tlv.encode(_COMPREHENSION | _DURATION, bytes((unit, value))))

    def fetch(self) -> bytes | None:
        """Give the next command to the terminal; None when nothing waits. A command in execution is not given again."""
        if self._fetched is not None or not self._queue:
            return None
        self._fetched = self._queue.pop(0)
        return self._fetched.encode()

    # ------------------------------------------------------------------------------------------------- from terminal

    def respond(self, data: bytes) -> int:
        """Take a TERMINAL RESPONSE: return the status word."""
        command = self._fetched
        if command is None:
            return 0x6985
        try:
            members = comprehension.first(data, "of TERMINAL RESPONSE")
        except CodecError:
            return 0x6A80
        details = bytes((command.number, command.type, command.qualifier))
        result = members.get(_RESULT, b"")
        if members.get(_COMMAND_DETAILS) != details or not result:
            return 0x6A80
        self.last_result, self.last_answer = result[0], members
        self._fetched = None
        if result[0] < 0x10:
            self._performed(command, members)
        return 0x9000

    def _performed(self, command: ProactiveCommand, members: Mapping[int, bytes]) -> None:
        asked = comprehension.first(command.members, "of a proactive command")
        match command.type:
            case 0x03:
                # The terminal may have chosen another interval (TS 102 223 6.8.8).
                unit, value = (*members.get(_DURATION, b""), 0, 0)[:2]
                self.poll_seconds = _UNITS.get(unit, 1.0) * value if value else self.poll_seconds
            case 0x04:
                self.poll_seconds = None
            case 0x05:
                self.events = asked.get(_EVENT_LIST, b"")
            case 0x27:
                number = (asked.get(_TIMER_ID) or b"\0")[0]
                if command.qualifier == 0x00:
                    self.timers[number] = True
                elif command.qualifier == _TIMER_STOP:
                    self.timers.pop(number, None)

    def envelope(self, data: bytes) -> int:
        """Take an ENVELOPE (TS 102 223 7): return the status word, 9300 while a proactive command is open.

        Events and timers are taken where the card asked for them; nothing here has registered for anything else.
        """
        try:
            template = tlv.parse(data, "of ENVELOPE")
        except CodecError:
            return 0x6A80
        known = (template.tag == _EVENT_DOWNLOAD and self.events) or (template.tag == _TIMER_EXPIRATION and self.timers)
        if not known:
            return 0x6A81
        try:
            members = comprehension.first(template.value, "of ENVELOPE")
        except CodecError:
            return 0x6A80
        if self._fetched is not None:
            return 0x9300
        if template.tag == _EVENT_DOWNLOAD:
            event = members.get(_EVENT_LIST, b"")
            return 0x9000 if len(event) == 1 and event in self.events else 0x6A80
        timer = members.get(_TIMER_ID, b"")
        return 0x9000 if len(timer) == 1 and self.timers.pop(timer[0], False) else 0x6A80
