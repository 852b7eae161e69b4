"""The driver ``relay-hid``: ``power = { driver = "relay-hid", serial = "BITFT", channel = 1 }``.

Two kinds of boards. ``usbrelay`` (16c0:05df): SET_REPORT with FF or FD and the channel; GET_REPORT brings the board's
serial (five characters, may be empty) and the states of its relays. ``ucreate`` (clones): SET_REPORT with F0 plus the
channel or the channel alone, and nothing to read. Which of them a clone's ids mean is unconfirmed: ``protocol`` tells.

The reports go to the device, not to its interface, so the kernel's HID driver need not be detached.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from esim_bench.errors import ConfigError, ProtocolError, TransportError
from esim_bench.ports import DriverContext, FoundDevice
from esim_drivers.relay.board import RelaySwitch, read_channel, read_wiring
from esim_drivers.usb_device import (
    TRANSFER_MS,
    Pool,
    UsbDevice,
    all_devices,
    bench_error,
    check_path,
    path_of,
    unknown_keys,
)

KEYS = ("serial", "location", "channel", "wiring", "protocol")
Kind = Literal["usbrelay", "ucreate"]
BOARDS: dict[tuple[int, int], Kind] = {
    (0x16C0, 0x05DF): "usbrelay",
    (0x5131, 0x2007): "ucreate",
    (0x0519, 0x2018): "ucreate",
}
_SET_REPORT, _GET_REPORT, _FEATURE = 0x09, 0x01, 0x0300
_TO_DEVICE, _FROM_DEVICE = 0x20, 0xA0
_REPORT = 8
_ON, _OFF = 0xFF, 0xFD


class HidBoard:
    """A RelayBoard behind pyusb. ``key``: ``serial:...``, ``location:...`` or ``only``; a protocol after ``|``."""

    def __init__(self, key: str, backend: Any) -> None:
        self.name = f"HID relay {key.partition('|')[0]}"
        self._which, _, protocol = key.partition("|")
        self._protocol = protocol
        self._backend = backend
        self._kind: Kind = "usbrelay"
        self._channels: int | None = None
        self._device = UsbDevice(self.name, self._find)

    async def set(self, channel: int, energised: bool) -> None:
        """Energise a coil or let it go."""
        await self._device.run(lambda device: self._set(device, channel, energised))

    async def states(self) -> Mapping[int, bool] | None:
        """Read which relays are energised; None for the kind of board that does not tell."""
        return await self._device.run(self._states)

    async def close(self) -> None:
        """Release the board; never raises."""
        await self._device.close()

    # ------------------------------------------------------------------------------------------------- on the worker

    def _find(self) -> Any:
        boards = [device for device in all_devices(self._backend) if kind_of(device) is not None]
        how, _, value = self._which.partition(":")
        match how:
            case "location":
                found = [device for device in boards if path_of(device) == value]
            case "serial":
                found = [device for device in boards if _serial_or_none(device) == value]
            case _:
                found = boards
        if len(found) != 1:
            listed = [f"{path_of(device)} ({_serial_or_none(device) or 'no serial'})" for device in boards]
            raise TransportError(
                "which relay board?" if found else "no such relay board",
                where=self.name,
                expected="one",
                found=", ".join(listed) or "none",
                hint='name it by location = "1-1.4": boards with an empty serial or a common one have nothing else',
            )
        device = found[0]
        for other in boards:
            if other is not device:
                _dispose(other)
        self._kind = "ucreate" if self._protocol == "ucreate" else "usbrelay" if self._protocol else _kind(device)
        self._channels = channels_of(device)
        return device

    def _set(self, device: Any, channel: int, energised: bool) -> None:
        if self._channels is not None and channel > self._channels:
            raise ConfigError("no such relay", where=self.name, expected=f"1 to {self._channels}", found=channel)
        if self._kind == "ucreate":
            report = bytes((0xF0 | channel if energised else channel,))
        else:
            report = bytes((_ON if energised else _OFF, channel))
        device.ctrl_transfer(_TO_DEVICE, _SET_REPORT, _FEATURE, 0, report.ljust(_REPORT, b"\0"), TRANSFER_MS)

    def _states(self, device: Any) -> Mapping[int, bool] | None:
        if self._kind == "ucreate":
            return None
        mask = read_report(device)[7]
        return {channel: bool(mask >> (channel - 1) & 1) for channel in range(1, (self._channels or 8) + 1)}


def _kind(device: Any) -> Kind:
    return kind_of(device) or "usbrelay"


def kind_of(device: Any) -> Kind | None:
    """Tell which kind of board a pyusb device is: by its product string, where it can be read, else by its ids.

    16c0:05df is shared by all kinds of hobbyists' devices: there the product must fit.
    """
    ids = (int(device.idVendor), int(device.idProduct))
    if ids not in BOARDS:
        return None
    product = ""
    with contextlib.suppress(Exception):
        product = device.product or ""
    if product.startswith("USBRelay"):
        return "usbrelay"
    if product.startswith("HIDRelay"):
        return "ucreate"
    return None if product and ids == (0x16C0, 0x05DF) else BOARDS[ids]


def channels_of(device: Any) -> int | None:
    """Return how many relays a board has, by the number in its product string."""
    with contextlib.suppress(Exception):
        found = re.match(r"USBRelay(\d+)", device.product or "")
        if found:
            return int(found[1])
    return None


def read_report(device: Any) -> bytes:
    """Read the feature report: serial in bytes 0 to 4, states in byte 7. Raises ProtocolError, usb.core.USBError."""
    report = bytes(device.ctrl_transfer(_FROM_DEVICE, _GET_REPORT, _FEATURE | 1, 0, _REPORT, TRANSFER_MS))
    if len(report) != _REPORT:
        raise ProtocolError("not a relay's report", where=path_of(device), expected="8 bytes", found=report.hex())
    return report


def serial_of(device: Any) -> str:
    """Return the board's own serial, "" for none. Raises as ``read_report``."""
    return read_report(device)[:5].split(b"\0")[0].decode("ascii", "replace").strip()


