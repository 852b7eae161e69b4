"""The card behind a modem: by application sessions (AT+CCHO, AT+CGLA, AT+CCHC) or by bare APDUs (AT+CSIM).

The modem is the terminal: it does the terminal start-up and fetches proactive commands. In a session the CLA carries no
channel, the modem puts it in; the session handle is opaque text, and this link names it by a number of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from esim_bench import clock
from esim_bench.codec import at
from esim_bench.codec.apdu import channel_of
from esim_bench.errors import (
    ApduRefusedError,
    CardStatusError,
    CodecError,
    DeviceError,
    NoAccessError,
    ProtocolError,
    TransportError,
)
from esim_bench.events import ApduEvent, EventSink, MarkEvent
from esim_bench.ports import AtResponse, CardCapabilities, Exchange, StopRule
from esim_drivers.at.access import Access, Kind, find_access
from esim_drivers.at.blocks import BlockLength
from esim_drivers.at.modem import AtModem
from esim_drivers.chain import chain

T = TypeVar("T")

_HEADER_AND_TAIL = 6
"""CLA INS P1 P2 Lc and Le."""
_NOT_FOUND = 0x6A82
_MANAGE_CHANNEL = 0x70
_NO_CHANNEL, _CHECKSUM = b"\x6a\x81", b"\x66\x01"
_FIRST_CHANNELS = (1, 2, 3)
_GSMA = bytes.fromhex("A000000559")
_SIM_ERRORS = (10, 11, 12, 13, 14, 15)
"""+CME errors that are about the SIM, and not about the line."""
_KINDS: dict[str, Kind] = {"ccho": "ccho", "csim": "csim", "none": "basic", "probe": "ccho"}


class AtCard:
    """A CardLink through a modem. How the card is reached is said by the dialect, or found at the first ``connect``."""

    def __init__(self, modem: AtModem, sink: EventSink, *, removable: bool | None = None) -> None:
        self._modem = modem
        self._sink = sink
        self._sim = modem.dialect.sim
        self._removable = removable
        self._access: Access | None = None
        """What was found, where the dialect does not know."""
        self._kind: Kind = _KINDS[self._sim.access] if self._sim.csim or self._sim.access != "none" else "none"
        self._handles: dict[int, str] = {}
        self._next = 1
        self._generation: int | None = None
        self._blocks = BlockLength(self._max_data(), self._sim.least_data)
        self._own_channels: set[int] = set()
        """Opened by AT+CSIM since the card was connected."""
        self._tidied = False
        self._capabilities = self._capable()

    @property
    def capabilities(self) -> CardCapabilities:
        """Return what the modem lets through, as far as it is known by now."""
        return self._capabilities

    def _capable(self) -> CardCapabilities:
        by_session = self._kind == "ccho"
        return CardCapabilities(
            raw_channels=not by_session,
            sessions=by_session,
            resets_card=self._sim.reset != "none",
            terminal=True,
            max_data=self._blocks.longest,
            removable=self._removable,
        )

    def _max_data(self) -> int:
        limit = self._modem.dialect.at.line_limit
        if limit is None:
            return self._sim.max_data
        handle = 16 if self._sim.handle == "hex16" else 3
        room = at.cgla_room(limit, handle) if self._kind == "ccho" else at.csim_room(limit)
        return max(1, min(self._sim.max_data, room - _HEADER_AND_TAIL))

    # ------------------------------------------------------------------------------------------------- life

    async def connect(self) -> bytes:
        """Wait for the modem and its SIM; return b"": a modem does not show the ATR. Raises DeviceTimeout."""
        self._handles.clear()
        self._own_channels.clear()
        self._tidied = False
        await self._modem.wait_ready()
        self._generation = self._modem.generation
        if self._sim.access == "probe" and (self._access is None or self._kind in ("basic", "none")):
            await self._find_access()
        await self._close_leftovers()
        return b""

    async def reset(self) -> bytes:
        """Reset the SIM as the dialect says and wait until it is ready; all sessions are gone. Returns b""."""
        self._handles.clear()
        self._own_channels.clear()
        self._tidied = False
        await self._modem.reset_sim()
        self._generation = self._modem.generation
        return b""

    async def close(self) -> None:
        """Forget the sessions; the modem's port is the modem's own to close."""
        self._handles.clear()
        self._generation = None

    async def _find_access(self) -> None:
        limit = self._modem.dialect.at.apdu_timeout_s
        self._access = await find_access(lambda line: self._modem.command(line, limit))
        self._kind = self._access.kind
        self._blocks = BlockLength(self._max_data(), self._sim.least_data)
        self._capabilities = self._capable()
        self._mark(f"access to the card by {self._kind}: {self._access.cause}")

    async def _close_leftovers(self) -> None:
        """Close what an earlier user may have left open: it hangs some modems."""
        numbers = self._sim.close_at_start
        if numbers is None:
            numbers = _FIRST_CHANNELS if self._kind == "ccho" and self._sim.handle == "counter" else ()
        if self._kind == "ccho" and self._sim.cchc == "none":
            return
        for number in numbers:
            if self._kind == "ccho":
                await self._modem.command(at.cchc_command(str(number)))
            elif self._kind == "csim":
                await self._transmit(bytes((0x00, _MANAGE_CHANNEL, 0x80, number)), 0)

    def _mark(self, text: str) -> None:
        self._sink.emit(MarkEvent(clock.wall_ns(), text))

    # ------------------------------------------------------------------------------------------------- sessions

    async def open_session(self, aid: bytes) -> int:
        """Open an application by AT+CCHO; return this link's number for its handle.

        Tried several times, since a card that was just switched is not ready at once. Raises CardStatusError (6A82:
        the modem does not say why), NoAccessError, TransportError.
        """
        self._check()
        if self._kind in ("basic", "none"):
            raise self._no_access()
        if self._kind != "ccho":
            raise TransportError("this modem has no sessions", expected="MANAGE CHANNEL and SELECT", found="AT+CCHO")
        answer = AtResponse((), "ERROR")
        for tries in range(self._sim.open_tries):
            if tries:
                await asyncio.sleep(self._sim.open_wait_s)
            answer = await self._modem.command(at.ccho_command(aid), self._modem.dialect.at.apdu_timeout_s)
            if answer.ok:
                handle = _parse(at.ccho_answer, answer)
                number, self._next = self._next, self._next + 1
                self._handles[number] = handle
                if self._modem.dialect.expect.cause is not None and aid.startswith(_GSMA):
                    self._mark(f"{self._modem.dialect.model} gives access, though its row says it does not")
                return number
        said = _said(answer)
        if self._modem.dialect.expect.cause is not None and aid.startswith(_GSMA):
            raise NoAccessError(self._modem.dialect.expect.cause, found=said, where=self._modem.dialect.model)
        raise CardStatusError(
            f"the modem opens no session with {aid.hex().upper()}",
            sw=_NOT_FOUND,
            hint=f"it said {said} {self._sim.open_tries} times: no such application, blocked by the firmware, "
            "or no free channel",
        )

    def _no_access(self, found: str | None = None) -> NoAccessError:
        dialect = self._modem.dialect
        cause = dialect.expect.cause or (self._access.cause if self._access is not None else "no AT+CCHO, no AT+CSIM")
        return NoAccessError(cause, found=found, where=dialect.model)

    async def close_session(self, session: int) -> None:
        """Close a session; closing one that is already gone is no error."""
        handle = self._handles.pop(session, None)
        alive = self._generation == self._modem.generation and self._modem.usable
        if handle is not None and alive and self._sim.cchc != "none":
            await self._modem.command(at.cchc_command(handle))

    # ------------------------------------------------------------------------------------------------- APDUs

    async def exchange(self, commands: Sequence[bytes], stop: StopRule, session: int = 0) -> list[Exchange]:
        """Send commands in order; session 0 is the basic channel, by AT+CSIM.

        Raises ApduRefusedError: the modem answered with an error; TransportError: the session or the port is gone;
        NoAccessError; DeviceTimeout; ProtocolError for an answer that makes no sense.
        """
        done: list[Exchange] = []
        steps = chain(commands, stop)
        try:
            command = next(steps)
            while True:
                exchange = await self._transmit(command, session)
                done.append(exchange)
                command = steps.send(exchange.response)
        except StopIteration:
            return done

    async def _transmit(self, command: bytes, session: int) -> Exchange:
        self._check()
        if len(command) < 4:
            raise CodecError("command APDU", expected="at least 4 bytes", found=command.hex().upper() or "nothing")
        line, name = self._line(command, session)
        at_ns = clock.wall_ns()
        answer = await self._modem.command(line, self._modem.dialect.at.apdu_timeout_s)
        if not answer.ok:
            raise self._refused(command, answer)
        response = _parse(lambda lines: at.apdu_answer(lines, name), answer)
        duration = clock.wall_ns() - at_ns
        self._sink.emit(ApduEvent(at_ns, command, response, duration, session))
        if len(command) > 5:
            self._learn(len(command) - 5, passed=response[-2:] != _CHECKSUM)
        if command[1] == _MANAGE_CHANNEL and not session:
            if response[-2:] == _NO_CHANNEL and not self._tidied and _opens_channel(command):
                return await self._tidied_first(command)
            self._note_channel(command, response)
        return Exchange(command, response, at_ns, duration)

    async def _tidied_first(self, command: bytes) -> Exchange:
        """Close what others left open, then open a channel again."""
        self._tidied = True
        for number in _FIRST_CHANNELS:
            if number not in self._own_channels:
                await self._transmit(bytes((0x00, _MANAGE_CHANNEL, 0x80, number)), 0)
        return await self._transmit(command, 0)

    def _note_channel(self, command: bytes, response: bytes) -> None:
        if _opens_channel(command) and len(response) == 3:
            self._own_channels.add(response[0])
        elif command[2] == 0x80:
            self._own_channels.discard(command[3])

    def _refused(self, command: bytes, answer: AtResponse) -> DeviceError:
        """Return the error of a line that the modem refused, after drawing conclusions from it."""
        said = _said(answer)
        if _opens_channel(command) and self._modem.dialect.expect.cause is not None:
            return self._no_access(said)
        if at.cme_code(answer.final) not in _SIM_ERRORS and len(command) > 5:
            self._learn(len(command) - 5, passed=False)
        return ApduRefusedError(
            f"the modem refused the APDU {command[:5].hex().upper()}",
            command=command,
            expected="its answer and OK",
            found=said,
            hint="the SIM may have been reset, and its sessions with it; the card may have executed the command "
            "nevertheless: read its state",
        )

    def _learn(self, length: int, *, passed: bool) -> None:
        before = self._blocks.longest
        (self._blocks.passed if passed else self._blocks.refused)(length)
        if self._blocks.longest != before:
            self._capabilities = self._capable()
            self._mark(f"blocks of at most {self._blocks.longest} bytes from now on, no longer {before}")

    def _line(self, command: bytes, session: int) -> tuple[str, str]:
        """Return the command line that carries an APDU, and the name that its answer has."""
        if session:
            handle = self._handles.get(session)
            if handle is None:
                raise TransportError("the session is gone", hint="the card was reset since: open the application again")
            line, name = at.cgla_command(handle, command), "+CGLA"
        else:
            if self._kind == "none" or (self._kind == "basic" and _opens_channel(command)):
                raise self._no_access()
            if not self._csim:
                raise TransportError("this modem gives no access to the basic channel", where=self._modem.dialect.model)
            if not self._csim_channels and channel_of(command[0]):
                raise TransportError(
                    "this modem's AT+CSIM reaches the basic channel alone", found=command[:5].hex().upper()
                )
            line, name = at.csim_command(command), "+CSIM"
        limit = self._modem.dialect.at.line_limit
        if limit is not None and len(line) > limit:
            raise TransportError(
                "APDU too long for this modem's line",
                expected=f"at most {self._capabilities.max_data} bytes of data",
                found=f"{len(command)} bytes in all, a line of {len(line)} characters",
            )
        return line, name

    @property
    def _csim(self) -> bool:
        return self._sim.csim if self._access is None else self._access.csim

    @property
    def _csim_channels(self) -> bool:
        return self._sim.csim_channels if self._access is None else self._access.csim_channels

    def _check(self) -> None:
        if self._generation is None or self._generation != self._modem.generation or not self._modem.usable:
            self._handles.clear()
            raise TransportError("the card is not connected", hint="the modem's port was closed or lost: connect again")


def _opens_channel(command: bytes) -> bool:
    return command[1] == _MANAGE_CHANNEL and command[2] == 0x00 and not command[0] & 0x80


def _said(answer: AtResponse) -> str:
    words = at.error_text(answer.final)
    return f"{answer.final} ({words})" if words else answer.final


def _parse(parser: Callable[[Sequence[str]], T], answer: AtResponse) -> T:
    """Apply a parser to an answer's lines. Raises ProtocolError instead of CodecError: it is the device's fault."""
    try:
        return parser(answer.lines)
    except CodecError as exc:
        raise ProtocolError(exc.what, expected=exc.expected, found=exc.found) from exc
