"""One channel of a SCPI supply: switched, measured, ramped, browned out."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from esim_bench import clock
from esim_bench.errors import ConfigError, PowerError, ProtocolError
from esim_bench.ports import Proof
from esim_drivers.scpi.visa import Instrument
from esim_drivers.usb_device import unknown_keys

KEYS = (
    *("resource", "library", "baud", "channel", "channels", "volts", "amps", "max_volts", "off_below_a", "meter"),
    *("ramp_on_s", "ramp_off_s", "verify"),
)
STEP_SECONDS = 0.05
"""Between two voltages of a ramp; supplies take some 10 ms for each."""
OFF_BELOW = 0.001
"""Amperes: a module that sleeps takes as little, one that lives takes more."""
Style = Literal["plain", "select", "list", "name"]
STYLES = ("plain", "select", "list", "name")


@dataclass(frozen=True, slots=True)
class SupplySettings:
    """A ``power`` table of the driver ``scpi``; volts, amperes, seconds."""

    resource: str
    library: str
    baud: int | None
    channel: int | None
    style: Style
    """How a channel is named: not at all, by INST:NSEL before, by a list (@1) after, by CH1."""
    volts: float | None
    amps: float | None
    max_volts: float | None
    off_below_a: float
    meter: bool
    verify: bool
    """Whether the supply answers OUTP?."""
    ramp_on_s: float
    ramp_off_s: float

    @classmethod
    def read(cls, spec: Mapping[str, Any], where: str) -> SupplySettings:
        """Read a table. Raises ConfigError."""
        unknown_keys(spec, KEYS, where)
        resource = spec.get("resource")
        if not isinstance(resource, str) or "::" not in resource:
            raise ConfigError(
                "resource",
                where=where,
                expected='a VISA name, as "TCPIP::10.0.0.5::5025::SOCKET"',
                found=repr(resource),
            )
        library = spec.get("library", "@py")
        if not isinstance(library, str) or not library:
            raise ConfigError("library", where=where, expected='"@py", or what PyVISA has', found=repr(library))
        channel = _whole(spec.get("channel"), "channel", where)
        style = spec.get("channels", "plain" if channel is None else "select")
        if style not in STYLES or (style == "plain") is not (channel is None):
            text = f"one of {', '.join(STYLES)}: plain without a channel, another with one"
            raise ConfigError("channels", where=where, expected=text, found=repr(style))
        volts = _number(spec.get("volts"), "volts", where)
        limit = _number(spec.get("max_volts", volts), "max_volts", where)
        if volts is not None and limit is not None and volts > limit:
            raise ConfigError("volts", where=where, expected=f"at most max_volts, {limit:g}", found=volts)
        ramps = [_number(spec.get(key, 0.0), key, where) or 0.0 for key in ("ramp_on_s", "ramp_off_s")]
        if any(ramps) and volts is None:
            raise ConfigError("a ramp needs volts", where=where, expected="volts = 3.8 or the like")
        return cls(
            resource=resource,
            library=library,
            baud=_whole(spec.get("baud"), "baud", where),
            channel=channel,
            style=cast(Style, style),
            volts=volts,
            amps=_number(spec.get("amps"), "amps", where),
            max_volts=limit,
            off_below_a=_number(spec.get("off_below_a", OFF_BELOW), "off_below_a", where) or OFF_BELOW,
            meter=_flag(spec.get("meter", True), "meter", where),
            verify=_flag(spec.get("verify", True), "verify", where),
            ramp_on_s=ramps[0],
            ramp_off_s=ramps[1],
        )

    @property
    def key(self) -> str:
        """Return what slots on one instrument have in common."""
        return f"{self.library}|{self.baud or ''}|{self.resource}"


class ScpiSupply:
    """A PowerSwitch and a Supply: one channel. ``take`` gives the instrument at the first use, ``release`` back."""

    def __init__(
        self, settings: SupplySettings, take: Callable[[], Instrument], release: Callable[[], Awaitable[None]]
    ) -> None:
        self.settings = settings
        self._take = take
        self._release = release
        self._instrument: Instrument | None = None

    @property
    def proofs(self) -> frozenset[Proof]:
        """Return CURRENT_BELOW where the supply measures."""
        return frozenset((Proof.CURRENT_BELOW,) if self.settings.meter else ())

    @property
    def name(self) -> str:
        """Return the supply and its channel, for messages."""
        channel = self.settings.channel
        return self.settings.resource + (f" channel {channel}" if channel is not None else "")

    # -------------------------------------------------------------------------------------------------- PowerSwitch

    async def off(self) -> None:
        """Switch the output off, by a ramp where the rack file says so. Raises PowerError, TransportError."""
        if self.settings.ramp_off_s and self.settings.volts is not None:
            await self.ramp(self.settings.volts, 0.0, self.settings.ramp_off_s)
        await self._output(on=False)

    async def on(self) -> None:
        """Set voltage and current limit as the rack file says, then switch the output on. Raises as ``off``."""
        volts = self.settings.volts
        ramped = bool(self.settings.ramp_on_s) and volts is not None
        if self.settings.amps is not None:
            await self._do("CURR", f"{self.settings.amps:g}")
        if volts is not None:
            await self._do("VOLT", "0" if ramped else f"{volts:g}")
        await self._output(on=True)
        if ramped and volts is not None:
            await self.ramp(0.0, volts, self.settings.ramp_on_s)

    async def _output(self, *, on: bool) -> None:
        await self._do("OUTP", "ON" if on else "OFF")
        if not self.settings.verify:
            return
        answer = await self._ask("OUTP?")
        if answer.upper() not in (("1", "ON") if on else ("0", "OFF")):
            raise PowerError(
                "the output does not switch", where=self.name, expected="ON" if on else "OFF", found=answer
            )

    async def is_off(self, proof: Proof) -> bool:
        """Tell whether the current is that of nothing. Raises ConfigError for another proof."""
        if proof not in self.proofs:
            raise ConfigError("the supply cannot prove this", where=self.name, found=proof.value)
        return abs(await self.measure_current()) < self.settings.off_below_a

    async def close(self) -> None:
        """Release the supply, which stays as it is; never raises."""
        if self._instrument is not None:
            self._instrument = None
            await self._release()

    # ------------------------------------------------------------------------------------------------------- Supply

    async def set_voltage(self, volts: float) -> None:
        """Set the voltage. Raises PowerError beyond ``max_volts`` or below 0, TransportError."""
        self._check(volts)
        await self._do("VOLT", f"{volts:g}")

    async def measure_current(self) -> float:
        """Measure the current, in amperes. Raises ProtocolError for what is no number."""
        return self._as_number(await self._ask("MEAS:CURR?"))

    async def measure(self) -> tuple[float, float]:
        """Measure amperes and volts. Raises as ``measure_current``."""
        return await self.measure_current(), self._as_number(await self._ask("MEAS:VOLT?"))

    async def ramp(self, start: float, end: float, seconds: float) -> None:
        """Go from one voltage to another in small steps. A supply that is slower than the steps leaves some out."""
        self._check(start)
        self._check(end)
        began = clock.now()
        while (passed := clock.now() - began) < seconds:
            await self.set_voltage(round(start + (end - start) * passed / seconds, 3))
            await asyncio.sleep(min(STEP_SECONDS, max(0.0, began + seconds - clock.now())))
        await self.set_voltage(end)

    async def brown_out(self, volts: float, seconds: float) -> None:
        """Lower the voltage for a while, then restore what it was, also when this is cancelled or fails."""
        self._check(volts)
        before = self._as_number(await self._ask("VOLT?"))
        try:
            await self.set_voltage(volts)
            await asyncio.sleep(seconds)
        finally:
            await self.set_voltage(before)

    def _check(self, volts: float) -> None:
        limit = self.settings.max_volts
        if not 0.0 <= volts <= (math.inf if limit is None else limit):
            at_most = f"0 to {limit:g} V (max_volts)" if limit is not None else "0 V or more"
            raise PowerError("a voltage beyond the limit of the slot", where=self.name, expected=at_most, found=volts)

    def _as_number(self, answer: str) -> float:
        try:
            value = float(answer.rstrip("AVav "))
        except ValueError:
            value = math.nan
        # 9.9E37 is SCPI's infinity, 9.91E37 its "not a number" (SCPI-99 7.2.1).
        if not math.isfinite(value) or abs(value) > 1e37:
            raise ProtocolError("not a measurement", where=self.name, expected="a number", found=repr(answer))
        return value

    # ----------------------------------------------------------------------------------------------------- commands

    async def _do(self, head: str, value: str) -> None:
        await self._open().do(self.commands(head, value))

    async def _ask(self, question: str) -> str:
        before, text = self.question(question)
        return await self._open().ask(text, before)

    def commands(self, head: str, value: str) -> Sequence[str]:
        """Return the commands that set something of the channel, in the supply's style."""
        channel = self.settings.channel
        match self.settings.style:
            case "select":
                return (f"INST:NSEL {channel}", f"{head} {value}")
            case "list":
                return (f"{head} {value},(@{channel})",)
            case "name":
                return (f"OUTP CH{channel},{value}",) if head == "OUTP" else (f"CH{channel}:{head} {value}",)
        return (f"{head} {value}",)

    def question(self, question: str) -> tuple[Sequence[str], str]:
        """Return a question to the channel, in the supply's style: what is sent before, and the question."""
        channel = self.settings.channel
        match self.settings.style:
            case "select":
                return (f"INST:NSEL {channel}",), question
            case "list":
                return (), f"{question} (@{channel})"
            case "name":
                return (), f"CH{channel}:VOLT?" if question == "VOLT?" else f"{question} CH{channel}"
        return (), question

    def _open(self) -> Instrument:
        if self._instrument is None:
            self._instrument = self._take()
        return self._instrument


def _number(value: object, key: str, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1000:
        return float(value)
    raise ConfigError(key, where=where, expected="a number, from 0", found=repr(value))


def _flag(value: object, key: str, where: str) -> bool:
    if isinstance(value, bool):
        return value
    raise ConfigError(key, where=where, expected="true or false", found=repr(value))


def _whole(value: object, key: str, where: str) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise ConfigError(key, where=where, expected="a number, from 1", found=repr(value))
