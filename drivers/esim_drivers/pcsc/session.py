"""A connection to one card, in blocking calls: everything here runs on the worker of its reader."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from esim_bench.codec.atr import Atr
from esim_bench.errors import CodecError
from esim_bench.ports import Exchange, StopRule
from esim_drivers.chain import chain
from esim_drivers.pcsc import failures, library, readers
from esim_drivers.pcsc.library import Failure, check
from esim_drivers.pcsc.options import Options

BUSY_SECONDS: Final = 1.0
"""How long somebody else may have the reader at connection: some programs look at every card that comes."""
TELL_SECONDS: Final = 0.02
"""A chain's exchanges are told after so long, so that a slow one is seen while it runs and a fast one is not slowed."""
WAKE_SECONDS: Final = 0.6
"""How long a reader may seem empty before it is made to look again."""
_PAUSE: Final = 0.03


class Call:
    """One exchange of commands under way: shared between the worker, which fills it, and the loop."""

    def __init__(self, tell: Callable[[], None]) -> None:
        """``tell``: called in the worker now and then, when there are new exchanges."""
        self.done: list[Exchange] = []
        self.seen = time.monotonic()
        self.given_up = False
        """Set by the loop: nobody waits any more, the chain ends after the command that is under way."""
        self.tell = tell

    def last_seen(self) -> float:
        """Return when the card last showed a sign of life (``time.monotonic``)."""
        return self.seen


