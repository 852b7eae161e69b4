"""One card, spoken to through a link: the terminal's start-up, logical channels, chaining, status words.

Above it there are only ES10 requests and answers, and files; below it only APDUs.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from esim_bench import clock
from esim_bench.card.files import Files
from esim_bench.card.guard import Guard
from esim_bench.card.proactive import REFRESH, REFRESH_MODES, ProactiveCommand
from esim_bench.codec.apdu import Command, channel_of, sw_text, with_channel
from esim_bench.codec.es10 import ISD_R_AID, OTHER_ISD_R_AIDS
from esim_bench.errors import ApduRefusedError, CardStatusError, CodecError, DeviceError, ProtocolError
from esim_bench.events import EventSink, MarkEvent
from esim_bench.ports import CardLink, Exchange

TERMINAL_CAPABILITY: Final = bytes.fromhex("80AA00000AA9088100820101830107")
"""Extended logical channels, additional interfaces, and a full LPA in the device (TS 102 221 11.1.19)."""


def terminal_capability(*, lpa: bool = True, ipa: bool = False) -> bytes:
    """Return TERMINAL CAPABILITY of a device with an LPA (SGP.22 3.4.2), an IPA (SGP.32 3.8.2), both, or neither."""
    data = bytes.fromhex("8100820101") + (b"\x83\x01\x07" if lpa else b"") + (b"\x84\x01\x01" if ipa else b"")
    return bytes(Command(0x80, 0xAA, 0, 0, bytes((0xA9, len(data))) + data))


TERMINAL_PROFILE: Final = Command(0x80, 0x10, 0, 0, bytes.fromhex("FF9FFF8100009FC0000000000000000000"))
"""Downloaded profile (TS 102 223 5.2): among others REFRESH."""
MAX_BLOCKS: Final = 256
MAX_PROACTIVE: Final = 32
"""Proactive commands in a row after which the card is believed to be stuck."""
MAX_FOLLOWING: Final = 1024
"""GET RESPONSEs and the like of one exchange after which the card is believed to be stuck: 256 KiB of answer."""
_READING: Final = frozenset((0xBF20, 0xBF22, 0xBF28, 0xBF2B, 0xBF2D, 0xBF2E, 0xBF3C, 0xBF3E, 0xBF43, 0xBF55, 0xBF56))
"""ES10 functions that read and change nothing that matters (SGP.22 5.7, SGP.32 5.9)."""
_CHECKSUM: Final = 0x6601
"""The command was damaged on the way, and not executed (ISO 7816-4 5.6: 66XX, security-related)."""
_MANAGE_CHANNEL: Final = 0x70
_SELECT: Final = 0xA4
_CHANNEL_GONE: Final = (0x6881, 0x6882, 0x6E00)


@dataclass(frozen=True, slots=True)
class Response:
    """What came of one command after GET RESPONSE and the like: all data, and the status word."""

    data: bytes
    sw: int


class Card:
    """A card that was started with ``start``; after ``reset`` or a loss of power it is started again."""

    def __init__(
        self,
        link: CardLink,
        *,
        sink: EventSink,
        protect: bool = False,
        own_profiles: Sequence[bytes] = (),
        capability: bytes = TERMINAL_CAPABILITY,
        isd_r: bytes = ISD_R_AID,
    ) -> None:
        """``capability``: the TERMINAL CAPABILITY command of the device, where no other terminal gives one.

        ``isd_r``: AID of the ISD-R, where a make is known not to keep to the standard's.
        """
        self.link = link
        self._capability = capability
        self.guard = Guard(protect, own_profiles)
        self.files = Files(self)
        self.atr = b""
        self.pending_refresh: int | None = None
        """Mode of a REFRESH that the card asked for since the last start; None where there was none."""
        self._sink = sink
        self._isd_r_aid = isd_r
        self._isd_r: tuple[int, int] | None = None
        """(session, channel) of the ISD-R while it is open."""
        self._doubtful = False
        """The modem refused the last request: the session may be dead."""

    # -------------------------------------------------------------------------------------------------- life

    async def start(self) -> None:
        """Attach to the card; be its terminal where no other one is. Raises TransportError, DeviceTimeout."""
        self._forget()
        self.atr = await self.link.connect()
        if not self.link.capabilities.terminal:
            await self._start_terminal()

    async def reset(self) -> None:
        """Reset the card as well as the link can, and start it again."""
        self._forget()
        self.atr = await self.link.reset()
        if not self.link.capabilities.terminal:
            await self._start_terminal()

    def _forget(self) -> None:
        self._isd_r = None
        self._doubtful = False
        self.pending_refresh = None
        self.guard.forget_chains()

    async def _start_terminal(self) -> None:
        """Do what a terminal does first (TS 102 221 14.1); a card that refuses a part goes on without it."""
        await self.command(Command(0x00, 0xA4, 0x00, 0x0C, bytes.fromhex("3F00")))
        await self.command(Command.parse(self._capability))
        await self.command(TERMINAL_PROFILE)
        await self.command(Command(0x80, 0xF2, 0x00, 0x0C))

    # -------------------------------------------------------------------------------------------------- APDUs

    async def transmit(self, command: bytes | Command) -> Response:
        """Send one command as it is, on the channel in its CLA; GET RESPONSE and a corrected Le are done here.

        Raises ProtectedError, TransportError, DeviceTimeout. A status word is a result, not an exception.
        """
        parsed = command if isinstance(command, Command) else Command.parse(command)
        await self._make_way(parsed)
        return await self._exchange([parsed], session=0)

    async def _make_way(self, command: Command) -> None:
        """Give the ISD-R's channel up before a command that takes it from us: it is opened anew when it is needed."""
        if self._isd_r is None:
            return
        session, channel = self._isd_r
        closes = command.ins == _MANAGE_CHANNEL and bool(command.p1 & 0x80)
        if session:
            # Which channel stands behind it only the modem knows.
            if closes:
                await self._leave_session()
        elif (closes and channel == (command.p2 or command.channel)) or (
            command.ins == _SELECT and channel == command.channel
        ):
            self._isd_r = None

    async def command(self, command: Command, session: int = 0) -> Response:
        """Send one command in a session of the link, or on the channel in its CLA."""
        return await self._exchange([command], session=session)

    async def expect(self, command: Command, what: str, session: int = 0) -> bytes:
        """Send a command that must succeed; return its data. Raises CardStatusError naming ``what``."""
        response = await self.command(command, session)
        if response.sw != 0x9000:
            raise CardStatusError(f"{what}: {sw_text(response.sw)}", sw=response.sw)
        return response.data

    async def _exchange(self, commands: Sequence[Command], session: int) -> Response:
        raw = [bytes(command) for command in commands]
        for one in raw:
            self.guard.outgoing(one, session)
        exchanges = await self.link.exchange(raw, _Following(), session)
        response = _collect(exchanges)
        if response.sw >> 8 == 0x91:
            # Success, and a proactive command waits.
            waiting = response.sw & 0xFF
            response = Response(response.data, 0x9000)
            if not self.link.capabilities.terminal:
                await self._serve_proactive(waiting)
        return response

    async def _serve_proactive(self, waiting: int) -> None:
        for _ in range(MAX_PROACTIVE):
            fetched = _collect(
                await self.link.exchange([bytes(Command(0x80, 0x12, 0, 0, le=waiting or 256))], _Following(), 0)
            )
            if fetched.sw != 0x9000:
                return
            try:
                command = ProactiveCommand.parse(fetched.data)
            except CodecError as exc:
                raise ProtocolError("malformed proactive command", expected=exc.expected, found=exc.found) from exc
            text = command.name
            if command.kind == REFRESH:
                self.pending_refresh = command.qualifier
                text += f" ({REFRESH_MODES.get(command.qualifier, f'mode {command.qualifier:02X}')})"
            self._sink.emit(MarkEvent(clock.wall_ns(), f"the card asks for {text}"))
            answer = bytes(Command(0x80, 0x14, 0, 0, command.terminal_response()))
            response = _collect(await self.link.exchange([answer], _Following(), 0))
            if response.sw >> 8 != 0x91:
                return
            waiting = response.sw & 0xFF
        raise ProtocolError("proactive commands without end", expected=f"at most {MAX_PROACTIVE} in a row")

    # -------------------------------------------------------------------------------------------------- channels

    async def open_application(self, aid: bytes) -> tuple[int, int]:
        """Open an application on a channel of its own; return (session, channel). Raises CardStatusError."""
        if self.link.capabilities.sessions:
            return await self.link.open_session(aid), 0
        opened = await self.expect(Command(0x00, 0x70, 0x00, 0x00, le=1), "MANAGE CHANNEL")
        if len(opened) != 1 or not 1 <= opened[0] <= 19:
            raise ProtocolError("MANAGE CHANNEL", expected="a channel number 1..19", found=opened.hex().upper())
        channel = opened[0]
        select = Command(with_channel(0x00, channel), 0xA4, 0x04, 0x00, aid, le=256)
        response = await self.command(select)
        if response.sw != 0x9000:
            await self.command(Command(0x00, 0x70, 0x80, channel))
            hint = "no ISD-R: this is not an eUICC" if response.sw == 0x6A82 and aid == ISD_R_AID else None
            raise CardStatusError(f"SELECT {aid.hex().upper()}: {sw_text(response.sw)}", sw=response.sw, hint=hint)
        return 0, channel

    async def close_application(self, opened: tuple[int, int]) -> None:
        """Close what ``open_application`` opened; one that is gone already is no error."""
        session, channel = opened
        if session:
            await self.link.close_session(session)
        elif channel:
            await self.command(Command(0x00, 0x70, 0x80, channel))

    async def close_isd_r(self) -> None:
        """Close the ISD-R's channel, where it is open."""
        if self._isd_r is not None:
            opened, self._isd_r = self._isd_r, None
            await self.close_application(opened)

    # -------------------------------------------------------------------------------------------------- ES10

    async def es10(self, request: bytes) -> bytes:
        """Send one request to the ISD-R as a STORE DATA chain; return the response data (SGP.22 5.7.2).

        The ISD-R is selected on a logical channel at first use, and again (once) where its channel turns out to be
        gone. Raises CardStatusError, ProtectedError, TransportError, DeviceTimeout.
        """
        response = await self._store_data_surely(request)
        if response.sw in _CHANNEL_GONE:
            # The command did not reach the ISD-R, so sending it again cannot do it twice.
            self._isd_r = None
            response = await self._store_data(request)
        if response.sw != 0x9000:
            tag = request[:2].hex().upper()
            raise CardStatusError(
                f"STORE DATA {tag}: {sw_text(response.sw)}", sw=response.sw, hint=_es10_hint(response.sw)
            )
        return response.data

    async def _open_isd_r(self) -> tuple[int, int]:
        """Open the ISD-R; where the standard's AID is not found, one that single makes have instead."""
        try:
            return await self.open_application(self._isd_r_aid)
        except CardStatusError as exc:
            # A modem tries each application for seconds, and may refuse those that it does not know.
            if exc.sw != 0x6A82 or self.link.capabilities.sessions:
                raise
            for aid in (ISD_R_AID, *OTHER_ISD_R_AIDS):
                if aid == self._isd_r_aid:
                    continue
                try:
                    opened = await self.open_application(aid)
                except CardStatusError as other:
                    if other.sw != 0x6A82:
                        raise
                    continue
                self.mark(f"the ISD-R has an AID of its own: {aid.hex().upper()}")
                self._isd_r_aid = aid
                return opened
            raise

    def mark(self, text: str) -> None:
        """Put a mark into the trace."""
        self._sink.emit(MarkEvent(clock.wall_ns(), text))

    async def _store_data(self, request: bytes) -> Response:
        if self._isd_r is None:
            self._isd_r = await self._open_isd_r()
        session, channel = self._isd_r
        while True:
            size = min(self.link.capabilities.max_data, 255)
            try:
                response = await self._exchange(_chain(request, channel, size), session)
            except ApduRefusedError as exc:
                # The ISD-R executes a command with its last block: before that nothing has happened, and a chain can be
                # begun anew. After it the state must be read.
                if _is_last(exc.command) or self.link.capabilities.max_data >= size:
                    raise
                continue
            if response.sw != _CHECKSUM or self.link.capabilities.max_data >= size:
                return response

    async def _store_data_surely(self, request: bytes) -> Response:
        """Send a request; where a modem refused two in a row, the second is sent again in a new session.

        Only if it changes nothing: what the first one did is not known, and is the caller's to find out. One refusal
        alone may be no more than an answer lost, and the segments of a package must stay on one channel.
        """
        try:
            response = await self._store_data(request)
        except ApduRefusedError:
            if not self._doubtful or int.from_bytes(request[:2], "big") not in _READING:
                self._doubtful = True
                raise
            await self._leave_session()
            response = await self._store_data(request)
        self._doubtful = False
        return response

    async def _leave_session(self) -> None:
        """Have the next request open the ISD-R again, where the link opens applications by itself."""
        if self._isd_r is not None and self._isd_r[0]:
            with suppress(DeviceError):
                await self.close_isd_r()

    # -------------------------------------------------------------------------------------------------- files

    async def read_iccid(self) -> str | None:
        """Return the digits of EF.ICCID; None where no profile shows one."""
        return await self.files.iccid()

    async def read_imsi(self) -> str | None:
        """Return the digits of EF.IMSI of the USIM; None where there is no USIM."""
        return await self.files.imsi()


