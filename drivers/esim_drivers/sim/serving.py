"""Simulated slots for other programs: cards in virtual PC/SC readers, modems on ptys with stable names.

A card without a modem sits in a slot of vpcd; one behind a modem is reached by the modem's serial port. All modems
share the running loop; each reader has a thread, as vpcd.py has it.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from esim_bench.errors import ConfigError, TransportError
from esim_bench.ports import DriverContext, FormFactor, Served, ServeSettings
from esim_drivers.sim.card import SimCard
from esim_drivers.sim.modem import SimModem
from esim_drivers.sim.pty_bus import PtyBus
from esim_drivers.sim.pty_host import PtyModem
from esim_drivers.sim.pty_watch import OpenWatch
from esim_drivers.sim.vpcd import LIBRARY, SLOTS, VirtualReader, VpcdHost, reader_conf

OFF_SECONDS: Final = 1.0
"""Without power in a cycle, unless said otherwise."""
_LONGEST: Final = 3600.0
PORT_FOLDER: Final = "sys"
"""Below the rack's folder: what sysfs and /dev would show of the served modems."""


class _LockedCard:
    """A card whose memory can be looked at while a reader's thread uses it."""

    def __init__(self, card: SimCard) -> None:
        self.card = card
        self._lock = threading.Lock()

    def power_on(self) -> bytes:
        with self._lock:
            return self.card.power_on()

    def reset(self) -> bytes:
        with self._lock:
            return self.card.reset()

    def power_off(self) -> None:
        with self._lock:
            self.card.power_off()

    def transmit(self, command: bytes) -> tuple[bytes, float]:
        with self._lock:
            return self.card.transmit(command)

    def snapshot(self) -> bytes:
        with self._lock:
            return self.card.nvm.snapshot()


class _Device(Protocol):
    """One served slot."""

    def describe(self) -> Served: ...

    def actions(self) -> Mapping[str, Callable[[float | None], None]]: ...

    def state(self) -> tuple[int, Callable[[], bytes]]: ...

    def close(self) -> None: ...


class _ReaderSlot:
    """A card in a virtual reader. Power and presence are one: a reader shows a card without power as none."""

    def __init__(self, card: SimCard, context: DriverContext, rate: float) -> None:
        self._card = _LockedCard(card)
        self._context = context
        self._loop = asyncio.get_running_loop()
        self.reader = VirtualReader(self._card, rate=1.0 / rate)
        self._powered = self._inserted = True
        self.address = self.name = ""
        self.pulls = True
        """Whether the service sees a card come and go."""

    def describe(self) -> Served:
        details = {"form_factor": self._context.form_factor.value, "eid": self._card.card.identity.eid.hex()}
        if not self._inserted:
            details["card"] = "unplugged"
        return Served(self._context.slot, "reader", self.address, self.name, self._powered, details)

    def actions(self) -> Mapping[str, Callable[[float | None], None]]:
        if not self.pulls:
            return {}
        actions: dict[str, Callable[[float | None], None]] = {
            "on": lambda _: self._set(powered=True),
            "off": lambda _: self._set(powered=False),
            "cycle": self._cycle,
        }
        if self._context.form_factor.removable:
            actions["unplug"] = lambda _: self._set(inserted=False)
            actions["insert"] = lambda _: self._set(inserted=True)
        return actions

    def _set(self, *, powered: bool | None = None, inserted: bool | None = None) -> None:
        self._powered = self._powered if powered is None else powered
        self._inserted = self._inserted if inserted is None else inserted
        there = self._powered and self._inserted
        if there and self.reader.card is None:
            self.reader.insert(self._card)
        elif not there and self.reader.card is not None:
            self.reader.remove()

    def _cycle(self, seconds: float | None) -> None:
        self._set(powered=False)
        self._loop.call_later(OFF_SECONDS if seconds is None else seconds, lambda: self._set(powered=True))

    def state(self) -> tuple[int, Callable[[], bytes]]:
        return self._card.card.nvm.writes, self._card.snapshot

    def close(self) -> None:
        self.reader.remove()


