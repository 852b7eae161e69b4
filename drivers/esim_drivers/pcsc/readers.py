"""Readers: their names at the service, the USB devices they are, and which one a rack file means.

The service names a reader ``MODEL [INTERFACE] (SERIAL) RR SS``, with a number of the reader (it changes when readers
are plugged in anew) and of its slot. Two readers of one model without serial numbers differ by that number alone; where
they hang tells them apart for good.
"""

from __future__ import annotations

import contextlib
import fnmatch
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from esim_drivers.pcsc import library
from esim_drivers.pcsc.failures import NO_READERS, UNKNOWN_READER
from esim_drivers.pcsc.library import Failure

SYSFS: Final = Path("/sys")
_NUMBERS: Final = re.compile(r" ([0-9A-F]{2}) ([0-9A-F]{2})$")
_SERIAL: Final = re.compile(r"\(([^()]+)\)(?: [0-9A-F]{2} [0-9A-F]{2})?$")
_DEVICE: Final = re.compile(r"\d+-\d+(\.\d+)*", re.ASCII)
_USB_CHANNEL: Final = 0x0020
_SMART_CARD_CLASS: Final = "0b"


class NotThere(Failure):
    """No reader is what the rack file asks for; says which ones there are."""

    def __init__(self, wanted: str, there: Sequence[str], why: str = "") -> None:
        super().__init__(UNKNOWN_READER, "SCardListReaders")
        self.wanted = wanted
        self.there = tuple(there)
        self.why = why or ("there: " + ", ".join(there) if there else "no reader at all")


@dataclass(frozen=True, slots=True)
class UsbDevice:
    """A USB device as the kernel shows it."""

    place: str
    """Bus and ports: ``1-1.2``."""
    bus: int
    address: int
    maker: str
    product: str
    serial: str
    is_reader: bool

    @property
    def channel(self) -> int:
        """Return the channel ID of a reader that is this device, as its driver has it."""
        return _USB_CHANNEL << 16 | self.bus << 8 | self.address


def usb_devices(root: Path = SYSFS) -> list[UsbDevice]:
    """Return all USB devices. ``root``: where sysfs is."""
    found = []
    for folder in sorted((root / "bus/usb/devices").glob("*-*")):
        if _DEVICE.fullmatch(folder.name):
            with contextlib.suppress(OSError, ValueError):
                classes = [_text(interface / "bInterfaceClass") for interface in folder.glob(f"{folder.name}:*")]
                found.append(
                    UsbDevice(
                        folder.name,
                        int(_text(folder / "busnum")),
                        int(_text(folder / "devnum")),
                        _text(folder / "manufacturer"),
                        _text(folder / "product"),
                        _text(folder / "serial"),
                        _SMART_CARD_CLASS in classes,
                    )
                )
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def serial_in(name: str) -> str:
    """Return the serial number in a reader's name, "" where there is none."""
    match = _SERIAL.search(name)
    return match[1] if match else ""


def slot_in(name: str) -> int:
    """Return the number of the slot in a reader's name."""
    match = _NUMBERS.search(name)
    return int(match[2], 16) if match else 0


def could_be(name: str, device: UsbDevice) -> bool:
    """Tell whether a reader's name suits a USB device: its serial number, or its product."""
    serial = serial_in(name)
    if serial and device.serial:
        return serial == device.serial
    plain = name.lower()
    return device.is_reader and bool(device.product) and device.product.lower() in plain


def listed(context: Any) -> list[str]:
    """Return the names of all readers; none is no error. Raises Failure."""
    scard = library.load()
    try:
        code, names = scard.SCardListReaders(context, [])
    except SystemError:
        # pyscard's way to say that the service went away meanwhile.
        raise Failure(0x8010001D, "SCardListReaders") from None
    if code & 0xFFFFFFFF == NO_READERS:
        return []
    library.check(code, "SCardListReaders")
    return list(names)


def channel_of(context: Any, name: str) -> int | None:
    """Return the channel ID of a reader that nobody uses; None where it is used, or has none.

    The card is neither powered nor reset by this.
    """
    scard = library.load()
    code, states = scard.SCardGetStatusChange(context, 0, [(name, 0)])
    if code != 0 or not states or states[0][1] & (library.STATE_INUSE | library.STATE_EXCLUSIVE):
        return None
    code, card, _ = scard.SCardConnect(context, name, library.SHARE_DIRECT, 0)
    if code != 0:
        return None
    try:
        code, value = scard.SCardGetAttrib(card, library.ATTR_CHANNEL_ID)
        return int.from_bytes(bytes(value), "little") if code == 0 and len(value) == 4 else None
    finally:
        scard.SCardDisconnect(card, library.LEAVE_CARD)


def choose(
    names: Sequence[str],
    selector: str | None,
    slot: int | None,
    channel: Callable[[str], int | None],
    root: Path = SYSFS,
) -> str:
    """Return the reader that a rack file means. ``channel``: asks one for its channel ID, where that is possible.

    Raises NotThere: no such reader, or several.
    """
    wanted = selector or "a reader"
    if selector is None:
        found = list(names)
    elif selector.startswith("name:"):
        pattern = selector.removeprefix("name:")
        found = [name for name in names if _named(name, pattern)]
    elif selector.startswith("serial:"):
        serial = selector.removeprefix("serial:")
        found = [name for name in names if serial_in(name) == serial]
        if not found:
            devices = [device for device in usb_devices(root) if device.serial == serial]
            if len(devices) > 1:
                places = ", ".join(f"usb:{device.place}" for device in devices)
                raise NotThere(wanted, names, f"several devices have this serial number: {places}")
            found = _of_device(names, devices[0], channel) if devices else []
    else:
        place = selector.removeprefix("usb:")
        device = next((device for device in usb_devices(root) if device.place == place), None)
        if device is None:
            raise NotThere(wanted, names, "nothing is plugged in there")
        found = _of_device(names, device, channel)
        if not found:
            raise NotThere(wanted, names, f"{device.product or 'the device'} there is no reader of the PC/SC service")
    if slot is not None:
        found = [name for name in found if slot_in(name) == slot]
    if not found:
        raise NotThere(wanted, names)
    readers = {_NUMBERS.sub("", name) + (match[1] if (match := _NUMBERS.search(name)) else "") for name in found}
    if len(readers) > 1:
        raise NotThere(wanted, names, "several suit: " + ", ".join(found))
    return min(found, key=slot_in)


def _named(name: str, pattern: str) -> bool:
    plain = _NUMBERS.sub("", name)
    return (
        name == pattern or plain == pattern or fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(plain, pattern)
    )


def _of_device(names: Sequence[str], device: UsbDevice, channel: Callable[[str], int | None]) -> list[str]:
    channels = {name: channel(name) for name in names}
    found = [name for name in names if channels[name] == device.channel]
    # A reader in use can't be asked; its name is all there is.
    return found or [name for name in names if channels[name] is None and could_be(name, device)]
