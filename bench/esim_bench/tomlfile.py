"""TOML files of the operator, checked by a model. Complaints read ``file:line: key: what is wrong``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from esim_bench.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)

MAX_SIZE = 4 * 1024 * 1024
_MAX_BITS = 1024
"""Of numbers that are shown; Python refuses to write very long ones."""
_SECRET_KEYS: Final = frozenset(("k", "opc", "topc", "kic", "kid", "kik", "value"))
"""Keys of subscriptions, and PINs: an error about them does not repeat them."""


def load(path: Path, what: str) -> tuple[dict[str, Any], str]:
    """Read and parse one TOML file: (tables, text). ``what`` names it in errors ("rack file"). Raises ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SIZE + 1)
    except OSError as exc:
        raise ConfigError(f"cannot read the {what}: {exc.strerror}", where=str(path)) from exc
    if len(data) > MAX_SIZE:
        raise ConfigError(f"{what} too large", where=str(path), expected=f"at most {MAX_SIZE} bytes")
    try:
        text = data.decode()
        return tomllib.loads(text), text
    except UnicodeDecodeError as exc:
        raise ConfigError("not a text file", where=str(path), expected="UTF-8", found=f"byte {exc.start}") from exc
    except tomllib.TOMLDecodeError as exc:
        line = re.search(r"at line (\d+)", str(exc))
        place = f"{path}:{line[1]}" if line else str(path)
        raise ConfigError(f"not valid TOML: {exc}", where=place) from exc
    except RecursionError as exc:
        raise ConfigError("nested too deeply", where=str(path)) from exc
    except ValueError as exc:
        # A number of more digits than Python reads.
        raise ConfigError(f"not valid TOML: {exc}", where=str(path)) from exc


def validate(model: type[Model], path: Path, what: str) -> Model:
    """Read a TOML file as a model. Raises ConfigError that lists every wrong key with its line."""
    tables, text = load(path, what)
    try:
        return model.model_validate(tables)
    except ValidationError as exc:
        raise ConfigError("\n".join(complaints(exc, path, text))) from exc


def complaints(error: ValidationError, path: Path, text: str) -> list[str]:
    """Say each validation error as ``file:line: key: what is wrong``."""
    lines = []
    for item in error.errors(include_url=False):
        location = [part for part in item["loc"] if isinstance(part, int) or not part.startswith("function-")]
        key = ".".join(str(part) for part in location) or "(the file)"
        message = item["msg"].removeprefix("Value error, ")
        found = item.get("input")
        if item["type"] == "extra_forbidden":
            message = "unknown key"
        elif item["type"] == "missing":
            message = "missing"
        elif isinstance(found, str | int | float | bool) and (not location or location[-1] not in _SECRET_KEYS):
            message += f", found {_short(found)}"
        lines.append(f"{path}:{line_of(text, location)}: {key}: {message}")
    return lines


def _short(found: str | float) -> str:
    if isinstance(found, int) and found.bit_length() > _MAX_BITS:
        return "a very large number"
    return repr(found)


def line_of(text: str, location: Sequence[str | int]) -> int:
    """Find the line (from 1) of a key: tables by header, the n-th ``[[table]]`` by index; else the parent's line."""
    lines = text.splitlines()
    at = 0
    names: list[str] = []
    rest = list(location)
    while rest:
        part = rest.pop(0)
        if isinstance(part, int):
            continue
        index = rest[0] if rest and isinstance(rest[0], int) else 0
        names.append(part)
        headers = [
            number
            for number, line in enumerate(lines)
            if re.match(rf"\s*\[\[?\s*{re.escape('.'.join(names))}\s*\]\]?\s*(#.*)?$", line)
        ]
        if index < len(headers):
            at = headers[index]
            continue
        end = next((n for n in range(at + 1, len(lines)) if re.match(r"\s*\[", lines[n])), len(lines))
        found = next(
            (n for n in range(at, end) if re.search(rf"(^|[\s{{,.])[\"']?{re.escape(part)}[\"']?\s*(=|\.)", lines[n])),
            None,
        )
        if found is not None:
            at = found
    return at + 1