class Session:
    """A context of the PC/SC service and, where connected, a card."""

    def __init__(self, options: Options, root: Path = readers.SYSFS) -> None:
        """``root``: where sysfs is."""
        self._options = options
        self._root = root
        self._scard: Any = None
        self._context: Any = None
        self._card: Any = None
        self._protocol = 0
        self.reader = ""
        self.atr = b""

    # ------------------------------------------------------------------------------------------------- connection

    def connect(self, given_up: threading.Event) -> bytes:
        """Connect to the card; wait for service, reader and card as the options say. Return the ATR. Raises Failure.

        ``given_up``: set by the loop when nobody waits any more.
        """
        options = self._options
        self.disconnect(library.LEAVE_CARD)
        began = time.monotonic()
        wake_at = began + WAKE_SECONDS
        while True:
            try:
                return self._connect()
            except Failure as failure:
                code = failure.code
                if code in failures.WITHOUT_CARD and time.monotonic() >= wake_at:
                    self._wake()
                    wake_at = time.monotonic() + WAKE_SECONDS
                self._drop()
                patience = 0.0
                if code in failures.WITHOUT_SERVICE or code in failures.WITHOUT_READER:
                    patience = options.wait_s
                elif code in failures.WITHOUT_CARD:
                    patience = options.card_wait_s
                elif code == failures.SHARING_VIOLATION:
                    patience = BUSY_SECONDS
                if given_up.is_set() or time.monotonic() - began >= patience:
                    raise
            time.sleep(_PAUSE)

    def _connect(self) -> bytes:
        self._scard = scard = library.load()
        options = self._options
        code, self._context = scard.SCardEstablishContext(library.SCOPE_USER)
        if code != 0:
            self._context = None
            raise Failure(code, "SCardEstablishContext")
        context = self._context
        names = readers.listed(context)
        self.reader = readers.choose(
            names, options.reader, options.slot, lambda name: readers.channel_of(context, name), self._root
        )
        share = library.SHARE_EXCLUSIVE if options.exclusive else library.SHARE_SHARED
        code, card, self._protocol = scard.SCardConnect(context, self.reader, share, self._protocols())
        check(code, "SCardConnect")
        self._card = card
        if options.exclusive:
            # Whoever had the card before may have left channels open and a chain unfinished.
            return self._again(library.UNPOWER_CARD)
        return self._status()

    def _wake(self) -> None:
        """Have the service look again whether there is a card.

        One that bounces (its power or contact goes for less than the 0.4 s between two looks of the service) is taken
        for absent when its reset fails just then, and for ever, as no later look sees it come.
        """
        with contextlib.suppress(Exception):
            code, card, _ = self._scard.SCardConnect(self._context, self.reader, library.SHARE_DIRECT, 0)
            if code == 0:
                self._scard.SCardReconnect(card, library.SHARE_DIRECT, 0, library.UNPOWER_CARD)
                self._scard.SCardDisconnect(card, library.LEAVE_CARD)

    def _protocols(self) -> int:
        """Return the protocol to ask for: by the ATR, as the service's own choice is unreliable."""
        known = {"T=0": library.PROTOCOL_T0, "T=1": library.PROTOCOL_T1}
        if self._options.protocol in known:
            return known[self._options.protocol]
        code, states = self._scard.SCardGetStatusChange(self._context, 0, [(self.reader, 0)])
        check(code, "SCardGetStatusChange")
        _, state, atr = states[0]
        if state & library.STATE_MUTE:
            raise Failure(failures.UNRESPONSIVE_CARD, "SCardGetStatusChange")
        if not state & library.STATE_PRESENT:
            raise Failure(failures.NO_SMARTCARD, "SCardGetStatusChange")
        try:
            offered = Atr.parse(bytes(atr)).default_protocol
        except CodecError:
            # Not what the standard says; the service may still make sense of it.
            return library.PROTOCOL_T0 | library.PROTOCOL_T1
        return library.PROTOCOL_T1 if offered == 1 else library.PROTOCOL_T0

    def reset(self) -> bytes:
        """Reset the card, return the ATR. Raises Failure."""
        self._need_card()
        cold = self._options.reset == "cold"
        return self._again(library.UNPOWER_CARD if cold else library.RESET_CARD)

    def _again(self, how: int) -> bytes:
        share = library.SHARE_EXCLUSIVE if self._options.exclusive else library.SHARE_SHARED
        code, self._protocol = self._scard.SCardReconnect(self._card, share, self._protocol, how)
        check(code, "SCardReconnect")
        return self._status()

    def _status(self) -> bytes:
        code, _, state, _, atr = self._scard.SCardStatus(self._card)
        check(code, "SCardStatus")
        if not state & library.WAS_RESET:
            # A service that was just started looks at its readers itself: the card is being powered, ask again.
            raise Failure(failures.UNPOWERED_CARD, "SCardStatus")
        self.atr = bytes(atr)
        return self.atr

    def disconnect(self, how: int | None = None) -> None:
        """Let the card and the service go; never raises. ``how``: what becomes of the card, by default by options."""
        if self._card is not None:
            if how is None:
                how = library.LEAVE_CARD if self._options.on_close == "leave" else library.UNPOWER_CARD
            with contextlib.suppress(Exception):
                self._scard.SCardDisconnect(self._card, how)
        self._drop()

    def _drop(self) -> None:
        context, self._context, self._card = self._context, None, None
        if context is not None:
            with contextlib.suppress(Exception):
                self._scard.SCardReleaseContext(context)

    def _need_card(self) -> None:
        if self._card is None:
            raise Failure(failures.INVALID_HANDLE, "no call")

    # ------------------------------------------------------------------------------------------------- commands

    def exchange(self, call: Call, commands: Sequence[bytes], stop: StopRule) -> None:
        """Send commands in order, asking ``stop`` after each response; ``call.done`` gets the exchanges.

        Raises Failure; CodecError for a command that is none (a reader may hang on it); whatever ``stop`` raises.
        """
        self._need_card()
        if self._options.exclusive:
            self._run(call, commands, stop)
            return
        # Others use the card too: not between our commands.
        check(self._scard.SCardBeginTransaction(self._card), "SCardBeginTransaction")
        try:
            self._run(call, commands, stop)
        finally:
            if self._card is not None:
                self._scard.SCardEndTransaction(self._card, library.LEAVE_CARD)

    def _run(self, call: Call, commands: Sequence[bytes], stop: StopRule) -> None:
        transmit, card = self._scard.SCardTransmit, self._card
        # The PCI of pyscard are the numbers of the protocols.
        protocol, done = self._protocol, call.done
        drop_le = protocol == library.PROTOCOL_T0 and self._options.get_response != "reader"
        monotonic, wall = time.monotonic, time.time_ns
        told = call.seen = monotonic()
        response = b""
        steps = chain(commands, stop)
        try:
            command = next(steps)
            while not call.given_up:
                if len(command) < 4:
                    raise CodecError("no command APDU", expected="at least 4 bytes", found=command.hex() or "none")
                # The same command with the right Le: the Le is what it is sent for.
                if drop_le and len(command) > 5 and response[-2:-1] != b"\x6c":
                    command = without_le(command)
                at_ns = wall()
                code, received = transmit(card, protocol, list(command))
                duration = wall() - at_ns
                if code != 0:
                    raise Failure(code, f"SCardTransmit of {command[:5].hex().upper()}")
                response = bytes(received)
                if len(response) < 2:
                    # So looks a card that vanished in the middle of a command.
                    raise Failure(failures.NOT_TRANSACTED, f"SCardTransmit of {command[:5].hex().upper()}: no answer")
                done.append(Exchange(command, response, at_ns, duration))
                call.seen = now = monotonic()
                if now - told > TELL_SECONDS:
                    told = now
                    call.tell()
                command = steps.send(response)
        except StopIteration:
            return
        except Failure:
            # The card has lost its state, or another one is in the reader by now. Left as it is: the service would
            # try to reset it, and take a card that does not answer to that for none at all.
            self.disconnect(library.LEAVE_CARD)
            raise


def without_le(command: bytes) -> bytes:
    """Return a short command as T=0 carries it: one with data loses its Le (ISO/IEC 7816-3 12.1.2)."""
    return command[:-1] if command[4] and len(command) == 6 + command[4] else command
