"""PWRKEY and RESET at the control lines of a serial port: the modem's own, or another one that is wired to them.

Whoever opens a serial port asserts DTR and RTS for a moment: they are released at once, long before a module takes that
for a pull, unless the wiring is inverted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

from esim_bench.ports import ControlLines
from esim_drivers.at.serial_link import SerialLink

Line = Literal["dtr", "rts"]
MARGIN_SECONDS = 0.02
"""What a pull is longer than the module's least: the line's driver and the module's clock are not exact."""


class PortLines:
    """ControlLines of a port of their own, opened when first used."""

    def __init__(self, port: str, opener: Callable[[str], SerialLink] = SerialLink) -> None:
        self._port = port
        self._opener = opener
        self._link: SerialLink | None = None

    def set_line(self, line: Line, asserted: bool) -> None:
        """Assert or release a control line. Raises TransportError: no such port, or one without such lines."""
        if self._link is None:
            self._link = self._opener(self._port)
        try:
            self._link.set_line(line, asserted)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the port; never raises."""
        link, self._link = self._link, None
        if link is not None:
            link.close()


class Pin:
    """One input of a module at one control line."""

    def __init__(self, lines: ControlLines, line: Line, *, inverted: bool = False) -> None:
        self._lines = lines
        self._line = line
        self._inverted = inverted

    def hold(self) -> None:
        """Pull the pin until ``release``. Raises TransportError."""
        self._lines.set_line(self._line, not self._inverted)

    def release(self) -> None:
        """Let the pin go. Raises TransportError."""
        self._lines.set_line(self._line, self._inverted)

    async def pull(self, seconds: float) -> None:
        """Pull the pin for no less than ``seconds``. Raises TransportError."""
        self.hold()
        try:
            await asyncio.sleep(seconds + MARGIN_SECONDS)
        finally:
            self.release()
