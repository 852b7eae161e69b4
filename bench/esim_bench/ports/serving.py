"""Simulated slots that are given to other programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """How simulated slots are given to other programs."""

    folder: Path
    """An existing one for stable names of ports and the like."""
    name: str
    """Of the rack, for the names of its readers."""
    host: str = "127.0.0.1"
    """Address on which readers' cards wait for vpcd."""
    port: int = 0
    """The first of their ports; 0: free ones."""
    vpcd: Sequence[tuple[str, int]] = ()
    """Addresses of vpcds that listen: the cards connect to them, instead of waiting."""
    rate: float = 1.0
    """Seconds of the simulated devices in a real one."""


@dataclass(frozen=True, slots=True)
class Served:
    """Where other programs find a slot."""

    slot: str
    kind: Literal["reader", "port"]
    address: str
    """``host:port`` of the card's vpcd connection, or the stable path of the serial port."""
    name: str | None
    """What PC/SC calls the reader; the device node of the port now, None while it is not there."""
    powered: bool
    details: Mapping[str, str] = field(default_factory=dict)


class ServedRack(Protocol):
    """Simulated slots that other programs use now."""

    reader_config: str
    """Text for pcscd's reader.conf; empty without readers."""

    def served(self) -> Sequence[Served]:
        """Return where the slots are now, in the rack's order."""

    def act(self, slot: str, action: str, seconds: float | None = None) -> None:
        """Do something to a slot: on, off, cycle, unplug, insert, hang-up, power-key, reset.

        ``seconds``: how long the power is away, or a key pulled. Raises ConfigError for what makes no sense there.
        """

    def state(self, slot: str) -> tuple[int, Callable[[], bytes]]:
        """Return how often a card's memory was written, and what takes its snapshot."""

    async def close(self) -> None:
        """Take everything away; never raises."""
