"""USB devices in memory, below pyusb: a backend (``usb.backend.IBackend``) whose devices are Python objects.

Drivers that speak by pyusb are given ``FakeUsb`` as their backend and cannot tell the difference: descriptors, control,
bulk and interrupt transfers, claimed interfaces, devices that come and go, are held by others, or may not be opened. A
device is a ``FakeDevice`` whose ``control``, ``read`` and ``write`` are overridden; hubs and relays: ``usb_fakes``.
"""

from __future__ import annotations

import array
import errno
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final

TYPE_MASK: Final = 0x60
STANDARD: Final = 0x00
CLASS: Final = 0x20
VENDOR: Final = 0x40
IN: Final = 0x80
GET_DESCRIPTOR: Final = 6
STRING: Final = 3
CONTROL_TRANSFER: Final = 0
ISO, BULK, INTERRUPT = 1, 2, 3
"""Transfer types of endpoints (USB 2.0 9.6.6, bmAttributes)."""
SPEED_FULL, SPEED_HIGH, SPEED_SUPER = 2, 3, 4
"""Speeds as libusb numbers them."""


class Stall(Exception):
    """The device refuses a request, or an endpoint is halted (EPIPE)."""


class Silence(Exception):
    """The device does not answer within the time limit (ETIMEDOUT)."""


class Gone(Exception):
    """The device is no longer there (ENODEV)."""


class Denied(Exception):
    """The device may not be opened (EACCES), or is held by another program (EBUSY)."""

    def __init__(self, number: int = errno.EACCES) -> None:
        super().__init__(os.strerror(number))
        self.number = number


@dataclass(frozen=True, slots=True)
class FakeEndpoint:
    """One endpoint: address (bit 7: to the host), transfer type, packet size."""

    address: int
    kind: int = BULK
    packet: int = 64
    interval: int = 1


@dataclass(frozen=True, slots=True)
class FakeInterface:
    """One interface in one alternate setting."""

    number: int
    interface_class: int = 0xFF
    subclass: int = 0
    protocol: int = 0
    endpoints: tuple[FakeEndpoint, ...] = ()
    alternate: int = 0
    name: str = ""
    kernel_driver: bool = False
    """Whether the kernel has a driver on it, which must be detached before it is claimed."""


@dataclass(slots=True, eq=False)
class FakeDevice:
    """A device on the fake bus. ``path`` is where it hangs: bus number and port numbers, ``1-1.3`` as sysfs says."""

    path: str
    vendor: int
    product: int
    device_class: int = 0
    device_subclass: int = 0
    device_protocol: int = 0
    usb_version: int = 0x0200
    device_version: int = 0x0100
    manufacturer: str = ""
    product_name: str = ""
    serial: str = ""
    speed: int = SPEED_HIGH
    interfaces: tuple[FakeInterface, ...] = ()
    denied: int | None = None
    """An errno that opening ends with: EACCES (no right), EBUSY."""
    claimed: set[int] = field(default_factory=set)
    detached: set[int] = field(default_factory=set)
    """Interfaces that were taken from the kernel's driver."""
    open_handles: int = 0
    present: bool = True

    # -------------------------------------------------------------------------------------------- to be overridden

    def control(self, request_type: int, request: int, value: int, index: int, data: bytes, length: int) -> bytes:
        """Answer a control transfer that is not a standard string request; ``data`` is what an OUT request brings.

        Raises Stall, Silence, Gone.
        """
        raise Stall

    def read(self, endpoint: int, size: int, timeout_ms: int) -> bytes:
        """Return what a bulk or interrupt IN endpoint has, ``size`` bytes at most. Raises Silence for nothing."""
        raise Silence

    def write(self, endpoint: int, data: bytes, timeout_ms: int) -> int:
        """Take what comes on a bulk or interrupt OUT endpoint; return how much was taken."""
        raise Stall

    def reset(self) -> None:
        """Be reset."""

    # -------------------------------------------------------------------------------------------- what follows from it

    @property
    def bus(self) -> int:
        """Return the number of the bus."""
        return int(self.path.removeprefix("usb").partition("-")[0])

    @property
    def ports(self) -> tuple[int, ...]:
        """Return the port numbers from the root hub to the device; none for a root hub (``usb1``)."""
        tail = self.path.partition("-")[2]
        return tuple(int(part) for part in tail.split(".")) if tail else ()

    @property
    def strings(self) -> tuple[str, ...]:
        """Return the string descriptors, from index 1."""
        return (self.manufacturer, self.product_name, self.serial, *(one.name for one in self.interfaces))

    def string_index(self, number: int) -> int:
        """Return the index of a string for a descriptor: 0 where it is empty."""
        return number if self.strings[number - 1] else 0

    def string_descriptor(self, index: int) -> bytes:
        """Return a string descriptor (USB 2.0 9.6.7). Raises Stall for an unknown index."""
        if index == 0:
            return bytes((4, STRING, 0x09, 0x04))
        if index > len(self.strings):
            raise Stall
        text = self.strings[index - 1].encode("utf-16-le")
        return bytes((len(text) + 2, STRING)) + text


