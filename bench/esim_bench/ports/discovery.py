"""What drivers that look for devices find."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class FoundDevice:
    """One thing that is plugged in, as a driver found it."""

    kind: Literal["reader", "module", "port", "hub", "relay", "supply", "mux", "sniffer"]
    name: str
    """For people: model, reader name."""
    table: Mapping[str, Any]
    """The table of a rack file that opens it, ``driver`` included: ``{"driver": "pcsc", "reader": "usb:1-1.2"}``."""
    usb: str | None = None
    """Where it hangs: bus and ports, ``1-1.3``."""
    serial: str | None = None
    paths: tuple[str, ...] = ()
    """Device nodes that it is reached by now."""
    details: Mapping[str, str] = field(default_factory=dict)
    """What it said of itself: ATR, manufacturer, model, revision, imei, ports, ..."""
    trouble: str | None = None
    """Why it cannot be used now (no right, held by whom), with what to do."""


@runtime_checkable
class DiscoveringDriver(Protocol):
    """A driver that can look for its devices."""

    async def discover(self) -> Sequence[FoundDevice]:
        """Look around without disturbing anybody: nothing is reset, nothing in use is opened.

        Raises ConfigError when a library or service is missing, saying how to get it.
        """


@runtime_checkable
class PortProbingDriver(Protocol):
    """A driver that can ask on a port which nothing lists (a UART, a port over the network) who is there."""

    async def look(self, leave_alone: Callable[[FoundDevice], str | None]) -> Sequence[FoundDevice]:
        """Look around as ``discover`` does, but ask no port for which ``leave_alone`` returns why ("": no trouble)."""

    async def probe_port(
        self, port: str, leave_alone: Callable[[FoundDevice], str | None] = lambda port: None
    ) -> FoundDevice:
        """Ask one port, unless it is in use. Raises ConfigError for what is no port, TransportError: none there."""
