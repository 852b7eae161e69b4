"""The driver ``modem-power``: a slot's modem switches itself, or its SIM.

===========  ===========================================================================================================
``cfun``     AT+CFUN=0 and =1: the SIM alone loses its power; AT+CPIN? that finds no SIM is its proof (card-gone)
``command``  the module's own command, until it says POWERED DOWN; on by PWRKEY, or by itself (``autostart = true``)
``pwrkey``   PWRKEY, pulled for as long as the module wants it
``reset``    RESET, held while the slot is dark
===========  ===========================================================================================================

PWRKEY and RESET hang at DTR or RTS of the modem's port, or of another ``port``. Pull times, times awake and last lines
are those of the module (``[power]`` in hw/modules).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

from esim_bench import clock
from esim_bench.data import Dialect
from esim_bench.errors import ConfigError, DeviceTimeout, TransportError
from esim_bench.ports import ControlLines, DriverContext, LineWatch, ModemLink, PowersDown, Proof
from esim_drivers.modem_power.lines import Line, Pin, PortLines
from esim_drivers.usb_device import unknown_keys
from esim_drivers.usbtree import check_port_name

KEYS = ("method", "pwrkey", "reset", "port", "inverted", "autostart")
Method = Literal["cfun", "command", "pwrkey", "reset"]
METHODS = ("cfun", "command", "pwrkey", "reset")
_CFUN_SECONDS = 15.0


class ModemPower:
    """A PowerSwitch: the modem of the slot."""

    def __init__(
        self,
        method: Method,
        modem: ModemLink,
        dialect: Dialect,
        *,
        pwrkey: Pin | None = None,
        reset: Pin | None = None,
        lines: PortLines | None = None,
    ) -> None:
        self._method = method
        self._modem = modem
        self._dialect = dialect
        self._pwrkey = pwrkey
        self._reset = reset
        self._lines = lines
        self._on_since: float | None = None
        self._held_since = 0.0

    @property
    def proofs(self) -> frozenset[Proof]:
        """Return CARD_GONE for ``cfun``, whose modem stays and can be asked; nothing else can be asked."""
        return frozenset((Proof.CARD_GONE,) if self._method == "cfun" else ())

    @property
    def orderly(self) -> bool:
        """Tell whether ``off`` itself lets the module power down; a held RESET does not."""
        return self._method != "reset"

    async def off(self) -> None:
        """Switch off in order, keeping the module's least time awake. Raises TransportError, DeviceTimeout."""
        match self._method:
            case "cfun":
                await self._cfun(0)
            case "command":
                assert isinstance(self._modem, PowersDown)
                await self._modem.power_down(self._on_since)
            case "pwrkey":
                await self._pull_off()
            case "reset":
                assert self._reset is not None
                self._reset.hold()
                self._held_since = clock.now()
        self._on_since = None

    async def on(self) -> None:
        """Switch on. Raises TransportError, DeviceTimeout."""
        match self._method:
            case "cfun":
                await self._cfun(1)
            case "reset":
                assert self._reset is not None
                hold = (self._dialect.power.reset_hold_ms or 0) / 1000
                await asyncio.sleep(max(0.0, self._held_since + hold - clock.now()))
                self._reset.release()
            case _ if self._pwrkey is not None and self._on_since is None:
                # A second pull would switch a module off that is on: ours is the state, but for the very first time.
                if not await self._answers():
                    await self._pwrkey.pull((self._dialect.power.on_pull_ms or 0) / 1000)
        self._on_since = clock.now()

    async def is_off(self, proof: Proof) -> bool:
        """Tell whether the modem finds its SIM without power. Raises ConfigError for another proof."""
        if proof not in self.proofs:
            raise ConfigError("the modem cannot prove this", found=proof.value)
        answer = await self._modem.command("AT+CPIN?")
        return not answer.ok

    async def close(self) -> None:
        """Release a port of our own; the modem's is the modem's. Never raises."""
        if self._lines is not None:
            self._lines.close()

    # -------------------------------------------------------------------------------------------------------- steps

    async def _cfun(self, level: int) -> None:
        answer = await self._modem.command(f"AT+CFUN={level}", _CFUN_SECONDS)
        if not answer.ok:
            raise TransportError("the modem does not switch", expected=f"OK to AT+CFUN={level}", found=answer.final)

    async def _pull_off(self) -> None:
        """Pull PWRKEY and wait for the last line, or for as long as it takes where the module says nothing."""
        times = self._dialect.power
        assert self._pwrkey is not None
        if self._on_since is not None:
            await asyncio.sleep(max(0.0, self._on_since + times.minimum_awake_s - clock.now()))
        down = asyncio.Event()
        modem = self._modem
        end: Callable[[], None] | None = None
        if isinstance(modem, LineWatch):
            modem.listening()
            end = modem.watch(lambda line: down.set() if line == times.down_urc else None)
        try:
            await self._pwrkey.pull((times.off_pull_ms or 0) / 1000)
            if end is None or times.down_urc is None:
                await asyncio.sleep(times.power_down_s)
                return
            async with asyncio.timeout(times.power_down_s):
                await down.wait()
        except TimeoutError as exc:
            raise DeviceTimeout(
                "the module does not say that it is down",
                expected=f"{times.down_urc} within {times.power_down_s:g} s of the pull",
                found="nothing of that",
                hint="is PWRKEY wired to this line, is it inverted?",
            ) from exc
        finally:
            if end is not None:
                end()

    async def _answers(self) -> bool:
        """Tell whether the module is on, as far as its port tells."""
        if isinstance(self._modem, LineWatch) and not self._modem.listening():
            return False
        try:
            return (await self._modem.command("AT", 2.0)).ok
        except (TransportError, DeviceTimeout):
            return False


