"""The driver ``simtrace``: ``observe = [ { driver = "simtrace", usb = "1-1.4" } ]``.

Keys: ``usb`` (bus and ports) or ``serial``; neither where there is only one. SIMtrace2 with the sniffer firmware
listens between a module and its card; what it hears is told as ``SniffedApduEvent`` and ``SniffEvent``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from esim_bench import clock
from esim_bench.errors import BenchError, ConfigError, DeviceError
from esim_bench.events import EventSink, MarkEvent
from esim_bench.ports import DriverContext, FoundDevice
from esim_drivers.simtrace.device import READ_MS, Backend, Sniffer, place, serial_of, sniffers
from esim_drivers.simtrace.ear import Ear
from esim_drivers.simtrace.messages import Splitter
from esim_drivers.usb_device import path_of, unknown_keys
from esim_drivers.worker import Worker

KEYS: Final = ("usb", "serial")
_OPEN_S: Final = 10.0
_READ_S: Final = READ_MS / 1000 + 5.0
"""A read of libusb ends by itself; one that does not is given up."""
_CLOSE_S: Final = 2.0
_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 10.0


class SimtraceObserver:
    """Listens by one sniffer until it is stopped; one that is lost is opened again when it is back."""

    def __init__(self, usb: str | None, serial: str | None, sink: EventSink, backend: Backend | None = None) -> None:
        self.trouble: BenchError | None = None
        """Why not everything was heard: the first loss of the sniffer."""
        self._usb, self._serial, self._backend = usb, serial, backend
        self._sink = sink
        self._source = f"simtrace {f'usb:{usb}' if usb else serial or ''}".rstrip()
        self._ear = Ear(self._source)
        self._worker: Worker | None = None
        self._sniffer: Sniffer | None = None
        self._task: asyncio.Task[None] | None = None
        self._ending = asyncio.Event()

    async def start(self) -> None:
        """Open the sniffer and listen. Raises TransportError, DeviceTimeout, ConfigError (no libusb)."""
        await self._open()
        self._task = asyncio.create_task(self._listen(), name=self._source)

    async def stop(self) -> None:
        """End, say what was heard in all, release the device; never raises."""
        task, self._task = self._task, None
        self._ending.set()
        if task is not None:
            # It ends by itself after the read under way, so that nothing is lost that was heard.
            await asyncio.wait((task,), timeout=_READ_S)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            self._mark(self._ear.summary())
        await self._close()

    async def _open(self) -> None:
        await self._close()
        self._worker = Worker(self._source)
        try:
            self._sniffer = await self._worker.run(self._make, timeout=_OPEN_S)
        except BaseException:
            await self._close()
            raise

    def _make(self) -> Sniffer:
        return Sniffer(usb=self._usb, serial=self._serial, backend=self._backend)

    async def _close(self) -> None:
        worker, self._worker = self._worker, None
        sniffer, self._sniffer = self._sniffer, None
        if worker is None:
            return
        if sniffer is not None and not worker.closed:
            with contextlib.suppress(DeviceError):
                await worker.run(sniffer.close, timeout=_CLOSE_S)
        worker.close()

    async def _listen(self) -> None:
        while True:
            try:
                await self._hear()
                return
            except DeviceError as exc:
                self.trouble = self.trouble or exc
                self._ear.interrupted()
                self._mark(f"{self._source}: lost, nothing is heard from now on: {exc}")
                if not await self._reopened():
                    return

    async def _hear(self) -> None:
        """Tell what comes, until the device is lost. Raises DeviceError."""
        splitter = Splitter()
        lost = 0
        ending = False
        while not ending and self._worker is not None and self._sniffer is not None:
            # One read more after the end was asked for: it takes what the device still holds.
            ending = self._ending.is_set()
            data = await self._worker.run(self._sniffer.read, timeout=_READ_S)
            at_ns = clock.wall_ns()
            for message in splitter.feed(data):
                for event in self._ear.feed(message, at_ns):
                    self._sink.emit(event)
            if splitter.lost > lost:
                self._mark(f"{self._source}: {splitter.lost - lost} bytes from the sniffer are no message")
                lost = splitter.lost

    async def _reopened(self) -> bool:
        """Open the device as soon as it is back; False when the end comes before that."""
        wait = _FIRST_WAIT_S
        while not await self._ends_within(wait):
            try:
                await self._open()
            except BenchError:
                wait = min(2 * wait, _LONGEST_WAIT_S)
                continue
            self._mark(f"{self._source}: back, listening again")
            return True
        return False

    async def _ends_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ending.wait()
        return self._ending.is_set()

    def _mark(self, text: str) -> None:
        self._sink.emit(MarkEvent(clock.wall_ns(), text))


class SimtraceDriver:
    """Opens and finds sniffers; ``backend`` stands in for libusb in tests."""

    def __init__(self, backend: Backend | None = None) -> None:
        self._backend = backend

    def open_observer(self, spec: Mapping[str, Any], context: DriverContext) -> SimtraceObserver:
        """Open an observer (no I/O yet). Raises ConfigError for unknown or unusable keys."""
        unknown_keys(spec, KEYS, f"slot {context.slot}: observe")
        usb, serial = spec.get("usb"), spec.get("serial")
        if serial is not None and (not isinstance(serial, str) or not serial or usb is not None):
            raise ConfigError("which sniffer?", expected="usb, or serial (a text)", found=f"{usb!r}, {serial!r}")
        return SimtraceObserver(place(usb) if usb is not None else None, serial, context.sink, self._backend)

    async def discover(self) -> Sequence[FoundDevice]:
        """Look for sniffers; none is opened. Raises ConfigError without libusb, DeviceTimeout."""
        worker = Worker("simtrace discovery")
        try:
            found = await worker.run(sniffers, self._backend, timeout=_OPEN_S)
        finally:
            worker.close()
        return [
            FoundDevice(
                kind="sniffer",
                name="SIMtrace2",
                table={"driver": "simtrace", "usb": path_of(device)},
                usb=path_of(device),
                serial=serial_of(device),
            )
            for device in found
        ]


driver = SimtraceDriver()
