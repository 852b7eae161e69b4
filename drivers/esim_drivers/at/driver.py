"""The driver ``at``: a modem on a serial port, and the card behind it: ``modem = { driver = "at", port = ... }``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from esim_bench.data import Dialect
from esim_bench.errors import ConfigError
from esim_bench.ports import CardLink, DriverContext, FoundDevice, ModemLink
from esim_drivers.at import discover
from esim_drivers.at.card import AtCard
from esim_drivers.at.modem import AtModem
from esim_drivers.at.serial_link import SerialLink
from esim_drivers.usbtree import UsbTree, check_port_name

KEYS = ("port", "baud")
_BAUD = 115200


class AtDriver:
    """A ModemDriver, a DiscoveringDriver and a PortProbingDriver."""

    def __init__(self, tree: UsbTree | None = None) -> None:
        """``tree``: where USB devices are looked for."""
        self._tree = tree if tree is not None else UsbTree()

    def open_modem(self, spec: Mapping[str, Any], context: DriverContext) -> tuple[ModemLink, CardLink]:
        """Make the modem and its card; the port is opened when it is first used. Raises ConfigError."""
        where = f"slot {context.slot}: modem"
        for key in spec:
            if key not in KEYS:
                raise ConfigError("unknown key", where=where, expected=f"one of {', '.join(KEYS)}", found=repr(key))
        dialect = context.dialect
        if not isinstance(dialect, Dialect):
            raise ConfigError(
                "which module is it?", where=where, expected='module = "..." in the slot', hint="see hw/modules"
            )
        port = check_port_name(spec.get("port"))
        baud = spec.get("baud", dialect.at.baud or _BAUD)
        if not isinstance(baud, int) or isinstance(baud, bool):
            raise ConfigError("unusable speed", where=where, expected="a number, as 115200", found=repr(baud))
        modem = AtModem(lambda: SerialLink(port, baud=baud), dialect, context.sink)
        return modem, AtCard(modem, context.sink)

    async def discover(self) -> Sequence[FoundDevice]:
        """Return the serial ports of USB devices and the modems on them; each free port is asked who is there."""
        return await self.look(lambda port: None)

    async def look(self, leave_alone: Callable[[FoundDevice], str | None]) -> Sequence[FoundDevice]:
        """Look around as ``discover`` does; a port that is to be left alone is listed, with the reason."""
        return discover.modules(await discover.ports(self._tree, leave_alone))

    async def probe_port(
        self, port: str, leave_alone: Callable[[FoundDevice], str | None] = lambda port: None
    ) -> FoundDevice:
        """Ask one port by its name. Raises ConfigError, TransportError."""
        return await discover.port(port, leave_alone)


driver = AtDriver()
