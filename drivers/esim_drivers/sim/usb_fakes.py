"""USB hubs and HID relays for the fake USB bus, with the misbehaviour that real ones show.

A ``FakeSocket`` is what a cable is put into: its VBUS is on while a hub feeds it, and the device in it comes and goes
with VBUS. A USB 3 socket is fed by a port of each half of its hub.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from esim_drivers.sim.usb_backend import SPEED_HIGH, SPEED_SUPER, FakeDevice, FakeInterface, FakeUsb, Stall

HUB_CLASS = 9
_POWER = 8
_SET, _SET_REPORT, _GET_REPORT = 3, 9, 1


@dataclass(slots=True, eq=False)
class FakeSocket:
    """A socket, and what is in it: a device of the bus, or anything that is told of its power."""

    device: FakeDevice | None = None
    on_vbus: Callable[[bool], None] = lambda on: None
    lies: bool = False
    """VBUS stays on, whatever the hub says."""
    blind: int = 0
    """After so many power-ons the device is not seen: the port status stays 0100."""
    vbus: bool = True
    feeds: list[tuple[FakeHub, int]] = field(default_factory=list)
    bus: FakeUsb | None = None
    seen: bool = True
    """Whether the hub sees the device."""

    def settle(self) -> None:
        """Follow the ports that feed the socket."""
        vbus = self.lies or any(hub.feeds(port) for hub, port in self.feeds)
        if vbus == self.vbus:
            return
        self.vbus = vbus
        if vbus and self.blind:
            self.blind -= 1
            self.seen = False
        else:
            self.seen = vbus
        if self.device is not None and self.bus is not None:
            if self.seen:
                self.bus.plug(self.device)
            else:
                self.bus.unplug(self.device.path)
        self.on_vbus(vbus)


@dataclass(slots=True, eq=False)
class FakeHub(FakeDevice):
    """A hub, or one half of a USB 3 one."""

    device_class: int = HUB_CLASS
    switching: Literal["single", "ganged", "none"] = "single"
    sockets: Mapping[int, FakeSocket] = field(default_factory=dict)
    port_count: int = 4
    repowers: int = 0
    """So often the kernel powers a port again at once after it was switched off."""
    powered: dict[int, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.powered = dict.fromkeys(range(1, self.port_count + 1), True)
        if self.super_speed:
            self.usb_version, self.speed = 0x0320, SPEED_SUPER
        for port, socket in self.sockets.items():
            socket.feeds.append((self, port))

    @property
    def super_speed(self) -> bool:
        """Tell whether this is the USB 3 half."""
        return self.usb_version >= 0x0300

    def feeds(self, port: int) -> bool:
        """Tell whether a port brings VBUS: on a ganged hub each does while any is on."""
        return any(self.powered.values()) if self.switching == "ganged" else self.powered[port]

    def status(self, port: int) -> int:
        """Return wPortStatus."""
        socket = self.sockets.get(port)
        there = socket is not None and socket.seen and socket.device is not None and self._sees(socket.device)
        if not self.powered[port]:
            return 0
        if self.super_speed:
            return 0x0203 if there else 0x02A0
        return 0x0503 if there else 0x0100

    def _sees(self, device: FakeDevice) -> bool:
        return (device.speed == SPEED_SUPER) == self.super_speed

    def control(self, request_type: int, request: int, value: int, index: int, data: bytes, length: int) -> bytes:
        """Answer the hub class requests."""
        match (request_type, request):
            case (0xA0, 6) if value == (0x2A00 if self.super_speed else 0x2900):
                return self._descriptor()[:length]
            case (0xA3, 0) if index in self.powered:
                return self.status(index).to_bytes(2, "little") + b"\0\0"
            case (0x23, 1 | 3) if value == _POWER and index in self.powered:
                self._switch(index, request == _SET)
                return b""
        raise Stall

    def _switch(self, port: int, on: bool) -> None:
        self.powered[port] = on
        if not on and self.repowers:
            self.repowers -= 1
            self.powered[port] = True
        for socket in self.sockets.values():
            socket.settle()

    def _descriptor(self) -> bytes:
        mode = {"ganged": 0, "single": 1, "none": 2}[self.switching]
        head = bytes((0x2A if self.super_speed else 0x29, self.port_count, mode, 0, 50, 100))
        tail = bytes(5) if self.super_speed else bytes(2)
        return bytes((len(head) + len(tail) + 1,)) + head + tail


def usb2_hub(path: str, sockets: Mapping[int, FakeSocket], **more: Any) -> FakeHub:
    """Return a USB 2 hub."""
    return FakeHub(path, 0x2109, 0x3431, product_name="USB2.0 Hub", speed=SPEED_HIGH, sockets=sockets, **more)


def usb3_hub(path: str, sockets: Mapping[int, FakeSocket], **more: Any) -> FakeHub:
    """Return the USB 3 half of a hub; the same sockets go to its USB 2 half."""
    return FakeHub(path, 0x2109, 0x0817, product_name="USB3.0 Hub", usb_version=0x0320, sockets=sockets, **more)


def bus_of(*devices: FakeDevice) -> FakeUsb:
    """Return a bus with hubs, what is in their sockets, and other devices."""
    bus = FakeUsb(devices)
    for device in devices:
        if isinstance(device, FakeHub):
            for socket in device.sockets.values():
                socket.bus = bus
                if socket.device is not None and socket.device.path not in bus:
                    bus.plug(socket.device)
    return bus


# ------------------------------------------------------------------------------------------------------------ relays


@dataclass(slots=True, eq=False)
class FakeRelay(FakeDevice):
    """A HID relay board; ``kind``: ``usbrelay`` tells its states in a feature report, ``ucreate`` tells nothing.

    ``sticky``: channels whose contact does not open any more, though the board may say that it is open
    (``honest`` False).
    """

    kind: Literal["usbrelay", "ucreate"] = "usbrelay"
    channels: int = 2
    board_serial: str = "BITFT"
    sticky: frozenset[int] = frozenset()
    honest: bool = True
    coils: dict[int, bool] = field(default_factory=dict)
    on_contact: Callable[[int, bool], None] = lambda channel, closed: None

    def __post_init__(self) -> None:
        self.coils = dict.fromkeys(range(1, self.channels + 1), False)
        self.interfaces = (FakeInterface(0, interface_class=3, kernel_driver=True),)

    def closed(self, channel: int) -> bool:
        """Tell whether the contact of a channel is closed."""
        return self.coils[channel] or channel in self.sticky

    def control(self, request_type: int, request: int, value: int, index: int, data: bytes, length: int) -> bytes:
        """Answer GET_REPORT and SET_REPORT, addressed to the device or to the interface."""
        if request_type in (0xA0, 0xA1) and request == _GET_REPORT:
            if self.kind != "usbrelay":
                raise Stall
            says = self.closed if self.honest else self.coils.__getitem__
            state = sum(1 << (channel - 1) for channel in self.coils if says(channel))
            return (self.board_serial.encode().ljust(7, b"\0") + bytes((state,)))[:length]
        if request_type in (0x20, 0x21) and request == _SET_REPORT:
            self._command(data)
            return b""
        raise Stall

    def _command(self, data: bytes) -> None:
        if self.kind == "ucreate":
            channel, on = data[0] & 0x0F, data[0] & 0xF0 == 0xF0
        else:
            channel, on = data[1], data[0] == 0xFF
            if data[0] not in (0xFF, 0xFD):
                raise Stall
        if channel in self.coils:
            self.coils[channel] = on
            self.on_contact(channel, self.closed(channel))


def usb_relay(path: str, **more: Any) -> FakeRelay:
    """Return a board of the common kind: 16c0:05df, product USBRelay2."""
    channels = int(more.get("channels", 2))
    return FakeRelay(path, 0x16C0, 0x05DF, product_name=f"USBRelay{channels}", manufacturer="www.dcttech.com", **more)
