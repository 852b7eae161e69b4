"""A slot's ``card = { driver = "pcsc", ... }`` table."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from esim_bench.errors import ConfigError

SELECTOR: Final = re.compile(r"(usb:\d+-\d+(\.\d+)*|serial:\S+|name:.*\S.*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Options:
    """Which reader, and how its card is used."""

    reader: str | None = None
    """``usb:1-1.2`` (where it hangs), ``serial:ABC``, ``name:OMNIKEY*``; None: the only one there is."""
    slot: int | None = None
    """The slot of a reader with several; None: the first."""
    protocol: str = "auto"
    """``T=0``, ``T=1``; ``auto``: the first that the ATR offers."""
    get_response: str = "auto"
    """Who fetches the answer of a case 4 command under T=0: ``bench``, ``reader``. ``auto`` is ``bench``, and takes an
    answer that comes whole from the reader as well."""
    exclusive: bool = True
    """Whether nobody else may use the card meanwhile. Else it is left as others have it, never reset at connection."""
    reset: str = "warm"
    """``warm``, or ``cold``: what ``reset`` does."""
    on_close: str = "unpower"
    """What becomes of the card: ``unpower`` closes its channels, ``leave`` leaves it as it is."""
    wait_s: float = 10.0
    """How long ``connect`` waits for a service or a reader that is not there yet."""
    card_wait_s: float = 2.0
    """How long ``connect`` waits for a card in a reader that is there."""
    timeout_s: float = 130.0
    """After so long without an answer to an APDU the reader is given up."""
    max_data: int = 255
    """The most command data bytes of one APDU."""

    @classmethod
    def parse(cls, spec: Mapping[str, Any], where: str) -> Options:
        """Read a table. Raises ConfigError for unknown keys and impossible values."""
        known = cls.__dataclass_fields__
        for key in spec:
            if key not in known:
                raise ConfigError("unknown key", where=where, expected=f"one of {', '.join(known)}", found=repr(key))
        options = cls(**spec)
        options._check(where)
        return options

    def _check(self, where: str) -> None:
        if self.reader is not None and not (isinstance(self.reader, str) and SELECTOR.fullmatch(self.reader)):
            raise ConfigError(
                "reader",
                where=where,
                expected='"usb:1-1.2", "serial:ABC" or "name:OMNIKEY*"',
                found=repr(self.reader),
                hint="esim-bench rack discover shows what is there",
            )
        for name, choices in (
            ("protocol", ("auto", "T=0", "T=1")),
            ("get_response", ("auto", "reader", "bench")),
            ("reset", ("warm", "cold")),
            ("on_close", ("unpower", "leave")),
        ):
            if getattr(self, name) not in choices:
                expected = f"one of {', '.join(choices)}"
                raise ConfigError(name, where=where, expected=expected, found=repr(getattr(self, name)))
        if not isinstance(self.exclusive, bool):
            raise ConfigError("exclusive", where=where, expected="true or false", found=repr(self.exclusive))
        for name, most in (("wait_s", 600.0), ("card_wait_s", 600.0), ("timeout_s", 3600.0)):
            value = getattr(self, name)
            least = 0.05 if name == "timeout_s" else 0.0
            good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not good or not least <= value <= most:
                expected = f"seconds from {least:g} to {most:g}"
                raise ConfigError(name, where=where, expected=expected, found=repr(value))
        for name, least_number, most_number in (("max_data", 1, 255), ("slot", 0, 255)):
            value = getattr(self, name)
            if value is None and name == "slot":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or not least_number <= value <= most_number:
                expected = f"a number from {least_number} to {most_number}"
                raise ConfigError(name, where=where, expected=expected, found=repr(value))
