"""USB devices by pyusb: found by where they hang, opened on a worker when first used, opened anew after a loss.

Where a device hangs is named as the kernel does: ``1-1.3`` is port 3 of the hub at port 1 of bus 1, ``usb1`` its root.
"""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Any, Generic, TypeVar

from esim_bench.errors import BenchError, ConfigError, DeviceTimeout, ProtocolError, TransportError
from esim_drivers.worker import Worker

T = TypeVar("T")

PATH = re.compile(r"^(usb\d+|\d+-\d+(\.\d+)*)$")
CALL_SECONDS = 10.0
"""When a call into libusb is given up; its own transfers end after a second or five."""
TRANSFER_MS = 1000
_UDEV = "hw/udev has rules that give the right; or run as root"


def path_of(device: Any) -> str:
    """Return where a device of pyusb hangs."""
    ports = tuple(device.port_numbers or ())
    return f"{device.bus}-{'.'.join(map(str, ports))}" if ports else f"usb{device.bus}"


def check_path(value: object, where: str, key: str) -> str:
    """Return a place of the rack file. Raises ConfigError."""
    if isinstance(value, str) and PATH.match(value):
        return value
    raise ConfigError(
        f"{key}: not a place on a USB bus", where=where, expected="bus and ports, as 1-1.3", found=repr(value)
    )


def all_devices(backend: Any = None) -> list[Any]:
    """Return all devices that pyusb sees now; nothing is opened. Raises ConfigError when there is no libusb."""
    try:
        import usb.core
    except ImportError as exc:
        raise ConfigError("pyusb is not installed", hint="pip install pyusb") from exc
    try:
        return list(usb.core.find(find_all=True, backend=backend))
    except usb.core.NoBackendError as exc:
        raise ConfigError("libusb is not there", hint="apt install libusb-1.0-0") from exc
    except usb.core.USBError as exc:
        raise bench_error(exc, "USB") from exc


def one_at(path: str, backend: Any = None) -> Any:
    """Return the device at a place. Raises TransportError when nothing hangs there, ConfigError without libusb."""
    for device in all_devices(backend):
        if path_of(device) == path:
            return device
    raise TransportError("no such USB device", where=path, hint="is it plugged in there? rack discover lists devices")


def bench_error(exc: Exception, where: str) -> BenchError:
    """Return what an exception of pyusb means."""
    number = getattr(exc, "errno", None)
    text = getattr(exc, "strerror", None) or str(exc)
    match number:
        case errno.ETIMEDOUT:
            return DeviceTimeout("no answer to a USB transfer", where=where, found=text)
        case errno.EPIPE:
            return ProtocolError("the USB device refuses a request", where=where, found=text)
        case errno.ENODEV | errno.ENOENT | errno.EIO | errno.ENXIO:
            return TransportError("the USB device vanished", where=where, found=text)
        case errno.EACCES | errno.EPERM:
            return TransportError("no right to open the USB device", where=where, found=text, hint=_UDEV)
        case errno.EBUSY:
            return TransportError("the USB device is held by another program or driver", where=where, found=text)
    return TransportError("a USB transfer failed", where=where, found=text)


class UsbDevice:
    """One device, found by ``find`` at the first use, and again after it vanished or hung. All on one worker."""

    def __init__(self, name: str, find: Callable[[], Any]) -> None:
        self.name = name
        self._find = find
        self._worker: Worker | None = None
        self._device: Any = None

    async def run(self, call: Callable[[Any], T], timeout: float | None = None) -> T:
        """Run a call with the pyusb device on the worker. Raises TransportError, DeviceTimeout, ProtocolError."""
        return await self._fresh().run(self._call, call, timeout=timeout or CALL_SECONDS)

    async def run_plain(self, call: Callable[[], T], timeout: float | None = None) -> T:
        """Run a call on the worker, without opening the device."""
        return await self._fresh().run(call, timeout=timeout or CALL_SECONDS)

    def _fresh(self) -> Worker:
        if self._worker is None or self._worker.closed:
            self._worker, self._device = Worker(self.name), None
        return self._worker

    def _call(self, call: Callable[[Any], T]) -> T:
        import usb.core

        if self._device is None:
            self._device = self._find()
        try:
            return call(self._device)
        except usb.core.USBError as exc:
            error = bench_error(exc, self.name)
            if not isinstance(error, ProtocolError):
                self._dispose()
            raise error from exc

    def _dispose(self) -> None:
        device, self._device = self._device, None
        if device is not None:
            import usb.util

            with contextlib.suppress(Exception):
                usb.util.dispose_resources(device)

    async def close(self) -> None:
        """Release the device; never raises."""
        worker, self._worker = self._worker, None
        if worker is not None and not worker.closed:
            with contextlib.suppress(BenchError):
                await worker.run(self._dispose, timeout=CALL_SECONDS)
            worker.close()


class Pool(Generic[T]):
    """What several slots share in one process, by key: a hub, a supply with channels. Made at the first use."""

    def __init__(self, make: Callable[[str], T]) -> None:
        self._make = make
        self._held: dict[str, tuple[T, int]] = {}
        self._lock = Lock()

    def take(self, key: str) -> T:
        """Return the one of a key; ``give_back`` it as often as it was taken."""
        with self._lock:
            one, count = self._held.get(key, (None, 0))
            if one is None:
                one = self._make(key)
            self._held[key] = one, count + 1
            return one

    def give_back(self, key: str) -> T | None:
        """Return what is to be closed now, because nobody holds it any more."""
        with self._lock:
            if key not in self._held:
                return None
            one, count = self._held.pop(key)
            if count > 1:
                self._held[key] = one, count - 1
                return None
            return one


def unknown_keys(spec: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise ConfigError for the first key that a driver does not know."""
    names = tuple(known)
    for key in spec:
        if key not in names:
            raise ConfigError("unknown key", where=where, expected=f"one of {', '.join(names)}", found=repr(key))
