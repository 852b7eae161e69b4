"""Certificate revocation lists of a CI (SGP.22 4.6; RFC 5280 5): base, delta and partial ones."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import CRLEntryExtensionOID, ExtensionOID, SignatureAlgorithmOID

from esim_bench.codec import tlv
from esim_bench.crypto import ecdsa
from esim_bench.crypto.keys import PublicKey
from esim_bench.errors import CodecError

EXPIRATION_DATE_OID: Final = x509.ObjectIdentifier("2.23.146.1.2.0.1")
"""Of an entry: when the revoked certificate expires; from then on the entry says nothing new."""
TOTAL_PARTS_OID: Final = x509.ObjectIdentifier("2.23.146.1.2.0.2")
PART_OID: Final = x509.ObjectIdentifier("2.23.146.1.2.0.3")

_UNDERSTOOD: Final = frozenset(
    (
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.CRL_NUMBER,
        ExtensionOID.DELTA_CRL_INDICATOR,
        ExtensionOID.ISSUING_DISTRIBUTION_POINT,
        TOTAL_PARTS_OID,
        PART_OID,
    )
)
_UNDERSTOOD_IN_ENTRIES: Final = frozenset(
    (CRLEntryExtensionOID.CRL_REASON, CRLEntryExtensionOID.INVALIDITY_DATE, EXPIRATION_DATE_OID)
)
_LARGEST_PART: Final = 0x7FFF

_Extensions: TypeAlias = Mapping[x509.ObjectIdentifier, x509.Extension[x509.ExtensionType]]
_Kind = TypeVar("_Kind", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True)
class Revoked:
    """One entry: a certificate's serial number; ``removed`` takes it off the list again (only in a delta CRL)."""

    serial: int
    removed: bool = False
    expires: datetime.datetime | None = None


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A CertificateList, read. Its signature is not checked before ``verify``."""

    authority_key_id: bytes
    number: int
    """cRLNumber: a later list has a higher one."""
    base_number: int | None
    """Of a delta CRL, the number of the base that it adds to."""
    part: int
    """partialCrlNumber, from 1; a list in one piece is part 1 of 1."""
    parts: int
    """totalPartialCrlNumber."""
    entries: tuple[Revoked, ...]
    tbs: bytes = field(repr=False)
    """The signed bytes, cut from what came."""
    signature: bytes = field(repr=False)

    @classmethod
    def load(cls, der: bytes) -> RevocationList:
        """Read one DER CertificateList. Raises CodecError for anything else, also one without a CRL number."""
        der = bytes(der)
        members = tlv.parse(der, "CertificateList").children() if der[:1] == b"\x30" else []
        if len(members) != 3 or members[2].tag != 0x03 or not members[2].value.startswith(b"\x00"):
            raise CodecError("not a CRL", expected="30 { 30, 30, 03 }", found=der[:8].hex() or "no bytes")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return cls._read(x509.load_der_x509_crl(der), members[0].raw, members[2].value[1:])
        except (ValueError, TypeError, OverflowError, UnsupportedAlgorithm) as exc:
            raise CodecError(f"not a CRL: {exc}", expected="a CertificateList in DER") from exc
        except (x509.DuplicateExtension, x509.InvalidVersion) as exc:
            raise CodecError(f"not a CRL: {exc}", expected="a CertificateList in DER") from exc
        except x509.UnsupportedGeneralNameType as exc:
            raise CodecError(f"unreadable name in the CRL: {exc}") from exc

    @classmethod
    def _read(cls, parsed: x509.CertificateRevocationList, tbs: bytes, signature: bytes) -> RevocationList:
        if parsed.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA256:
            raise CodecError("signature algorithm of the CRL", expected="ECDSA with SHA-256")
        found = {extension.oid: extension for extension in parsed.extensions}
        _no_unknown_critical(found, _UNDERSTOOD)
        key_id = _value(found, ExtensionOID.AUTHORITY_KEY_IDENTIFIER, x509.AuthorityKeyIdentifier)
        number = _value(found, ExtensionOID.CRL_NUMBER, x509.CRLNumber)
        delta = _value(found, ExtensionOID.DELTA_CRL_INDICATOR, x509.DeltaCRLIndicator)
        if key_id is None or key_id.key_identifier is None or number is None:
            raise CodecError("CRL", expected="an authority key identifier and a CRL number")
        part, parts = _integer(found, PART_OID), _integer(found, TOTAL_PARTS_OID)
        if part is None and parts is None:
            part = parts = 1
        if part is None or parts is None or not 1 <= part <= parts <= _LARGEST_PART:
            raise CodecError("parts of the CRL", expected="both a number and a total", found=f"{part} of {parts}")
        return cls(
            authority_key_id=key_id.key_identifier,
            number=number.crl_number,
            base_number=delta.crl_number if delta is not None else None,
            part=part,
            parts=parts,
            entries=tuple(_entry(revoked) for revoked in parsed),
            tbs=tbs,
            signature=signature,
        )

    def verify(self, key: PublicKey) -> None:
        """Check the CI's signature over the bytes as they came. Raises CryptoError."""
        ecdsa.verify_der(key, self.signature, self.tbs)


def _entry(revoked: x509.RevokedCertificate) -> Revoked:
    found = {extension.oid: extension for extension in revoked.extensions}
    _no_unknown_critical(found, _UNDERSTOOD_IN_ENTRIES)
    reason = _value(found, CRLEntryExtensionOID.CRL_REASON, x509.CRLReason)
    removed = reason is not None and reason.reason is x509.ReasonFlags.remove_from_crl
    expires = _value(found, EXPIRATION_DATE_OID, x509.UnrecognizedExtension)
    return Revoked(revoked.serial_number, removed, _time(expires.value) if expires is not None else None)


def _no_unknown_critical(found: _Extensions, understood: frozenset[x509.ObjectIdentifier]) -> None:
    for oid, extension in found.items():
        if extension.critical and oid not in understood:
            raise CodecError("unknown critical extension in the CRL", found=oid.dotted_string)


def _value(found: _Extensions, oid: x509.ObjectIdentifier, kind: type[_Kind]) -> _Kind | None:
    extension = found.get(oid)
    if extension is None:
        return None
    if not isinstance(extension.value, kind):
        raise CodecError("extension of the CRL", expected=kind.__name__, found=type(extension.value).__name__)
    return extension.value


def _integer(found: _Extensions, oid: x509.ObjectIdentifier) -> int | None:
    value = _value(found, oid, x509.UnrecognizedExtension)
    if value is None:
        return None
    item = tlv.parse(value.value, oid.dotted_string)
    if item.tag != 0x02 or not 1 <= len(item.value) <= 4:
        raise CodecError(f"extension {oid.dotted_string}", expected="an INTEGER of 1 to 4 bytes", found=item.raw.hex())
    return int.from_bytes(item.value, "big", signed=True)


def _time(value: bytes) -> datetime.datetime:
    """Read a Time: UTCTime (two digits of the year, up to 2049) or GeneralizedTime."""
    item = tlv.parse(value, "expirationDate")
    text = item.value.decode("ascii", "replace")
    if item.tag not in (0x17, 0x18):
        raise CodecError("expirationDate", expected="UTCTime or GeneralizedTime", found=f"{item.tag:X}")
    if item.tag == 0x17:
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=datetime.UTC)
