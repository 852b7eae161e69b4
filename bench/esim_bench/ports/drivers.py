"""What a driver opens for the rack, from which table of the rack file, and how it is found."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Protocol, TypeAlias, cast, runtime_checkable

from esim_bench.crypto.identity import EuiccIdentity
from esim_bench.crypto.randomness import Randomness
from esim_bench.errors import ConfigError
from esim_bench.events import EventSink
from esim_bench.ports.card import CardLink, FormFactor
from esim_bench.ports.discovery import DiscoveringDriver
from esim_bench.ports.modem import ModemLink
from esim_bench.ports.observing import Observer
from esim_bench.ports.power import PowerControl, PowerSwitch
from esim_bench.ports.serving import ServedRack, ServeSettings

DRIVER_GROUP = "esim_bench.drivers"


@dataclass(frozen=True, slots=True)
class PreloadedProfile:
    """A profile that a simulated card is born with."""

    metadata: bytes
    """StoreMetadataRequest (BF25)."""
    package: bytes
    """The unprotected profile package: concatenated profile elements."""
    enabled: bool


@dataclass(frozen=True, slots=True)
class DriverContext:
    """What the rack hands to a driver when it opens a part of a slot."""

    slot: str
    form_factor: FormFactor
    sink: EventSink
    rng: random.Random
    """The slot's own randomness for timing jitter and the like; seeded on simulated racks."""
    randomness: Randomness
    """The slot's source of challenges and keys."""
    dialect: Any = None
    """The module's row of hw/modules, an ``esim_bench.data.Dialect``, where the slot has a module."""
    modem: ModemLink | None = None
    """Power drivers only: the slot's modem, where it has one."""
    identity: EuiccIdentity | None = None
    """Simulated slots only: the eUICC's EID, key and certificates."""
    preload: Sequence[PreloadedProfile] = ()
    """Simulated slots only: profiles installed at the factory."""
    state: bytes | None = None
    """Simulated slots only: the card's NVM as ``SlotHardware.snapshot`` gave it, to go on from there."""


@dataclass(slots=True)
class SlotHardware:
    """The opened parts of a slot."""

    card: CardLink
    power: PowerControl
    modem: ModemLink | None = None
    snapshot: Callable[[], bytes] | None = None
    """Simulated slots only: the card's persistent memory, to be handed to ``DriverContext.state`` later."""
    extras: dict[str, Any] = field(default_factory=dict)
    """What a driver offers beyond the ports, by name (a simulated slot: ``sim``, its card)."""
    observers: list[Observer] = field(default_factory=list)
    """What listens beside the slot, from before its power comes on until it is closed."""


@runtime_checkable
class SlotDriver(Protocol):
    """A driver that opens a whole slot (simulated hardware)."""

    def open_slot(self, spec: Mapping[str, Any], context: DriverContext) -> SlotHardware:
        """Open all parts of a slot from its ``sim = {...}`` table. Raises ConfigError for an unusable table."""


@runtime_checkable
class CardDriver(Protocol):
    """A driver that opens a way to a card from a slot's ``card = {...}`` table."""

    def open_card(self, spec: Mapping[str, Any], context: DriverContext) -> CardLink:
        """Open the link (no I/O yet). Raises ConfigError for an unusable table."""


@runtime_checkable
class ModemDriver(Protocol):
    """A driver that opens a modem, and the card behind it, from a slot's ``modem = {...}`` table."""

    def open_modem(self, spec: Mapping[str, Any], context: DriverContext) -> tuple[ModemLink, CardLink]:
        """Open both (no I/O yet). Raises ConfigError for an unusable table."""


@runtime_checkable
class PowerDriver(Protocol):
    """A driver that switches power, from a slot's ``power = {...}`` table."""

    def open_power(self, spec: Mapping[str, Any], context: DriverContext) -> PowerSwitch:
        """Open the switch (no I/O yet). Raises ConfigError for an unusable table.

        ``spec`` holds the driver's own keys; ``proof``, ``proof_timeout_s``, ``off_s``, ``on_s`` and ``usb`` are the
        rack's.
        """


@runtime_checkable
class ObserverDriver(Protocol):
    """A driver that listens beside a slot, from an entry of its ``observe = [...]`` list."""

    def open_observer(self, spec: Mapping[str, Any], context: DriverContext) -> Observer:
        """Open the observer (no I/O yet). Raises ConfigError for an unusable table."""


@runtime_checkable
class ServingDriver(Protocol):
    """A driver that gives simulated slots to other programs, as readers and serial ports."""

    async def serve(
        self, slots: Sequence[tuple[Mapping[str, Any], DriverContext]], settings: ServeSettings
    ) -> ServedRack:
        """Make the slots (their ``sim = {...}`` tables), power them on. Raises ConfigError, TransportError."""


Driver: TypeAlias = (
    SlotDriver | CardDriver | ModemDriver | PowerDriver | ObserverDriver | DiscoveringDriver | ServingDriver
)


def load_driver(name: str) -> Driver:
    """Load a driver by its entry point name. Raises ConfigError when there is none of that name."""
    found = {point.name: point for point in entry_points(group=DRIVER_GROUP)}
    if name not in found:
        known = ", ".join(sorted(found)) or "none installed"
        raise ConfigError("unknown driver", expected=f"one of {known}", found=repr(name))
    return cast(Driver, found[name].load())
