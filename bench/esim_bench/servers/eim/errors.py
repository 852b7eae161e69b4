"""Why an eIM refuses a request: a code of the answer, and a reason for the log."""

from __future__ import annotations

from typing import Final

from esim_bench.codec.esipa_objects import EIM_PACKAGE_ERRORS
from esim_bench.errors import BenchError

NO_PACKAGE: Final = 1
EID_NOT_FOUND: Final = 2
INVALID_EID: Final = 3
MISSING_EID: Final = 4
UNDEFINED: Final = 127


class RefusedError(BenchError):
    """A request that is refused by a code of getEimPackage or provideEimPackageResult."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        super().__init__(f"{EIM_PACKAGE_ERRORS.get(code, code)}: {reason}")


class UnavailableError(BenchError):
    """A request that cannot be served now (HTTP 503)."""
