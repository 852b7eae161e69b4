"""What an error must not tell: servers like to repeat in their answers what they were asked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from esim_bench.errors import BenchError

SHORTEST: Final = 4
"""Characters of a secret that is looked for; a shorter one would be found in anything."""
MASK: Final = "***"


def hide(text: str, secrets: Iterable[str]) -> str:
    """Return text without secrets."""
    for word in _words(secrets):
        text = text.replace(word, MASK)
    return text


def _words(secrets: Iterable[str]) -> list[str]:
    return sorted({word for word in secrets if len(word) >= SHORTEST}, key=lambda word: (-len(word), word))


def conceal(error: BenchError, secrets: Iterable[str]) -> None:
    """Replace secrets in all that an error says, in place."""
    words = _words(secrets)

    def masked(value: object) -> object:
        return hide(value, words) if isinstance(value, str) else value

    if not any(word in text for word in words for text in (str(error), repr(vars(error)))):
        return
    for name, value in list(vars(error).items()):
        setattr(error, name, masked(value))
    error.args = tuple(masked(one) for one in error.args)