def _chain(request: bytes, channel: int, size: int) -> list[Command]:
    """Return the STORE DATA commands that carry a request in blocks of ``size`` bytes (SGP.22 5.7.2)."""
    blocks = [request[start : start + size] for start in range(0, len(request), size)] or [b""]
    if len(blocks) > MAX_BLOCKS:
        raise CodecError("request too long", expected=f"at most {MAX_BLOCKS * size} bytes", found=len(request))
    cla = with_channel(0x80, channel)
    last = len(blocks) - 1
    return [
        # Le on the last block only: the others have no answer.
        Command(cla, 0xE2, 0x91 if number == last else 0x11, number, block, le=256 if number == last else None)
        for number, block in enumerate(blocks)
    ]


def _is_last(command: bytes) -> bool:
    return command[1] != 0xE2 or bool(command[2] & 0x80)


class _Following:
    """The stop rule of one exchange: what follows a response (ISO 7816-4 5.3.4, TS 102 221 7.3.1)."""

    def __init__(self) -> None:
        self._left = MAX_FOLLOWING

    def __call__(self, command: bytes, response: bytes) -> bytes | bool:
        if len(response) < 2:
            return False
        high, low = response[-2], response[-1]
        if high not in (0x61, 0x6C):
            return high in (0x90, 0x91, 0x62, 0x63)
        if self._left == 0:
            raise ProtocolError(
                "an answer without end",
                expected=f"at most {MAX_FOLLOWING} times 61xx or 6Cxx",
                found=f"{high:02X}{low:02X} again",
                hint="reset the card",
            )
        self._left -= 1
        if high == 0x61:
            return bytes((_get_response_cla(command[0]), 0xC0, 0x00, 0x00, low))
        # The same command with the right Le: after the data, or in place of the wrong one.
        head = command[: 5 + command[4]] if len(command) > 5 else command[:4]
        return head + bytes((low,))


@lru_cache(maxsize=256)
def _get_response_cla(cla: int) -> int:
    """Return the CLA of GET RESPONSE for a command: interindustry, on the same channel."""
    return with_channel(0x00, channel_of(cla))


def _collect(exchanges: Sequence[Exchange]) -> Response:
    if not exchanges or len(exchanges[-1].response) < 2:
        raise ProtocolError("no status word", expected="at least 2 bytes", found="an empty answer")
    data = b"".join([exchange.response[:-2] for exchange in exchanges])
    return Response(data, exchanges[-1].sw)


def _es10_hint(sw: int) -> str | None:
    if sw == 0x6985:
        return "after a profile switch many eUICCs refuse until they are reset"
    if sw == 0x6A88:
        return "the eUICC does not know this function"
    return None
