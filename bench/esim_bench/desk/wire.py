"""The desk's methods as JSON lines between two processes; their forms are read off the ``Desk`` protocol itself.

Front to desk: ``{"id": 7, "method": "read", "args": {"slot": "A1"}}``. Desk to front: ``{"id": 7, "result": ...}`` or
``{"id": 7, "trouble": {...}}``, and notices, which are themselves (``{"notice": "busy", ...}``).
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, get_type_hints

from pydantic import TypeAdapter, ValidationError

from esim_bench.desk import api
from esim_bench.desk.api import Desk, DeskError, Notice, Trouble

LINE_LIMIT: Final = 64 * 1024 * 1024
"""Bytes of the longest line that either side takes."""
_LOCAL: Final = ("listen", "close")
"""Methods that each side has for itself."""


@dataclass(frozen=True, slots=True)
class Method:
    """One method of the desk: how its arguments and its result are written."""

    name: str
    signature: inspect.Signature
    arguments: Mapping[str, TypeAdapter[Any]]
    result: TypeAdapter[Any]

    def dump_arguments(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments as JSON values."""
        return {name: self.arguments[name].dump_python(value, mode="json") for name, value in args.items()}

    def read_arguments(self, values: object) -> dict[str, Any]:
        """Return arguments from JSON values. Raises DeskError that says which one is wrong."""
        if not isinstance(values, dict):
            raise DeskError(_mistake(f"{self.name}: arguments", "an object", values))
        for name in values:
            if name not in self.arguments:
                raise DeskError(_mistake(f"{self.name}: unknown argument", ", ".join(self.arguments) or "none", name))
        read = {}
        for name, adapter in self.arguments.items():
            if name in values:
                try:
                    read[name] = adapter.validate_python(values[name])
                except ValidationError as exc:
                    first = exc.errors(include_url=False, include_input=False)[0]
                    where = ".".join(map(str, (name, *first["loc"])))
                    raise DeskError(Trouble(kind="ConfigError", what=f"{self.name}: {where}: {first['msg']}")) from exc
            elif self.signature.parameters[name].default is inspect.Parameter.empty:
                raise DeskError(_mistake(f"{self.name}: argument is missing", name, "nothing"))
        return read


def _mistake(what: str, expected: str, found: object) -> Trouble:
    return Trouble(kind="ConfigError", what=what, expected=expected, found=str(found)[:200])


def _method(name: str, function: Any) -> Method:
    hints = get_type_hints(function, vars(api), include_extras=True)
    signature = inspect.signature(function)
    names = [parameter for parameter in signature.parameters if parameter != "self"]
    return Method(
        name, signature, {one: TypeAdapter(hints[one]) for one in names}, TypeAdapter(hints.get("return", type(None)))
    )


METHODS: Final[Mapping[str, Method]] = {
    name: _method(name, function)
    for name, function in inspect.getmembers(Desk, inspect.iscoroutinefunction)
    if name not in _LOCAL
}
NOTICE: Final[TypeAdapter[Any]] = TypeAdapter(Notice)


def line(document: Mapping[str, Any]) -> bytes:
    """Return a document as a line."""
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def request_line(number: int, method: Method, args: Mapping[str, Any]) -> bytes:
    """Return a request as a line."""
    return line({"id": number, "method": method.name, "args": method.dump_arguments(args)})


def result_line(number: int, method: Method, result: Any) -> bytes:
    """Return a result as a line."""
    return line({"id": number, "result": method.result.dump_python(result, mode="json")})


def trouble_line(number: object, trouble: Trouble) -> bytes:
    """Return a failure as a line."""
    return line({"id": number, "trouble": trouble.model_dump(mode="json")})


def notice_line(notice: Any) -> bytes:
    """Return a notice as a line."""
    return line(NOTICE.dump_python(notice, mode="json"))


def parse(raw: bytes) -> dict[str, Any]:
    """Return the document of a line. Raises ValueError where it is none."""
    document = json.loads(raw)
    if not isinstance(document, dict):
        raise ValueError("a JSON object is expected")
    return document
