"""Compact forms of the eUICC's answers, for an IPA that saves bytes towards its eIM (minimizeEsipaBytes, SGP.32 5.14).

A compact form leaves out what the eIM knows; the signature is over the full one. ``expanded`` puts the full one
together again, byte for byte as the eUICC signed it, provided the eIM knows well.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from esim_bench.codec import tlv
from esim_bench.codec.es10 import ISDP_AID_PREFIX
from esim_bench.codec.es10_results import NotificationMetadata
from esim_bench.codec.schema import RSP
from esim_bench.codec.sgp32 import (
    EID,
    EID_LENGTH,
    INTEGER,
    OCTET_STRING,
    SEQUENCE,
    SIGNATURE,
    UTF8_STRING,
    Members,
    boolean,
    boolean_of,
    certificate_of,
    choice,
    integer,
    natural,
    object_identifier,
    open_object,
    retagged,
    sized,
    transaction_id,
    transaction_id_of,
    utf8,
)
from esim_bench.errors import CodecError

AUTHENTICATE_SERVER: Final = 0xBF38
PREPARE_DOWNLOAD: Final = 0xBF21
CANCEL_SESSION: Final = 0xBF41
INSTALL_RESULT: Final = 0xA0
OTHER_NOTIFICATION: Final = 0xA1
SIMA_SUCCESS: Final = bytes.fromhex("3007A0053003800100")
"""The simaResponse that a compact success leaves out."""
_COMPACT, _FULL = 0xA2, 0xA0
_OTPK: Final = 0x5F49
_BOOLEAN: Final = 0x01
_OBJECT_IDENTIFIER: Final = 0x06


def is_compact(answer: bytes) -> bool:
    """Tell whether an answer BF38, BF21 or BF41 has its compact form. Raises CodecError."""
    return choice(tlv.parse(answer, "answer of ES10b"), "answer of ES10b").tag == _COMPACT


def _compact_members(raw: bytes, tag: int, where: str) -> Members:
    return Members(choice(open_object(raw, tag, where), where, _COMPACT), where)


def _signature(value: bytes) -> bytes:
    return tlv.encode(SIGNATURE, value)


@dataclass(frozen=True, slots=True)
class AuthenticateResponse:
    """CompactAuthenticateResponseOk (BF38 { A2 }): the whole euiccSigned1, or what the eIM does not know of it."""

    signature: bytes
    signed1: bytes | None = None
    """euiccSigned1 (30) where it is whole."""
    ext_card_resource: bytes | None = None
    """Content of EUICCInfo2's 84, where euiccSigned1 is compact."""
    ctx_params1: bytes | None = None
    """ctxParams1 (A0), unless the eIM made it."""
    euicc_certificate: bytes | None = field(default=None, repr=False)
    """DER."""
    eum_certificate: bytes | None = field(default=None, repr=False)
    """DER."""

    def encode(self) -> bytes:
        """Return the BF38. Raises CodecError."""
        if (self.signed1 is None) == (self.ext_card_resource is None):
            raise CodecError("signedData", where="BF38", expected="euiccSigned1 or the compact one")
        if self.signed1 is not None:
            signed = open_object(self.signed1, SEQUENCE, "euiccSigned1").raw
        else:
            context = b"" if self.ctx_params1 is None else tlv.encode(0xA2, self.ctx_params1)
            signed = tlv.encode(0xA0, tlv.encode(0x84, self.ext_card_resource or b""), context)
        certificates = b""
        if self.euicc_certificate is not None:
            certificates += retagged(0xA1, self.euicc_certificate, "eUICC certificate")
        if self.eum_certificate is not None:
            certificates += retagged(0xA2, self.eum_certificate, "EUM certificate")
        inner = tlv.encode(_COMPACT, signed, _signature(self.signature), certificates)
        return tlv.encode(AUTHENTICATE_SERVER, inner)

    @classmethod
    def parse(cls, raw: bytes) -> AuthenticateResponse:
        """Read a BF38 { A2 }. Raises CodecError."""
        members = _compact_members(raw, AUTHENTICATE_SERVER, "CompactAuthenticateResponseOk")
        signed, signature = members.take(SEQUENCE, 0xA0), members.take(SIGNATURE)
        euicc, eum = members.optional(0xA1), members.optional(0xA2)
        members.end()
        resource, context = None, None
        if signed.tag == 0xA0:
            inside = Members(signed, "compactEuiccSigned1")
            resource, wrapped = inside.take(0x84).value, inside.optional(0xA2)
            inside.end()
            context = choice(wrapped, "ctxParams1", 0xA0).raw if wrapped else None
        return cls(
            signature.value,
            signed.raw if signed.tag == SEQUENCE else None,
            resource,
            context,
            certificate_of(euicc, "eUICC certificate") if euicc else None,
            certificate_of(eum, "EUM certificate") if eum else None,
        )

    def expanded(
        self,
        *,
        transaction: bytes,
        server_address: str,
        server_challenge: bytes,
        info2: bytes,
        euicc_certificate: bytes,
        eum_certificate: bytes,
        ctx_params1: bytes | None = None,
    ) -> bytes:
        """Return the full BF38; certificates and ctxParams1 serve where there are none inside. Raises CodecError."""
        signed = self.signed1
        if signed is None:
            context = self.ctx_params1 or ctx_params1
            if context is None:
                raise CodecError("ctxParams1", where="CompactAuthenticateResponseOk", expected="the eIM's own ones")
            items = open_object(info2, 0xBF22, "EUICCInfo2").children()
            resource = tlv.encode(0x84, self.ext_card_resource or b"")
            signed = tlv.encode(
                SEQUENCE,
                transaction_id(0x80, transaction),
                utf8(0x83, server_address, "serverAddress"),
                tlv.encode(0x84, server_challenge),
                tlv.encode(0xBF22, *(resource if item.tag == 0x84 else item.raw for item in items)),
                context,
            )
        certificates = (self.euicc_certificate or euicc_certificate) + (self.eum_certificate or eum_certificate)
        inner = tlv.encode(_FULL, signed, _signature(self.signature), certificates)
        return tlv.encode(AUTHENTICATE_SERVER, inner)


