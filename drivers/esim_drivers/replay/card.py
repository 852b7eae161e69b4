"""A card that answers as the one of a journal did, and says where a run leaves the recorded way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeAlias

from esim_bench import clock
from esim_bench.errors import CardStatusError, ProtocolError, TransportError
from esim_bench.events import ApduEvent, AtrEvent, EventSink, MarkEvent
from esim_bench.ports import CardCapabilities, Exchange, StopRule
from esim_drivers.chain import chain
from esim_drivers.replay.script import Describer, Exchanged, Opened, Reset, Script, Step

Strict: TypeAlias = Literal["order", "any"]
_NOT_FOUND: Final = 0x6A82
_CLOSE_CHANNEL: Final = b"\x70\x80"
"""INS and P1 of MANAGE CHANNEL (TS 102 221 11.1.17)."""
_PACKAGE: Final = b"\xbf\x36"
_NEW_EACH_TIME: Final = {
    b"\xbf\x38": "AuthenticateServer has the server's challenge and transaction id",
    b"\xbf\x21": "PrepareDownload has the transaction id and the server's signature",
    _PACKAGE: "a bound profile package has the keys of its session",
    b"\xbf\x41": "CancelSession has the transaction id",
    b"\xbf\x51": "a eUICC package has its counter and transaction id",
}
"""By the tag of the request (SGP.22 5.7, SGP.32 5.9): what differs although nothing is wrong."""


class ReplayCard:
    """A CardLink over a script. ``order``: each command must be the next one of the journal; ``any``: one that comes
    later will do, what lies between is passed over."""

    def __init__(self, script: Script, sink: EventSink, *, strict: Strict = "order", timing: bool = False) -> None:
        self._script = script
        self._sink = sink
        self._strict = strict
        self._timing = timing
        self._next = 0
        self._served = 0
        self._connected = False
        self._told_masked = False
        self._chain_tag = b""
        self._describer = Describer()
        self._capabilities = CardCapabilities(
            raw_channels=not script.sessions,
            sessions=script.sessions,
            resets_card=True,
            terminal=script.by_modem,
            max_data=script.max_data,
            removable=None,
        )

    @property
    def capabilities(self) -> CardCapabilities:
        """Return what the link of the recording could do, as far as the journal shows it."""
        return self._capabilities

    # ------------------------------------------------------------------------------------------------- life

    async def connect(self) -> bytes:
        """Go on with the next reset of the journal; return its ATR. Raises ProtocolError when none is due."""
        return self._reset(cold=True)

    async def reset(self) -> bytes:
        """Go on with the next reset of the journal; return its ATR. Raises ProtocolError when none is due."""
        return self._reset(cold=False)

    def _reset(self, *, cold: bool) -> bytes:
        what = "power-up" if cold else "reset"
        self._connected = True
        if self._script.by_modem:
            self._pass_leftovers()
            return b""  # a modem shows no ATR, nor when it reset the card
        found = self._find(lambda step: isinstance(step, Reset))
        if found is None:
            if self._strict == "any" and (atr := self._last_atr()) is not None:
                return self._tell_atr(atr, cold)
            raise self._diverged(f"{what} of the card", None)
        assert isinstance(found, Reset)
        atr = self._tell_atr(found.atr, cold)
        self._pass_leftovers()
        return atr

    def _tell_atr(self, atr: bytes, cold: bool) -> bytes:
        event = AtrEvent(clock.wall_ns(), atr, cold)
        self._describer.follow(event)
        self._sink.emit(event)
        return atr

    def _last_atr(self) -> bytes | None:
        return next((step.atr for step in reversed(self._script.steps[: self._next]) if isinstance(step, Reset)), None)

    def _pass_leftovers(self) -> None:
        """Pass over channels that the link of the recording closed first of all: that was the link's own doing."""
        steps = self._script.steps
        while self._next < len(steps):
            step = steps[self._next]
            if not isinstance(step, Exchanged) or step.command[1:3] != _CLOSE_CHANNEL:
                return
            self._next += 1

    async def close(self) -> None:
        """Say how much of the journal was served; never raises."""
        if self._connected:
            self._connected = False
            name, count = self._script.path.name, self._script.exchanges
            text = f"replay: {self._served} of {count} commands of {name} were asked for"
            self._sink.emit(MarkEvent(clock.wall_ns(), text))

    # ------------------------------------------------------------------------------------------------- sessions

    async def open_session(self, aid: bytes) -> int:
        """Return the session that the journal has for an application. Raises CardStatusError where it was refused."""
        self._check()
        while True:
            found = self._find(lambda step: isinstance(step, Opened) and step.aid == aid)
            if found is None:
                raise self._diverged(f"a session with {aid.hex().upper()}", None)
            assert isinstance(found, Opened)
            if found.session is not None:
                return found.session
            following = self._peek()
            if not (isinstance(following, Opened) and following.aid == aid):
                raise CardStatusError("the modem opened no session, as in the journal", sw=_NOT_FOUND)

    async def close_session(self, session: int) -> None:
        """Do nothing: what a modem says to that is not the card's answer."""

    # ------------------------------------------------------------------------------------------------- APDUs

    async def exchange(self, commands: Sequence[bytes], stop: StopRule, session: int = 0) -> list[Exchange]:
        """Answer commands from the journal. Raises ProtocolError where the run leaves the recorded way."""
        self._check()
        done: list[Exchange] = []
        steps = chain(commands, stop)
        try:
            command = next(steps)
            while True:
                exchange = await self._answer(command, session)
                done.append(exchange)
                command = steps.send(exchange.response)
        except StopIteration:
            return done

    async def _answer(self, command: bytes, session: int) -> Exchange:
        at_ns = clock.wall_ns()
        if command[1:2] == b"\xe2" and command[3:4] == b"\0":
            self._chain_tag = command[5:7]
        found = self._find(lambda step: isinstance(step, Exchanged) and step.matches(command, session))
        if found is None and command[1:3] == _CLOSE_CHANNEL:
            # Whoever leaves a slot closes its channels, however the run ended and wherever the journal stands.
            self._sink.emit(MarkEvent(at_ns, "replay: a channel is closed that was not closed here in the journal"))
            return self._exchanged(command, b"\x90\x00", at_ns, session)
        if found is None:
            raise self._diverged(self._describer.describe(command, session), command, session)
        assert isinstance(found, Exchanged)
        self._served += 1
        if found.masked and not self._told_masked:
            self._told_masked = True
            self._sink.emit(MarkEvent(at_ns, f"replay: record {found.number}: the answer is masked, as in the journal"))
        if self._timing:
            await asyncio.sleep(found.duration_ns / 1e9)
        return self._exchanged(command, found.response, at_ns, session)

    def _exchanged(self, command: bytes, response: bytes, at_ns: int, session: int) -> Exchange:
        duration = clock.wall_ns() - at_ns
        event = ApduEvent(at_ns, command, response, duration, session)
        self._describer.follow(event)
        self._sink.emit(event)
        return Exchange(command, response, at_ns, duration)

    # ------------------------------------------------------------------------------------------------- the way

    def _peek(self) -> Step | None:
        return self._script.steps[self._next] if self._next < len(self._script.steps) else None

    def _find(self, fits: Callable[[Step], bool]) -> Step | None:
        """Return the step that fits and go behind it: the next one, or with ``any`` the first one from here on."""
        steps = self._script.steps
        last = len(steps) if self._strict == "any" else min(self._next + 1, len(steps))
        for place in range(self._next, last):
            if fits(steps[place]):
                self._next = place + 1
                return steps[place]
        return None

    def _diverged(self, found: str, command: bytes | None, session: int = 0) -> ProtocolError:
        expected = self._peek()
        path = self._script.path.name
        if expected is None:
            return ProtocolError(
                "the run goes on behind the end of the journal",
                where=path,
                expected=f"no more than the {self._script.exchanges} commands that were recorded",
                found=found,
            )
        where = f"{path}, record {expected.number} at {self._script.when(expected)}"
        if self._strict == "any":
            hint = self._elsewhere(command, session, "earlier") or self._why(command, None)
            return ProtocolError(
                "the journal has no such command from here on",
                where=where,
                expected="one that is recorded later",
                found=found,
                hint=hint,
            )
        hint = self._why(command, expected if isinstance(expected, Exchanged) else None)
        hint = hint or self._elsewhere(command, session, "later")
        return ProtocolError(
            "the run leaves the recorded way", where=where, expected=expected.text, found=found, hint=hint
        )

    def _why(self, command: bytes | None, expected: Exchanged | None) -> str | None:
        if command is None:
            return None
        reasons = []
        if expected is not None and _function_of(command) == _function_of(expected.command):
            place = expected.first_difference(command)
            if place is not None:
                recorded, ours = (one[place : place + 4].hex().upper() for one in (expected.command, command))
                reasons.append(f"byte {place}: {recorded or 'the end'} is recorded, not {ours or 'the end'}")
        # What is new stands in the first block of a request; a package is new from end to end.
        new = _NEW_EACH_TIME.get(self._chain_tag) if command[1:2] == b"\xe2" else None
        if new is not None and (command[3] == 0 or self._chain_tag == _PACKAGE):
            reasons.append(f"{new}, new each time: this cannot be replayed")
        return "; ".join(reasons) or None

    def _elsewhere(self, command: bytes | None, session: int, side: Literal["earlier", "later"]) -> str | None:
        if command is None:
            return None
        steps = self._script.steps
        for step in steps[: self._next] if side == "earlier" else steps[self._next :]:
            if isinstance(step, Exchanged) and step.matches(command, session):
                would = ', which strict = "any" would go on to' if side == "later" else ""
                return f"it stands {side}, at record {step.number}{would}"
        return None

    def _check(self) -> None:
        if not self._connected:
            raise TransportError("the card is not connected", hint="connect")


def _function_of(command: bytes) -> bytes:
    """Return what two commands have in common that differ in their values alone: header, and of STORE DATA the tag."""
    return command[:4] + (command[5:7] if command[1:2] == b"\xe2" else b"")
