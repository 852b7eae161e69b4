"""ProfileDownloadTrigger: the eIM tells an IPA to download a profile (BF54, SGP.32 2.11.1.3 and 2.11.2.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from esim_bench.codec import tlv
from esim_bench.codec.sgp32 import (
    OCTET_STRING,
    SEQUENCE,
    Members,
    Version,
    choice,
    flag_of,
    integer,
    name_of,
    open_object,
    text_of,
    transaction_id,
    transaction_id_of,
    utf8,
)
from esim_bench.errors import CodecError

TAG: Final = 0xBF54
INSTALL_RESULT: Final = 0xBF37
ERRORS: Final = {104: "ecallActive", 127: "undefinedError"}
"""profileDownloadErrorReason; v1.0 has none."""


@dataclass(frozen=True, slots=True)
class ProfileDownloadTrigger:
    """At most one of: an activation code, the default SM-DP+, an SM-DS. None: the eIM has the data (indirect)."""

    activation_code: str | None = None
    default_smdp: bool = False
    smds: bool = False
    """An SM-DS: the one of ``smds_address``, or the root."""
    smds_address: str | None = None
    transaction_id: bytes | None = None

    def encode(self) -> bytes:
        """Return the BF54. Raises CodecError."""
        if (self.activation_code is not None) + self.default_smdp + self.smds > 1:
            raise CodecError("profileDownloadData", expected="at most one source", found=self)
        if self.smds_address is not None and not self.smds:
            raise CodecError("smdsAddress", expected="smds")
        data = None
        if self.activation_code is not None:
            data = utf8(0x80, self.activation_code, "activationCode")
        elif self.default_smdp:
            data = tlv.encode(0x81, b"")
        elif self.smds:
            data = tlv.encode(
                0xA2, utf8(0x80, self.smds_address, "smdsAddress") if self.smds_address is not None else b""
            )
        return tlv.encode(
            TAG, tlv.encode(0xA0, data) if data is not None else b"", transaction_id(0x82, self.transaction_id)
        )

    @classmethod
    def parse(cls, raw: bytes) -> ProfileDownloadTrigger:
        """Read a BF54. Raises CodecError."""
        members = Members.of(raw, TAG, "ProfileDownloadTriggerRequest")
        data = members.optional(0xA0)
        transaction = transaction_id_of(members.optional(0x82))
        members.end()
        if data is None:
            return cls(transaction_id=transaction)
        source = choice(data, "profileDownloadData", 0x80, 0x81, 0xA2)
        if source.tag == 0x80:
            return cls(activation_code=text_of(source, "activationCode"), transaction_id=transaction)
        if source.tag == 0x81:
            return cls(default_smdp=flag_of(source, "contactDefaultSmdp"), transaction_id=transaction)
        address = source.find(0x80)
        return cls(
            smds=True, smds_address=text_of(address, "smdsAddress") if address else None, transaction_id=transaction
        )


@dataclass(frozen=True, slots=True)
class ProfileDownloadTriggerResult:
    """How the download ended: the eUICC's ProfileInstallationResult, or an error."""

    transaction_id: bytes | None = None
    install_result: bytes | None = None
    """BF37, as the eUICC signed it."""
    error_reason: int | None = None
    """Of ERRORS; None in v1.0, whose error has no reason."""
    error_response: bytes | None = None
    """What failed: an error answer of the eUICC or of a server."""

    @property
    def error_name(self) -> str:
        """Return the standard's name of the reason; "" for a ProfileInstallationResult."""
        if self.install_result is not None:
            return ""
        return "error" if self.error_reason is None else name_of(ERRORS, self.error_reason)

    def encode(self, version: Version = Version.V1_2) -> bytes:
        """Return the BF54. Raises CodecError."""
        if self.install_result is not None:
            if self.error_reason is not None or self.error_response is not None:
                raise CodecError("ProfileDownloadTriggerResult", expected="a result or an error", found="both")
            data = open_object(self.install_result, INSTALL_RESULT, "ProfileInstallationResult").raw
        elif version < Version.V1_2:
            data = tlv.encode(SEQUENCE, self._response(0x80))
        else:
            reason = 127 if self.error_reason is None else self.error_reason
            if reason not in ERRORS:
                raise CodecError("profileDownloadErrorReason", expected="104 or 127", found=reason)
            data = tlv.encode(SEQUENCE, integer(0x80, reason), self._response(OCTET_STRING))
        return tlv.encode(TAG, transaction_id(0x82, self.transaction_id), data)

    def _response(self, tag: int) -> bytes:
        return b"" if self.error_response is None else tlv.encode(tag, self.error_response)

    @classmethod
    def parse(cls, raw: bytes, version: Version = Version.V1_2) -> ProfileDownloadTriggerResult:
        """Read a BF54; the version tells what 80 in an error is. Raises CodecError."""
        where = "ProfileDownloadTriggerResult"
        outer = Members.of(raw, TAG, where)
        transaction = transaction_id_of(outer.optional(0x82))
        data = outer.take(INSTALL_RESULT, SEQUENCE)
        outer.end()
        if data.tag == INSTALL_RESULT:
            return cls(transaction, install_result=data.raw)
        members = Members(data, where)
        first, response = members.optional(0x80), members.optional(OCTET_STRING)
        members.end()
        if version < Version.V1_2:
            return cls(transaction, error_response=first.value if first else None)
        return cls(transaction, None, first.integer() if first else None, response.value if response else None)
