"""A modem behind an AT port: boot, SIM, identity. What differs from module to module comes from its dialect."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping

from esim_bench.codec.at import cme_code, name_of
from esim_bench.data import Dialect
from esim_bench.errors import DeviceTimeout, ProtocolError, TransportError
from esim_bench.events import EventSink
from esim_bench.ports import AtResponse, ByteLink
from esim_drivers.at.port import AtPort

POLL_SECONDS = 0.5
_BOOT_SLACK = 5.0
"""Seconds that the first line of a boot may be late; it is missed where the port was not open yet."""
_IDENTITY = {"manufacturer": "AT+CGMI", "model": "AT+CGMM", "revision": "AT+CGMR", "imei": "AT+CGSN"}


class AtModem:
    """A ModemLink. ``opener`` opens the byte link, again after each loss: a port may come back under another name.

    ``opener`` raises TransportError while there is nothing to open.
    """

    def __init__(self, opener: Callable[[], ByteLink], dialect: Dialect, sink: EventSink) -> None:
        self.dialect = dialect
        self._opener = opener
        self._sink = sink
        self._port: AtPort | None = None
        self.generation = 0
        """How often the port was opened; what was under way on an earlier one is void."""

    @property
    def usable(self) -> bool:
        """Tell whether the port is open and its link still there."""
        return self._port is not None and self._port.usable

    # ------------------------------------------------------------------------------------------------- commands

    async def command(self, line: str, timeout: float | None = None) -> AtResponse:
        """Send one command line and wait for its final result code. Raises DeviceTimeout, TransportError."""
        return await self._open().command(line, self.dialect.at.timeout_s if timeout is None else timeout)

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

    # ------------------------------------------------------------------------------------------------- readiness

    async def wait_ready(self, timeout: float | None = None) -> None:
        """Wait until the modem has booted and its SIM is ready; switch the SIM on where it boots without.

        Raises DeviceTimeout, which says how far it came, and TransportError for a SIM that wants a PIN.
        """
        seconds = self.dialect.boot.timeout_s if timeout is None else timeout
        deadline = asyncio.get_running_loop().time() + seconds
        state = "no AT port"
        while True:
            try:
                state = await self._try_ready(deadline)
                if state == "READY":
                    return
            except TransportError as exc:
                state = str(exc)
            except DeviceTimeout:
                state = "no answer on the AT port"
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                raise DeviceTimeout(
                    "the modem did not become ready",
                    expected=f"+CPIN: READY within {seconds:g} s",
                    found=state,
                    hint="is the SIM there, does the rack file name the right module?",
                )
            await asyncio.sleep(min(POLL_SECONDS, left))

    async def _try_ready(self, deadline: float) -> str:
        """Come as far as possible now; return "READY", or what is missing."""
        port = self._open()
        left = max(1.0, deadline - asyncio.get_running_loop().time())
        await port.synchronise(left)
        await self.command("AT+CMEE=1")
        answer = await self.command("AT+CFUN?")
        if answer.lines and answer.lines[0].replace(" ", "").startswith("+CFUN:0"):
            await self.command("AT+CFUN=1")
        while True:
            answer = await self.command("AT+CPIN?")
            state = _sim_state(answer)
            if state == "READY":
                return state
            if "PIN" in state or "PUK" in state:
                raise ProtocolError(
                    "the SIM wants a secret", expected="READY", found=state, hint="use profiles without a PIN"
                )
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return state
            await asyncio.sleep(min(POLL_SECONDS, left))

    async def reset_sim(self) -> None:
        """Reset the SIM as the dialect says, and wait until it is ready. Raises TransportError if nothing does it."""
        match self.dialect.sim.reset:
            case "cfun":
                await self._must("AT+CFUN=0")
                await self._must("AT+CFUN=1")
            case "reboot":
                await self._reboot()
            case "none":
                raise TransportError(
                    "this modem cannot reset its SIM", where=self.dialect.model, hint="cycle the slot's power instead"
                )
        await self.wait_ready()

    async def _reboot(self) -> None:
        """Reboot the modem and wait for the first line of its boot: until then it may go on answering as it was."""
        port = self._open()
        first = self.dialect.boot.urcs[0] if self.dialect.boot.urcs else None
        booted = asyncio.Event()
        port.listen(lambda line: booted.set() if first is not None and line == first.line else None, booted.set)
        await self._must(self.dialect.sim.reboot_command)
        port.out_of_step()
        seconds = first.at_s + self.dialect.boot.jitter_s + _BOOT_SLACK if first is not None else _BOOT_SLACK
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await booted.wait()

    async def _must(self, line: str) -> None:
        answer = await self.command(line, timeout=max(self.dialect.at.timeout_s, 15.0))
        if not answer.ok:
            raise TransportError("the modem refused to reset its SIM", expected=f"OK to {line}", found=answer.final)

    # ------------------------------------------------------------------------------------------------- the port

    async def close(self) -> None:
        """Release the port; never raises."""
        if self._port is not None:
            self._port.close()
            self._port = None

    def _open(self) -> AtPort:
        if self._port is None or not self._port.usable:
            self._port = None
            link = self._opener()
            self._port = AtPort(link, self._sink, urcs=self.dialect.urc_prefixes)
            self.generation += 1
        return self._port


def _sim_state(answer: AtResponse) -> str:
    """Return what AT+CPIN? says: READY, SIM PIN, ..., or the error."""
    for line in answer.lines:
        if name_of(line) == "+CPIN":
            return line.partition(":")[2].strip().upper()
    code = cme_code(answer.final)
    return "SIM PIN" if code == 11 else "SIM PUK" if code == 12 else answer.final
