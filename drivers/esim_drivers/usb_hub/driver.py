"""The driver ``usb-hub``: ``power = { driver = "usb-hub", location = "1-1", port = 2 }``.

A USB 3 hub is two hubs, and a socket stays on as long as one of its two ports is: both are switched. The port at which
a hub hangs is never switched: in hubs of seven and ten ports that is how the second half is fed. What a hub says of its
switching proves nothing, so this switch gives no proof of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esim_bench import clock
from esim_bench.errors import ConfigError, ProtocolError, TransportError
from esim_bench.ports import DriverContext, FoundDevice, Proof
from esim_drivers.usb_device import (
    Pool,
    UsbDevice,
    all_devices,
    bench_error,
    check_path,
    one_at,
    path_of,
    unknown_keys,
)
from esim_drivers.usb_hub import requests, sysfs
from esim_drivers.usb_hub.requests import Hub, PortStatus, Switching

KEYS = ("location", "port", "pair", "ganged", "way")
WAYS = ("auto", "sysfs", "usb")
SYSFS = Path("/sys")
REQUESTS = 4
"""How often a port that says it has power is told to lose it, before that is an error."""
PAUSE_SECONDS = 0.1
BACK_SECONDS = 6.0
"""How long a device that was there before may take to be seen by the hub again."""


@dataclass(frozen=True, slots=True)
class HubSettings:
    """A ``power`` table of this driver."""

    location: str
    port: int
    pair: str
    """"auto", "none", or the place of the other half of the hub."""
    ganged: bool
    """The operator knows that all ports of this hub go together."""
    way: str

    @classmethod
    def read(cls, spec: Mapping[str, Any], where: str) -> HubSettings:
        """Read a table. Raises ConfigError."""
        unknown_keys(spec, KEYS, where)
        location = check_path(spec.get("location"), where, "location")
        port = spec.get("port")
        if not isinstance(port, int) or isinstance(port, bool) or not 1 <= port <= 255:
            raise ConfigError("port", where=where, expected="the number of a port, from 1", found=repr(port))
        pair = spec.get("pair", "auto")
        if pair not in ("auto", "none"):
            check_path(pair, where, "pair")
        ganged = spec.get("ganged", False)
        if not isinstance(ganged, bool):
            raise ConfigError("ganged", where=where, expected="true or false", found=repr(ganged))
        way = spec.get("way", "auto")
        if way not in WAYS:
            raise ConfigError("way", where=where, expected=f"one of {', '.join(WAYS)}", found=repr(way))
        return cls(location, port, pair, ganged, way)


@dataclass(frozen=True, slots=True)
class Socket:
    """What is switched: one port, or the two of one socket; all of them on a ganged hub."""

    ports: tuple[tuple[str, int], ...]
    hubs: tuple[Hub, ...]


class HubPort:
    """A PowerSwitch: one socket of a hub."""

    proofs: frozenset[Proof] = frozenset()

    def __init__(self, settings: HubSettings, pool: Pool[UsbDevice], *, backend: Any, root: Path) -> None:
        self.settings = settings
        self._pool = pool
        self._backend = backend
        self._root = root
        self._held: dict[str, UsbDevice] = {}
        self._was_connected = False

    @property
    def _where(self) -> str:
        return f"hub {self.settings.location} port {self.settings.port}"

    # -------------------------------------------------------------------------------------------------- PowerSwitch

    async def off(self) -> None:
        """Switch the socket off. Raises TransportError, DeviceTimeout; ConfigError for a hub that cannot do it."""
        files = self._files()
        if files and await self._by_kernel(files, off=True):
            return
        socket = await self._socket()
        before = [await self._status(hub, port) for hub, port in socket.ports]
        self._was_connected = self._was_connected or any(status.connected for status in before)
        for attempt in range(REQUESTS):
            if attempt:
                await asyncio.sleep(PAUSE_SECONDS)
            for hub, port in socket.ports:
                await self._set(hub, port, on=False)
            after = [await self._status(hub, port) for hub, port in socket.ports]
            if not any(status.powered for status in after):
                return
        raise TransportError(
            "the hub keeps the port on",
            where=self._where,
            expected="a port status without power",
            found=" and ".join(map(str, after)),
            hint='it cannot switch, or the kernel powers it again: Linux 6.0 has a file for that (way = "sysfs")',
        )

    async def on(self) -> None:
        """Switch the socket on; a device that was there before must come back. Raises as ``off``."""
        files = self._files()
        if files and await self._by_kernel(files, off=False):
            return
        socket = await self._socket()
        for attempt in range(2):
            if attempt:
                # Seen on real hubs: powered, and blind to the device (0100 instead of 0503) until the next cycle.
                for hub, port in socket.ports:
                    await self._set(hub, port, on=False)
                await asyncio.sleep(10 * PAUSE_SECONDS)
            for hub, port in reversed(socket.ports):
                await self._set(hub, port, on=True)
            await asyncio.sleep(max(hub.good_s for hub in socket.hubs))
            status = await self._come_back(socket)
            if status is None:
                self._was_connected = False
                return
        raise TransportError(
            "the device did not come back",
            where=self._where,
            expected="a device at the port (port status 0503 or the like)",
            found=f"port status {status}",
            hint="longer off times help (off_s), or plugging the device out and in",
        )

    async def _come_back(self, socket: Socket) -> PortStatus | None:
        """Wait for power, and for the device where there was one; return what is seen instead."""
        deadline = clock.now() + BACK_SECONDS
        while True:
            seen = [await self._status(hub, port) for hub, port in socket.ports]
            good = any(one.powered for one in seen) and (not self._was_connected or any(one.connected for one in seen))
            if good:
                return None
            if clock.now() >= deadline:
                return seen[0]
            await asyncio.sleep(PAUSE_SECONDS)

    async def is_off(self, proof: Proof) -> bool:
        """Tell nothing: what a hub says proves nothing. Raises ConfigError."""
        raise ConfigError("a hub proves nothing by itself", where=self._where, found=proof.value)

    async def close(self) -> None:
        """Release the hub, which stays as it is; never raises."""
        held, self._held = self._held, {}
        for path in held:
            device = self._pool.give_back(path)
            if device is not None:
                await device.close()

    # --------------------------------------------------------------------------------------------------- the kernel

    def _files(self) -> list[Path]:
        """Return the kernel's switches of the socket, none where it is not to be used or has none."""
        # The kernel switches one port, and one port of a gang takes nobody's power.
        if self.settings.way == "usb" or self.settings.ganged:
            return []
        ports = [(self.settings.location, self.settings.port)]
        peer = self._configured_pair() or sysfs.peer_of(self._root, *ports[0])
        if peer is not None and self.settings.pair != "none":
            ports.append(peer)
        files = [file for port in ports if (file := sysfs.disable_file(self._root, *port)) is not None]
        if len(files) == len(ports):
            return files
        if self.settings.way == "sysfs":
            raise ConfigError(
                "this kernel does not switch the port",
                where=self._where,
                expected=str(sysfs.port_folder(self._root, *ports[0]) / "disable"),
                found="no such file",
                hint='it is there from Linux 6.0 on; way = "usb" asks the hub itself',
            )
        return []

    async def _by_kernel(self, files: Sequence[Path], *, off: bool) -> bool:
        """Switch by the kernel's files; tell whether that worked. Without the right to write "auto" goes on by USB."""
        if off:
            # The kernel has the list of what hangs there: no hub may lose its power by this.
            self._refuse_chain(self._children())
        worker = self._take(self.settings.location)
        try:
            await worker.run_plain(lambda: _write_all(files, off), timeout=30.0)
        except PermissionError as exc:
            if self.settings.way == "auto":
                return False
            raise TransportError(
                "no right to switch the port", where=str(files[0]), hint="hw/udev has rules that give the right"
            ) from exc
        except OSError as exc:
            raise TransportError(f"the kernel does not switch the port: {exc.strerror}", where=str(files[0])) from exc
        return True

    def _children(self) -> list[str]:
        """Return the hubs that hang at the port, by sysfs."""
        path = _below(self.settings.location, self.settings.port)
        try:
            kind = (self._root / "bus" / "usb" / "devices" / path / "bDeviceClass").read_text().strip()
        except OSError:
            return []
        return [path] if kind == "09" else []

    # ------------------------------------------------------------------------------------------------------ the hub

    async def _socket(self) -> Socket:
        """Find what is to be switched, as it hangs now. Raises ConfigError for what must not be."""
        location, port = self.settings.location, self.settings.port
        devices = await self._take(location).run_plain(lambda: all_devices(self._backend))
        hanging = {path_of(one) for one in devices if requests.is_hub(one)}
        self._refuse_chain(sorted(hanging & {_below(location, port)}))
        ports = [(location, port)]
        partner = self._partner(devices)
        if partner is not None:
            ports.append(partner)
            self._refuse_chain(sorted(hanging & {_below(*partner)}))
        hubs = [await self._take(hub).run(requests.read_hub) for hub, _ in ports]
        for hub, (_, number) in zip(hubs, ports, strict=True):
            if number > hub.ports:
                raise ConfigError("no such port", where=f"hub {hub.path}", expected=f"1 to {hub.ports}", found=number)
        if any(hub.switching is Switching.NONE for hub in hubs):
            raise ConfigError("this hub does not switch power", where=self._where, hint="use another hub, or a relay")
        if any(hub.switching is Switching.GANGED for hub in hubs):
            if not self.settings.ganged:
                raise ConfigError(
                    "this hub switches all its ports together",
                    where=self._where,
                    hint="if nothing else hangs there, declare it: ganged = true",
                )
            # A gang loses its power when the last of its ports is off (USB 2.0 11.11).
            ports = [(hub.path, number) for hub in hubs for number in range(1, hub.ports + 1)]
            self._refuse_chain(sorted(hanging & {_below(*one) for one in ports}))
        return Socket(tuple(ports), tuple(hubs))

    def _refuse_chain(self, hubs: Sequence[str]) -> None:
        if hubs:
            raise ConfigError(
                "a hub hangs at this port: it is never switched",
                where=self._where,
                expected="a port with the device under test",
                found=f"hub {hubs[0]}",
                hint="hubs with seven or ten ports are two in a chain; name the hub that the device hangs at",
            )

    def _configured_pair(self) -> tuple[str, int] | None:
        return (self.settings.pair, self.settings.port) if self.settings.pair not in ("auto", "none") else None

    def _partner(self, devices: Sequence[Any]) -> tuple[str, int] | None:
        """Return the port of the hub's other half: by rack file, by the kernel, or the only likely one."""
        if self.settings.pair == "none":
            return None
        known = self._configured_pair() or sysfs.peer_of(self._root, self.settings.location, self.settings.port)
        if known is not None:
            return known
        own = next((one for one in devices if path_of(one) == self.settings.location), None)
        if own is None:
            raise TransportError("no such hub", where=self.settings.location, hint="rack discover lists hubs")
        if not requests.is_hub(own):
            raise ConfigError("not a hub", where=self.settings.location, hint="rack discover lists hubs")
        likely = [
            path_of(one)
            for one in devices
            if requests.is_hub(one)
            and one.bus != own.bus
            and one.port_numbers
            and tuple(one.port_numbers) == tuple(own.port_numbers or ())
            and one.idVendor == own.idVendor
            and requests.is_super_speed(one) != requests.is_super_speed(own)
        ]
        if len(likely) > 1:
            raise ConfigError(
                "which is the other half of this hub?",
                where=self._where,
                expected=f'pair = "{likely[0]}" or the like, or "none"',
                found=", ".join(likely),
            )
        return (likely[0], self.settings.port) if likely else None

    async def _status(self, hub: str, port: int) -> PortStatus:
        return await self._take(hub).run(lambda device: requests.port_status(device, port))

    async def _set(self, hub: str, port: int, *, on: bool) -> None:
        await self._take(hub).run(lambda device: requests.set_power(device, port, on))

    def _take(self, path: str) -> UsbDevice:
        if path not in self._held:
            self._held[path] = self._pool.take(path)
        return self._held[path]


