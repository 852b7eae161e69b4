"""What switches power, and what proves that it is off."""

from __future__ import annotations

from enum import Enum
from typing import Protocol, runtime_checkable


class PowerControl(Protocol):
    """Power of one slot. Each change is proven as the rack file says; the proof is told to the slot's sink."""

    async def off(self) -> None:
        """Cut the power, cold. Raises PowerError when the proof does not come."""

    async def on(self) -> None:
        """Restore the power; returns when the supply is on, not when the device has booted.

        Raises PowerError: the supply does not come on, or the device shows that it had not been off.
        """

    async def close(self) -> None:
        """Release the switch, which stays as it is; never raises."""


class Proof(Enum):
    """What shows that a device has really lost its power. Hubs and relays say "off" while the supply stays."""

    CARD_GONE = "card-gone"
    """The reader sees no card any more, or is gone itself."""
    USB_GONE = "usb-gone"
    """The USB device at the slot's place is gone."""
    BOOT_URC = "boot-urc"
    """After the power came back the modem's boot lines came: it was off."""
    CURRENT_BELOW = "current-below"
    """A meter shows less current than a device takes that lives."""
    NONE = "none"
    """Nobody looks; the operator has decided that this is enough."""


@runtime_checkable
class PowerSwitch(Protocol):
    """What a power driver opens: a switch, nothing more. Whether the device lost its power is proven beside it."""

    @property
    def proofs(self) -> frozenset[Proof]:
        """Return the proofs that the switch itself can give (a supply that measures: CURRENT_BELOW)."""

    async def off(self) -> None:
        """Switch off. Raises TransportError (gone, refused), DeviceTimeout."""

    async def on(self) -> None:
        """Switch on. Raises TransportError, DeviceTimeout."""

    async def is_off(self, proof: Proof) -> bool:
        """Look once whether a proof of ``proofs`` is there now. Raises TransportError, DeviceTimeout."""

    async def close(self) -> None:
        """Release the device, which stays as it is; never raises."""


@runtime_checkable
class OrderlySwitch(PowerSwitch, Protocol):
    """A switch that is the module itself."""

    @property
    def orderly(self) -> bool:
        """Tell whether ``off`` lets the module power down in order: nobody else needs to ask it for that."""


@runtime_checkable
class Supply(PowerSwitch, Protocol):
    """A switch that is a supply: it sets a voltage and measures a current."""

    async def set_voltage(self, volts: float) -> None:
        """Set the voltage, output on or off. Raises PowerError for one beyond its limit, TransportError."""

    async def measure_current(self) -> float:
        """Measure the current now, in amperes. Raises TransportError, DeviceTimeout, ProtocolError."""

    async def ramp(self, start: float, end: float, seconds: float) -> None:
        """Go from one voltage to another in small steps that take ``seconds`` together; the output is on."""

    async def brown_out(self, volts: float, seconds: float) -> None:
        """Lower the voltage for ``seconds``, then restore what it was, also when this is cancelled."""
