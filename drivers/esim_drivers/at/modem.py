"""A modem behind an AT port: boot, SIM, identity. What differs from module to module comes from its dialect."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

from esim_bench.codec.at import cme_code, name_of
from esim_bench.data import USUAL_LIMITS, Dialect
from esim_bench.errors import BenchError, DeviceTimeout, InUseError, ProtocolError, TransportError
from esim_bench.events import EventSink
from esim_bench.ports import AtResponse, ByteLink, ControlLines
from esim_drivers.at.measure import measure
from esim_drivers.at.port import AtPort
from esim_drivers.at.status import StatusReader

POLL_SECONDS = 0.5
_BUSY = 14
HELD_SECONDS = 4.0
"""How long another program may hold the port before that is an error."""
_BOOT_SLACK = 5.0
"""Seconds that the first line of a boot may be late; it is missed where the port was not open yet."""


class AtModem(StatusReader):
    """A ModemLink. ``opener`` opens the byte link, again after each loss: a port may come back under another name.

    ``opener`` raises TransportError while there is nothing to open.
    """

    def __init__(self, opener: Callable[[], ByteLink], dialect: Dialect, sink: EventSink) -> None:
        super().__init__()
        self.dialect = dialect
        self._limits = {**USUAL_LIMITS, **dialect.at.limits}
        self._prepared = False
        self._opener = opener
        self._sink = sink
        self._port: AtPort | None = None
        self._link: ByteLink | None = None
        self._watchers: list[Callable[[str], None]] = []
        self.generation = 0
        """How often the port was opened; what was under way on an earlier one is void."""

    @property
    def usable(self) -> bool:
        """Tell whether the port is open and its link still there."""
        return self._port is not None and self._port.usable

    # ------------------------------------------------------------------------------------------------- commands

    async def command(self, line: str, timeout: float | None = None, text: str | None = None) -> AtResponse:
        """Send one command line and wait for its final result code.

        Without ``timeout`` as long as the dialect, or else the usual ones of makers, give this command. ``text``: what
        is given when the modem prompts for data. Raises DeviceTimeout, TransportError.
        """
        if timeout is None:
            timeout = self._limits.get(name_of(line), self.dialect.at.timeout_s)
        return await self._open().command(line, timeout, text)

    # ------------------------------------------------------------------------------------------------- readiness

    async def wait_ready(self, timeout: float | None = None) -> None:
        """Wait until the modem has booted and its SIM is ready; switch the SIM on where it boots without.

        Raises DeviceTimeout, which says how far it came, and TransportError for a SIM that wants a PIN.
        """
        seconds = self.dialect.boot.timeout_s if timeout is None else timeout
        deadline = asyncio.get_running_loop().time() + seconds
        state = "no AT port"
        held: float | None = None
        while True:
            try:
                state = await self._try_ready(deadline)
                if state == "READY":
                    return
            except TransportError as exc:
                state = str(exc)
            except InUseError:
                # Whoever looks at each new port for a moment (ModemManager) is waited for, but not for ever.
                held = held or asyncio.get_running_loop().time()
                if asyncio.get_running_loop().time() - held >= HELD_SECONDS:
                    raise
                state = "the port is held by another program"
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
        while cme_code((await self.command("AT+CMEE=1")).final) == _BUSY:
            # Some refuse everything for a while after their boot.
            if deadline <= asyncio.get_running_loop().time():
                return "SIM busy"
            await asyncio.sleep(POLL_SECONDS)
        level = await self._select_sim(await self.functionality())
        if level == 0:
            await self.command("AT+CFUN=1")
        while True:
            answer = await self.command("AT+CPIN?")
            state = _sim_state(answer)
            if state == "READY":
                return state
            if not self.dialect.sim.hot_plug and self._is_absent(answer):
                # It looks for a card only when the SIM gets power.
                await self._surely("AT+CFUN=0")
                await self._surely("AT+CFUN=1")
                await asyncio.sleep(self.dialect.sim.restart_s)
            if "PIN" in state or "PUK" in state:
                raise ProtocolError(
                    "the SIM wants a secret", expected="READY", found=state, hint="use profiles without a PIN"
                )
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return state
            await asyncio.sleep(min(POLL_SECONDS, left))

    async def _select_sim(self, level: int | None) -> int | None:
        """Choose the slot's SIM where it is not in use by now; return the level of functionality after that."""
        line = self.dialect.sim.select_command
        if line is None or (level == 1 and not self._is_absent(await self.command("AT+CPIN?"))):
            return level
        if not (await self.command(line)).ok:
            await self._surely("AT+CFUN=0")
            await self._must(line, "to choose its SIM")
            return 0
        return level

    async def reset_sim(self) -> None:
        """Reset the SIM as the dialect says, and wait until it is ready. Raises TransportError if nothing does it."""
        await self._prepare()
        match self.dialect.sim.reset:
            case "cfun":
                await self._surely("AT+CFUN=0")
                await self._surely("AT+CFUN=1")
            case "reboot":
                await self._reboot()
            case "none":
                raise TransportError(
                    "this modem cannot reset its SIM", where=self.dialect.model, hint="cycle the slot's power instead"
                )
        await self.wait_ready()

    async def _prepare(self) -> None:
        """Have the module take any operator's profile; what its flash keeps is set once."""
        if self._prepared or self.dialect.sim.reset == "none":
            return
        for line in self.dialect.switch.prepare:
            # Refused: it is so already, or this firmware has nothing of the kind.
            await self.command(line)
        self._prepared = True

    async def _surely(self, line: str) -> None:
        """Send what may be sent twice, until it was taken: a USB module may leave the bus between two commands.

        Raises TransportError when it is refused, or the port does not come back.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.dialect.boot.timeout_s
        while True:
            try:
                await self._must(line)
            except TransportError:
                lost = self._port is None or not self._port.usable
                if not lost or loop.time() >= deadline:
                    raise
                await asyncio.sleep(POLL_SECONDS)
            else:
                return

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

    async def drop_port(self) -> None:
        """Close the port, so that the next command opens it anew and nothing is known of what was said before."""
        await self.close()

    async def _must(self, line: str, what: str = "to reset its SIM") -> None:
        answer = await self.command(line, timeout=max(self.dialect.at.timeout_s, 15.0))
        if not answer.ok:
            raise TransportError(f"the modem refused {what}", expected=f"OK to {line}", found=answer.final)

    async def measure(self, tell: Callable[[str], None], *, reboot: bool = False) -> Mapping[str, Any]:
        """Find out how the module speaks; see ``ports.Measurable``."""
        return await measure(self, tell, reboot=reboot)

    @property
    def echoed_first(self) -> bool | None:
        """Tell whether the modem echoed when it was first spoken to on this opening of its port."""
        return None if self._port is None else self._port.echoed_first

    # ------------------------------------------------------------------------------------------------- listening

    def watch(self, on_line: Callable[[str], None]) -> Callable[[], None]:
        """Call a function with each unsolicited line, also after the port was opened anew; return what ends that."""
        self._watchers.append(on_line)

        def end() -> None:
            if on_line in self._watchers:
                self._watchers.remove(on_line)

        return end

    def listening(self) -> bool:
        """Open the port unless it is open; tell whether lines can be heard now. Never raises."""
        try:
            return self._open().usable
        except BenchError:
            return False

    def _heard(self, line: str) -> None:
        for on_line in self._watchers.copy():
            on_line(line)

    async def power_down(self, awake_since: float | None) -> str | None:
        """Power down in order and wait for the last line; return it, "" where the module says nothing.

        None where the module has no command for it. Raises TransportError when it refuses, DeviceTimeout when the line
        does not come.
        """
        times = self.dialect.power
        if times.down_command is None:
            return None
        if awake_since is not None:
            await asyncio.sleep(max(0.0, awake_since + times.minimum_awake_s - asyncio.get_running_loop().time()))
        down = asyncio.Event()
        end = self.watch(lambda line: down.set() if line == times.down_urc else None)
        try:
            await self._must(times.down_command, "to power down")
            if times.down_urc is None:
                await asyncio.sleep(times.power_down_s)
                return ""
            async with asyncio.timeout(times.power_down_s):
                await down.wait()
            return times.down_urc
        except TimeoutError as exc:
            raise DeviceTimeout(
                "the module does not say that it is down",
                expected=f"{times.down_urc} within {times.power_down_s:g} s of {times.down_command}",
                found="nothing of that",
                hint="it may still write to its flash: do not cut its supply but as a test",
            ) from exc
        finally:
            end()
            self._out_of_step()

    def _out_of_step(self) -> None:
        if self._port is not None:
            self._port.out_of_step()

    def set_line(self, line: Literal["dtr", "rts"], asserted: bool) -> None:
        """Assert or release a control line. Raises TransportError: a port without such lines, a lost one."""
        self._open()
        if not isinstance(self._link, ControlLines):
            raise TransportError("this port has no control lines", where=self.dialect.model, found=line.upper())
        self._link.set_line(line, asserted)

    # ------------------------------------------------------------------------------------------------- the port

    async def close(self) -> None:
        """Release the port; never raises."""
        if self._port is not None:
            self._port.close()
            self._port = None

    def _open(self) -> AtPort:
        if self._port is None or not self._port.usable:
            self._port = None
            self._link = self._opener()
            self._port = AtPort(self._link, self._sink, urcs=self.dialect.urc_prefixes)
            self._port.listen(self._heard)
            self.generation += 1
        return self._port


def _sim_state(answer: AtResponse) -> str:
    """Return what AT+CPIN? says: READY, SIM PIN, ..., or the error."""
    for line in answer.lines:
        if name_of(line) == "+CPIN":
            return line.partition(":")[2].strip().upper()
    code = cme_code(answer.final)
    return "SIM PIN" if code == 11 else "SIM PUK" if code == 12 else answer.final