def _write_all(files: Sequence[Path], off: bool) -> None:
    for file in files:
        sysfs.write_disable(file, off)
    for file in files:
        if sysfs.read_disable(file) is not off:
            raise OSError(5, f"{file.name} did not change")


def _below(hub: str, port: int) -> str:
    """Return the place of what hangs at a port of a hub."""
    return f"{hub.removeprefix('usb')}-{port}" if hub.startswith("usb") else f"{hub}.{port}"


class UsbHubDriver:
    """A PowerDriver and a DiscoveringDriver. ``backend``: of pyusb, None for libusb."""

    def __init__(self, backend: Any = None, root: Path = SYSFS) -> None:
        self._backend = backend
        self._root = root
        self._pool: Pool[UsbDevice] = Pool(lambda path: UsbDevice(f"hub {path}", lambda: one_at(path, backend)))

    def open_power(self, spec: Mapping[str, Any], context: DriverContext) -> HubPort:
        """Make the switch; the hub is opened when it is first used. Raises ConfigError."""
        settings = HubSettings.read(spec, f"slot {context.slot}: power")
        return HubPort(settings, self._pool, backend=self._backend, root=self._root)

    async def discover(self) -> Sequence[FoundDevice]:
        """Return the hubs that say they switch power; their descriptors are read, nothing is switched."""
        worker = UsbDevice("USB hubs", lambda: None)
        try:
            return await worker.run_plain(self._look)
        finally:
            await worker.close()

    def _look(self) -> list[FoundDevice]:
        import usb.core
        import usb.util

        found = []
        devices = all_devices(self._backend)
        paths = {path_of(one) for one in devices}
        for device in devices:
            if not requests.is_hub(device):
                continue
            path = path_of(device)
            trouble, details = None, {"usb": "3" if requests.is_super_speed(device) else "2"}
            try:
                hub = requests.read_hub(device)
                if hub.switching is Switching.NONE:
                    continue
                details |= {"ports": str(hub.ports), "switching": hub.switching.value}
                used = [number for number in range(1, hub.ports + 1) if _below(path, number) in paths]
                details["used"] = ", ".join(map(str, used)) or "none"
                if hub.switching is Switching.GANGED:
                    trouble = "switches all its ports together: ganged = true where nothing else hangs there"
            except usb.core.USBError as exc:
                trouble = str(bench_error(exc, path))
            except ProtocolError as exc:
                trouble = str(exc)
            finally:
                with contextlib.suppress(Exception):
                    usb.util.dispose_resources(device)
            table = {"driver": "usb-hub", "location": path, "port": 1}
            name = f"USB hub {device.idVendor:04x}:{device.idProduct:04x}"
            found.append(FoundDevice("hub", name, table, usb=path, details=details, trouble=trouble))
        return found


driver = UsbHubDriver()
