"""A SIMtrace2 on USB: found, opened, read. Blocking calls of pyusb, to be made on a worker's thread."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from esim_bench.errors import ConfigError, DeviceError, TransportError
from esim_drivers.usb_device import all_devices, bench_error, path_of

VENDOR: Final = 0x1D50
PRODUCT: Final = 0x60E3
SNIFFER: Final = (0xFF, 1)
"""Class and subclass of the interface of the sniffer firmware; subclass 2 is the card emulation."""
READ_MS: Final = 200
"""How long one read waits; so long a stop takes at most."""
_BULK: Final = 0x02
_READ_SIZE: Final = 4096
_STALE_MS: Final = 20
_FIRMWARE = "flash the firmware with the sniffer: simtrace-trace-dfu.bin"

Backend = Callable[[], Any]
"""Makes a backend of pyusb; None stands for libusb."""


def place(name: object) -> str:
    """Return bus and ports of ``usb:1-1.4`` or ``1-1.4``. Raises ConfigError."""
    if isinstance(name, str) and (found := re.fullmatch(r"(?:usb:)?(\d+-\d+(?:\.\d+)*)", name)):
        return found[1]
    raise ConfigError("not a place on USB", expected="1-1.4: bus and ports", found=repr(name))


def sniffers(backend: Backend | None = None) -> list[Any]:
    """Return the devices with sniffer firmware, by where they hang. Nothing is opened. Raises ConfigError."""
    return [device for device in simtraces(backend) if _sniffing(device) is not None]


def simtraces(backend: Backend | None = None) -> list[Any]:
    """Return all SIMtrace2 by where they hang, whatever their firmware. Raises ConfigError without libusb."""
    found = all_devices(backend() if backend is not None else None)
    return sorted((one for one in found if (one.idVendor, one.idProduct) == (VENDOR, PRODUCT)), key=path_of)


def serial_of(device: Any, devices: Path = Path("/sys/bus/usb/devices")) -> str | None:
    """Return a device's serial number as the kernel read it, so that the device need not be asked."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return (devices / path_of(device) / "serial").read_text().strip() or None
    return None


def _sniffing(device: Any) -> tuple[int, Any] | None:
    """Return the value of the first configuration with an interface of the sniffer, and that interface."""
    for configuration in device:
        for interface in configuration:
            if (interface.bInterfaceClass, interface.bInterfaceSubClass) == SNIFFER:
                return configuration.bConfigurationValue, interface
    return None


class Sniffer:
    """One open sniffer. Raises DeviceError for all that goes wrong with it."""

    def __init__(self, *, usb: str | None, serial: str | None, backend: Backend | None = None) -> None:
        """Open the sniffer at a place, or of a serial number, or the only one."""
        self._device = _choose(usb, serial, backend)
        self.name = f"usb:{path_of(self._device)}"
        found = _sniffing(self._device)
        if found is None:
            raise TransportError("this SIMtrace2 is no sniffer", where=self.name, hint=_FIRMWARE)
        configuration, interface = found
        endpoints = [one for one in interface if one.bEndpointAddress & 0x80 and one.bmAttributes & 0x03 == _BULK]
        if not endpoints:
            raise TransportError("the sniffer has no bulk endpoint to read", where=self.name, hint=_FIRMWARE)
        self._interface = interface.bInterfaceNumber
        self._endpoint = endpoints[0].bEndpointAddress
        with self._errors():
            self._claim(configuration, interface)
        try:
            # What it heard while nobody listened has no time any more.
            for _ in range(64):
                if not self._read(_STALE_MS):
                    break
        except DeviceError:
            self.close()
            raise

    def _claim(self, configuration: int, interface: Any) -> None:
        import usb.util

        try:
            if self._device.is_kernel_driver_active(self._interface):
                self._device.detach_kernel_driver(self._interface)
        except NotImplementedError:  # not on this system
            pass
        if self._device.get_active_configuration().bConfigurationValue != configuration:
            self._device.set_configuration(configuration)
        usb.util.claim_interface(self._device, self._interface)
        if interface.bAlternateSetting:
            self._device.set_interface_altsetting(self._interface, interface.bAlternateSetting)

    def read(self) -> bytes:
        """Return what comes within ``READ_MS``; b"" for nothing."""
        return self._read(READ_MS)

    def _read(self, timeout_ms: int) -> bytes:
        import usb.core

        with self._errors():
            try:
                return bytes(self._device.read(self._endpoint, _READ_SIZE, timeout_ms))
            except usb.core.USBTimeoutError:
                return b""

    def close(self) -> None:
        """Release the device; never raises."""
        import usb.core
        import usb.util

        with contextlib.suppress(usb.core.USBError, OSError):
            usb.util.release_interface(self._device, self._interface)
        with contextlib.suppress(usb.core.USBError, OSError):
            usb.util.dispose_resources(self._device)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        import usb.core

        try:
            yield
        except usb.core.USBError as exc:
            raise bench_error(exc, self.name) from exc


def _choose(usb: str | None, serial: str | None, backend: Backend | None) -> Any:
    found = simtraces(backend)
    if usb is not None:
        chosen = [device for device in found if path_of(device) == usb]
    elif serial is not None:
        chosen = [device for device in found if serial_of(device) == serial]
    else:
        chosen = found
    if len(chosen) == 1:
        return chosen[0]
    there = ", ".join(path_of(device) for device in found) or "none"
    wanted = f"at {usb}" if usb else f"of serial number {serial}" if serial else "at all"
    if not chosen:
        raise TransportError(f"no SIMtrace2 {wanted}", found=there, hint="is it plugged in?")
    raise ConfigError("several SIMtrace2", expected="usb = one of them", found=there)
