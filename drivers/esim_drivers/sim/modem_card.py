"""The card inside a simulated modem: its power, its sessions, and what the modem lets through of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from esim_bench.codec.apdu import Command, channel_of, with_channel
from esim_bench.data import CmeError, Dialect
from esim_drivers.sim.terminal import Card, Terminal

_MANAGE_CHANNEL, _SELECT = 0x70, 0xA4


class SimState(Enum):
    """How far the SIM is."""

    OFF = "off"
    STARTING = "starting"
    READY = "ready"


class Refused(Exception):
    """The modem refuses a command: the error it says, before +CMEE has its say."""

    def __init__(self, error: CmeError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True, slots=True)
class Through:
    """An APDU that went through: the response as the host sees it; ``refresh``: the modem will reset the SIM."""

    response: bytes
    refresh: bool


class ModemCard:
    """A card behind a modem. Sans-IO; ``seconds`` that things take are taken from ``terminal``. Raises PowerLost."""

    def __init__(self, dialect: Dialect, card: Card) -> None:
        self.terminal = Terminal(card)
        self.state = SimState.OFF
        self._card = card
        self._sim = dialect.sim
        self._errors = dialect.errors
        self._sessions: dict[str, int] = {}
        self._opened = 0

    # ------------------------------------------------------------------------------------------------- power

    def start(self, *, cold: bool) -> float:
        """Give the card power, or reset it warm; return how long it takes until the terminal start-up is done."""
        self._sessions.clear()
        self.state = SimState.STARTING
        self.terminal.take_seconds()
        self.terminal.start(cold=cold)
        return self.terminal.take_seconds()

    def power_off(self) -> None:
        """Take the card's power away."""
        self._sessions.clear()
        self.state = SimState.OFF
        self._card.power_off()

    def require_ready(self) -> None:
        """Raise Refused unless the SIM is ready."""
        if self.state is SimState.OFF:
            raise Refused(self._errors.sim_off)
        if self.state is SimState.STARTING:
            raise Refused(self._errors.sim_busy)

    # ------------------------------------------------------------------------------------------------- sessions

    def open(self, aid: bytes) -> str:
        """Open a channel and select an application on it; return a handle. Raises Refused."""
        self.require_ready()
        self._refuse_blocked(aid)
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

    # ------------------------------------------------------------------------------------------------- APDUs

    def in_session(self, handle: str, command: bytes) -> Through:
        """Pass an APDU on in a session; the channel goes into its CLA. Raises Refused."""
        self.require_ready()
        channel = self._sessions.get(handle)
        if channel is None:
            raise Refused(self._errors.dead_session)
        return self._pass(bytes((with_channel(command[0], channel),)) + command[1:])

    def raw(self, command: bytes) -> Through:
        """Pass an APDU on as it is. Raises Refused."""
        self.require_ready()
        if not self._sim.csim_channels and channel_of(command[0]) and command[1] != _MANAGE_CHANNEL:
            raise Refused(self._errors.csim_channel)
        if command[1] == _SELECT and command[2] == 0x04 and not command[0] & 0x80:
            self._refuse_blocked(command[5:])
        return self._pass(command)

    def _pass(self, command: bytes) -> Through:
        if self._sim.get_response == "modem":
            data, sw = self.terminal.exchange(command)
            response = data + sw.to_bytes(2, "big")
        else:
            response = self.terminal.transmit(command)
        sw = int.from_bytes(response[-2:], "big")
        refresh = self.terminal.finish(sw)
        if sw >> 8 == 0x91 and self._sim.proactive_status == "hidden":
            response = response[:-2] + b"\x90\x00"
        return Through(response, refresh)

    def _refuse_blocked(self, aid: bytes) -> None:
        if aid.hex().upper().startswith(self._sim.blocked_aids or ("-",)):
            raise Refused(self._errors.blocked)
