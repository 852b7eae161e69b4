"""A simulated card as its terminal sees it: power, ATR, commands and their time. Sans-IO: a host gives it a wire."""

from __future__ import annotations

from collections.abc import Sequence

from esim_bench.codec.apdu import Command
from esim_bench.codec.atr import build_atr
from esim_bench.errors import BenchError, CodecError
from esim_drivers.sim.application import Application, Reply
from esim_drivers.sim.cat import REFRESH
from esim_drivers.sim.nvm import MemoryFailure, Nvm, PowerLost
from esim_drivers.sim.personality import Personality
from esim_drivers.sim.transport import Transport
from esim_drivers.sim.uicc import Uicc


class UiccCard:
    """A UICC with power, which offers ``CardServices`` to its applications.

    Without power every call but ``power_on`` raises PowerLost.
    """

    def __init__(self, personality: Personality, nvm: Nvm | None = None) -> None:
        self._personality = personality
        self._nvm = nvm if nvm is not None else Nvm()
        self._nvm.worn = personality.worn_memory
        self.uicc = Uicc(self._nvm, personality)
        self._transport = Transport(personality.protocol)
        self._seconds = {ins: personality.seconds(ins) for ins in range(256)}
        self._powered = False

    def add_applications(self, applications: Sequence[Application]) -> None:
        """Make applications selectable by their AIDs."""
        self.uicc.applications.extend(applications)

    @property
    def personality(self) -> Personality:
        """Return what make of eUICC this is."""
        return self._personality

    # ------------------------------------------------------------------------------------------------- power

    @property
    def powered(self) -> bool:
        """Tell whether the card has power."""
        return self._powered

    @property
    def atr(self) -> bytes:
        """Return the answer to reset: of a card that knows one protocol."""
        return build_atr([self._personality.protocol], self._personality.historical)

    def power_on(self) -> bytes:
        """Power the card up (a cold reset); return the ATR. Raises PowerLost when the power goes again meanwhile."""
        self._nvm.power_off()
        return self._start()

    def reset(self) -> bytes:
        """Reset it warm; return the ATR. Raises PowerLost when it has no power."""
        if not self._powered:
            raise PowerLost
        return self._start()

    def power_off(self) -> None:
        """Take the power away, at any moment."""
        self._powered = False
        self._nvm.power_off()

    def _start(self) -> bytes:
        # RAM goes at a warm reset as well, and with it every transaction that was open.
        self._nvm.power_on()
        self._powered = True
        self._transport.reset()
        try:
            self.uicc.reset()
        except PowerLost:
            # What an interrupted installation leaves to do is done at the start, and that writes.
            self.power_off()
            raise
        return self.atr

    # ------------------------------------------------------------------------------------------------- commands

    def transmit(self, command: bytes) -> tuple[bytes, float]:
        """Execute a command APDU: the response with its status word, and the seconds that it took.

        Any bytes are answered: a malformed APDU by 6700. Raises PowerLost without power, also when it goes midway.
        """
        if not self._powered:
            raise PowerLost
        journal = self._nvm.journal
        writes = len(journal)
        try:
            data, sw, seconds = self._exchange(bytes(command))
        except PowerLost:
            self.power_off()
            raise
        response = data + sw.to_bytes(2, "big")
        seconds += (len(journal) - writes) * self._personality.write_seconds
        seconds += (len(command) + len(response)) * self._personality.byte_seconds
        return response, round(seconds, 9)

    def _exchange(self, raw: bytes) -> tuple[bytes, int, float]:
        try:
            command = Command.parse(raw)
        except CodecError:
            self._transport.reset()
            return b"", 0x6700, self._personality.default_seconds
        seconds = self._seconds[command.ins]
        found = self._transport.before(command)
        if found is None:
            reply = self._execute(command)
            seconds += reply.seconds
            data, sw = self._transport.after(command, reply)
        elif isinstance(found, Reply):
            data, sw = self._transport.after(command, found)
        else:
            data, sw = found
        if sw == 0x9000:
            # Also on the last GET RESPONSE, which is the end of the command it belongs to (TS 102 221 7.4.2.1).
            announced = self.uicc.announced
            if announced:
                sw = 0x9100 | announced
        return data, sw, seconds

    def _execute(self, command: Command) -> Reply:
        try:
            return self.uicc.execute(command)
        except MemoryFailure:
            return Reply(sw=0x6581)
        except BenchError:
            # Memory that does not hold what it should; a card says no more than this.
            return Reply(sw=0x6F00)

    # ------------------------------------------------------------------------------------------------- CardServices

    @property
    def nvm(self) -> Nvm:
        """Return the card's persistent memory."""
        return self._nvm

    @property
    def terminal_profile_seen(self) -> bool:
        """Tell whether the terminal sent TERMINAL PROFILE since the last reset."""
        return self.uicc.toolkit.terminal_profile is not None

    @property
    def terminal_capability(self) -> bytes | None:
        """Return what the terminal sent as TERMINAL CAPABILITY since the last reset: the members of A9."""
        return self.uicc.terminal_capability

    @property
    def cat_busy(self) -> bool:
        """Tell whether a proactive command waits to be fetched or answered."""
        return self.uicc.toolkit.busy

    def queue_refresh(self, mode: int) -> None:
        """Queue a REFRESH, where this make of eUICC raises one and the terminal can take it; else nothing happens."""
        if not self._personality.raises_refresh:
            return
        if self._personality.needs_terminal_profile and not self.terminal_profile_seen:
            return
        self.uicc.toolkit.queue(REFRESH, mode)

    def mount(self, isdp_aid: bytes | None) -> None:
        """Show the files of another profile from now on (None: no profile); selections of all channels go to the MF."""
        self.uicc.mount(isdp_aid)

    @property
    def free_memory(self) -> int:
        """Return the free bytes of persistent memory."""
        return self.uicc.free_memory
