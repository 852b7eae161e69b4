r"""The driver ``sim-mux``: a multiplexer that lays one card, or one line, to the device; all of it is data.

By commands on a serial port, each perhaps with an answer to wait for, and a question that reads the way back::

    power = { driver = "sim-mux", port = "usb:1-1.4:1.0", on = ["SEL 3\r"], off = ["SEL 0\r"], answer = "OK",
              query = "SEL?\r", query_off = "^0\\b" }

or by relays: ``on`` and ``off`` say which of ``channels`` are energised, the others are at rest::

    power = { driver = "sim-mux", relay = { driver = "relay-hid", serial = "BITFT" }, channels = [1, 2, 3],
              on = [1, 3], off = [] }

A command that begins with ``hex:`` is bytes. "Off" takes the card from the device: what reads the card is the proof.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from esim_bench.errors import ConfigError, TransportError
from esim_bench.ports import DriverContext, Proof
from esim_drivers.relay import hid, lcus
from esim_drivers.relay.board import RelayBoard, drive
from esim_drivers.relay.serial_board import SerialBoard
from esim_drivers.usb_device import Pool, unknown_keys
from esim_drivers.usbtree import check_port_name

SERIAL_KEYS = ("port", "baud", "on", "off", "answer", "answer_s", "pause_s", "query", "query_on", "query_off")
RELAY_KEYS = ("relay", "channels", "on", "off")
BAUD = 115200
ANSWER_SECONDS = 2.0
_LONGEST = 256


@dataclass(frozen=True, slots=True)
class Commands:
    """How a multiplexer on a serial port is spoken to."""

    on: tuple[bytes, ...]
    off: tuple[bytes, ...]
    answer: re.Pattern[bytes] | None
    answer_s: float
    pause_s: float
    query: bytes | None
    states: Mapping[bool, re.Pattern[bytes] | None]
    """What the answer to the question looks like, by "on"."""

    def answers(self, text: bytes) -> bool:
        """Tell whether what came has the answer to a command."""
        return self.answer is not None and self.answer.search(text) is not None


class SerialMux:
    """A PowerSwitch by commands on a serial port."""

    proofs: frozenset[Proof] = frozenset()

    def __init__(
        self, take: Callable[[], SerialBoard], release: Callable[[], Awaitable[None]], commands: Commands
    ) -> None:
        self._take = take
        self._release = release
        self._port: SerialBoard | None = None
        self._commands = commands

    async def off(self) -> None:
        """Take the card from the device. Raises TransportError, DeviceTimeout for an answer that does not come."""
        await self._go(on=False)

    async def on(self) -> None:
        """Lay the card to the device. Raises as ``off``."""
        await self._go(on=True)

    async def _go(self, *, on: bool) -> None:
        if self._port is None:
            self._port = self._take()
        port, commands = self._port, self._commands
        async with port.lock:
            for command in commands.on if on else commands.off:
                port.send(command)
                if commands.answer is not None:
                    await port.answer(commands.answers, commands.answer_s)
                await asyncio.sleep(commands.pause_s)
            state = commands.states[on]
            if commands.query is not None and state is not None:
                port.send(commands.query)
                text = await port.answer(lambda text: text.endswith((b"\n", b"\r")), commands.answer_s)
                if state.search(text) is None:
                    raise TransportError(
                        "the multiplexer did not switch",
                        where=port.name,
                        expected=state.pattern.decode("ascii", "replace"),
                        found=repr(text),
                    )

    async def is_off(self, proof: Proof) -> bool:
        """Tell nothing: the card itself is the proof. Raises ConfigError."""
        raise ConfigError("a multiplexer proves nothing by itself", found=proof.value)

    async def close(self) -> None:
        """Release the port; the way stays as it is. Never raises."""
        if self._port is not None:
            self._port = None
            await self._release()


class RelayMux:
    """A PowerSwitch by several relays of one board."""

    proofs: frozenset[Proof] = frozenset()

    def __init__(
        self,
        take: Callable[[], RelayBoard],
        release: Callable[[], Awaitable[None]],
        *,
        on: Mapping[int, bool],
        off: Mapping[int, bool],
    ) -> None:
        self._take = take
        self._release = release
        self._board: RelayBoard | None = None
        self._on, self._off = on, off

    async def off(self) -> None:
        """Take the card from the device. Raises TransportError: gone, or a relay that says that it sticks."""
        await self._drive(self._off)

    async def on(self) -> None:
        """Lay the card to the device. Raises as ``off``."""
        # Break before make: two cards must never be on one line.
        await self._drive({channel: False for channel, energised in self._on.items() if not energised})
        await self._drive(self._on)

    async def _drive(self, wanted: Mapping[int, bool]) -> None:
        if self._board is None:
            self._board = self._take()
        await drive(self._board, wanted)

    async def is_off(self, proof: Proof) -> bool:
        """Tell nothing: the card itself is the proof. Raises ConfigError."""
        raise ConfigError("a multiplexer proves nothing by itself", found=proof.value)

    async def close(self) -> None:
        """Release the board, whose relays stay as they are; never raises."""
        if self._board is not None:
            self._board = None
            await self._release()


class MuxDriver:
    """A PowerDriver. ``boards``: drivers of relay boards by their names in ``relay = { driver = ... }``."""

    def __init__(self, boards: Mapping[str, hid.HidRelayDriver | lcus.LcusDriver] | None = None) -> None:
        self._boards = boards or {"relay-hid": hid.driver, "relay-lcus": lcus.driver}
        self._ports: Pool[SerialBoard] = Pool(_open)

    def open_power(self, spec: Mapping[str, Any], context: DriverContext) -> SerialMux | RelayMux:
        """Make the switch (no I/O yet). Raises ConfigError."""
        where = f"slot {context.slot}: power"
        if "relay" in spec:
            unknown_keys(spec, RELAY_KEYS, where)
            return self._by_relays(spec, where)
        unknown_keys(spec, SERIAL_KEYS, where)
        port = check_port_name(spec.get("port"))
        baud = spec.get("baud", BAUD)
        if not isinstance(baud, int) or isinstance(baud, bool) or baud < 1:
            raise ConfigError("unusable speed", where=where, expected="a number, as 115200", found=repr(baud))
        key = f"{port}|{baud}"
        return SerialMux(lambda: self._ports.take(key), lambda: self._release(key), read_commands(spec, where))

    async def _release(self, key: str) -> None:
        port = self._ports.give_back(key)
        if port is not None:
            await port.close()

    def _by_relays(self, spec: Mapping[str, Any], where: str) -> RelayMux:
        relay = spec["relay"]
        name = str(relay.get("driver")) if isinstance(relay, Mapping) else ""
        if name not in self._boards:
            names = ", ".join(self._boards)
            raise ConfigError("relay", where=where, expected=f"a table with driver: {names}", found=repr(relay))
        boards = self._boards[name]
        unknown_keys(relay, ("driver", *boards.board_keys), f"{where}: relay")
        key = boards.board_key({key: value for key, value in relay.items() if key != "driver"}, f"{where}: relay")
        channels = _channels(spec.get("channels"), "channels", where)
        sets = {}
        for word in ("on", "off"):
            energised = _channels(spec.get(word, [] if word == "off" else None), word, where)
            if not set(energised) <= set(channels):
                raise ConfigError(word, where=where, expected=f"some of channels {channels}", found=energised)
            sets[word] = {channel: channel in energised for channel in channels}
        if sets["on"] == sets["off"]:
            raise ConfigError("on and off are the same", where=where, expected="relays that differ")
        return RelayMux(lambda: boards.take(key), lambda: boards.release(key), on=sets["on"], off=sets["off"])


def _open(key: str) -> SerialBoard:
    port, baud = key.rsplit("|", 1)
    return SerialBoard(port, int(baud))


def read_commands(spec: Mapping[str, Any], where: str) -> Commands:
    """Read the table of a multiplexer on a serial port. Raises ConfigError."""
    query = spec.get("query")
    states = {on: _pattern(spec.get(key), key, where) for on, key in ((True, "query_on"), (False, "query_off"))}
    if query is None and any(states.values()):
        raise ConfigError("query_on and query_off need a query", where=where)
    return Commands(
        on=_commands(spec.get("on"), "on", where),
        off=_commands(spec.get("off"), "off", where),
        answer=_pattern(spec.get("answer"), "answer", where),
        answer_s=_seconds(spec.get("answer_s", ANSWER_SECONDS), "answer_s", where),
        pause_s=_seconds(spec.get("pause_s", 0.05), "pause_s", where),
        query=_command(query, "query", where) if query is not None else None,
        states=states,
    )


def _commands(value: object, key: str, where: str) -> tuple[bytes, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, Sequence) or not items:
        raise ConfigError(key, where=where, expected="a command, or a list of them", found=repr(value))
    return tuple(_command(item, key, where) for item in items)


def _command(value: object, key: str, where: str) -> bytes:
    if isinstance(value, str) and 0 < len(value) <= _LONGEST:
        try:
            return bytes.fromhex(value[4:]) if value.startswith("hex:") else value.encode("latin-1")
        except ValueError:
            pass
    raise ConfigError(key, where=where, expected='text, or bytes as "hex:A00101A2"', found=repr(value))


def _pattern(value: object, key: str, where: str) -> re.Pattern[bytes] | None:
    if value is None:
        return None
    try:
        if isinstance(value, str):
            return re.compile(value.encode("latin-1"))
    except (re.error, UnicodeEncodeError):
        pass
    raise ConfigError(key, where=where, expected="a regular expression", found=repr(value))


def _seconds(value: object, key: str, where: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 60:
        return float(value)
    raise ConfigError(key, where=where, expected="seconds, from 0 to 60", found=repr(value))


def _channels(value: object, key: str, where: str) -> list[int]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        numbers = [one for one in value if isinstance(one, int) and not isinstance(one, bool) and 1 <= one <= 64]
        if len(numbers) == len(value) and (numbers or key == "off"):
            return numbers
    raise ConfigError(key, where=where, expected="numbers of relays, as [1, 3]", found=repr(value))


driver = MuxDriver()
