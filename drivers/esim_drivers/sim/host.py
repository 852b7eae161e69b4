"""The driver ``sim``: whole simulated slots. Form factor and module decide how the card is reached.

Without a module the card sits in a reader; with one it sits behind a modem of that module's dialect, which the real AT
driver speaks to. The devices are sans-IO; here they get time (the running loop's), wires and power.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pydantic import ValidationError

from esim_bench import clock
from esim_bench.data import Dialect, Quirks
from esim_bench.errors import ConfigError
from esim_bench.events import EventSink, PowerAction, PowerEvent
from esim_bench.ports import CardLink, DriverContext, ModemLink, ServeSettings, SlotHardware
from esim_drivers.at import AtCard, AtModem
from esim_drivers.sim.card import SimCard
from esim_drivers.sim.iot.standards import CONSUMER, NAMES, Standards
from esim_drivers.sim.modem import SimModem
from esim_drivers.sim.nvm import Nvm
from esim_drivers.sim.personality import personality
from esim_drivers.sim.reader import SimReader
from esim_drivers.sim.serving import SimRack, check_folder
from esim_drivers.sim.wire import Wire

KEYS = ("personality", "profile", "rsp", "quirks")
RSP = (CONSUMER,)
"""The standards of a slot that says nothing of them."""
PROOF_SECONDS = 0.12
"""How long it takes until a loss of power is seen."""
TAC = "35290611"


class Supplied(Protocol):
    """Something that has power or not."""

    def power_on(self) -> None:
        """Have power; nothing happens when it has it already."""

    def power_off(self) -> None:
        """Have none, from this instant."""


class SimPower:
    """The power of a simulated slot. Modem, reader and card lose it at the instant of the call."""

    def __init__(self, device: Supplied, sink: EventSink, *, proof_off: str) -> None:
        self._device = device
        self._sink = sink
        self._proof_off = proof_off

    async def off(self) -> None:
        """Cut the power, cold."""
        self._device.power_off()
        self._tell(PowerAction.OFF)
        await asyncio.sleep(PROOF_SECONDS)
        self._tell(PowerAction.PROOF, self._proof_off)

    async def on(self) -> None:
        """Restore the power; the device boots after this returns."""
        self._tell(PowerAction.ON)
        self._device.power_on()

    async def close(self) -> None:
        """Release nothing: the power stays as it is."""

    def proven_on(self, detail: str) -> None:
        """Take the proof that the device has power: it was heard of."""
        self._tell(PowerAction.PROOF, detail)

    def _tell(self, action: PowerAction, detail: str = "") -> None:
        self._sink.emit(PowerEvent(clock.wall_ns(), action, detail))


class SimDriver:
    """A SlotDriver and a ServingDriver."""

    def open_slot(self, spec: Mapping[str, Any], context: DriverContext) -> SlotHardware:
        """Make a simulated slot, without power. Raises ConfigError for an unusable table."""
        card = make_card(spec, context)
        dialect = dialect_of(spec, context)
        if dialect is None:
            return self._in_reader(card, context)
        return self._behind_modem(card, dialect, context)

    async def serve(self, slots: Sequence[tuple[Mapping[str, Any], DriverContext]], settings: ServeSettings) -> SimRack:
        """Give slots to other programs, powered on. Raises ConfigError, TransportError."""
        check_folder(settings.folder)
        made = []
        for spec, context in slots:
            made.append((make_card(spec, context), dialect_of(spec, context), context))
        rack = SimRack(settings)
        try:
            for card, dialect, context in made:
                if dialect is None:
                    rack.add_card(card, context)
                else:
                    modem = SimModem(dialect, card, rng=context.rng, imei=imei_of(card.identity.eid))
                    rack.add_modem(card, modem, context)
            rack.start()
        except BaseException:
            await rack.close()
            raise
        return rack

    def _in_reader(self, card: SimCard, context: DriverContext) -> SlotHardware:
        reader = SimReader(card, context.sink, context.rng, removable=card.personality.removable)
        power = SimPower(reader, context.sink, proof_off="card gone")
        hardware = _hardware(card, reader, power)
        if context.form_factor.removable:
            hardware.extras["hand"] = reader
        return hardware

    def _behind_modem(self, card: SimCard, dialect: Dialect, context: DriverContext) -> SlotHardware:
        device = SimModem(dialect, card, rng=context.rng, imei=imei_of(card.identity.eid))
        wire = Wire(device, lambda: power.proven_on("the modem's port speaks"))
        power = SimPower(wire, context.sink, proof_off="the modem's port is gone")
        modem = AtModem(wire.open, dialect, context.sink)
        hardware = _hardware(card, AtCard(modem, context.sink), power, modem)
        hardware.extras["sim_modem"] = device
        hardware.extras["sim_wire"] = wire
        if context.form_factor.removable:
            hardware.extras["hand"] = wire
        return hardware


driver = SimDriver()


def _hardware(card: SimCard, link: CardLink, power: SimPower, modem: ModemLink | None = None) -> SlotHardware:
    return SlotHardware(card=link, power=power, modem=modem, snapshot=lambda: card.nvm.snapshot(), extras={"sim": card})


def dialect_of(spec: Mapping[str, Any], context: DriverContext) -> Dialect | None:
    """Return the dialect of a slot's module with the quirks of the slot's own; None without a module.

    Raises ConfigError.
    """
    dialect, own = context.dialect, spec.get("quirks") or {}
    if dialect is None:
        return None
    if not isinstance(dialect, Dialect):
        raise ConfigError("unusable module", where=context.slot, expected="a dialect", found=type(dialect).__name__)
    if not own:
        return dialect
    try:
        quirks = Quirks.model_validate({**dialect.quirks.model_dump(), **own})
    except ValidationError as exc:
        raise ConfigError("unusable quirks", where=f"slot {context.slot}: sim", found=str(exc)) from exc
    return dialect.model_copy(update={"quirks": quirks})


def make_card(spec: Mapping[str, Any], context: DriverContext) -> SimCard:
    """Make the card of a simulated slot, without power. Raises ConfigError for an unusable table."""
    where = f"slot {context.slot}: sim"
    for key in spec:
        if key not in KEYS:
            raise ConfigError("unknown key", where=where, expected=f"one of {', '.join(KEYS)}", found=repr(key))
    rsp = spec.get("rsp", RSP)
    if isinstance(rsp, str):
        raise ConfigError("rsp", where=where, expected=f"a list of {', '.join(NAMES)}", found=repr(rsp))
    try:
        standards = Standards.of(rsp)
    except ConfigError as exc:
        raise ConfigError(exc.what, where=where, expected=exc.expected, found=exc.found) from exc
    if context.identity is None:
        raise ConfigError("no identity for the simulated eUICC", where=where, expected="EID, keys and certificates")
    return SimCard(
        identity=context.identity,
        personality=personality(str(spec.get("personality", "standard"))),
        randomness=context.randomness,
        preload=context.preload,
        form_factor=context.form_factor,
        nvm=Nvm.restore(context.state) if context.state is not None else None,
        standards=standards,
    )


def imei_of(eid: bytes) -> str:
    """Return an IMEI that belongs to an EID: type allocation code, six digits, Luhn digit (TS 23.003 6.2.1)."""
    serial = int.from_bytes(hashlib.sha256(b"imei" + eid).digest()[:8], "big") % 1_000_000
    digits = f"{TAC}{serial:06d}"
    total = sum(sum(divmod(int(digit) * (1 + place % 2), 10)) for place, digit in enumerate(digits))
    return f"{digits}{-total % 10}"
