"""Power with proof: a switch says "off", something else shows that the device has really lost its supply.

Hubs advertise switched ports and keep VBUS on, relays stick, the kernel powers a port again, a soldered module has a
supply of its own. So a cut counts when its proof was seen, and a cut without its proof is a ``PowerError``: the outcome
is ERROR, whatever the scenario made of the device that was never without power.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from esim_bench import clock
from esim_bench.data import Dialect
from esim_bench.errors import BenchError, DeviceError, PowerError
from esim_bench.events import EventSink, PowerAction, PowerEvent
from esim_bench.ports import CardLink, CardPresence, LineWatch, ModemLink, OrderlySwitch, PowersDown, PowerSwitch, Proof

SYSFS = Path("/sys")
OFF_SECONDS = 2.0
"""How long a power cycle leaves a slot dark, unless its rack file says otherwise."""
LOOK_SECONDS = 10.0
"""Longest that one look for a proof may take: a link that hangs must not hang the cut."""
SWITCH_SECONDS = 120.0
"""Longest that a switch may take for one request; a module's orderly power-down takes a minute."""


@dataclass(frozen=True, slots=True)
class PowerTiming:
    """Seconds: what the device needs, and how patient the bench is."""

    off_s: float = OFF_SECONDS
    """The least time without power: less may go unnoticed, or leave a device half dead."""
    on_s: float = 0.5
    """The least time with power before the next cut; cycles too fast make USB devices vanish."""
    proof_timeout_s: float = 10.0
    """How long the proof of a cut is waited for; boot lines are counted from power on."""
    poll_s: float = 0.1
    again_s: float = 1.5
    """After how long without the proof the switch is told again: the kernel powers ports that it knows on."""
    settle_s: float = 0.3
    """For how long the proof must stand before it counts: a re-enumeration looks like a cut for a moment."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """How one proof is looked for."""

    proof: Proof
    gone: Callable[[], Awaitable[bool]]
    """One look: is the device without power now?"""
    words: str
    """What is seen then: "the reader sees no card"."""


class ProvenPower:
    """A PowerControl. ``evidence`` is None for the proofs that a look cannot give: BOOT_URC and NONE.

    ``trouble`` keeps the first PowerError: who swallowed it while tidying up must not turn the run into a PASS.
    """

    def __init__(
        self,
        switch: PowerSwitch,
        sink: EventSink,
        *,
        proof: Proof,
        evidence: Evidence | None = None,
        boot: BootLines | None = None,
        timing: PowerTiming = PowerTiming(),
        name: str = "power",
    ) -> None:
        self.switch = switch
        self.proof = proof
        self.timing = timing
        self.trouble: PowerError | None = None
        self._sink = sink
        self._evidence = evidence
        self._boot = boot
        self._name = name
        self._off_since: float | None = None
        self._on_since: float | None = None
        self._unproven = False
        """A cut was made whose proof can only come with the power."""
        self._said_down = False

    @property
    def on_since(self) -> float | None:
        """Return when the power was switched on, by the loop's clock; None while that is not known."""
        return self._on_since if self._off_since is None else None

    @property
    def orderly(self) -> bool:
        """Tell whether the switch itself lets the module power down in order."""
        return isinstance(self.switch, OrderlySwitch) and self.switch.orderly

    @property
    def unproven(self) -> bool:
        """Tell whether a cut was made whose proof, the boot lines, can only come when the power is back."""
        return self._unproven

    def said_down(self) -> None:
        """Take it that the module said that it is down: before the next cut it may look gone already."""
        self._said_down = True

    # -------------------------------------------------------------------------------------------------------- off

    async def off(self) -> None:
        """Cut the power, and see it proven. Raises PowerError when the proof does not come.

        A proof that is there before the cut proves nothing, and is refused as well.
        """
        if self._off_since is not None:
            return
        if self._on_since is not None:
            await _until(self._on_since + self.timing.on_s)
        said, self._said_down = self._said_down, False
        if self._evidence is not None and not said and not await self._there(self._evidence):
            raise self._trouble(
                "the cut cannot be proven",
                expected=f"a device with power before it is cut, for the proof {self.proof.value}",
                found=self._evidence.words,
                hint="is it on and in its place; does the rack file name the right one?",
            )
        await self._switch_off()
        self._tell(PowerAction.OFF, self._name)
        self._off_since = clock.now()
        if self._evidence is not None:
            await self._wait_gone(self._evidence)
        elif self.proof is Proof.BOOT_URC:
            self._unproven = True

    async def _there(self, evidence: Evidence) -> bool:
        """Tell whether the device shows that it has power; one that was switched on just now gets its time."""
        while await self._look(evidence):
            if self._on_since is None or clock.now() >= self._on_since + self.timing.proof_timeout_s:
                return False
            await asyncio.sleep(self.timing.poll_s)
        return True

    async def _switch_off(self) -> None:
        try:
            async with asyncio.timeout(SWITCH_SECONDS):
                await self.switch.off()
        except (BenchError, TimeoutError) as exc:
            raise self._trouble(f"the switch did not switch off: {_said(exc)}") from exc

    async def _wait_gone(self, evidence: Evidence) -> None:
        """Wait until the proof stands, telling the switch again now and then; what is cut again was not cut before."""
        began = clock.now()
        deadline = began + self.timing.proof_timeout_s
        told, again, since = began, 0, None
        while True:
            now = clock.now()
            if not await self._look(evidence):
                since = None
                if now >= deadline:
                    break
                if now - told >= self.timing.again_s:
                    told, again = now, again + 1
                    await self._switch_off()
                    self._off_since = clock.now()
            elif since is None:
                since = now
            elif now - since >= self.timing.settle_s:
                repeated = f", asked {again + 1} times" if again else ""
                self._tell(PowerAction.PROOF, f"{evidence.words} after {since - began:.1f} s{repeated}")
                return
            await asyncio.sleep(self.timing.poll_s)
        self._off_since = None  # nobody knows
        raise self._trouble(
            "the power was switched off, but nothing proves that it is",
            expected=f"{evidence.words} within {self.timing.proof_timeout_s:g} s",
            found=f"it has power, although {self._name} was told {again + 1} times",
            hint="a hub that does not switch VBUS, a relay that sticks, a second supply, or the wrong port",
        )

    async def _look(self, evidence: Evidence) -> bool:
        """Look once. What cannot be looked at is not proven; what went wrong for good the timeout tells."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                return await evidence.gone()
        except (DeviceError, TimeoutError):
            return False

    # --------------------------------------------------------------------------------------------------------- on

    async def on(self) -> None:
        """Restore the power, after its least time without. Raises PowerError.

        With the proof BOOT_URC this waits for the first of the boot lines: they prove the cut before.
        """
        if self._off_since is not None:
            await _until(self._off_since + self.timing.off_s)
            if self._evidence is not None and not await self._look(self._evidence):
                await self._switch_on(None)
                raise self._trouble(
                    "the power came back by itself",
                    expected=f"{self._evidence.words} until the power is switched on",
                    found="a device with power",
                    hint="the kernel, or another program, powers the port again",
                )
        await self._switch_on(self._boot if self._unproven else None)

    async def _switch_on(self, boot: BootLines | None) -> None:
        heard = boot.begin() if boot is not None else None
        try:
            try:
                async with asyncio.timeout(SWITCH_SECONDS):
                    await self.switch.on()
            except (BenchError, TimeoutError) as exc:
                raise self._trouble(f"the switch did not switch on: {_said(exc)}") from exc
            self._tell(PowerAction.ON, self._name)
            self._off_since, self._on_since, self._unproven = None, clock.now(), False
            if heard is not None:
                line = await heard.first(self.timing.proof_timeout_s, self.timing.poll_s)
                if line is None:
                    raise self._trouble(
                        "the power was cut, but the module did not boot",
                        expected=f"{heard.names} within {self.timing.proof_timeout_s:g} s of power on",
                        found="no boot line" if heard.could_hear else "no port to hear it on",
                        hint="it has a supply of its own, or its boot lines go to another port",
                    )
                self._tell(PowerAction.PROOF, f"the module booted: {line}")
        finally:
            if heard is not None:
                heard.end()

    # ----------------------------------------------------------------------------------------------------- the rest

    async def close(self) -> None:
        """Release the switch, which stays as it is; never raises."""
        await self.switch.close()

    def _tell(self, action: PowerAction, detail: str) -> None:
        self._sink.emit(PowerEvent(clock.wall_ns(), action, detail))

    def _trouble(
        self, what: str, *, expected: str | None = None, found: str | None = None, hint: str | None = None
    ) -> PowerError:
        error = PowerError(what, where=self._name, expected=expected, found=found, hint=hint)
        if self.trouble is None:
            self.trouble = error
        return error


# -------------------------------------------------------------------------------------------------------- boot lines


class BootLines:
    """The lines that a module sends when it boots, and nothing else makes it send."""

    def __init__(self, watch: LineWatch, dialect: Dialect) -> None:
        self._watch = watch
        self.lines = boot_lines(dialect)
        self.names = " or ".join(self.lines)
        self._end: Callable[[], None] | None = None
        self._heard: str | None = None
        self._event = asyncio.Event()
        self.could_hear = False

    def begin(self) -> BootLines:
        """Listen from now on."""
        self._heard, self.could_hear = None, False
        self._event = asyncio.Event()
        self._end = self._watch.watch(self._on_line)
        return self

    async def first(self, seconds: float, poll_s: float) -> str | None:
        """Return the first boot line; None when none comes in time. A port that is gone is opened as it comes back."""
        deadline = clock.now() + seconds
        while self._heard is None and clock.now() < deadline:
            self.could_hear = self._watch.listening() or self.could_hear
            try:
                async with asyncio.timeout(min(poll_s, max(0.0, deadline - clock.now()))):
                    await self._event.wait()
            except TimeoutError:
                continue
        return self._heard

    def end(self) -> None:
        """Listen no more."""
        if self._end is not None:
            self._end()
            self._end = None

    def _on_line(self, line: str) -> None:
        if self._heard is None and line in self.lines:
            self._heard = line
            self._event.set()


def boot_lines(dialect: Dialect) -> tuple[str, ...]:
    """Return the lines that only a boot of the module brings; a SIM that restarts brings some of the others too."""
    sim = {urc.line for urc in dialect.sim.urcs}
    lines = dict.fromkeys(urc.line for urc in dialect.boot.urcs)
    return tuple(line for line in lines if line not in sim)


# ---------------------------------------------------------------------------------------------------------- evidence


def evidence_of(
    proof: Proof, switch: PowerSwitch, card: CardLink, usb: str | None = None, sysfs: Path | None = None
) -> Evidence | None:
    """Return how a proof is looked for: by the switch where it gives it itself. None for BOOT_URC and NONE.

    Raises PowerError for a proof that nothing of the slot can give (``rack check`` tells that earlier).
    """
    if proof in switch.proofs:
        return Evidence(proof, lambda: switch.is_off(proof), _BY_SWITCH.get(proof, proof.value))
    match proof:
        case Proof.CARD_GONE if isinstance(card, CardPresence):
            return Evidence(proof, lambda: _absent(card), "the reader sees no card")
        case Proof.USB_GONE if usb is not None:
            return Evidence(proof, lambda: _usb_gone(usb, sysfs or SYSFS), f"USB device {usb} is gone")
        case Proof.BOOT_URC | Proof.NONE:
            return None
    raise PowerError(
        "a proof that nothing of this slot can give", found=proof.value, hint="rack check tells which are possible"
    )


_BY_SWITCH = {
    Proof.CURRENT_BELOW: "the current is below that of a living device",
    Proof.CARD_GONE: "the card is without power",
    Proof.USB_GONE: "the USB device is gone",
}


async def _absent(card: CardPresence) -> bool:
    return not await card.present()


async def _usb_gone(path: str, sysfs: Path) -> bool:
    # Without the kernel's list of devices every device would look gone.
    devices = sysfs / "bus" / "usb" / "devices"
    return devices.is_dir() and not (devices / path).exists()


# ----------------------------------------------------------------------------------------------------------- orderly


async def say_goodbye(modem: ModemLink, sink: EventSink, awake_since: float | None) -> bool:
    """Power a module down in order before its supply is cut; return whether it has a command for that.

    Waits for its least time awake, and for its last line (POWERED DOWN). Raises PowerError when it does not come.
    """
    if not isinstance(modem, PowersDown):
        return False
    try:
        said = await modem.power_down(awake_since)
    except DeviceError as exc:
        raise PowerError(f"no orderly power-down: {_said(exc)}", hint="a deliberate cut needs --cold") from exc
    if said is None:
        return False
    detail = f"the module says {said}" if said else "the module had its time to power down"
    sink.emit(PowerEvent(clock.wall_ns(), PowerAction.PROOF, detail))
    return True


async def _until(moment: float) -> None:
    left = moment - clock.now()
    if left > 0:
        await asyncio.sleep(left)


def _said(exc: BaseException) -> str:
    return str(exc) or "no answer in time"