@dataclass(frozen=True, slots=True)
class DownloadResponse:
    """CompactPrepareDownloadResponseOk (BF21 { A2 })."""

    signature: bytes
    otpk: bytes | None = None
    """65 bytes; None where the eUICC took the key of an earlier try (bppEuiccOtpk)."""
    hash_cc: bytes | None = None

    def encode(self) -> bytes:
        """Return the BF21. Raises CodecError."""
        signed = tlv.encode(SEQUENCE, *_optional((_OTPK, self.otpk), (OCTET_STRING, self.hash_cc)))
        return tlv.encode(PREPARE_DOWNLOAD, tlv.encode(_COMPACT, signed, _signature(self.signature)))

    @classmethod
    def parse(cls, raw: bytes) -> DownloadResponse:
        """Read a BF21 { A2 }. Raises CodecError."""
        members = _compact_members(raw, PREPARE_DOWNLOAD, "CompactPrepareDownloadResponseOk")
        signed, signature = members.take(SEQUENCE), members.take(SIGNATURE)
        members.end()
        inside = Members(signed, "compactEuiccSigned2")
        otpk, hash_cc = inside.optional(_OTPK), inside.optional(OCTET_STRING)
        inside.end()
        return cls(
            signature.value, otpk.value if otpk else None, sized(hash_cc.value, "hashCc", 32) if hash_cc else None
        )

    def expanded(self, transaction: bytes, otpk: bytes | None = None, hash_cc: bytes | None = None) -> bytes:
        """Return the full BF21; key and hash serve where there are none inside. Raises CodecError."""
        key = self.otpk or otpk
        if key is None:
            raise CodecError("euiccOtpk", where="CompactPrepareDownloadResponseOk", expected="bppEuiccOtpk")
        parts = _optional((_OTPK, key), (OCTET_STRING, self.hash_cc or hash_cc))
        signed = tlv.encode(SEQUENCE, transaction_id(0x80, transaction), *parts)
        return tlv.encode(PREPARE_DOWNLOAD, tlv.encode(_FULL, signed, _signature(self.signature)))


