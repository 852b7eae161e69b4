"""A profile document: values looked up by key path, and complaints that name it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from esim_bench.errors import CodecError

Key = tuple[str | int, ...]
"""Where a value stands: names of tables and keys, numbers of list items from 0."""


class ProfileError(CodecError):
    """A value of a profile document that can't be used; ``key`` is its path."""

    def __init__(self, key: Key, what: str, *, expected: object = None, found: object = None) -> None:
        self.key = key
        super().__init__(what, expected=expected, found=found, where=key_text(key))


def key_text(key: Key) -> str:
    """Return a key path as people write it: pin[0].value."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "(the document)"


class Document:
    """Looks values up by key path; every complaint names the path."""

    def __init__(self, tables: Mapping[str, Any]) -> None:
        self._tables = tables

    def get(self, *key: str | int) -> Any:
        """Return a value, or None where it, or a table on the way, is missing."""
        value: Any = self._tables
        for index, part in enumerate(key):
            if isinstance(part, int):
                value = value[part]
                continue
            if not isinstance(value, Mapping):
                raise ProfileError(key[:index], "wrong kind of value", expected="a table", found=repr(value))
            value = value.get(part)
            if value is None:
                return None
        return value

    def has(self, *key: str | int) -> bool:
        return self.get(*key) is not None

    def text(self, *key: str | int, pattern: str = r".+", expected: str = "text", default: str | None = None) -> str:
        value = self.get(*key)
        if value is None:
            value = default
        if value is None:
            raise ProfileError(key, "missing", expected=expected)
        if not isinstance(value, str) or not re.fullmatch(pattern, value, re.ASCII):
            raise ProfileError(key, "wrong value", expected=expected, found=repr(value))
        return value

    def hex(self, *key: str | int, size: int | None = None) -> bytes:
        text = self.text(*key, pattern=r"([0-9A-Fa-f]{2})*", expected="hexadecimal digits, two a byte")
        data = bytes.fromhex(text)
        if size is not None and len(data) != size:
            raise ProfileError(key, "wrong length", expected=f"{size} bytes", found=len(data))
        return data

    def number(self, *key: str | int, low: int, high: int, default: int | None = None) -> int:
        value = self.get(*key)
        if value is None:
            value = default
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ProfileError(key, "wrong value", expected=f"{low} to {high}", found=repr(value))
        return value

    def flag(self, *key: str | int, default: bool) -> bool:
        value = self.get(*key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise ProfileError(key, "wrong value", expected="true or false", found=repr(value))
        return value

    def items(self, *key: str | int) -> Sequence[Any]:
        value = self.get(*key)
        if value is None:
            return ()
        if not isinstance(value, list | tuple):
            raise ProfileError(key, "wrong kind of value", expected="a list", found=repr(value))
        return value

    def made(self, make: Callable[[], bytes], *key: str | int) -> bytes:
        """Have file content made of a value; complaints get the key's name."""
        try:
            return make()
        except ProfileError:
            raise
        except CodecError as exc:
            raise ProfileError(key, exc.what, expected=exc.expected, found=exc.found) from exc
