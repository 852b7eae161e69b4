"""The parts of a slot, opened by their drivers: card, modem, power, observers."""

from __future__ import annotations

from dataclasses import replace

from esim_bench import data
from esim_bench.errors import ConfigError
from esim_bench.events import EventSink
from esim_bench.ports import (
    CardDriver,
    CardLink,
    DriverContext,
    ModemDriver,
    ModemLink,
    PowerControl,
    SlotDriver,
    SlotHardware,
    load_driver,
)
from esim_bench.rack.model import DriverTable, SlotSpec
from esim_bench.rack.observing import open_observers
from esim_bench.rack.power_plan import open_power
from esim_bench.rack.world import World


def context_of(spec: SlotSpec, world: World, sink: EventSink, state: bytes | None = None) -> DriverContext:
    """Return what the drivers of a slot are handed."""
    return DriverContext(
        slot=spec.name,
        form_factor=spec.form_factor,
        sink=sink,
        rng=world.rng(spec.name),
        randomness=world.randomness(spec.name),
        dialect=data.module(spec.module) if spec.module else None,
        identity=world.identity(spec.name) if spec.sim else None,
        preload=world.preload(spec) if spec.sim and state is None else (),
        state=state,
    )


def open_parts(spec: SlotSpec, context: DriverContext) -> SlotHardware:
    """Open card, modem, power and observers of a slot; no I/O yet. Raises ConfigError."""
    if spec.sim is not None:
        driver = load_driver("sim")
        if not isinstance(driver, SlotDriver):
            raise ConfigError("the driver cannot open a whole slot", expected="a SlotDriver", found="sim")
        return driver.open_slot(spec.sim.model_dump(), context)
    modem: ModemLink | None = None
    card: CardLink | None = None
    if spec.modem is not None:
        driver = load_driver(spec.modem.driver)
        if not isinstance(driver, ModemDriver):
            raise _wrong_kind(spec.modem, "modem")
        modem, card = driver.open_modem(spec.modem.settings(), context)
    if spec.card is not None:
        driver = load_driver(spec.card.driver)
        if not isinstance(driver, CardDriver):
            raise _wrong_kind(spec.card, "card")
        card = driver.open_card(spec.card.settings(), context)
    if card is None:
        raise ConfigError("no way to the card", where=spec.name, expected="a card, modem or sim table")
    power: PowerControl = NoPower()
    if spec.power is not None:
        power = open_power(spec, spec.power, replace(context, modem=modem), card, modem)
    observers = open_observers(spec, replace(context, modem=modem))
    return SlotHardware(card=card, power=power, modem=modem, observers=observers)


def _wrong_kind(table: DriverTable, part: str) -> ConfigError:
    return ConfigError(f"the driver cannot serve as {part}", expected=f"a driver of a {part}", found=repr(table.driver))


class NoPower:
    """The power of a slot that nobody switches: it is on."""

    async def on(self) -> None:
        """Do nothing: the supply is on."""

    async def off(self) -> None:
        """Refuse. Raises ConfigError."""
        raise ConfigError("this slot's power cannot be switched", expected="a power table in the rack file")

    async def close(self) -> None:
        """Do nothing."""
