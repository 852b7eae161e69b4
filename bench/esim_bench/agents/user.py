"""The questions that an LPA asks its end user during a download (SGP.22 3.1.3), and what silence means.

A bench has no end user: without anybody to ask the profile is wanted, its policy rules are agreed to, and a
confirmation code that was not given beforehand is not there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeVar

from esim_bench.codec.metadata import Metadata

T = TypeVar("T")


class Answer(Enum):
    """What a user says to a question."""

    YES = "yes"
    NO = "no"
    LATER = "later"
    """Not now: the order stays good."""


class NoAnswer(Exception):
    """Nobody answered in time."""


Confirm = Callable[[Metadata], Awaitable[Answer]]
"""Asked whether the profile of this metadata is wanted."""
Consent = Callable[[Metadata, Sequence[str]], Awaitable[Answer]]
"""Asked whether these policy rules of the profile are agreed to."""
AskCode = Callable[[Metadata], Awaitable[str | None]]
"""Asked for the confirmation code; None: not now."""


@dataclass(frozen=True, slots=True)
class User:
    """Who is asked. A question without a callback is not asked."""

    confirm: Confirm | None = None
    consent: Consent | None = None
    confirmation_code: AskCode | None = None
    patience: float | None = None
    """Seconds that each answer may take; None: any time."""

    async def wants(self, metadata: Metadata) -> Answer:
        """Ask whether the profile is wanted. Raises NoAnswer."""
        return Answer.YES if self.confirm is None else await self._in_time(self.confirm(metadata))

    async def agrees(self, metadata: Metadata, rules: Sequence[str]) -> Answer:
        """Ask whether policy rules are agreed to. Raises NoAnswer."""
        return Answer.YES if self.consent is None else await self._in_time(self.consent(metadata, rules))

    async def code(self, metadata: Metadata) -> str | None:
        """Ask for the confirmation code. Raises NoAnswer."""
        return None if self.confirmation_code is None else await self._in_time(self.confirmation_code(metadata))

    async def _in_time(self, answer: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self.patience):
                return await answer
        except TimeoutError as exc:
            raise NoAnswer from exc


NOBODY: Final = User()
