"""The driver ``relay-lcus``: ``power = { driver = "relay-lcus", port = "usb:1-1.4:1.0", channel = 1 }``.

LCUS boards on a serial port (unconfirmed, from sellers' pages): ``A0 channel state sum``; nothing comes back. Some with
several channels answer ``FF`` by lines ``CH1: ON``: ``status = true`` reads the states by that.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any

from esim_bench.errors import ConfigError, DeviceTimeout
from esim_bench.ports import DriverContext, FoundDevice
from esim_drivers.relay.board import RelaySwitch, read_channel, read_wiring
from esim_drivers.relay.serial_board import SerialBoard
from esim_drivers.usb_device import Pool, unknown_keys
from esim_drivers.usbtree import check_port_name

KEYS = ("port", "baud", "channel", "wiring", "status")
BAUD = 9600
STATUS_SECONDS = 1.0
_HEAD, _STATUS = 0xA0, b"\xff"
_CHANNEL = re.compile(rb"CH(\d+)\s*:\s*(ON|OFF)")


def command(channel: int, energised: bool) -> bytes:
    """Return the command for one relay: head, channel, state, sum."""
    body = bytes((_HEAD, channel, int(energised)))
    return body + bytes((sum(body) & 0xFF,))


class LcusBoard:
    """A RelayBoard on a serial port."""

    def __init__(self, port: SerialBoard, *, status: bool) -> None:
        self.name = f"LCUS relay {port.name}"
        self._port = port
        self._status = status

    async def set(self, channel: int, energised: bool) -> None:
        """Energise a coil or let it go."""
        async with self._port.lock:
            self._port.send(command(channel, energised))
            # Boards drop a command that comes on the heels of another.
            await asyncio.sleep(0.02)

    async def states(self) -> Mapping[int, bool] | None:
        """Read the states, where the rack file says that the board tells them. Raises DeviceTimeout."""
        if not self._status:
            return None
        async with self._port.lock:
            self._port.send(_STATUS)
            try:
                text = await self._port.answer(_whole, STATUS_SECONDS)
            except DeviceTimeout as exc:
                raise DeviceTimeout(
                    "the board does not tell its states", where=self.name, hint="leave out status = true"
                ) from exc
        return {int(number): word == b"ON" for number, word in _CHANNEL.findall(text)}

    async def close(self) -> None:
        """Release the port; never raises."""
        await self._port.close()


def _whole(text: bytes) -> bool:
    return bool(_CHANNEL.search(text)) and text.endswith(b"\n")


class LcusDriver:
    """A PowerDriver and a DiscoveringDriver that finds nothing: such a board looks like any serial adapter."""

    board_keys = ("port", "baud", "status")

    def __init__(self) -> None:
        self._pool: Pool[LcusBoard] = Pool(_make)

    def board_key(self, spec: Mapping[str, Any], where: str) -> str:
        """Return which board a table names. Raises ConfigError."""
        port = check_port_name(spec.get("port"))
        baud = spec.get("baud", BAUD)
        if not isinstance(baud, int) or isinstance(baud, bool) or baud < 1:
            raise ConfigError("unusable speed", where=where, expected="a number, as 9600", found=repr(baud))
        status = spec.get("status", False)
        if not isinstance(status, bool):
            raise ConfigError("status", where=where, expected="true or false", found=repr(status))
        return f"{port}|{baud}|{int(status)}"

    def take(self, key: str) -> LcusBoard:
        """Return the board of a key, shared by all slots on it."""
        return self._pool.take(key)

    async def release(self, key: str) -> None:
        """Give a board back; the last one closes it."""
        board = self._pool.give_back(key)
        if board is not None:
            await board.close()

    def open_power(self, spec: Mapping[str, Any], context: DriverContext) -> RelaySwitch:
        """Make the switch; the port is opened when it is first used. Raises ConfigError."""
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
        """Return nothing: only a command would tell such a board from any other adapter, and that switches a relay."""
        return ()


def _make(key: str) -> LcusBoard:
    port, baud, status = key.rsplit("|", 2)
    return LcusBoard(SerialBoard(port, int(baud)), status=status == "1")


driver = LcusDriver()