class _PortSlot:
    """A modem on a pty, its card behind it."""

    def __init__(self, card: SimCard, modem: SimModem, host: PtyModem, context: DriverContext, usb: str) -> None:
        self._card = card
        self._modem = modem
        self._context = context
        self._usb = usb
        self._loop = asyncio.get_running_loop()
        self.host = host

    def describe(self) -> Served:
        dialect = self._modem.dialect
        details = {
            "form_factor": self._context.form_factor.value,
            "eid": self._card.identity.eid.hex(),
            "module": f"{dialect.manufacturer} {dialect.model}",
            "usb": f"usb:{self._usb}",
        }
        if dialect.at.baud is not None:
            details["baud"] = str(dialect.at.baud)
        if not self._modem.sim.inserted:
            details["card"] = "unplugged"
        if self.host.powered and not self._modem.running:
            details["modem"] = "powered down"
        return Served(self._context.slot, "port", str(self.host.link), self.host.node, self.host.powered, details)

    def actions(self) -> Mapping[str, Callable[[float | None], None]]:
        power = self._modem.dialect.power
        actions: dict[str, Callable[[float | None], None]] = {
            "on": lambda _: self.host.power_on(),
            "off": lambda _: self.host.power_off(),
            "cycle": self._cycle,
            "hang-up": lambda _: self.host.hang_up(),
            "power-key": lambda s: self.host.power_key(_pull(s, power.on_pull_ms, power.off_pull_ms)),
            "reset": lambda s: self.host.reset(_pull(s, power.reset_hold_ms)),
        }
        if self._context.form_factor in (FormFactor.FF2, FormFactor.FF3, FormFactor.FF4):
            actions["unplug"] = lambda _: self.host.remove_card()
            actions["insert"] = lambda _: self.host.insert_card()
        return actions

    def _cycle(self, seconds: float | None) -> None:
        self.host.power_off()
        self._loop.call_later(OFF_SECONDS if seconds is None else seconds, self.host.power_on)

    def state(self) -> tuple[int, Callable[[], bytes]]:
        return self._card.nvm.writes, self._card.nvm.snapshot

    def close(self) -> None:
        self.host.close()


def _pull(seconds: float | None, *usual_ms: int | None) -> float:
    """Return how long a key is pulled: as said, else as long as the module needs."""
    return seconds if seconds is not None else max([0, *(ms for ms in usual_ms if ms is not None)]) / 1000


