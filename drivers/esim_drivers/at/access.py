"""Finds out by trying how a modem lets its host at the card. What ``=?`` answers tells nothing.

Nothing is written to the card: an application is selected, an identifier is read, channels are closed again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from esim_bench.codec import at
from esim_bench.codec.apdu import with_channel
from esim_bench.errors import CodecError
from esim_bench.ports import AtResponse

Kind: TypeAlias = Literal["ccho", "csim", "basic", "none"]
"""``ccho``: sessions; ``csim``: AT+CSIM on logical channels; ``basic``: AT+CSIM on the basic channel alone."""
Send: TypeAlias = Callable[[str], Awaitable[AtResponse]]

ISD_R: Final = bytes.fromhex("A0000005591010FFFFFFFF8900000100")
USIM: Final = bytes.fromhex("A0000000871002")
"""The beginning that the AIDs of all USIMs share (TS 31.102, TS 101 220): selects the first one."""
GET_EID: Final = bytes.fromhex("80E2910006BF3E035C015A00")
OPEN_CHANNEL: Final = bytes.fromhex("0070000001")
STATUS: Final = bytes.fromhex("80F2000000")


@dataclass(frozen=True, slots=True)
class Access:
    """The way to the card that was found."""

    kind: Kind
    isd_r: bool
    """Whether the ISD-R answered on it."""
    said: tuple[tuple[str, str], ...]
    """(what was tried, what came of it)."""
    handle: str | None = None
    """A handle as the modem gives it, for its looks."""
    bare_handle: bool = False
    closes: Literal["ok", "prefix", "none"] = "ok"
    """What AT+CCHC answered."""
    csim: bool = False
    """Whether AT+CSIM works at all."""
    csim_channels: bool = False

    @property
    def cause(self) -> str:
        """Say in one line why there is no access."""
        return "; ".join(f"{what}: {came}" for what, came in self.said)


class _Tries:
    def __init__(self, send: Send, isd_r: bytes) -> None:
        self._send = send
        self._aid = isd_r
        self.said: list[tuple[str, str]] = []
        self.handle: str | None = None
        self.bare = False
        self.closes: Literal["ok", "prefix", "none"] = "ok"

    async def session(self, aid: bytes, name: str, command: bytes) -> bool:
        """Tell whether an application can be opened by AT+CCHO and be spoken to by AT+CGLA."""
        answer = await self._send(at.ccho_command(aid))
        if not answer.ok:
            self._tell(f"AT+CCHO of {name}", answer)
            return False
        try:
            handle = at.ccho_answer(answer.lines)
        except CodecError:
            self.said.append((f"AT+CCHO of {name}", "an answer without a handle"))
            return False
        self.handle, self.bare = handle, not any(at.name_of(line) == "+CCHO" for line in answer.lines)
        answer = await self._send(at.cgla_command(handle, command))
        works = _answered(answer, "+CGLA") is not None
        self._tell(f"AT+CGLA to {name}", answer)
        closed = await self._send(at.cchc_command(handle))
        if not closed.ok:
            self.closes = "none"
        elif closed.lines:
            self.closes = "prefix"
        return works

    async def channel(self) -> tuple[bool, bool]:
        """Tell whether AT+CSIM reaches a logical channel, and whether the ISD-R answers there."""
        answer = await self._send(at.csim_command(OPEN_CHANNEL))
        response = _answered(answer, "+CSIM")
        if response is None or len(response) != 3 or not 1 <= response[0] <= 19:
            self._tell("AT+CSIM opens a channel", answer)
            return False, False
        number = response[0]
        select = bytes((with_channel(0x00, number), 0xA4, 0x04, 0x00, len(self._aid))) + self._aid + b"\0"
        answer = await self._send(at.csim_command(select))
        response = _answered(answer, "+CSIM")
        self._tell("AT+CSIM selects the ISD-R on a channel", answer)
        await self._send(at.csim_command(bytes((0x00, 0x70, 0x80, number))))
        return response is not None, response is not None and response[-2] in (0x90, 0x61, 0x91)

    async def basic(self) -> bool:
        """Tell whether AT+CSIM works on the basic channel."""
        answer = await self._send(at.csim_command(STATUS))
        self._tell("AT+CSIM", answer)
        return _answered(answer, "+CSIM") is not None

    def _tell(self, what: str, answer: AtResponse) -> None:
        response = _answered(answer, "+CGLA") or _answered(answer, "+CSIM")
        if response is not None:
            came = response[-2:].hex().upper()
        else:
            words = at.error_text(answer.final)
            came = f"{answer.final} ({words})" if words else answer.final
        self.said.append((what, came))


async def find_access(send: Send, isd_r: bytes = ISD_R) -> Access:
    """Try AT+CCHO, then AT+CSIM on a channel, then AT+CSIM alone; prefer what reaches the ISD-R.

    Raises DeviceTimeout, TransportError.
    """
    tries = _Tries(send, isd_r)
    sessions = reached = await tries.session(isd_r, "the ISD-R", GET_EID)
    if not sessions:
        # Is it the ISD-R alone, or all applications?
        sessions = await tries.session(USIM, "the USIM", STATUS)
    basic = await tries.basic()
    channels = by_channel = False
    if basic:
        channels, by_channel = await tries.channel()
    kind: Kind
    if reached:
        kind = "ccho"
    elif by_channel:
        kind = "csim"
    elif sessions:
        kind = "ccho"
    else:
        kind = "csim" if channels else "basic" if basic else "none"
    return Access(
        kind,
        reached or by_channel,
        tuple(tries.said),
        handle=tries.handle,
        bare_handle=tries.bare,
        closes=tries.closes,
        csim=basic,
        csim_channels=channels,
    )


def _answered(answer: AtResponse, name: str) -> bytes | None:
    if not answer.ok:
        return None
    try:
        return at.apdu_answer(answer.lines, name)
    except CodecError:
        return None
