"""The person at the bench: asked to do what no switch can do, such as taking a card out.

At a terminal the question stands on stderr and the answer is awaited on the loop, so that other slots go on. Simulated
slots have a simulated operator, who does what he is asked to. Where nobody is there, what needs him is skipped.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol, TextIO, runtime_checkable

from esim_bench.ports import SlotHardware

SIMULATED_SECONDS: Final = 4.0
"""How long the simulated operator takes: his hand is as slow as any."""


class Action(Enum):
    """What an operator is asked to do, for one who cannot read."""

    REMOVE_CARD = "remove-card"
    INSERT_CARD = "insert-card"
    OTHER = "other"


class Answer(Enum):
    """What the operator says."""

    DONE = "done"
    SKIP = "skip"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to do at one slot."""

    slot: str
    text: str
    action: Action = Action.OTHER


class Operator(Protocol):
    """Somebody who can be asked."""

    async def ask(self, question: Question) -> Answer | None:
        """Ask, and wait for the answer; None when nobody will ever give one. Cancelled when it is needed no more."""


@runtime_checkable
class Hand(Protocol):
    """What a simulated slot offers to its operator (``SlotHardware.extras["hand"]``): the card out, the card in."""

    def remove_card(self) -> None:
        """Take the card out, whatever it does just now."""

    def insert_card(self) -> None:
        """Put the same card in again."""


class SimulatedOperator:
    """Does at a simulated slot what he is asked to; None for what the slot has no way to do."""

    def __init__(self, hardware: SlotHardware) -> None:
        self._hand: object = hardware.extras.get("hand")

    @property
    def hand(self) -> object:
        """Return what the slot offers."""
        return self._hand

    def can(self, action: Action) -> bool:
        """Tell whether the slot has a way to do something."""
        return action is Action.OTHER or isinstance(self._hand, Hand)

    async def ask(self, question: Question) -> Answer | None:
        """Do it, after the time that a hand takes."""
        if not self.can(question.action):
            return None
        await asyncio.sleep(SIMULATED_SECONDS)
        return self.do(question)

    def do(self, question: Question) -> Answer:
        """Do it, at this instant."""
        if isinstance(self._hand, Hand):
            if question.action is Action.REMOVE_CARD:
                self._hand.remove_card()
            elif question.action is Action.INSERT_CARD:
                self._hand.insert_card()
        return Answer.DONE


class Hands(SimulatedOperator):
    """A person who looks on at a simulated slot: asked first, and what he says is done is done then."""

    def __init__(self, person: Operator, simulated: SimulatedOperator) -> None:
        self._person = person
        self._hand = simulated.hand

    async def ask(self, question: Question) -> Answer | None:
        """Ask the person, and do it."""
        if not self.can(question.action):
            return None
        answer = await self._person.ask(question)
        return self.do(question) if answer is Answer.DONE else answer


class TerminalOperator:
    """Asks at a terminal, one question at a time, whichever slots have some."""

    def __init__(self, answers: TextIO | None = None, screen: TextIO | None = None) -> None:
        self._answers = answers or sys.stdin
        self._screen = screen or sys.stderr
        self._turn: asyncio.Lock | None = None

    async def ask(self, question: Question) -> Answer | None:
        """Ask until the answer is one of those offered; None at the end of the input."""
        if self._turn is None:
            self._turn = asyncio.Lock()  # here, because it belongs to the loop that runs
        async with self._turn:
            self._say(f"\n>> {question.slot}: {question.text}\n   Enter: done   s: skip   a: abort   ")
            try:
                while True:
                    line = await self._line()
                    if line is None:
                        return None
                    answer = _ANSWERS.get(line.strip().lower())
                    if answer is not None:
                        return answer
                    self._say("   Enter, s or a?   ")
            except asyncio.CancelledError:
                self._say(f"\n   {question.slot}: no answer needed any more\n")
                raise

    def _say(self, text: str) -> None:
        try:
            self._screen.write(text)
            self._screen.flush()
        except OSError:
            pass  # the terminal went away; the end of its input says so

    async def _line(self) -> str | None:
        """Wait for a line without blocking the loop; a terminal gives whole ones. None at the end of the input."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes] = loop.create_future()
        descriptor = self._answers.fileno()

        def readable() -> None:
            try:
                data = os.read(descriptor, 4096)
            except OSError:
                data = b""
            if not future.done():
                future.set_result(data)

        loop.add_reader(descriptor, readable)
        try:
            data = await future
        finally:
            loop.remove_reader(descriptor)
        return data.decode(errors="replace").splitlines()[0] if data else None


_ANSWERS: Final = {
    "": Answer.DONE,
    "d": Answer.DONE,
    "done": Answer.DONE,
    "s": Answer.SKIP,
    "skip": Answer.SKIP,
    "a": Answer.ABORT,
    "abort": Answer.ABORT,
}


def operator_at_terminal(
    *, unattended: bool = False, environ: Callable[[str], str | None] = os.environ.get
) -> TerminalOperator | None:
    """Return the operator at this process's terminal; None where nobody is there: no terminal, CI, or told so."""
    try:
        there = sys.stdin.isatty() and sys.stderr.isatty()
    except (AttributeError, ValueError, OSError):
        there = False  # closed
    return TerminalOperator() if there and not unattended and environ("CI") in (None, "", "false", "0") else None
