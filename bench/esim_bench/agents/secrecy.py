"""What an error must not tell: servers like to repeat in their answers what they were asked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from esim_bench.errors import BenchError

SHORTEST: Final = 4
"""Characters of a secret that is looked for; a shorter one would be found in anything."""
MASK: Final = "***"


def conceal(error: BenchError, secrets: Iterable[str]) -> None:
    """Replace secrets in all that an error says, in place."""
    words = sorted({word for word in secrets if len(word) >= SHORTEST}, key=len, reverse=True)

    def masked(value: object) -> object:
        if isinstance(value, str):
            for word in words:
                value = value.replace(word, MASK)
        return value

    if not any(word in text for word in words for text in (str(error), repr(vars(error)))):
        return
    for name, value in list(vars(error).items()):
        setattr(error, name, masked(value))
    error.args = tuple(masked(one) for one in error.args)