class SimRack:
    """A ServedRack. Made by ``serve``."""

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._devices: dict[str, _Device] = {}
        self._watch = OpenWatch()
        # What a killed server left.
        shutil.rmtree(settings.folder / PORT_FOLDER, ignore_errors=True)
        self._bus = PtyBus(settings.folder / PORT_FOLDER)
        self._hosts: list[VpcdHost] = []
        self._closed = False
        self.reader_config = ""

    # ------------------------------------------------------------------------------------------------- making

    def add_card(self, card: SimCard, context: DriverContext) -> None:
        """Put a card into a virtual reader."""
        self._devices[context.slot] = _ReaderSlot(card, context, self._settings.rate)

    def add_modem(self, card: SimCard, modem: SimModem, context: DriverContext) -> None:
        """Put a modem on a pty."""
        link = self._settings.folder / context.slot
        if link.is_symlink():
            link.unlink()
        usb = f"1-1.{len(self._devices) + 1}:1.2"
        host = PtyModem(
            modem,
            link,
            self._watch,
            rate=self._settings.rate,
            bus=self._bus,
            interface=usb,
        )
        self._devices[context.slot] = _PortSlot(card, modem, host, context, usb)

    def start(self) -> None:
        """Power all modems on, and have the readers found. Raises ConfigError, TransportError."""
        self._serve_readers([one for one in self._devices.values() if isinstance(one, _ReaderSlot)])
        for device in self._devices.values():
            if isinstance(device, _PortSlot):
                device.host.power_on()

    def _serve_readers(self, slots: Sequence[_ReaderSlot]) -> None:
        settings = self._settings
        if not slots:
            return
        if settings.vpcd:
            room = SLOTS * len(settings.vpcd)
            if len(slots) > room:
                raise ConfigError(
                    "more cards than virtual readers",
                    expected=f"at most {room}: each vpcd has {SLOTS} slots",
                    found=f"{len(slots)} slots without a module",
                    hint="choose with --slot, or name another vpcd with --vpcd",
                )
            for number, (host, port) in enumerate(settings.vpcd):
                pair = slots[SLOTS * number : SLOTS * (number + 1)]
                if pair:
                    self._hosts.append(VpcdHost.connecting([slot.reader for slot in pair], host, port))
                for index, slot in enumerate(pair):
                    slot.address, slot.name = f"{host}:{port + index}", f"slot {index} of the vpcd at {host}:{port}"
            entries = [
                self._entry(number, port, None)
                for number, (host, port) in enumerate(settings.vpcd)
                if host in ("localhost", "127.0.0.1")
            ]
            self.reader_config = "\n".join(entries)
            return
        readers = [slot.reader for slot in slots]
        # Both ports of a pair must be served, or pcscd aborts.
        readers += [VirtualReader() for _ in range(-len(readers) % SLOTS)]
        hosted = VpcdHost.listening(readers, settings.host, settings.port)
        self._hosts.append(hosted)
        entries = []
        for number in range(len(readers) // SLOTS):
            port = hosted.port + SLOTS * number
            address = "127.0.0.1" if settings.host == "0.0.0.0" else settings.host
            entries.append(self._entry(number, port, address))
            for index, slot in enumerate(slots[SLOTS * number : SLOTS * (number + 1)]):
                slot.pulls = False
                slot.address, slot.name = f"{settings.host}:{port + index}", f"{self._name(number)} 00 {index:02d}"
        self.reader_config = "\n".join(entries)

    def _name(self, number: int) -> str:
        return f"esim-bench {self._settings.name}" + (f" {number + 1}" if number else "")

    def _entry(self, number: int, port: int, address: str | None) -> str:
        """Return an entry of reader.conf. Each has a library of its own, or pairs would wait for each other.

        ``address``: where vpcd finds the cards; None: it listens.
        """
        name = self._name(number)
        library = self._settings.folder / f"libifdvpcd-{number}.so"
        library.unlink(missing_ok=True)
        try:
            library.symlink_to(LIBRARY)
            return reader_conf(name, port, address=address, library=library)
        except ConfigError as exc:
            # The service may live on another machine than the cards.
            library.unlink(missing_ok=True)
            text = f'FRIENDLYNAME "{name}"\nDEVICENAME {address or "/dev/null"}:0x{port:04X}\nLIBPATH {LIBRARY}\n'
            return f"# {exc}\n{text}CHANNELID 0x{port:04X}\n"

    # ------------------------------------------------------------------------------------------------- ServedRack

    def served(self) -> Sequence[Served]:
        """Return where the slots are now, in the rack's order."""
        return [device.describe() for device in self._devices.values()]

    def act(self, slot: str, action: str, seconds: float | None = None) -> None:
        """Do something to a slot. Raises ConfigError for what makes no sense there."""
        device = self._devices.get(slot)
        if device is None:
            raise ConfigError("no such slot", expected=f"one of {', '.join(self._devices)}", found=repr(slot))
        actions = device.actions()
        if action not in actions:
            hint = "only a removable card can be unplugged" if action in ("unplug", "insert") else None
            if isinstance(device, _ReaderSlot) and not device.pulls:
                hint = "where vpcd connects to the cards it never sees one go: have it listen, and serve with --vpcd"
            expected = f"one of {', '.join(actions)}" if actions else "nothing: the card stays in its reader"
            raise ConfigError("cannot be done", where=slot, expected=expected, found=repr(action), hint=hint)
        if seconds is not None and not 0.0 <= seconds <= _LONGEST:
            raise ConfigError("not a time", expected=f"0 to {_LONGEST:g} seconds", found=seconds)
        if action in ("hang-up", "power-key", "reset", "cycle") and not device.describe().powered:
            raise ConfigError("it has no power", where=slot, expected="on first", found=action)
        actions[action](seconds)

    def state(self, slot: str) -> tuple[int, Callable[[], bytes]]:
        """Return how often a card's memory was written, and what takes its snapshot."""
        return self._devices[slot].state()

    async def close(self) -> None:
        """Take everything away; never raises."""
        if self._closed:
            return
        self._closed = True
        for device in self._devices.values():
            device.close()
        for host in self._hosts:
            # It joins its threads.
            await asyncio.get_running_loop().run_in_executor(None, host.close)
        self._watch.close()
        for library in self._settings.folder.glob("libifdvpcd-*.so"):
            library.unlink(missing_ok=True)
        shutil.rmtree(self._settings.folder / PORT_FOLDER, ignore_errors=True)


def check_folder(folder: Path) -> None:
    """Raise TransportError unless links can be made in a folder."""
    probe = folder / ".probe"
    try:
        probe.unlink(missing_ok=True)
        probe.symlink_to("nowhere")
        probe.unlink()
    except OSError as exc:
        raise TransportError(f"cannot make links: {exc.strerror}", where=str(folder)) from exc
