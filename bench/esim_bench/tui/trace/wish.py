"""What a person wants to see in the log: what the chips and the filter's lists say together."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from esim_bench.codec.apdu import sw_text
from esim_bench.trace.index import Filter


class Group(NamedTuple):
    """Kinds of records that have a chip together."""

    key: str
    name: str
    kinds: frozenset[int]
    """As ``trace.records`` numbers them."""


GROUPS: Final = (
    Group("1", "APDU", frozenset((0,))),
    Group("2", "AT", frozenset((3,))),
    Group("3", "RSP", frozenset((4,))),
    Group("4", "Power", frozenset((1, 2))),
    Group("5", "Marks", frozenset((5,))),
    Group("6", "Wire", frozenset((6, 7, 8, 9))),
)


@dataclass(frozen=True, slots=True)
class Wish:
    """The filter of the log; empty: everything."""

    groups: frozenset[str] = frozenset()
    """Names of ``GROUPS``."""
    errors: bool = False
    functions: frozenset[str] = frozenset()
    words: frozenset[int] = frozenset()
    slots: frozenset[str] = frozenset()

    @property
    def filter(self) -> Filter:
        """Return it as the index takes it."""
        kinds = frozenset(kind for group in GROUPS if group.name in self.groups for kind in group.kinds)
        return Filter(kinds, self.functions, self.words, self.errors)

    @property
    def empty(self) -> bool:
        """Tell whether it wants everything."""
        return self == Wish()

    def toggled(self, group: str) -> Wish:
        """Return it with one group more, or less."""
        return replace(self, groups=self.groups ^ {group})

    def saved(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "groups": sorted(self.groups),
            "errors": self.errors,
            "functions": sorted(self.functions),
            "words": sorted(self.words),
        }

    @classmethod
    def restored(cls, values: Any) -> Wish:
        """Make it of JSON values; what is not understood counts as nothing."""
        if not isinstance(values, dict):
            return cls()
        known = {group.name for group in GROUPS}
        groups = frozenset(name for name in _list(values.get("groups")) if name in known)
        functions = frozenset(name for name in _list(values.get("functions")) if isinstance(name, str))
        words = frozenset(word for word in _list(values.get("words")) if isinstance(word, int) and 0 <= word <= 0xFFFF)
        return cls(groups, values.get("errors") is True, functions, words)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


_WORD: Final = re.compile(r"[0-9a-fx?*]{1,4}", re.IGNORECASE)


def words_like(pattern: str, known: Iterable[int]) -> frozenset[int]:
    """Return the status words that a pattern means: "6A82"; "63xx", "6A8?" and "69" of those that are known."""
    text = pattern.strip().upper()
    if not _WORD.fullmatch(text):
        return frozenset()
    if re.fullmatch(r"[0-9A-F]{4}", text):
        return frozenset((int(text, 16),))
    glob = text.replace("X", "?")
    if len(glob) < 4 and "*" not in glob:
        glob += "*"
    return frozenset(word for word in known if fnmatch.fnmatchcase(f"{word:04X}", glob))


def functions_like(pattern: str, known: Iterable[str]) -> frozenset[str]:
    """Return the functions that a pattern means: a part of the name, or a glob as "ES10c.*"; case does not matter."""
    text = pattern.strip().lower()
    if not text:
        return frozenset()
    glob = text if any(char in text for char in "*?") else f"*{text}*"
    return frozenset(name for name in known if fnmatch.fnmatchcase(name.lower(), glob))


def word_title(word: int) -> str:
    """Return a status word with what it means."""
    return f"{word:04X} {'ok' if word == 0x9000 else sw_text(word)}"
