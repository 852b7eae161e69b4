"""One instrument by PyVISA on a worker: commands, questions, its error queue drained. Slots share it by channels."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from esim_bench.errors import BenchError, ConfigError, DeviceTimeout, PowerError, ProtocolError, TransportError
from esim_drivers.worker import Worker

T = TypeVar("T")

ANSWER_MS: Final = 2000
CALL_SECONDS: Final = 20.0
MOST_ERRORS: Final = 32
"""An error queue holds 20 or 30; one that never ends is broken."""


class Instrument:
    """An instrument by its VISA name. Opened when first used, opened anew after it vanished or hung."""

    def __init__(self, resource: str, library: str, baud: int | None = None) -> None:
        self.name = resource
        self._library = library
        self._baud = baud
        self._worker: Worker | None = None
        self._session: Any = None
        self.identity = ""
        """Its answer to *IDN?, once it is open."""

    async def do(self, commands: Sequence[str]) -> None:
        """Send commands, then look for errors. Raises PowerError for one that it refuses, TransportError."""
        await self._run(lambda: self._do(commands))

    async def ask(self, question: str, before: Sequence[str] = ()) -> str:
        """Send commands and a question, return the answer. Raises TransportError, DeviceTimeout, PowerError."""
        return await self._run(lambda: self._ask(question, before))

    async def close(self) -> None:
        """Release the instrument, which stays as it is; never raises."""
        worker, self._worker = self._worker, None
        if worker is not None and not worker.closed:
            with contextlib.suppress(BenchError):
                await worker.run(self._dispose, timeout=CALL_SECONDS)
            worker.close()

    # ------------------------------------------------------------------------------------------------- on the worker

    async def _run(self, call: Callable[[], T]) -> T:
        if self._worker is None or self._worker.closed:
            self._worker, self._session = Worker(self.name), None
        return await self._worker.run(lambda: self._guarded(call), timeout=CALL_SECONDS)

    def _guarded(self, call: Callable[[], T]) -> T:
        try:
            if self._session is None:
                self._open()
            return call()
        except BenchError:
            if not self.identity:
                self._dispose()
            raise
        except Exception as exc:
            self._dispose()
            raise self._error(exc) from exc

    def _open(self) -> None:
        manager = resource_manager(self._library)
        try:
            session = manager.open_resource(self.name, open_timeout=ANSWER_MS)
        except ValueError as exc:
            hint = "is it on and plugged in? rack discover lists them"
            raise TransportError("no such instrument", where=self.name, found=_short(exc), hint=hint) from exc
        if not hasattr(session, "query"):
            session.close()
            raise ConfigError("not the name of an instrument", where=self.name, hint="rack discover lists them")
        session.timeout = ANSWER_MS
        if hasattr(session, "read_termination"):
            session.read_termination = session.write_termination = "\n"
        if self._baud is not None and hasattr(session, "baud_rate"):
            session.baud_rate = self._baud
        self._session = session
        self.identity = session.query("*IDN?").strip()
        if not self.identity:
            raise TransportError("no instrument there", where=self.name, expected="an answer to *IDN?", found="nothing")
        # What others left in the queue is not the answer to our commands.
        self._errors()

    def _do(self, commands: Sequence[str]) -> None:
        for command in commands:
            self._session.write(command)
        errors = self._errors()
        if errors:
            raise PowerError(
                "the supply refuses a command", where=self.name, expected="; ".join(commands), found="; ".join(errors)
            )

    def _ask(self, question: str, before: Sequence[str]) -> str:
        if before:
            self._do(before)
        return str(self._session.query(question)).strip()

    def _errors(self) -> list[str]:
        """Drain the error queue (SYST:ERR?, SCPI-99 21.8.8) until it says 0."""
        found: list[str] = []
        for _ in range(MOST_ERRORS):
            answer = str(self._session.query("SYST:ERR?")).strip()
            number = answer.split(",")[0].strip()
            if not number.lstrip("+-").isdigit():
                raise ProtocolError("not an answer to SYST:ERR?", where=self.name, found=repr(answer))
            if int(number) == 0:
                return found
            found.append(answer)
        raise ProtocolError("the error queue has no end", where=self.name, found=found[-1])

    def _dispose(self) -> None:
        session, self._session = self._session, None
        self.identity = ""
        if session is not None:
            with contextlib.suppress(Exception):
                session.close()

    def _error(self, exc: Exception) -> BenchError:
        name = getattr(exc, "abbreviation", "")
        if name == "VI_ERROR_TMO" or isinstance(exc, TimeoutError):
            return DeviceTimeout("the supply does not answer", where=self.name, expected=f"within {ANSWER_MS} ms")
        if name in ("VI_ERROR_INV_RSRC_NAME", "VI_ERROR_RSRC_NFOUND"):
            return ConfigError("not the name of an instrument", where=self.name, found=_short(exc))
        if isinstance(exc, OSError) and exc.errno in (errno.EACCES, errno.EPERM):
            return TransportError("no right to open the supply", where=self.name, hint="hw/udev has rules for that")
        return TransportError("the way to the supply broke", where=self.name, found=_short(exc))


def _short(exc: Exception) -> str:
    return (str(exc) or type(exc).__name__).splitlines()[0][:200]


def resource_manager(library: str) -> Any:
    """Return PyVISA's resource manager of a library (``@py``). Raises ConfigError when one of the two is missing."""
    hint = "pip install 'esim-bench[scpi]'"
    try:
        import pyvisa
    except ImportError as exc:
        raise ConfigError("PyVISA is not installed", hint=hint) from exc
    try:
        return pyvisa.ResourceManager(library)
    except (ValueError, OSError) as exc:
        raise ConfigError(f"PyVISA has no library {library}", found=_short(exc), hint=hint) from exc
