"""Objects of ESipa messages that both bindings carry: results with notifications, acknowledgements (SGP.32 6.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from esim_bench.codec import compact, download_trigger, euicc_package, ipa_data, tlv
from esim_bench.codec.es10_iot_answers import Retrieved, retrieved, retrieved_notifications
from esim_bench.codec.es10_results import PendingNotification
from esim_bench.codec.sgp32 import (
    INTEGER,
    SEQUENCE,
    Members,
    Version,
    integer,
    name_of,
    natural,
    open_object,
    transaction_id,
    transaction_id_of,
)
from esim_bench.codec.tlv import Tlv
from esim_bench.errors import CodecError

ACKNOWLEDGEMENTS: Final = 0xBF53
RESULT_ERROR: Final = 0xA0
RESULT_ERRORS: Final = {1: "invalidPackageFormat", 2: "unknownPackage", 127: "undefinedError"}
"""EimPackageResultErrorCode."""
EIM_PACKAGE_ERRORS: Final = {
    1: "noEimPackageAvailable",
    2: "eidNotFound",
    3: "invalidEid",
    4: "missingEid",
    127: "undefinedError",
}
"""eimPackageError of GetEimPackage; v1.0 has 1 and 127 alone."""
PROVIDE_ERRORS: Final = {2: "eidNotFound", 3: "invalidEid", 4: "missingEid", 127: "undefinedError"}
"""provideEimPackageResultError, since v1.1."""
STATE_CHANGE_CAUSES: Final = {
    0: "otherEim",
    1: "fallback",
    2: "emergencyProfile",
    3: "local",
    4: "reset",
    5: "immediateEnableProfile",
    6: "deviceChange",
    127: "undefined",
}


# ----------------------------------------------------------------------------------------------------- acknowledgements


def acknowledgements(seqs: Sequence[int]) -> bytes:
    """Return EimAcknowledgements (BF53) for sequence numbers that the eIM has stored."""
    return tlv.encode(ACKNOWLEDGEMENTS, *(integer(0x80, seq) for seq in seqs))


def acknowledged(raw: bytes) -> tuple[int, ...]:
    """Return the sequence numbers of EimAcknowledgements. Raises CodecError."""
    items = open_object(raw, ACKNOWLEDGEMENTS, "EimAcknowledgements").children()
    wrong = next((item for item in items if item.tag != 0x80), None)
    if wrong is not None:
        raise CodecError("sequence number", where="EimAcknowledgements", expected="80", found=f"{wrong.tag:X}")
    return tuple(natural(item) for item in items)


# -------------------------------------------------------------------------------------------------------------- results


@dataclass(frozen=True, slots=True)
class PackageResult:
    """An EuiccPackageResult, alone or with notifications (ePRAndNotifications), all as the eUICC signed them."""

    result: bytes
    """BF51."""
    notifications: tuple[bytes, ...] | None = None

    def encode(self, version: Version = Version.V1_2) -> bytes:
        """Return the BF51, or 30 { BF51, A0 }; v1.0 has BF2B in place of A0. Raises CodecError."""
        result = open_object(self.result, euicc_package.TAG, "EuiccPackageResult").raw
        if self.notifications is None:
            return result
        if version < Version.V1_2:
            return tlv.encode(SEQUENCE, result, retrieved_notifications(self.notifications))
        return tlv.encode(SEQUENCE, result, tlv.encode(0xA0, *self.notifications))


@dataclass(frozen=True, slots=True)
class PackageResultError:
    """The IPA could make nothing of the eIM's package."""

    code: int
    """Of RESULT_ERRORS."""
    transaction_id: bytes | None = None

    @property
    def name(self) -> str:
        """Return the standard's name of the code."""
        return name_of(RESULT_ERRORS, self.code)

    def encode(self, version: Version = Version.V1_2) -> bytes:
        """Return the A0 { 80?, 02 }; v1.0 has the 02 alone. Raises CodecError."""
        if self.code not in RESULT_ERRORS:
            raise CodecError("error code", where="EimPackageResult", expected="1, 2 or 127", found=self.code)
        if version >= Version.V1_2:
            error = transaction_id(0x80, self.transaction_id) + integer(INTEGER, self.code)
            return tlv.encode(RESULT_ERROR, error)
        if self.transaction_id is not None:
            raise CodecError("eimTransactionId", where="EimPackageResult", expected="v1.1", found=version.text)
        return integer(INTEGER, self.code)


EimPackageResult = (
    PackageResult
    | ipa_data.IpaEuiccData
    | ipa_data.IpaEuiccDataError
    | download_trigger.ProfileDownloadTriggerResult
    | PackageResultError
)
EIM_PACKAGE_RESULT_TAGS: Final = (
    euicc_package.TAG,
    SEQUENCE,
    ipa_data.TAG,
    download_trigger.TAG,
    RESULT_ERROR,
    INTEGER,
)
"""The alternatives of EimPackageResult; the last one is v1.0's error."""


def parse_package_result(raw: bytes, version: Version = Version.V1_2) -> EimPackageResult:
    """Read an EimPackageResult by its tag. Raises CodecError."""
    return _package_result(bytes(raw), version)


# An eIM looks at each twice: whose it is, and what it says.
@lru_cache(maxsize=32)
def _package_result(raw: bytes, version: Version) -> EimPackageResult:
    item = tlv.parse(raw, "EimPackageResult")
    tlv.check_nesting(raw, "in EimPackageResult")
    match item.tag:
        case euicc_package.TAG:
            return PackageResult(item.raw)
        case 0x30:
            return _with_notifications(item)
        case ipa_data.TAG:
            return ipa_data.parse_response(raw)
        case download_trigger.TAG:
            return download_trigger.ProfileDownloadTriggerResult.parse(raw, version)
        case 0xA0:
            members = Members(item, "eimPackageResultResponseError")
            transaction = transaction_id_of(members.optional(0x80))
            code = members.take(INTEGER).integer()
            members.end()
            return PackageResultError(code, transaction)
        case 0x02:
            return PackageResultError(item.integer())
    expected = ", ".join(f"{tag:X}" for tag in EIM_PACKAGE_RESULT_TAGS)
    raise CodecError("EimPackageResult", expected=expected, found=f"{item.tag:X}")


def _with_notifications(item: Tlv) -> PackageResult:
    members = Members(item, "ePRAndNotifications")
    result, items = members.take(euicc_package.TAG), members.take(0xA0, 0xBF2B)
    members.end()
    waiting = retrieved(items.raw) if items.tag == 0xBF2B else Retrieved(tuple(one.raw for one in items.children()))
    return PackageResult(result.raw, waiting.notifications)


# -------------------------------------------------------------------------------------------------------- notifications

Notification = PendingNotification | compact.InstallResult | compact.OtherNotification


def parse_notification(raw: bytes) -> Notification:
    """Read a pending notification: BF37 or 30 as the eUICC signed it, A0 or A1 compact. Raises CodecError."""
    item = tlv.parse(raw, "notification")
    if item.tag == compact.INSTALL_RESULT:
        return compact.InstallResult.parse(raw)
    if item.tag == compact.OTHER_NOTIFICATION:
        return compact.OtherNotification.parse(raw)
    return PendingNotification.parse(item)
