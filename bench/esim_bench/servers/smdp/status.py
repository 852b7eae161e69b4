"""Status codes of ES9+: subject and reason (SGP.22 5.2.6), and the error that carries one to the binding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from esim_bench.errors import RspError


@dataclass(frozen=True, slots=True)
class StatusCode:
    """A subject code, a reason code and what the pair means."""

    subject: str
    reason: str
    meaning: str


class StatusError(RspError):
    """A function that was not executed: ``status`` is the functionExecutionStatus, ``Failed`` or ``Expired``."""

    def __init__(self, code: StatusCode, detail: str = "", *, status: str = "Failed") -> None:
        self.code = code
        self.status = status
        super().__init__(code.subject, code.reason, f"{code.meaning}: {detail}" if detail else code.meaning)


NO_SPACE: Final = StatusCode("8.1", "4.8", "not enough memory on the eUICC")
EUICC_NOT_VERIFIED: Final = StatusCode("8.1", "6.1", "verification of the eUICC failed")
EID_MISSING: Final = StatusCode("8.1.1", "2.2", "an order without MatchingID needs an EID")
EID_REFUSED: Final = StatusCode("8.1.1", "3.8", "the order is not for this EID")
EUM_INVALID: Final = StatusCode("8.1.2", "6.1", "EUM certificate invalid")
EUM_EXPIRED: Final = StatusCode("8.1.2", "6.3", "EUM certificate outside its validity period")
EUICC_INVALID: Final = StatusCode("8.1.3", "6.1", "eUICC certificate invalid")
EUICC_EXPIRED: Final = StatusCode("8.1.3", "6.3", "eUICC certificate outside its validity period")
NOT_RELEASED: Final = StatusCode("8.2", "1.2", "the profile has not been released")
NO_REBINDING: Final = StatusCode("8.2", "3.7", "the bound profile package is not available for a new binding")
NOT_ELIGIBLE: Final = StatusCode("8.2.5", "4.3", "no eligible profile for this eUICC")
MATCHING_ID_REFUSED: Final = StatusCode("8.2.6", "3.8", "no pending order for this MatchingID")
CC_MISSING: Final = StatusCode("8.2.7", "2.2", "confirmation code missing")
CC_REFUSED: Final = StatusCode("8.2.7", "3.8", "confirmation code refused")
CC_RETRIES: Final = StatusCode("8.2.7", "6.4", "too many wrong confirmation codes")
WRONG_OID: Final = StatusCode("8.8", "3.10", "not the OID of this SM-DP+")
WRONG_ADDRESS: Final = StatusCode("8.8.1", "3.8", "not an address of this SM-DP+")
NO_COMMON_CI: Final = StatusCode("8.8.2", "3.1", "no CI public key of the eUICC is supported here")
UNSUPPORTED_SVN: Final = StatusCode("8.8.3", "3.1", "the eUICC's version of SGP.22 is not supported")
NO_CERTIFICATE_FOR_CI: Final = StatusCode("8.8.4", "3.7", "no CERT.DPauth under a CI that the eUICC trusts")
ORDER_EXPIRED: Final = StatusCode("8.8.5", "4.10", "the download order has expired")
ORDER_RETRIES: Final = StatusCode("8.8.5", "6.4", "too many download attempts")
UNKNOWN_TRANSACTION: Final = StatusCode("8.10.1", "3.9", "unknown TransactionID")
UNKNOWN_CI: Final = StatusCode("8.11.1", "3.9", "unknown CI public key")

CODES: Final[Mapping[str, StatusCode]] = {
    f"{code.subject}/{code.reason}": code for code in list(globals().values()) if isinstance(code, StatusCode)
}
"""All of them, as "subject/reason"."""