@dataclass(frozen=True, slots=True)
class CancelResponse:
    """CompactCancelSessionResponseOk (BF41 { A2 })."""

    signature: bytes
    reason: int | None = None

    def encode(self) -> bytes:
        """Return the BF41."""
        signed = tlv.encode(SEQUENCE, integer(0x80, self.reason) if self.reason is not None else b"")
        return tlv.encode(CANCEL_SESSION, tlv.encode(_COMPACT, signed, _signature(self.signature)))

    @classmethod
    def parse(cls, raw: bytes) -> CancelResponse:
        """Read a BF41 { A2 }. Raises CodecError."""
        members = _compact_members(raw, CANCEL_SESSION, "CompactCancelSessionResponseOk")
        signed, signature = members.take(SEQUENCE), members.take(SIGNATURE)
        members.end()
        inside = Members(signed, "compactEuiccCancelSessionSigned")
        reason = inside.optional(0x80)
        inside.end()
        return cls(signature.value, reason.integer() if reason else None)

    def expanded(self, transaction: bytes, smdp_oid: str, reason: int | None = None) -> bytes:
        """Return the full BF41; the reason serves where there is none inside. Raises CodecError."""
        given = self.reason if self.reason is not None else reason
        if given is None:
            raise CodecError("reason", where="CompactCancelSessionResponseOk", expected="one that the eIM knows")
        members = transaction_id(0x80, transaction) + object_identifier(0x81, smdp_oid, "smdpOid")
        signed = tlv.encode(SEQUENCE, members, integer(0x82, given))
        return tlv.encode(CANCEL_SESSION, tlv.encode(_FULL, signed, _signature(self.signature)))


