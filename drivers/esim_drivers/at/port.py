"""One AT port: commands out, answers and unsolicited lines in, over any byte link.

One command is under way at a time. Lines are sorted as they come, so that unsolicited ones may stand anywhere. After a
command that was given up its answer can still come, in front of the next command's: the port is then out of step, and
before the next command it is brought into step again, by the echo of a command, which no late answer can look like.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Sequence
from typing import Final, Literal

from esim_bench import clock
from esim_bench.codec.at import Answer, LineKind, LineReader, is_final, is_unsolicited
from esim_bench.errors import CodecError, DeviceTimeout, TransportError
from esim_bench.events import AtEvent, EventSink
from esim_bench.ports import AtResponse, ByteLink

DEFAULT_TIMEOUT: Final = 15.0
STEP_TIMEOUT: Final = 1.0
"""Seconds that one try to come into step waits: for a modem that boots, and so hears nothing."""
GRACE: Final = 0.3
"""Seconds that a final result code without the echo is given to be followed by the right one."""
_MARKS = 128
_END_OF_TEXT, _ESCAPE = b"\x1a", b"\x1b"
_LONGEST_TEXT = 2048


class _Step:
    """Waits for the echo of one line and the final result code after it: nothing else proves whose answer it is."""

    def __init__(self, mark: str, done: asyncio.Future[bool]) -> None:
        self.done = done
        self.answered = False
        self._mark = mark
        self._marked = False
        self._grace: asyncio.TimerHandle | None = None

    def feed(self, line: str) -> None:
        if line == self._mark:
            self._marked = True
        elif is_final(line):
            self.answered = True
            if self._marked:
                self._finish(True)
            elif self._grace is None:
                self._grace = self.done.get_loop().call_later(GRACE, self._finish, False)

    def stop(self) -> None:
        if self._grace is not None:
            self._grace.cancel()

    def _finish(self, marked: bool) -> None:
        if not self.done.done():
            self.done.set_result(marked)


class AtPort:
    """Speaks AT over a byte link, which it owns. ``urcs``: beginnings of lines that this modem sends unasked.

    Made inside a running loop. It is out of step at first: nobody knows what was said before.
    """

    def __init__(self, link: ByteLink, sink: EventSink, *, urcs: Sequence[str] = ()) -> None:
        self._link = link
        self._sink = sink
        self._urcs = tuple(urcs)
        self._reader = LineReader()
        self._lock = asyncio.Lock()
        self._pending: tuple[Answer, asyncio.Future[AtResponse]] | None = None
        self._text: bytes | None = None
        """What is given when the modem prompts for data."""
        self._given = False
        self.echoed_first: bool | None = None
        """Whether the modem echoed when it was first spoken to; None before that."""
        self._stepping: _Step | None = None
        self._in_step = False
        self._tries = 0
        """How often it was tried to come into step since that last worked."""
        self._alarm: asyncio.TimerHandle | None = None
        self._expires = 0.0
        self._lost: TransportError | None = None
        self._listeners: list[tuple[Callable[[str], None], Callable[[], None]]] = []
        link.set_receiver(self._received, self._link_lost)

    # ------------------------------------------------------------------------------------------------- commands

    @property
    def usable(self) -> bool:
        """Tell whether the link is still there."""
        return self._lost is None

    async def command(self, line: str, timeout: float = DEFAULT_TIMEOUT, text: str | None = None) -> AtResponse:
        """Send one command line and wait for its final result code.

        ``text`` is what the modem is given when it prompts for data (27.005 3.5.1); without it a prompt is left by ESC.
        ERROR is a result. Raises DeviceTimeout, TransportError; CodecError for a line that holds control characters.
        """
        if not line.isascii() or not line.isprintable() or not line:
            raise CodecError("AT command line", expected="one line of printable ASCII", found=repr(line))
        data = None if text is None else _checked_text(text)
        async with self._lock:
            if not self._in_step:
                await self._come_into_step(max(timeout, 3 * STEP_TIMEOUT))
            self._text = data
            try:
                return await self._transact(line, timeout)
            finally:
                self._text = None

    async def synchronise(self, timeout: float) -> None:
        """Wait until the modem answers, drop what came before. Raises DeviceTimeout, TransportError."""
        async with self._lock:
            await self._come_into_step(timeout)

    def out_of_step(self) -> None:
        """Say that what comes next may not belong to the next command: the modem was reset."""
        self._in_step = False

    def listen(self, on_line: Callable[[str], None], on_lost: Callable[[], None] = lambda: None) -> None:
        """Have functions called with each unsolicited line, and when the link is lost."""
        self._listeners.append((on_line, on_lost))

    def close(self) -> None:
        """Close the link; a command under way ends with TransportError. Never raises."""
        self._fail(TransportError("the AT port was closed"))
        self._link.close()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    async def _transact(self, line: str, timeout: float) -> AtResponse:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[AtResponse] = loop.create_future()
        self._in_step = False
        self._pending = Answer(line, self._urcs), future
        self._given = False
        # One alarm for all commands, which seldom rings: to set and cancel one for each costs more than the reading.
        self._expires = loop.time() + timeout
        if self._alarm is None or self._alarm.when() > self._expires:
            self._set_alarm(loop)
        try:
            self._send(line)
            answer = await future
        except TimeoutError as exc:
            raise DeviceTimeout(
                f"no answer to {_short(line)}",
                expected=f"a final result code within {timeout:g} s",
                found=self._heard(),
                hint="the command may still have taken effect: read the state before trying again",
            ) from exc
        finally:
            # Also when the caller was cancelled: then the answer is still to come.
            self._pending = None
            if future.done() and not future.cancelled():
                future.exception()  # a link may tell of its loss twice, here and by write()
        self._in_step = True
        return answer

    def _set_alarm(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = loop.call_at(self._expires, self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._alarm = None
        if self._pending is None or self._pending[1].done():
            return
        if loop.time() < self._expires:
            self._set_alarm(loop)
        else:
            self._pending[1].set_exception(TimeoutError())

    async def _come_into_step(self, timeout: float) -> None:
        """Send ATE1, ATE1V1, ... until one is echoed and answered, then ATE0. One that never echoes answers thrice."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        unmarked = 0
        for number in itertools.count(self._tries):
            # Each try has another text, also those of a later attempt: the echo of one that is answered late can't be
            # taken for that of another.
            self._tries = number + 1
            marked = await self._try_step(_mark(number % _MARKS))
            if marked is not None and self.echoed_first is None:
                self.echoed_first = marked
            if marked:
                break
            unmarked = unmarked + 1 if marked is False else 0
            if unmarked > 2:
                break
            if loop.time() >= deadline:
                raise DeviceTimeout(
                    "the modem does not answer",
                    expected=f"an answer to ATE1 within {timeout:g} s",
                    found=self._heard(),
                    hint="is it on, has it booted, is this its AT port, does another program hold it?",
                )
        self._tries = 0
        await self._transact("ATE0", STEP_TIMEOUT * 5)

    async def _try_step(self, line: str) -> bool | None:
        """Send a line; return whether its echo was seen before a final result code, None when none came."""
        step = self._stepping = _Step(line, asyncio.get_running_loop().create_future())
        self._given = False
        try:
            if self._reader.take_prompt():
                self._prompted()
            self._send(line)
            async with asyncio.timeout(STEP_TIMEOUT):
                return await step.done
        except TimeoutError:
            return False if step.answered else None
        finally:
            step.stop()
            self._stepping = None

    def _heard(self) -> str:
        return f"only {_short(self._reader.rest)}" if self._reader.rest else "nothing"

    # ------------------------------------------------------------------------------------------------- the link

    def _send(self, line: str) -> None:
        if self._lost is not None:
            raise self._lost
        self._tell(">", line)
        self._link.write(line.encode("ascii") + b"\r")

    def _received(self, data: bytes) -> None:
        for line in self._reader.feed(data):
            self._line(line)
        if (self._pending is not None or self._stepping is not None) and self._reader.take_prompt():
            self._prompted()

    def _prompted(self) -> None:
        """The modem waits for data: give it what there is, or leave. Until then it takes everything for data."""
        self._tell("<", ">")
        if self._given:
            return  # it prompts for each line of the data anew
        self._given = True
        self._tell(">", "ESC" if self._text is None else self._text.decode("ascii"))
        # A link that is lost tells so by itself.
        with contextlib.suppress(TransportError):
            self._link.write(_ESCAPE if self._text is None else self._text + _END_OF_TEXT)

    def _line(self, line: str) -> None:
        if self._stepping is not None:
            if is_unsolicited(line, self._urcs):
                self._unsolicited(line)
            else:
                self._tell("<", line)
                self._stepping.feed(line)
            return
        if self._pending is None or self._pending[1].done():
            self._unsolicited(line)
            return
        answer, future = self._pending
        if answer.feed(line) is LineKind.URC:
            self._unsolicited(line)
            return
        self._tell("<", line)
        if answer.final is not None:
            future.set_result(AtResponse(tuple(answer.lines), answer.final))
            for overheard in answer.overheard:
                self._call(overheard)

    def _unsolicited(self, line: str) -> None:
        self._tell("!", line)
        self._call(line)

    def _call(self, line: str) -> None:
        for on_line, _ in self._listeners:
            on_line(line)

    def _link_lost(self, reason: Exception | None) -> None:
        if isinstance(reason, TransportError):
            self._fail(reason)
        else:
            self._fail(TransportError("the AT port vanished", found=str(reason) if reason else None))

    def _fail(self, error: TransportError) -> None:
        if self._lost is not None:
            return
        self._lost = error
        waiting: list[asyncio.Future[AtResponse] | asyncio.Future[bool]] = []
        if self._pending is not None:
            waiting.append(self._pending[1])
        if self._stepping is not None:
            waiting.append(self._stepping.done)
        for future in waiting:
            if not future.done():
                future.set_exception(error)
        for _, on_lost in self._listeners:
            on_lost()

    def _tell(self, direction: Literal[">", "<", "!"], line: str) -> None:
        self._sink.emit(AtEvent(clock.wall_ns(), direction, line))


def _mark(number: int) -> str:
    """Return a line that switches the echo on, another one for each number."""
    bits = f"{number:b}" if number else ""
    return "ATE1" + "".join("V1" if bit == "1" else "E1" for bit in bits)


def _checked_text(text: str) -> bytes:
    if not text.isascii() or len(text) > _LONGEST_TEXT or not text.replace("\n", "").replace("\r", "").isprintable():
        raise CodecError("data for a prompt", expected=f"at most {_LONGEST_TEXT} characters of ASCII", found=repr(text))
    return text.encode("ascii")


def _short(line: str, most: int = 48) -> str:
    return line if len(line) <= most else f"{line[:most]}..."