class FakeUsb:
    """The backend. ``plug`` and ``unplug`` devices from any thread; ``log`` has every control transfer."""

    def __init__(self, devices: Iterable[FakeDevice] = ()) -> None:
        self._lock = threading.RLock()
        self._devices: dict[str, tuple[int, FakeDevice]] = {}
        self._next_address: dict[int, int] = {}
        self.log: list[tuple[str, int, int, int, int, bytes]] = []
        """Control transfers: path, request type, request, value, index, data of an OUT request."""
        for device in devices:
            self.plug(device)

    def plug(self, device: FakeDevice) -> None:
        """Put a device on its bus; it gets a new address."""
        with self._lock:
            address = self._next_address[device.bus] = self._next_address.get(device.bus, 0) + 1
            device.present = True
            device.claimed.clear()
            device.detached.clear()
            self._devices[device.path] = (address, device)

    def unplug(self, path: str) -> FakeDevice | None:
        """Take a device off, and whatever hangs behind it; transfers under way and later ones end with ENODEV."""
        with self._lock:
            for name in [name for name in self._devices if name.startswith(f"{path}.")]:
                self.unplug(name)
            _, device = self._devices.pop(path, (0, None))
            if device is not None:
                device.present = False
            return device

    def __contains__(self, path: str) -> bool:
        return path in self._devices

    def __getitem__(self, path: str) -> FakeDevice:
        return self._devices[path][1]

    # ------------------------------------------------------------------------------------------ what pyusb calls

    def enumerate_devices(self) -> Iterator[FakeDevice]:
        """Yield the devices that are there now."""
        with self._lock:
            found = [device for _, device in self._devices.values()]
        yield from found

    def get_parent(self, dev: FakeDevice) -> FakeDevice | None:
        """Return the hub that a device hangs at."""
        if not dev.ports:
            return None
        above = dev.ports[:-1]
        path = f"{dev.bus}-{'.'.join(map(str, above))}" if above else f"usb{dev.bus}"
        found = self._devices.get(path)
        return None if found is None else found[1]

    def get_device_descriptor(self, dev: FakeDevice) -> Any:
        """Return the device descriptor."""
        address = self._devices[dev.path][0] if dev.path in self._devices else 0
        return SimpleNamespace(
            bLength=18,
            bDescriptorType=1,
            bcdUSB=dev.usb_version,
            bDeviceClass=dev.device_class,
            bDeviceSubClass=dev.device_subclass,
            bDeviceProtocol=dev.device_protocol,
            bMaxPacketSize0=64,
            idVendor=dev.vendor,
            idProduct=dev.product,
            bcdDevice=dev.device_version,
            iManufacturer=dev.string_index(1),
            iProduct=dev.string_index(2),
            iSerialNumber=dev.string_index(3),
            bNumConfigurations=1,
            address=address,
            bus=dev.bus,
            port_number=dev.ports[-1] if dev.ports else 0,
            port_numbers=dev.ports or None,
            speed=dev.speed,
        )

    def get_configuration_descriptor(self, dev: FakeDevice, config: int) -> Any:
        """Return the one configuration."""
        if config:
            raise IndexError("Invalid configuration index " + str(config))
        return SimpleNamespace(
            bLength=9,
            bDescriptorType=2,
            wTotalLength=9 + sum(9 + 7 * len(one.endpoints) for one in dev.interfaces),
            bNumInterfaces=len({one.number for one in dev.interfaces}),
            bConfigurationValue=1,
            iConfiguration=0,
            bmAttributes=0x80,
            bMaxPower=50,
            extra_descriptors=[],
        )

    def get_interface_descriptor(self, dev: FakeDevice, intf: int, alt: int, config: int) -> Any:
        """Return an interface by its place; IndexError ends pyusb's search."""
        one = self._interface(dev, intf, alt)
        return SimpleNamespace(
            bLength=9,
            bDescriptorType=4,
            bInterfaceNumber=one.number,
            bAlternateSetting=one.alternate,
            bNumEndpoints=len(one.endpoints),
            bInterfaceClass=one.interface_class,
            bInterfaceSubClass=one.subclass,
            bInterfaceProtocol=one.protocol,
            iInterface=4 + dev.interfaces.index(one) if one.name else 0,
            extra_descriptors=[],
        )

    def get_endpoint_descriptor(self, dev: FakeDevice, ep: int, intf: int, alt: int, config: int) -> Any:
        """Return an endpoint by its place; IndexError ends pyusb's search."""
        one = self._interface(dev, intf, alt).endpoints[ep]
        return SimpleNamespace(
            bLength=7,
            bDescriptorType=5,
            bEndpointAddress=one.address,
            bmAttributes=one.kind,
            wMaxPacketSize=one.packet,
            bInterval=one.interval,
            bRefresh=0,
            bSynchAddress=0,
            extra_descriptors=[],
        )

    def open_device(self, dev: FakeDevice) -> FakeDevice:
        """Open a device."""
        if not dev.present:
            raise _usb_error(Gone())
        if dev.denied is not None:
            raise _usb_error(Denied(dev.denied))
        dev.open_handles += 1
        return dev

    def close_device(self, dev_handle: FakeDevice) -> None:
        """Close a device."""
        dev_handle.open_handles -= 1

    def set_configuration(self, dev_handle: FakeDevice, config_value: int) -> None:
        """Take the one configuration."""

    def get_configuration(self, dev_handle: FakeDevice) -> int:
        """Return the one configuration's value."""
        return 1

    def set_interface_altsetting(self, dev_handle: FakeDevice, intf: int, altsetting: int) -> None:
        """Take an alternate setting."""

    def claim_interface(self, dev_handle: FakeDevice, intf: int) -> None:
        """Claim an interface: refused while the kernel's driver has it."""
        if not dev_handle.present:
            raise _usb_error(Gone())
        if intf in dev_handle.claimed or self.is_kernel_driver_active(dev_handle, intf):
            raise _usb_error(Denied(errno.EBUSY))
        dev_handle.claimed.add(intf)

    def release_interface(self, dev_handle: FakeDevice, intf: int) -> None:
        """Give an interface back."""
        dev_handle.claimed.discard(intf)

    def ctrl_transfer(
        self,
        dev_handle: FakeDevice,
        bmRequestType: int,
        bRequest: int,
        wValue: int,
        wIndex: int,
        data: array.array[int],
        timeout: int,
    ) -> int:
        """Do a control transfer; return the number of bytes moved."""
        sent = b"" if bmRequestType & IN else data.tobytes()
        self.log.append((dev_handle.path, bmRequestType, bRequest, wValue, wIndex, sent))
        try:
            self._there(dev_handle)
            if (bmRequestType & TYPE_MASK, bRequest, wValue >> 8) == (STANDARD, GET_DESCRIPTOR, STRING):
                answer = dev_handle.string_descriptor(wValue & 0xFF)
            else:
                answer = dev_handle.control(bmRequestType, bRequest, wValue, wIndex, sent, len(data))
        except (Stall, Silence, Gone, Denied) as exc:
            raise _usb_error(exc) from exc
        return _fill(data, answer) if bmRequestType & IN else len(sent)

    def bulk_write(self, dev_handle: FakeDevice, ep: int, intf: int, data: array.array[int], timeout: int) -> int:
        """Write to an endpoint."""
        try:
            self._there(dev_handle)
            return dev_handle.write(ep, data.tobytes(), timeout)
        except (Stall, Silence, Gone, Denied) as exc:
            raise _usb_error(exc) from exc

    def bulk_read(self, dev_handle: FakeDevice, ep: int, intf: int, buff: array.array[int], timeout: int) -> int:
        """Read from an endpoint into a buffer; return the number of bytes read."""
        try:
            self._there(dev_handle)
            return _fill(buff, dev_handle.read(ep, len(buff), timeout))
        except (Stall, Silence, Gone, Denied) as exc:
            raise _usb_error(exc) from exc

    intr_write = bulk_write
    intr_read = bulk_read
    iso_write = bulk_write
    iso_read = bulk_read

    def clear_halt(self, dev_handle: FakeDevice, ep: int) -> None:
        """Clear a halt."""

    def reset_device(self, dev_handle: FakeDevice) -> None:
        """Reset a device."""
        dev_handle.reset()

    def is_kernel_driver_active(self, dev_handle: FakeDevice, intf: int) -> bool:
        """Tell whether the kernel's driver has an interface."""
        return intf not in dev_handle.detached and any(
            one.number == intf and one.kernel_driver for one in dev_handle.interfaces
        )

    def detach_kernel_driver(self, dev_handle: FakeDevice, intf: int) -> None:
        """Take an interface from the kernel's driver."""
        dev_handle.detached.add(intf)

    def attach_kernel_driver(self, dev_handle: FakeDevice, intf: int) -> None:
        """Give an interface back to the kernel's driver."""
        dev_handle.detached.discard(intf)

    def _interface(self, dev: FakeDevice, place: int, alternate: int) -> FakeInterface:
        numbers = sorted({one.number for one in dev.interfaces})
        same = [one for one in dev.interfaces if one.number == numbers[place]]
        return same[alternate]

    def _there(self, dev: FakeDevice) -> None:
        if not dev.present:
            raise Gone


def _fill(buffer: array.array[int], data: bytes) -> int:
    size = min(len(data), len(buffer))
    buffer[:size] = array.array("B", data[:size])
    return size


def _usb_error(cause: Stall | Silence | Gone | Denied) -> Exception:
    """Return what libusb's backend raises for it."""
    from usb.core import USBError, USBTimeoutError

    match cause:
        case Stall():
            error: Exception = USBError("Pipe error", -9, errno.EPIPE)
        case Silence():
            error = USBTimeoutError("Operation timed out", -7, errno.ETIMEDOUT)
        case Gone():
            error = USBError("No such device (it may have been disconnected)", -4, errno.ENODEV)
        case Denied(number=errno.EBUSY):
            error = USBError("Resource busy", -6, errno.EBUSY)
        case Denied(number=number):
            error = USBError("Access denied (insufficient permissions)", -3, number)
    return error