@dataclass(frozen=True, slots=True)
class InstallResult:
    """CompactProfileInstallationResult (A0): without address, ICCID and OID, and with two bytes of the AID."""

    signature: bytes
    transaction_id: bytes
    seq: int
    iccid_present: bool = True
    """The full one has the ICCID."""
    compact_aid: bytes | None = None
    """Bytes 14 and 15 of the ISD-P AID; None where the installation failed."""
    sima_response: bytes | None = None
    """Where it differs from SIMA_SUCCESS."""
    error: bytes | None = None
    """Content of ErrorResult (80, 81, 82?) where the installation failed."""

    def encode(self) -> bytes:
        """Return the A0. Raises CodecError."""
        if (self.compact_aid is None) == (self.error is None):
            raise CodecError("compactFinalResult", expected="compactAid or error")
        if self.compact_aid is not None:
            aid = tlv.encode(0x4F, sized(self.compact_aid, "compactAid", 2))
            final = tlv.encode(0xA0, aid, *_optional((OCTET_STRING, self.sima_response)))
        else:
            final = tlv.encode(0xA1, self.error or b"")
        present = b"" if self.iccid_present else boolean(_BOOLEAN, False)
        data = transaction_id(0x80, self.transaction_id) + integer(INTEGER, self.seq) + present
        inner = tlv.encode(0xA0, data, tlv.encode(0xA2, final))
        return tlv.encode(INSTALL_RESULT, inner, _signature(self.signature))

    @classmethod
    def parse(cls, raw: bytes) -> InstallResult:
        """Read an A0. Raises CodecError."""
        outer = Members.of(raw, INSTALL_RESULT, "CompactProfileInstallationResult")
        data, signature = outer.take(0xA0), outer.take(SIGNATURE)
        outer.end()
        members = Members(data, "CompactProfileInstallationResult")
        transaction = transaction_id_of(members.take(0x80)) or b""
        seq = natural(members.take(INTEGER))
        present = members.optional(_BOOLEAN)
        final = choice(members.take(0xA2), "compactFinalResult", 0xA0, 0xA1)
        members.end()
        has_iccid = boolean_of(present, "iccidPresent") if present else True
        if final.tag == 0xA1:
            return cls(signature.value, transaction, seq, has_iccid, error=final.value)
        inside = Members(final, "compactSuccessResult")
        aid, sima = sized(inside.take(0x4F).value, "compactAid", 2), inside.optional(OCTET_STRING)
        inside.end()
        return cls(signature.value, transaction, seq, has_iccid, aid, sima.value if sima else None)

    def expanded(self, address: str, iccid: bytes | None, smdp_oid: str) -> bytes:
        """Return the full BF37. Raises CodecError."""
        if self.iccid_present and iccid is None:
            raise CodecError("iccid", where="CompactProfileInstallationResult", expected="one that the eIM knows")
        metadata = tlv.encode(
            0xBF2F,
            integer(0x80, self.seq),
            bytes.fromhex("81020780"),
            utf8(UTF8_STRING, address, "notificationAddress"),
            *_optional((0x5A, iccid if self.iccid_present else None)),
        )
        if self.compact_aid is not None:
            aid = tlv.encode(0x4F, ISDP_AID_PREFIX, self.compact_aid, b"\x00")
            sima = SIMA_SUCCESS if self.sima_response is None else self.sima_response
            final = tlv.encode(0xA0, aid, tlv.encode(OCTET_STRING, sima))
        else:
            final = tlv.encode(0xA1, self.error or b"")
        data = tlv.encode(
            0xBF27,
            transaction_id(0x80, self.transaction_id),
            metadata,
            object_identifier(_OBJECT_IDENTIFIER, smdp_oid, "smdpOid"),
            tlv.encode(0xA2, final),
        )
        return tlv.encode(0xBF37, data, _signature(self.signature))


@dataclass(frozen=True, slots=True)
class OtherNotification:
    """CompactOtherSignedNotification (A1): a notification without its certificates."""

    signature: bytes
    metadata_raw: bytes
    """tbsOtherNotification (BF2F), which is what is signed."""
    eid: bytes | None = None
    """v1.1."""

    @property
    def metadata(self) -> NotificationMetadata:
        """Return what it is about. Raises CodecError."""
        return NotificationMetadata.from_members(RSP.decode("NotificationMetadata", self.metadata_raw))

    def encode(self) -> bytes:
        """Return the A1. Raises CodecError."""
        eid = b"" if self.eid is None else tlv.encode(EID, sized(self.eid, "EID", EID_LENGTH))
        metadata = open_object(self.metadata_raw, 0xBF2F, "tbsOtherNotification").raw
        return tlv.encode(OTHER_NOTIFICATION, eid, metadata, _signature(self.signature))

    @classmethod
    def parse(cls, raw: bytes) -> OtherNotification:
        """Read an A1. Raises CodecError."""
        members = Members.of(raw, OTHER_NOTIFICATION, "CompactOtherSignedNotification")
        eid, metadata, signature = members.optional(EID), members.take(0xBF2F), members.take(SIGNATURE)
        members.end()
        return cls(signature.value, metadata.raw, sized(eid.value, "EID", EID_LENGTH) if eid else None)

    def expanded(self, euicc_certificate: bytes, eum_certificate: bytes) -> bytes:
        """Return the full one (30) with the certificates, DER."""
        return tlv.encode(
            SEQUENCE, self.metadata_raw, _signature(self.signature), euicc_certificate, eum_certificate
        )  # fmt: skip


def _optional(*members: tuple[int, bytes | None]) -> list[bytes]:
    return [tlv.encode(tag, value) for tag, value in members if value is not None]
