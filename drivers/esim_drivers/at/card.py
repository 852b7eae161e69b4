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
from esim_bench.errors import CardStatusError, CodecError, ProtocolError, TransportError
from esim_bench.events import ApduEvent, EventSink
from esim_bench.ports import AtResponse, CardCapabilities, Exchange, StopRule
from esim_drivers.at.modem import AtModem
from esim_drivers.chain import chain

T = TypeVar("T")

_HEADER_AND_TAIL = 6
"""CLA INS P1 P2 Lc and Le."""
_NOT_FOUND = 0x6A82


class AtCard:
    """A CardLink through a modem."""

    def __init__(self, modem: AtModem, sink: EventSink, *, removable: bool | None = None) -> None:
        self._modem = modem
        self._sink = sink
        self._sim = modem.dialect.sim
        self._by_session = self._sim.access == "ccho"
        self._handles: dict[int, str] = {}
        self._next = 1
        self._generation: int | None = None
        self._capabilities = CardCapabilities(
            raw_channels=not self._by_session,
            sessions=self._by_session,
            resets_card=self._sim.reset != "none",
            terminal=True,
            max_data=self._max_data(),
            removable=removable,
        )

    @property
    def capabilities(self) -> CardCapabilities:
        """Return what the modem lets through."""
        return self._capabilities

    def _max_data(self) -> int:
        limit = self._modem.dialect.at.line_limit
        if limit is None:
            return self._sim.max_data
        handle = 16 if self._sim.handle == "hex16" else 3
        room = at.cgla_room(limit, handle) if self._by_session else at.csim_room(limit)
        return max(1, min(self._sim.max_data, room - _HEADER_AND_TAIL))

    # ------------------------------------------------------------------------------------------------- life

    async def connect(self) -> bytes:
        """Wait for the modem and its SIM; return b"": a modem does not show the ATR. Raises DeviceTimeout."""
        self._handles.clear()
        await self._modem.wait_ready()
        self._generation = self._modem.generation
        await self._close_leftovers()
        return b""

    async def reset(self) -> bytes:
        """Reset the SIM as the dialect says and wait until it is ready; all sessions are gone. Returns b""."""
        self._handles.clear()
        await self._modem.reset_sim()
        self._generation = self._modem.generation
        return b""

    async def close(self) -> None:
        """Forget the sessions; the modem's port is the modem's own to close."""
        self._handles.clear()
        self._generation = None

    async def _close_leftovers(self) -> None:
        for number in self._sim.close_at_start:
            if self._by_session:
                await self._modem.command(at.cchc_command(str(number)))
            else:
                await self._transmit(bytes((0x00, 0x70, 0x80, number)), 0)

    # ------------------------------------------------------------------------------------------------- sessions

    async def open_session(self, aid: bytes) -> int:
        """Open an application by AT+CCHO; return this link's number for its handle.

        Tried several times, since a card that was just switched is not ready at once. Raises CardStatusError (6A82:
        the modem does not say why), TransportError.
        """
        self._check()
        if not self._by_session:
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
                return number
        raise CardStatusError(
            f"the modem opens no session with {aid.hex().upper()}",
            sw=_NOT_FOUND,
            hint=f"it said {answer.final} {self._sim.open_tries} times: no such application, blocked by the firmware, "
            "or no free channel",
        )

    async def close_session(self, session: int) -> None:
        """Close a session; closing one that is already gone is no error."""
        handle = self._handles.pop(session, None)
        alive = self._generation == self._modem.generation and self._modem.usable
        if handle is not None and alive and self._sim.cchc != "none":
            await self._modem.command(at.cchc_command(handle))

    # ------------------------------------------------------------------------------------------------- APDUs

    async def exchange(self, commands: Sequence[bytes], stop: StopRule, session: int = 0) -> list[Exchange]:
        """Send commands in order; session 0 is the basic channel, by AT+CSIM.

        Raises TransportError: the modem refused the line, the session or the port is gone; DeviceTimeout; ProtocolError
        for an answer that makes no sense.
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
            raise TransportError(
                f"the modem refused the APDU {command[:5].hex().upper()}",
                expected=f"{name} and OK",
                found=answer.final,
                hint="the SIM may have been reset, and its sessions with it; the card may have executed the command "
                "nevertheless: read its state",
            )
        response = _parse(lambda lines: at.apdu_answer(lines, name), answer)
        duration = clock.wall_ns() - at_ns
        self._sink.emit(ApduEvent(at_ns, command, response, duration, session))
        return Exchange(command, response, at_ns, duration)

    def _line(self, command: bytes, session: int) -> tuple[str, str]:
        """Return the command line that carries an APDU, and the name that its answer has."""
        if session:
            handle = self._handles.get(session)
            if handle is None:
                raise TransportError("the session is gone", hint="the card was reset since: open the application again")
            line, name = at.cgla_command(handle, command), "+CGLA"
        else:
            if not self._sim.csim:
                raise TransportError("this modem gives no access to the basic channel", where=self._modem.dialect.model)
            if not self._sim.csim_channels and channel_of(command[0]):
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

    def _check(self) -> None:
        if self._generation is None or self._generation != self._modem.generation or not self._modem.usable:
            self._handles.clear()
            raise TransportError("the card is not connected", hint="the modem's port was closed or lost: connect again")


def _parse(parser: Callable[[Sequence[str]], T], answer: AtResponse) -> T:
    """Apply a parser to an answer's lines. Raises ProtocolError instead of CodecError: it is the device's fault."""
    try:
        return parser(answer.lines)
    except CodecError as exc:
        raise ProtocolError(exc.what, expected=exc.expected, found=exc.found) from exc