class ModemPowerDriver:
    """A PowerDriver."""

    def open_power(self, spec: Mapping[str, Any], context: DriverContext) -> ModemPower:
        """Make the switch of the slot's modem (no I/O yet). Raises ConfigError."""
        where = f"slot {context.slot}: power"
        unknown_keys(spec, KEYS, where)
        if context.modem is None or not isinstance(context.dialect, Dialect):
            raise ConfigError("no modem to switch", where=where, expected="a modem table and a module in the slot")
        method = spec.get("method", "command")
        if method not in METHODS:
            raise ConfigError("method", where=where, expected=f"one of {', '.join(METHODS)}", found=repr(method))
        lines = PortLines(check_port_name(spec["port"])) if "port" in spec else None
        pins = {key: _pin(spec, key, lines or context.modem, where) for key in ("pwrkey", "reset")}
        _check(cast(Method, method), spec, context.dialect, context.modem, pins, where)
        return ModemPower(
            cast(Method, method),
            context.modem,
            context.dialect,
            pwrkey=pins["pwrkey"],
            reset=pins["reset"],
            lines=lines,
        )


def _pin(spec: Mapping[str, Any], key: str, lines: object, where: str) -> Pin | None:
    line = spec.get(key)
    if line is None:
        return None
    if line not in ("dtr", "rts"):
        raise ConfigError(key, where=where, expected='"dtr" or "rts"', found=repr(line))
    inverted = spec.get("inverted", False)
    if not isinstance(inverted, bool):
        raise ConfigError("inverted", where=where, expected="true or false", found=repr(inverted))
    if not isinstance(lines, ControlLines):
        raise ConfigError(key, where=where, expected="a port with control lines", found="none", hint="name a port")
    return Pin(lines, cast(Line, line), inverted=inverted)


def _check(
    method: Method,
    spec: Mapping[str, Any],
    dialect: Dialect,
    modem: ModemLink,
    pins: Mapping[str, Pin | None],
    where: str,
) -> None:
    """Raise ConfigError for a method that this module or this wiring does not have."""
    times, name = dialect.power, dialect.model
    autostart = spec.get("autostart", False)
    if not isinstance(autostart, bool):
        raise ConfigError("autostart", where=where, expected="true or false", found=repr(autostart))
    needs = {"pwrkey": ("off_pull_ms", "on_pull_ms"), "reset": ("reset_hold_ms",)}
    for key in needs:
        if (method == key or pins[key] is not None) and any(getattr(times, one) is None for one in needs[key]):
            raise ConfigError(
                key, where=where, expected=f"{' and '.join(needs[key])} of {name} in hw/modules", found="not known"
            )
        if method == key and pins[key] is None:
            raise ConfigError(key, where=where, expected=f'the line it hangs at: {key} = "dtr" or "rts"')
    if method == "command":
        if times.down_command is None or not isinstance(modem, PowersDown):
            raise ConfigError("method command", where=where, expected=f"down_command of {name}", found="not known")
        if pins["pwrkey"] is None and not autostart:
            text = 'pwrkey = "dtr" or "rts", or autostart = true for a module that starts by itself'
            raise ConfigError("who switches it on?", where=where, expected=text)


driver = ModemPowerDriver()
