"""The card inside a simulated modem: its power, its sessions, and what the modem lets through of it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum

from esim_bench.codec.apdu import Command, channel_of, with_channel
from esim_bench.data import CmeError, Dialect
from esim_drivers.sim.terminal import Card, Terminal

_MANAGE_CHANNEL, _SELECT, _STORE_DATA = 0x70, 0xA4, 0xE2
_LAST_BLOCK = 0x80
"""P1 of STORE DATA (GlobalPlatform 2.3 11.11.2.1)."""
_CHECKSUM = b"\x66\x01"


class SimState(Enum):
    """How far the SIM is."""

    OFF = "off"
    ABSENT = "absent"
    STARTING = "starting"
    READY = "ready"


class Refused(Exception):
    """The modem refuses a command: the error it says, before +CMEE has its say."""

    def __init__(self, error: CmeError) -> None:
        super().__init__(str(error))
        self.error = error


class Hung(Exception):
    """The modem answers nothing any more, until it is reset."""


@dataclass(frozen=True, slots=True)
class Through:
    """An APDU that went through: the response as the host sees it; ``refresh``: the modem will reset the SIM.

    ``error``: what the modem says instead of the response, although the card executed the command.
    """

    response: bytes
    refresh: bool
    error: CmeError | None = None


class ModemCard:
    """A card behind a modem. Sans-IO; ``seconds`` that things take are taken from ``terminal``. Raises PowerLost."""

    def __init__(self, dialect: Dialect, card: Card, rng: random.Random) -> None:
        self.terminal = Terminal(card)
        self.state = SimState.OFF
        self.inserted = True
        """Whether there is a card; ``remove`` and ``insert`` say so."""
        self.selected = dialect.quirks.select_sim is None
        """Whether the modem uses this slot."""
        self._card = card
        self._sim = dialect.sim
        self._errors = dialect.errors
        self._quirks = dialect.quirks
        self._rng = rng
        self._sessions: dict[str, int] = {}
        self._opened = 0
        self._raw_channels: set[int] = set()
        self._fails_left = 0
        self._blocks = 0
        self._failures = 0

    # ------------------------------------------------------------------------------------------------- power

    def start(self, *, cold: bool) -> float:
        """Give the card power, or reset it warm; return how long it takes until the terminal start-up is done.

        Without a card the state is ABSENT after this.
        """
        self._forget()
        if not self.inserted or not self.selected:
            self.state = SimState.ABSENT
            return 0.0
        self.state = SimState.STARTING
        self._fails_left = self._quirks.open_fails
        self.terminal.take_seconds()
        self.terminal.start(cold=cold)
        return self.terminal.take_seconds()

    def power_off(self) -> None:
        """Take the card's power away."""
        self._forget()
        self._failures = 0
        self.state = SimState.OFF
        self._card.power_off()

    def remove(self) -> None:
        """Pull the card: it has no power from this instant."""
        self.inserted = False
        self._forget()
        if self.state is not SimState.OFF:
            self.state = SimState.ABSENT
        self._card.power_off()

    def _forget(self) -> None:
        self._sessions.clear()
        self._raw_channels.clear()
        self._blocks = 0

    def require_ready(self) -> None:
        """Raise Refused unless the SIM is ready."""
        if self.state is SimState.OFF:
            raise Refused(self._errors.sim_off)
        if self.state is SimState.ABSENT:
            raise Refused(self._errors.no_sim)
        if self.state is SimState.STARTING or self._by_chance(self._quirks.busy):
            raise Refused(self._errors.sim_busy)
        if self._quirks.dead_after is not None and self._failures >= self._quirks.dead_after:
            raise Refused(self._errors.sim_failure)

    def _by_chance(self, chance: float) -> bool:
        return chance > 0.0 and self._rng.random() < chance

    # ------------------------------------------------------------------------------------------------- sessions

    def open(self, aid: bytes) -> str:
        """Open a channel and select an application on it; return a handle. Raises Refused, Hung."""
        self.require_ready()
        self._refuse_blocked(aid)
        if self._quirks.ccho_fails:
            raise Refused(self._errors.no_application)
        if self._fails_left:
            self._fails_left -= 1
            raise Refused(self._errors.no_application)
        self._hang_by_leftovers()
        data, sw = self.terminal.exchange(bytes.fromhex("0070000001"))
        if sw != 0x9000 or len(data) != 1:
            raise Refused(self._errors.no_channel)
        channel = data[0]
        select = Command(with_channel(0x00, channel), _SELECT, 0x04, 0x00, aid)
        _, sw = self.terminal.exchange(bytes(select))
        if sw != 0x9000 and sw >> 8 not in (0x91, 0x62, 0x63):
            self.terminal.exchange(bytes((0x00, _MANAGE_CHANNEL, 0x80, channel)))
            raise Refused(self._errors.no_application)
        self._opened += 1
        # Not the channel: whoever takes a handle for a channel number shall find out here.
        handle = f"{0x385A7CE + self._opened:016x}" if self._sim.handle == "hex16" else str(self._opened + 4)
        self._sessions[handle] = channel
        return handle

    def close(self, handle: str) -> bool:
        """Close a session; False when there is none of that handle."""
        channel = self._sessions.pop(handle, None)
        if channel is None:
            return False
        self.terminal.exchange(bytes((0x00, _MANAGE_CHANNEL, 0x80, channel)))
        return True

    def _hang_by_leftovers(self) -> None:
        most = self._quirks.hang_after
        if most is not None and len(self._sessions) + len(self._raw_channels) >= most:
            raise Hung

    # ------------------------------------------------------------------------------------------------- APDUs

    def in_session(self, handle: str, command: bytes) -> Through:
        """Pass an APDU on in a session; the channel goes into its CLA. Raises Refused."""
        self.require_ready()
        channel = self._sessions.get(handle)
        if channel is None:
            raise Refused(self._errors.dead_session)
        return self._pass(bytes((with_channel(command[0], channel),)) + command[1:])

    def raw(self, command: bytes) -> Through:
        """Pass an APDU on as it is. Raises Refused, Hung."""
        self.require_ready()
        if not self._sim.csim_channels and channel_of(command[0]) and command[1] != _MANAGE_CHANNEL:
            raise Refused(self._errors.csim_channel)
        if command[1] == _SELECT and command[2] == 0x04 and not command[0] & 0x80:
            self._refuse_blocked(command[5:])
        if command[1] != _MANAGE_CHANNEL or command[0] & 0x80:
            return self._pass(command)
        if not self._quirks.csim_opens:
            raise Refused(self._errors.csim_channel)
        if command[2] == 0x00:
            self._hang_by_leftovers()
        through = self._pass(command)
        if command[2] == 0x00 and len(through.response) == 3:
            self._raw_channels.add(through.response[0])
        elif command[2] == 0x80:
            self._raw_channels.discard(command[3])
            self._sessions = {handle: one for handle, one in self._sessions.items() if one != command[3]}
        return through

    def _pass(self, command: bytes) -> Through:
        longest = self._quirks.checksum_above
        if longest is not None and len(command) - 5 > longest and self._by_chance(self._quirks.checksum_chance):
            return Through(_CHECKSUM, refresh=False)
        if self._sim.get_response == "modem":
            data, sw = self.terminal.exchange(command)
            response = data + sw.to_bytes(2, "big")
        else:
            response = self.terminal.transmit(command)
        sw = int.from_bytes(response[-2:], "big")
        refresh = self.terminal.finish(sw)
        if sw >> 8 == 0x91 and self._sim.proactive_status == "hidden":
            response = response[:-2] + b"\x90\x00"
        return Through(response, refresh, self._error_after(command))

    def _error_after(self, command: bytes) -> CmeError | None:
        """Count the blocks of a STORE DATA chain; say whether the modem tells an error though the card did its part."""
        if self._quirks.last_block_error == 0.0 or command[1] != _STORE_DATA or not command[0] & 0x80:
            return None
        self._blocks += 1
        if not command[2] & _LAST_BLOCK:
            return None
        blocks, self._blocks = self._blocks, 0
        if blocks < self._quirks.last_block_from or not self._by_chance(self._quirks.last_block_error):
            return None
        self._failures += 1
        return "ERROR"

    def _refuse_blocked(self, aid: bytes) -> None:
        if aid.hex().upper().startswith(self._sim.blocked_aids or ("-",)):
            raise Refused(self._errors.blocked)
