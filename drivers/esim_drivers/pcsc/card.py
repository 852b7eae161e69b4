"""The CardLink of a card in a PC/SC reader."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple

from esim_bench.errors import BenchError, InUseError, TransportError
from esim_bench.events import ApduEvent, AtrEvent, EventSink
from esim_bench.ports import CardCapabilities, Exchange, StopRule
from esim_drivers.pcsc import clients, failures, readers
from esim_drivers.pcsc.library import Failure
from esim_drivers.pcsc.options import Options
from esim_drivers.pcsc.session import BUSY_SECONDS, Call, Session
from esim_drivers.pcsc.watch import ReaderWatch
from esim_drivers.worker import Worker

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

POWER_UP_SECONDS: Final = 20.0
"""A reader may try a card at all its voltages; after so long it hangs."""
CLOSE_SECONDS: Final = 3.0
HOLDER_SECONDS: Final = 2.0


class PcscCard:
    """A card in a reader. After any TransportError or DeviceTimeout ``connect`` brings it back, once it is there again.

    It lives on a worker thread, so that a reader that hangs holds up nobody else; a chain of commands goes there and
    back once.
    """

    def __init__(self, options: Options, sink: EventSink, slot: str = "", root: Path = readers.SYSFS) -> None:
        """``slot``: its name, for messages. ``root``: where sysfs is. No I/O happens before ``connect``."""
        self._options = options
        self._sink = sink
        self._slot = slot
        self._root = root
        self._capabilities = CardCapabilities(max_data=options.max_data)
        self._session = Session(options, root)
        self._worker: Worker | None = None
        self._connected = False
        self._closed = False
        self.watch = ReaderWatch(options, self._name, root)
        """Sees cards and readers come and go, whatever the card is doing."""

    @property
    def capabilities(self) -> CardCapabilities:
        """Return what a reader can do: everything. It cannot tell whether its card can be taken out."""
        return self._capabilities

    @property
    def reader(self) -> str:
        """Return the reader's name at the service, "" before the first connection."""
        return self._session.reader

    @property
    def _name(self) -> str:
        reader = self._options.reader or "the reader"
        return f"slot {self._slot}: {reader}" if self._slot else reader

    # ------------------------------------------------------------------------------------------------- CardLink

    async def connect(self) -> bytes:
        """Wait for the reader and its card, connect, return the ATR. In exclusive use the card is reset cold.

        Raises TransportError (no service, no reader, no card), DeviceTimeout (the card is mute, the reader hangs),
        InUseError naming who has the reader, ConfigError (library missing, access denied, protocol unknown).
        """
        self._connected = False
        if self._closed:
            raise TransportError("the link was closed", where=self._name, hint="open the slot again")
        if self._worker is None or self._worker.closed:
            self._fresh()
        options, given_up = self._options, threading.Event()
        limit = max(options.wait_s, options.card_wait_s, BUSY_SECONDS) + POWER_UP_SECONDS
        try:
            atr = await self._run(self._session.connect, given_up, timeout=limit)
        finally:
            given_up.set()
        self._connected = True
        self._sink.emit(AtrEvent(time.time_ns(), atr, cold=options.exclusive))
        return atr

    async def reset(self) -> bytes:
        """Reset the card, warm or cold as its table says; return the ATR. Raises TransportError, DeviceTimeout."""
        self._check()
        atr = await self._run(self._session.reset, timeout=POWER_UP_SECONDS)
        self._sink.emit(AtrEvent(time.time_ns(), atr, cold=self._options.reset == "cold"))
        return atr

    async def exchange(self, commands: Sequence[bytes], stop: StopRule, session: int = 0) -> list[Exchange]:
        """Send commands in order. Raises TransportError, DeviceTimeout: then ``connect`` again.

        CodecError for a command of less than four bytes, on which readers hang.
        """
        if session:
            raise TransportError("a reader has no sessions", where=self._name, expected="session 0", found=session)
        self._check()
        loop = asyncio.get_running_loop()
        told = 0

        def tell() -> None:
            nonlocal told
            emit = self._sink.emit
            while told < len(call.done):
                one = call.done[told]
                told += 1
                emit(ApduEvent(one.at_ns, one.command, one.response, one.duration_ns))

        def tell_soon() -> None:
            # The loop may have ended while a command hung.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(tell)

        call = Call(tell_soon)
        try:
            await self._run(
                self._session.exchange,
                call,
                list(commands),
                stop,
                timeout=self._options.timeout_s,
                last_seen=call.last_seen,
            )
        finally:
            call.given_up = True
            tell()
        return call.done

    async def open_session(self, aid: bytes) -> int:
        """Refuse: a reader passes MANAGE CHANNEL and SELECT through."""
        raise TransportError("a reader has no sessions", expected="MANAGE CHANNEL and SELECT", found=aid.hex().upper())

    async def close_session(self, session: int) -> None:
        """Do nothing: there is none."""

    async def close(self) -> None:
        """Release card and reader as ``on_close`` says; never raises."""
        self._connected = False
        self._closed = True
        self.watch.close()
        worker, self._worker = self._worker, None
        if worker is not None and not worker.closed:
            with contextlib.suppress(Exception):
                await worker.run(self._session.disconnect, timeout=CLOSE_SECONDS)
            worker.close()

    # ------------------------------------------------------------------------------------------------- CardPresence

    async def present(self) -> bool:
        """Tell whether a card is there now, without disturbing it; a reader that is gone has none.

        Raises TransportError when the service is not running, as then nobody knows.
        """
        return await self.watch.present()

    # ------------------------------------------------------------------------------------------------- worker

    def _fresh(self) -> None:
        """Start anew beside a call that may hang for ever: it keeps its session, and cleans it up if it ever ends."""
        self._session = Session(self._options, self._root)
        self._worker = Worker(self._name, cleanup=self._session.disconnect)

    def _check(self) -> None:
        if not self._connected:
            raise TransportError("the card is not connected", where=self._name, hint="connect")

    async def _run(
        self,
        fn: Callable[[*Ts], T],
        *args: *Ts,
        timeout: float,
        last_seen: Callable[[], float] | None = None,
    ) -> T:
        worker = self._worker
        if worker is None:
            raise TransportError("the link was closed", where=self._name, hint="open the slot again")
        try:
            return await worker.run(fn, *args, timeout=timeout, last_seen=last_seen)
        except Failure as failure:
            self._connected = False
            raise await self._explained(worker, failure) from failure
        finally:
            if worker.closed:
                self._connected = False

    async def _explained(self, worker: Worker, failure: Failure) -> BenchError:
        if isinstance(failure, readers.NotThere):
            return TransportError(
                "the reader is not there",
                where=f"slot {self._slot}" if self._slot else None,
                expected=failure.wanted,
                found=failure.why,
                hint="is it plugged in and powered? esim-bench rack discover shows what is there",
            )
        holder = ""
        if failure.code == failures.SHARING_VIOLATION:
            with contextlib.suppress(Exception):
                holder = await worker.run(clients.holders, timeout=HOLDER_SECONDS)
        error = failures.explain(failure, reader=self._name, holder=holder)
        if isinstance(error, InUseError) and not holder:
            return failures.explain(failure, reader=self._name, found="a program of another user, or this one")
        return error
