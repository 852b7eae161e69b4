"""A card in a simulated reader: a CardLink that gives the sans-IO card time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from esim_bench import clock
from esim_bench.errors import TransportError
from esim_bench.events import ApduEvent, AtrEvent, EventSink
from esim_bench.ports import CardCapabilities, Exchange, StopRule
from esim_drivers.chain import chain
from esim_drivers.sim.nvm import PowerLost
from esim_drivers.sim.terminal import Card

BOOT_SECONDS = 1.4
"""From power until the reader is there, on its bus."""
ATR_SECONDS = 0.045
OVERHEAD_SECONDS = 0.0008
"""What the way through reader and bus adds to each command; by chance up to half as much again."""


class SimReader:
    """A reader with a card in it. It has no power at first; each loss of power makes an older connection void."""

    def __init__(self, card: Card, sink: EventSink, rng: random.Random, *, removable: bool) -> None:
        self._card = card
        self._sink = sink
        self._rng = rng
        self._capabilities = CardCapabilities(removable=removable)
        self._ready_at: float | None = None
        self._connected = False
        self._inserted = True
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def capabilities(self) -> CardCapabilities:
        """Return what the reader can do: everything."""
        return self._capabilities

    # ------------------------------------------------------------------------------------------------- power

    def power_on(self) -> None:
        """Give the reader power; it takes a while until it can be used."""
        if self._ready_at is None:
            self._ready_at = asyncio.get_running_loop().time() + BOOT_SECONDS

    def power_off(self) -> None:
        """Take the power away from reader and card, at this instant; a command under way gets no answer."""
        self._ready_at = None
        self._lose(TransportError("the reader lost its power"))

    def _lose(self, reason: TransportError) -> None:
        self._connected = False
        self._card.power_off()
        waiting, self._waiting = list(self._waiting), set()
        for future in waiting:
            if not future.done():
                future.set_exception(reason)

    async def _pass(self, seconds: float) -> None:
        """Let time pass; raises TransportError at the instant at which the power goes."""
        if not clock.leap(seconds):
            await self._wait(seconds)

    async def _wait(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(seconds, lambda: None if future.done() else future.set_result(None))
        self._waiting.add(future)
        try:
            await future
        finally:
            timer.cancel()
            self._waiting.discard(future)

    # ------------------------------------------------------------------------------------------------- a hand

    def remove_card(self) -> None:
        """Take the card out, at this instant; a command under way gets no answer."""
        self._inserted = False
        self._lose(TransportError("the card was taken out"))

    def insert_card(self) -> None:
        """Put the card in again."""
        self._inserted = True

    async def present(self) -> bool:
        """Tell whether the reader, with power, sees a card."""
        return self._inserted and self._ready_at is not None

    # ------------------------------------------------------------------------------------------------- CardLink

    async def connect(self) -> bytes:
        """Wait for the reader, power the card up, return the ATR. Raises TransportError without power."""
        if self._ready_at is None:
            raise TransportError("no reader", expected="a reader with power", found="none", hint="power the slot on")
        await self._pass(max(0.0, self._ready_at - asyncio.get_running_loop().time()))
        if not self._inserted:
            raise TransportError("no card in the reader", expected="a card", found="an empty reader")
        return await self._atr(cold=True)

    async def reset(self) -> bytes:
        """Reset the card warm; return the ATR."""
        self._check()
        return await self._atr(cold=False)

    async def _atr(self, *, cold: bool) -> bytes:
        at_ns = clock.wall_ns()
        atr = self._card.power_on() if cold else self._card.reset()
        await self._pass(ATR_SECONDS)
        self._connected = True
        self._sink.emit(AtrEvent(at_ns, atr, cold))
        return atr

    async def exchange(self, commands: Sequence[bytes], stop: StopRule, session: int = 0) -> list[Exchange]:
        """Send commands in order. Raises TransportError when the power goes; then ``connect`` again."""
        if session:
            raise TransportError("a reader has no sessions", expected="session 0", found=session)
        self._check()
        done: list[Exchange] = []
        steps = chain(commands, stop)
        try:
            command = next(steps)
            at_ns = clock.wall_ns()
            while True:
                if not self._connected:
                    self._check()
                try:
                    response, seconds = self._card.transmit(command)
                except PowerLost:
                    self._lose(TransportError("the card vanished"))
                    raise TransportError("the card lost its power while it wrote", hint="connect again") from None
                seconds += OVERHEAD_SECONDS * (1 + self._rng.random() / 2)
                # Nothing else happens meanwhile, mostly: then no coroutine is made to find that out.
                if not clock.leap(seconds):
                    await self._wait(seconds)
                end_ns = clock.wall_ns()
                self._sink.emit(ApduEvent(at_ns, command, response, end_ns - at_ns))
                done.append(Exchange(command, response, at_ns, end_ns - at_ns))
                at_ns = end_ns
                command = steps.send(response)
        except StopIteration:
            return done

    async def open_session(self, aid: bytes) -> int:
        """Refuse: a reader passes MANAGE CHANNEL and SELECT through."""
        raise TransportError("a reader has no sessions", expected="MANAGE CHANNEL and SELECT", found=aid.hex().upper())

    async def close_session(self, session: int) -> None:
        """Do nothing: there is none."""

    async def close(self) -> None:
        """Power the card down; never raises."""
        if self._connected:
            self._lose(TransportError("the link was closed"))

    def _check(self) -> None:
        if not self._connected:
            raise TransportError(
                "the card is not connected", hint="it lost its power, or was never powered up: connect"
            )
