"""What listens beside the bench's own links."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from esim_bench.errors import BenchError


class Observer(Protocol):
    """Something that listens beside the bench's own links (a sniffer, a debug UART, a meter), and tells the sink."""

    async def start(self) -> None:
        """Begin to listen. Raises TransportError, DeviceTimeout."""

    async def stop(self) -> None:
        """End, tell what is still buffered, release the device; never raises."""


@runtime_checkable
class LosesDevice(Protocol):
    """What an observer offers beside ``Observer`` when its device may vanish while it listens."""

    @property
    def trouble(self) -> BenchError | None:
        """Return why it has not heard what it should; None as long as all is well."""
