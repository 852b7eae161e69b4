"""Hub class requests (USB 2.0 11.24.2, USB 3.2 10.16.2) over a pyusb device; no interface is claimed for them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from esim_bench.errors import ProtocolError
from esim_drivers.usb_device import TRANSFER_MS, path_of

HUB_CLASS: Final = 0x09
PORT_POWER: Final = 8
_DEVICE_IN, _PORT_IN, _PORT_OUT = 0xA0, 0xA3, 0x23
_GET_STATUS, _CLEAR_FEATURE, _SET_FEATURE, _GET_DESCRIPTOR = 0, 1, 3, 6
_DESCRIPTOR, _SUPER_DESCRIPTOR = 0x29, 0x2A
_CONNECTED, _POWER_2, _POWER_3 = 0x0001, 0x0100, 0x0200


class Switching(Enum):
    """How a hub says that it switches power (wHubCharacteristics bits 1..0)."""

    GANGED = "all ports together"
    SINGLE = "each port alone"
    NONE = "not at all"


@dataclass(frozen=True, slots=True)
class Hub:
    """What a hub says of itself. Many say that they switch each port alone and keep VBUS on."""

    path: str
    ports: int
    switching: Switching
    good_s: float
    """Seconds from power on until the power of a port is good (bPwrOn2PwrGood)."""
    super_speed: bool


@dataclass(frozen=True, slots=True)
class PortStatus:
    """wPortStatus of one port."""

    word: int
    super_speed: bool

    @property
    def powered(self) -> bool:
        """Tell whether the hub says that the port has power."""
        return bool(self.word & (_POWER_3 if self.super_speed else _POWER_2))

    @property
    def connected(self) -> bool:
        """Tell whether the hub sees a device."""
        return bool(self.word & _CONNECTED)

    def __str__(self) -> str:
        return f"{self.word:04X}"


def is_hub(device: Any) -> bool:
    """Tell whether a pyusb device is a hub."""
    return int(device.bDeviceClass) == HUB_CLASS


def is_super_speed(device: Any) -> bool:
    """Tell whether a hub is the USB 3 half of one."""
    return int(device.bcdUSB) >= 0x0300


def read_hub(device: Any) -> Hub:
    """Read the hub descriptor. Raises ProtocolError for none that can be one; usb.core.USBError."""
    fast = is_super_speed(device)
    kind, size = (_SUPER_DESCRIPTOR, 12) if fast else (_DESCRIPTOR, 9)
    data = bytes(device.ctrl_transfer(_DEVICE_IN, _GET_DESCRIPTOR, kind << 8, 0, size, TRANSFER_MS))
    if len(data) < 7 or data[1] != kind or not 1 <= data[2] <= 255:
        raise ProtocolError("not a hub descriptor", where=path_of(device), found=data.hex().upper() or "nothing")
    mode = int.from_bytes(data[3:5], "little") & 0x03
    switching = Switching.GANGED if mode == 0 else Switching.SINGLE if mode == 1 else Switching.NONE
    return Hub(path_of(device), data[2], switching, data[5] * 0.002, fast)


def port_status(device: Any, port: int) -> PortStatus:
    """Read a port's status. Raises ProtocolError for a short answer; usb.core.USBError."""
    data = bytes(device.ctrl_transfer(_PORT_IN, _GET_STATUS, 0, port, 4, TRANSFER_MS))
    if len(data) < 2:
        raise ProtocolError("not a port status", where=path_of(device), expected="4 bytes", found=data.hex())
    return PortStatus(int.from_bytes(data[:2], "little"), is_super_speed(device))


def set_power(device: Any, port: int, on: bool) -> None:
    """Ask for a port's power. Raises usb.core.USBError."""
    device.ctrl_transfer(_PORT_OUT, _SET_FEATURE if on else _CLEAR_FEATURE, PORT_POWER, port, None, TRANSFER_MS)
