"""What a modem tells of its SIM, its network and itself, read by AT commands; the mixin of AtModem."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Final

from esim_bench.codec import at_status
from esim_bench.codec.at import cme_code, name_of
from esim_bench.codec.at_status import RegistrationState, Signal, SimStatus
from esim_bench.data import Dialect
from esim_bench.errors import TransportError
from esim_bench.ports import AtResponse, ModemStatus

_IDENTITY: Final = {"manufacturer": "AT+CGMI", "model": "AT+CGMM", "revision": "AT+CGMR", "imei": "AT+CGSN"}
_LOOK_SECONDS: Final = 0.5
_ANSWER_SECONDS: Final = 4.0
"""After which a modem that tells no ICCID at all is believed to have none to tell."""
_NO_SUCH: Final = (4, 50, 100)


class StatusReader(ABC):
    """Reads states through ``command``."""

    dialect: Dialect

    def __init__(self) -> None:
        self._no_such: set[str] = set()
        """Commands of registration that this modem does not know: asked once."""

    @abstractmethod
    async def command(self, line: str, timeout: float | None = None, text: str | None = None) -> AtResponse:
        """Send one command line and wait for its final result code."""

    async def identity(self) -> Mapping[str, str]:
        """Return manufacturer, model, revision and imei, as far as the modem answers."""
        found = {}
        for key, line in _IDENTITY.items():
            answer = await self.command(line)
            if answer.ok and answer.lines:
                text = answer.lines[0]
                if name_of(text) == name_of(line):
                    text = text.partition(":")[2]
                found[key] = text.strip().strip('"')
        return found

    async def imei(self) -> str | None:
        """Return the IMEI."""
        answer = await self.command("AT+CGSN")
        return at_status.digits(answer.lines) if answer.ok else None

    async def sim_state(self) -> SimStatus:
        """Return how the SIM is; one that is switched off says so, whatever error the module has for that."""
        answer = await self.command("AT+CPIN?")
        state = at_status.sim_status(answer.lines, answer.final)
        if not answer.ok and state is not SimStatus.BUSY and await self.functionality() == 0:
            return SimStatus.OFF
        return SimStatus.ABSENT if self._is_absent(answer) else state

    def _is_absent(self, answer: AtResponse) -> bool:
        """Tell whether an answer to AT+CPIN? says that there is no SIM, in whatever way this module does."""
        if answer.final == "ERROR" and self.dialect.errors.no_sim == "ERROR":
            return True
        return at_status.sim_status(answer.lines, answer.final) is SimStatus.ABSENT

    async def iccid(self) -> str | None:
        """Return the ICCID that the modem shows."""
        answer = await self.command(self.dialect.sim.iccid_command)
        return at_status.iccid(answer.lines) if answer.ok else None

    async def wait_iccid(self, iccid: str, timeout: float | None = None) -> str | None:
        """Wait until the modem shows this ICCID; return what it shows in the end, None where it tells none."""
        seconds = self.dialect.switch.iccid_s if timeout is None else timeout
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        answers_until = loop.time() + min(seconds, _ANSWER_SECONDS)
        shown = await self.iccid()
        while shown != iccid and loop.time() < (answers_until if shown is None else deadline):
            await asyncio.sleep(_LOOK_SECONDS)
            shown = await self.iccid() or shown
        return shown

    async def imsi(self) -> str | None:
        """Return the IMSI that the modem read."""
        answer = await self.command("AT+CIMI")
        return at_status.digits(answer.lines) if answer.ok else None

    async def functionality(self) -> int | None:
        """Return the level of functionality."""
        answer = await self.command("AT+CFUN?")
        return at_status.functionality(answer.lines) if answer.ok else None

    async def set_functionality(self, level: int) -> None:
        """Set the level of functionality. Raises TransportError when the modem refuses."""
        answer = await self.command(f"AT+CFUN={level}")
        if not answer.ok:
            raise TransportError(f"the modem refused AT+CFUN={level}", expected="OK", found=answer.final)

    async def registration(self) -> Mapping[str, RegistrationState]:
        """Return the state of registration by domain, of those that the modem knows."""
        found = {}
        for domain, name in at_status.REGISTRATION_COMMANDS.items():
            if name in self._no_such:
                continue
            answer = await self.command(f"AT{name}?")
            state = at_status.registration(answer.lines, name) if answer.ok else None
            if state is not None:
                found[domain] = state
            elif answer.final == "ERROR" or cme_code(answer.final) in _NO_SUCH:
                self._no_such.add(name)
        return found

    async def signal(self) -> Signal:
        """Return the signal."""
        csq = await self.command("AT+CSQ")
        cesq = await self.command("AT+CESQ")
        return at_status.signal(csq.lines if csq.ok else (), cesq.lines if cesq.ok else ())

    async def status(self) -> ModemStatus:
        """Return all of this at once."""
        return ModemStatus(
            sim=await self.sim_state(),
            iccid=await self.iccid(),
            imsi=await self.imsi(),
            imei=await self.imei(),
            functionality=await self.functionality(),
            registration=await self.registration(),
            signal=await self.signal(),
        )
