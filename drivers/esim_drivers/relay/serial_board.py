"""Boards on a serial port: bytes out, and what they answer. Shared by all slots of a process on the same port."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from esim_bench.errors import DeviceTimeout, TransportError
from esim_bench.ports import ByteLink
from esim_drivers.at.serial_link import SerialLink

MOST_KEPT = 4096


class SerialBoard:
    """A port for short exchanges. Opened when first used, ours alone, opened anew after a loss."""

    def __init__(self, port: str, baud: int, opener: Callable[[], ByteLink] | None = None) -> None:
        self.name = port
        self._opener = opener or (lambda: SerialLink(port, baud=baud))
        self._link: ByteLink | None = None
        self._received = bytearray()
        self._event = asyncio.Event()
        self._lost: Exception | None = None
        self.lock = asyncio.Lock()
        """Held by who asks and waits for the answer."""

    def send(self, data: bytes) -> None:
        """Send bytes; what was received before is forgotten. Raises TransportError."""
        link = self._open()
        self._received.clear()
        link.write(data)

    async def answer(self, complete: Callable[[bytes], bool], timeout: float) -> bytes:
        """Return what was received since ``send``, once it is complete. Raises DeviceTimeout, TransportError."""
        try:
            async with asyncio.timeout(timeout):
                while not complete(bytes(self._received)):
                    if self._lost is not None:
                        raise TransportError("the serial port vanished", where=self.name, found=str(self._lost))
                    self._event.clear()
                    await self._event.wait()
        except TimeoutError as exc:
            found = bytes(self._received)
            raise DeviceTimeout(
                "no answer", where=self.name, expected=f"one within {timeout:g} s", found=repr(found) if found else None
            ) from exc
        return bytes(self._received)

    def _open(self) -> ByteLink:
        if self._link is None or self._lost is not None:
            self._lost = None
            self._link = self._opener()
            self._link.set_receiver(self._on_data, self._on_lost)
        return self._link

    def _on_data(self, data: bytes) -> None:
        self._received += data
        del self._received[:-MOST_KEPT]
        self._event.set()

    def _on_lost(self, reason: Exception | None) -> None:
        self._lost = reason or TransportError("end of file")
        self._event.set()

    async def close(self) -> None:
        """Close the port; never raises."""
        link, self._link = self._link, None
        if link is not None:
            link.close()
