"""What a reader sees: whether there is a service, the reader, a card. On a context and a worker of its own.

So it can be asked while a command hangs in the reader, and it outlives the service: pyscard's own monitor ends with it
and tells nobody.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

from esim_bench.errors import DeviceTimeout
from esim_drivers.pcsc import failures, library, readers
from esim_drivers.pcsc.library import Failure, check
from esim_drivers.pcsc.options import Options
from esim_drivers.worker import Worker

LOOK_SECONDS: Final = 5.0
"""The service answers at once; after so long it hangs."""
_SLICE: Final = 0.2
"""A wait is done in parts, so that it ends when nobody waits any more, and sees readers that come."""
_PAUSE: Final = 0.05


class State(Enum):
    """What there is at the reader's place."""

    NO_SERVICE = "no service"
    NO_READER = "no reader"
    EMPTY = "no card"
    MUTE = "a card that does not answer"
    PRESENT = "a card"


@dataclass(frozen=True, slots=True)
class Sight:
    """One look at a reader."""

    state: State
    reader: str = ""
    """Its name at the service."""
    atr: bytes = b""
    in_use: bool = False
    """Somebody is connected to the card (also the bench itself)."""
    exclusive: bool = False
    """So that nobody else can be."""
    why: str = ""
    """Why there is no reader."""

    @property
    def card(self) -> bool:
        """Tell whether there is a card, be it mute."""
        return self.state in (State.PRESENT, State.MUTE)


class ReaderWatch:
    """Looks at the reader that a card table names. Never connects to the card of a reader in use."""

    def __init__(self, options: Options, where: str = "", root: Path = readers.SYSFS) -> None:
        """``where``: the slot, for messages. ``root``: where sysfs is."""
        self._where = where
        self._eye = _Eye(options, root)
        self._worker: Worker | None = None

    async def look(self) -> Sight:
        """Look once, now. Raises ConfigError (library missing), DeviceTimeout (the service hangs)."""
        return await self._run(None, 0.0, threading.Event(), timeout=LOOK_SECONDS)

    async def present(self) -> bool:
        """Tell whether there is a card; a reader that is gone has none. Raises TransportError without a service."""
        sight = await self.look()
        if sight.state is State.NO_SERVICE:
            raise failures.explain(Failure(failures.NO_SERVICE, "SCardEstablishContext"), reader=self._where)
        return sight.card

    async def wait(self, *states: State, timeout: float) -> Sight:
        """Wait until what there is is one of ``states``; return it. Raises DeviceTimeout after ``timeout`` seconds."""
        given_up = threading.Event()
        try:
            sight = await self._run(states, timeout, given_up, timeout=timeout + LOOK_SECONDS)
        finally:
            given_up.set()
        if sight.state not in states:
            expected = " or ".join(state.value for state in states)
            raise DeviceTimeout(
                "the reader",
                where=self._where or None,
                expected=f"{expected} within {timeout:g} s",
                found=f"{sight.state.value} ({sight.why})" if sight.why else sight.state.value,
            )
        return sight

    async def change(self, sight: Sight, *, timeout: float) -> Sight:
        """Wait until what there is differs from an earlier look; return it, the same one after ``timeout`` seconds."""
        others = tuple(state for state in State if state is not sight.state)
        with contextlib.suppress(DeviceTimeout):
            return await self.wait(*others, timeout=timeout)
        return sight

    async def _run(
        self, states: tuple[State, ...] | None, seconds: float, given_up: threading.Event, *, timeout: float
    ) -> Sight:
        if self._worker is None or self._worker.closed:
            # After a call without end the service may be another one by now: a fresh context.
            self._eye = _Eye(self._eye.options, self._eye.root)
            self._worker = Worker(f"{self._where} reader watch".strip(), cleanup=self._eye.shut)
        return await self._worker.run(self._eye.wait, states, seconds, given_up, timeout=timeout)

    def close(self) -> None:
        """Let the service go; never blocks, never raises."""
        if self._worker is not None:
            self._worker.close()


class _Eye:
    """The blocking part, on the watch's worker."""

    def __init__(self, options: Options, root: Path) -> None:
        self.options = options
        self.root = root
        self._scard: Any = None
        self._context: Any = None
        self._known: tuple[tuple[str, ...], str] | None = None
        """The readers there were, and which of them ours is: no need to look it up for each look."""
        self._raw = 0

    def wait(self, states: tuple[State, ...] | None, seconds: float, given_up: threading.Event) -> Sight:
        """Look, and again until the state is one of ``states`` (None: once) or the time is over."""
        end = time.monotonic() + seconds
        sight = self._look(0.0)
        while states is not None and sight.state not in states:
            left = end - time.monotonic()
            if left <= 0 or given_up.is_set():
                return sight
            if sight.state in (State.NO_SERVICE, State.NO_READER):
                time.sleep(min(left, _PAUSE))
                sight = self._look(0.0)
            else:
                sight = self._look(min(left, _SLICE))
        return sight

    def _look(self, seconds: float) -> Sight:
        """Return what there is, after up to ``seconds`` if that is the same as at the last look."""
        try:
            return self._try(seconds)
        except readers.NotThere as gone:
            self._known = None
            return Sight(State.NO_READER, why=gone.why)
        except Failure as failure:
            known = self._known
            self._known = None
            if failure.code in failures.WITHOUT_READER:
                return Sight(State.NO_READER, reader=known[1] if known else "")
            self.shut()
            if failure.code in failures.WITHOUT_SERVICE:
                return Sight(State.NO_SERVICE)
            raise failures.explain(failure) from failure

    def _try(self, seconds: float) -> Sight:
        self._scard = scard = library.load()
        if self._context is None:
            code, context = scard.SCardEstablishContext(library.SCOPE_USER)
            check(code, "SCardEstablishContext")
            self._context = context
        names = tuple(readers.listed(self._context))
        if self._known is None or self._known[0] != names:
            reader = readers.choose(
                names,
                self.options.reader,
                self.options.slot,
                lambda name: readers.channel_of(self._context, name),
                self.root,
            )
            self._known, self._raw = (names, reader), 0
        reader = self._known[1]
        code, states = scard.SCardGetStatusChange(
            self._context, round(seconds * 1000), [(reader, self._raw if seconds else 0)]
        )
        if code & 0xFFFFFFFF != failures.TIMEOUT:
            check(code, "SCardGetStatusChange")
        _, state, atr = states[0]
        # What the service says of changes must not come back to it: it would answer at once for ever.
        self._raw = state & ~0x2
        if state & (library.STATE_UNKNOWN | library.STATE_UNAVAILABLE):
            raise Failure(failures.READER_UNAVAILABLE, "SCardGetStatusChange")
        kind = State.EMPTY
        if state & library.STATE_PRESENT:
            kind = State.MUTE if state & library.STATE_MUTE else State.PRESENT
        return Sight(
            kind,
            reader,
            bytes(atr),
            in_use=bool(state & (library.STATE_INUSE | library.STATE_EXCLUSIVE)),
            exclusive=bool(state & library.STATE_EXCLUSIVE),
        )

    def shut(self) -> None:
        """Let the service go."""
        context, self._context = self._context, None
        if context is not None:
            with contextlib.suppress(Exception):
                self._scard.SCardReleaseContext(context)
