"""The kernel's tree of USB devices, as sysfs shows it: where a device hangs, what it says, which nodes of /dev are its.

Where a device hangs is named as the kernel does: ``1-1.3`` is port 3 of the hub at port 1 of bus 1, ``usb1`` its root;
``1-1.3:1.2`` is interface 2 of that device in its configuration 1. Nothing is opened, nothing is asked: what is read
here is what the kernel read when the device was plugged in. Power of hub ports: ``usb_hub.sysfs``.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from esim_bench.errors import ConfigError, TransportError

SYSFS: Final = Path("/sys")
DEV: Final = Path("/dev")
PROC: Final = Path("/proc")
DEVICES: Final = "bus/usb/devices"
HUB_CLASS: Final = 0x09
SMART_CARD_CLASS: Final = 0x0B
_DEVICE: Final = re.compile(r"\d+-\d+(?:\.\d+)*", re.ASCII)
_INTERFACE: Final = re.compile(r"\d+-\d+(?:\.\d+)*:\d+\.\d+", re.ASCII)
_PORT_NAME: Final = re.compile(r"usb:(\d+-\d+(?:\.\d+)*:\d+\.\d+)", re.ASCII)
_SERIAL_ADAPTERS: Final = frozenset(("ftdi_sio", "cp210x", "ch341", "pl2303", "ch343", "usbserial_generic"))


@dataclass(frozen=True, slots=True)
class UsbInterface:
    """One interface of a device in its present configuration."""

    name: str
    """``1-1.3:1.2``."""
    kind: int | None
    """bInterfaceClass; None where the kernel does not tell."""
    driver: str
    """The kernel's driver that has it, "" for none."""
    ttys: tuple[str, ...]
    """Its serial ports, as they are called now: ``ttyUSB2``."""
    hidraws: tuple[str, ...]
    """Its HID devices, as they are called now: ``hidraw0``."""

    @property
    def adapter(self) -> bool:
        """Tell whether this is a serial adapter's: what is wired to it is a device of its own."""
        return self.driver in _SERIAL_ADAPTERS


@dataclass(frozen=True, slots=True)
class UsbDevice:
    """One USB device."""

    place: str
    """``1-1.3``."""
    bus: int
    address: int
    """On the bus; it changes with each enumeration."""
    vendor: int | None
    product_id: int | None
    manufacturer: str
    product: str
    serial: str
    kind: int | None
    """bDeviceClass."""
    interfaces: tuple[UsbInterface, ...]

    @property
    def is_hub(self) -> bool:
        """Tell whether this is a hub."""
        return self.kind == HUB_CLASS

    @property
    def name(self) -> str:
        """Return what it calls itself, for people; "" where it says nothing."""
        return " ".join(part for part in (self.manufacturer, self.product) if part)

    @property
    def parent(self) -> tuple[str, int]:
        """Return the hub that it hangs on, and the port."""
        return parent_of(self.place)