def _serial_or_none(device: Any) -> str | None:
    try:
        return serial_of(device)
    except Exception:
        return None


def _dispose(device: Any) -> None:
    import usb.util

    with contextlib.suppress(Exception):
        usb.util.dispose_resources(device)


class HidRelayDriver:
    """A PowerDriver and a DiscoveringDriver. ``backend``: of pyusb, None for libusb."""

    board_keys = ("serial", "location", "protocol")

    def __init__(self, backend: Any = None) -> None:
        self._backend = backend
        self._pool: Pool[HidBoard] = Pool(lambda key: HidBoard(key, backend))

    def board_key(self, spec: Mapping[str, Any], where: str) -> str:
        """Return which board a table names. Raises ConfigError."""
        protocol = spec.get("protocol", "")
        if protocol not in ("", "usbrelay", "ucreate"):
            raise ConfigError("protocol", where=where, expected="usbrelay or ucreate", found=repr(protocol))
        serial, location = spec.get("serial"), spec.get("location")
        if location is not None:
            which = f"location:{check_path(location, where, 'location')}"
        elif isinstance(serial, str) and serial:
            which = f"serial:{serial}"
        elif serial is None:
            which = "only"
        else:
            raise ConfigError(
                "serial", where=where, expected="the board's serial", found=repr(serial), hint="location names it too"
            )
        return f"{which}|{protocol}"

    def take(self, key: str) -> HidBoard:
        """Return the board of a key, shared by all slots on it."""
        return self._pool.take(key)

    async def release(self, key: str) -> None:
        """Give a board back; the last one closes it."""
        board = self._pool.give_back(key)
        if board is not None:
            await board.close()

    def open_power(self, spec: Mapping[str, Any], context: DriverContext) -> RelaySwitch:
        """Make the switch; the board is opened when it is first used. Raises ConfigError."""
        where = f"slot {context.slot}: power"
        unknown_keys(spec, KEYS, where)
        key = self.board_key(spec, where)
        return RelaySwitch(
            lambda: self.take(key),
            lambda: self.release(key),
            read_channel(spec, where),
            powered_when_energised=read_wiring(spec, where),
        )

    async def discover(self) -> Sequence[FoundDevice]:
        """Return the boards; their reports are read, nothing is switched."""
        worker = UsbDevice("HID relays", lambda: None)
        try:
            return await worker.run_plain(self._look)
        finally:
            await worker.close()

    def _look(self) -> list[FoundDevice]:
        import usb.core

        found = []
        for device in all_devices(self._backend):
            try:
                kind = kind_of(device)
                if kind is None:
                    continue
                path, serial, trouble = path_of(device), "", None
                details: dict[str, str] = {"protocol": kind}
                count = channels_of(device)
                if count is not None:
                    details["channels"] = str(count)
                if kind == "usbrelay":
                    try:
                        report = read_report(device)
                        serial = serial_of(device)
                        details["energised"] = ", ".join(str(n + 1) for n in range(8) if report[7] >> n & 1) or "none"
                    except usb.core.USBError as exc:
                        trouble = str(bench_error(exc, path))
                    except ProtocolError as exc:
                        trouble = str(exc)
                table = {"driver": "relay-hid", "channel": 1, **({"serial": serial} if serial else {"location": path})}
                name = f"HID relay {device.idVendor:04x}:{device.idProduct:04x}"
                found.append(
                    FoundDevice("relay", name, table, usb=path, serial=serial or None, details=details, trouble=trouble)
                )
            finally:
                _dispose(device)
        return found


driver = HidRelayDriver()