class UsbTree:
    """All USB devices as they are now; each call looks anew. ``root``: where sysfs is; ``dev``: where nodes are."""

    def __init__(self, root: Path = SYSFS, dev: Path = DEV) -> None:
        self._devices = root / DEVICES
        self._dev = dev

    def devices(self) -> list[UsbDevice]:
        """Return all devices, sorted by where they hang; root hubs are not among them."""
        with contextlib.suppress(OSError):
            names = [entry.name for entry in self._devices.iterdir() if _DEVICE.fullmatch(entry.name)]
            return [device for name in sorted(names, key=natural) if (device := self.device(name)) is not None]
        return []

    def device(self, place: str) -> UsbDevice | None:
        """Return the device at a place, None when nothing hangs there."""
        folder = self._devices / place
        if not _DEVICE.fullmatch(place) or not folder.is_dir():
            return None
        return UsbDevice(
            place=place,
            bus=_number(folder / "busnum") or int(place.partition("-")[0]),
            address=_number(folder / "devnum") or 0,
            vendor=_number(folder / "idVendor", 16),
            product_id=_number(folder / "idProduct", 16),
            manufacturer=_text(folder / "manufacturer"),
            product=_text(folder / "product"),
            serial=_text(folder / "serial"),
            kind=_number(folder / "bDeviceClass", 16),
            interfaces=tuple(self._interfaces(place)),
        )

    def at_address(self, bus: int, address: int) -> UsbDevice | None:
        """Return the device of an address, as lsusb shows it."""
        return next((one for one in self.devices() if (one.bus, one.address) == (bus, address)), None)

    def by_serial(self, serial: str) -> list[UsbDevice]:
        """Return the devices of a serial number; clones share theirs."""
        return [device for device in self.devices() if serial and device.serial == serial]

    def node(self, name: str) -> str:
        """Return the path of a node: of ``ttyUSB2`` it is ``/dev/ttyUSB2``."""
        return str(self._dev / name)

    def _interfaces(self, place: str) -> Iterator[UsbInterface]:
        # Beside the device and inside it: the same folders, but a copy of a tree may have only one of the two.
        names = {path.name for path in self._devices.glob(f"{place}:*")}
        names |= {path.name for path in (self._devices / place).glob(f"{place}:*")}
        for name in sorted((name for name in names if _INTERFACE.fullmatch(name)), key=natural):
            folder = self._devices / name
            folder = folder if folder.is_dir() else self._devices / place / name
            yield UsbInterface(
                name=name,
                kind=_number(folder / "bInterfaceClass", 16),
                driver=_link(folder / "driver"),
                ttys=tuple(_ttys(folder)),
                hidraws=tuple(sorted((path.name for path in folder.glob("*/hidraw/hidraw*")), key=natural)),
            )


def parent_of(place: str) -> tuple[str, int]:
    """Return the hub that a place is on, and the port: ``1-1.3`` is port 3 of ``1-1``, ``1-2`` port 2 of ``usb1``."""
    hub, dot, port = place.rpartition(".")
    if dot:
        return hub, int(port)
    bus, _, port = place.partition("-")
    return f"usb{bus}", int(port)


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """Return a key that sorts names as people do: ``1-1.10`` after ``1-1.9``."""
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name))


# -------------------------------------------------------------------------------------------------------- serial ports


def check_port_name(name: object) -> str:
    """Return a serial port's name. Raises ConfigError unless it is a path or ``usb:...``."""
    if isinstance(name, str) and (_PORT_NAME.fullmatch(name) or name.startswith("/")):
        return name
    raise ConfigError(
        "not the name of a serial port", expected="usb:1-1.3:1.2 (where it is plugged in) or a path", found=repr(name)
    )


def resolve_port(name: str, *, devices: Path = SYSFS / DEVICES) -> str:
    """Return the path of a port as it is called now. Raises TransportError when nothing is plugged in there."""
    found = _PORT_NAME.fullmatch(name)
    if found is None:
        return name
    interface = devices / found[1]
    for tty in _ttys(interface):
        return f"/dev/{tty}"
    missing = "no such USB interface" if not interface.exists() else "no tty on this USB interface"
    raise TransportError(missing, where=name, hint="is the modem on and plugged in there? rack discover lists ports")


def holders(path: str, proc: Path = PROC) -> list[str]:
    """Name the processes that have a node open, ``ModemManager (pid 812)``, as far as /proc lets us see."""
    real = os.path.realpath(path)
    found = []
    for process in sorted(proc.glob("[0-9]*"), key=lambda folder: natural(folder.name)):
        with contextlib.suppress(OSError):
            if any(os.path.realpath(fd) == real for fd in (process / "fd").iterdir()):
                found.append(f"{(process / 'comm').read_text(errors='replace').strip()} (pid {process.name})")
    return found


def _ttys(interface: Path) -> list[str]:
    # usb-serial drivers put the port into the interface's folder, cdc_acm into a folder "tty" there.
    found = [path.name for path in (*interface.glob("tty?*"), *interface.glob("tty/tty*"))]
    return sorted(found, key=natural)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path, base: int = 10) -> int | None:
    try:
        return int(_text(path), base)
    except ValueError:
        return None


def _link(path: Path) -> str:
    try:
        return os.readlink(path).rpartition("/")[2]
    except OSError:
        return ""
