"""Reading X.509 certificates of RSP and their roles (SGP.22 4.5.2, SGP.26); ``certificates`` has the checks."""

from __future__ import annotations

import datetime
import enum
import hashlib
import warnings
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Final, Literal, TypeAlias, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from esim_bench.codec import tlv
from esim_bench.crypto.keys import PublicKey, curve_of
from esim_bench.errors import CodecError, CryptoError

ROLE_ARC: Final = "2.23.146.1.2.1"
PERMITTED_EINS_OID: Final = x509.ObjectIdentifier("2.23.146.1.2.2.0")
"""EUM extension of the SGP.22 v3 variants: SEQUENCE OF PrintableString, prefixes of permitted EIDs."""

REMEMBERED: Final = 256
"""Certificates that were read and are remembered."""

Kind: TypeAlias = Literal["invalid", "expired", "unsupportedCurve"]

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


class Role(enum.Enum):
    """What a certificate may be used for (id-rspRole, SGP.22 Annex I); the value is the arc below id-rspRole."""

    CI = 0
    EUICC = 1
    EUM = 2
    DP_TLS = 3
    DP_AUTH = 4
    DP_PB = 5
    DS_TLS = 6
    DS_AUTH = 7

    @property
    def label(self) -> str:
        """Return the role as people write it, e.g. "SM-DP+ auth"."""
        return _LABELS[self]

    @property
    def oid(self) -> str:
        """Return the policy OID of SGP.22 v2."""
        return f"{ROLE_ARC}.{self.value}"


_LABELS: Final = {
    Role.CI: "CI",
    Role.EUICC: "eUICC",
    Role.EUM: "EUM",
    Role.DP_TLS: "SM-DP+ TLS",
    Role.DP_AUTH: "SM-DP+ auth",
    Role.DP_PB: "SM-DP+ pb",
    Role.DS_TLS: "SM-DS TLS",
    Role.DS_AUTH: "SM-DS auth",
}

# SGP.22 v3 numbers its roles by place in the tree CI / CI sub-CA / ... (SGP.26 variants Ov3, A, B, C).
_ROLES: Final = {role.oid: role for role in Role} | {
    f"{ROLE_ARC}.0.0": Role.CI,
    f"{ROLE_ARC}.0.0.0": Role.EUM,
    f"{ROLE_ARC}.0.0.0.0": Role.EUM,
    f"{ROLE_ARC}.0.0.0.0.0": Role.EUICC,
    f"{ROLE_ARC}.0.0.1.0": Role.DP_TLS,
    f"{ROLE_ARC}.0.0.1.1": Role.DP_AUTH,
    f"{ROLE_ARC}.0.0.1.2": Role.DP_PB,
    f"{ROLE_ARC}.0.0.2.0": Role.DS_TLS,
    f"{ROLE_ARC}.0.0.2.1": Role.DS_AUTH,
}


class CertificateError(CryptoError):
    """A certificate that does not hold, or not for its use.

    ``kind``: "invalid", "expired" or "unsupportedCurve". ``subject_role``: whose certificate it is ("EUM", "eUICC",
    "SM-DP+ auth", ...), so that an SM-DP+ can tell eumCertInvalid from euiccCertExpired.
    """

    def __init__(
        self,
        what: str,
        *,
        kind: Kind = "invalid",
        subject_role: str,
        expected: object = None,
        found: object = None,
        hint: str | None = None,
    ) -> None:
        self.kind: Kind = kind
        self.subject_role = subject_role
        super().__init__(what, expected=expected, found=found, where=f"{subject_role} certificate", hint=hint)

    @property
    def euicc_result(self) -> Literal["invalidCertificate", "unsupportedCurve"]:
        """Return the name of the eUICC's result code (AuthenticateErrorCode, DownloadErrorCode; SGP.22 5.7)."""
        return "unsupportedCurve" if self.kind == "unsupportedCurve" else "invalidCertificate"


@dataclass(frozen=True)
class Certificate:
    """An X.509 certificate, read. ``der`` are its exact bytes; equal certificates have equal bytes."""

    der: bytes = field(repr=False)
    parsed: x509.Certificate = field(repr=False, compare=False)
    tbs: bytes = field(repr=False, compare=False)
    """The signed bytes, cut from ``der``."""
    signature: bytes = field(repr=False, compare=False)
    """The DER SEQUENCE of r and s."""
    subject: str = field(compare=False)
    """RFC 4514 text: the last RDN comes first."""
    issuer: str = field(repr=False, compare=False)
    role: Role | None = field(compare=False)
    """By its policies; None when it states no RSP role (eIM and foreign TLS certificates)."""
    subject_key_id: bytes = field(repr=False, compare=False)
    """As stated, else SHA-1 of the key bits; 20 bytes in all known cases."""
    authority_key_id: bytes | None = field(repr=False, compare=False)
    oid: str | None = field(compare=False)
    """The registered ID of the subject alternative name, dotted: the OID of the SM-DP+, EUM or CI."""
    eid: bytes | None = field(compare=False)
    """The subject's only serial number where that is 32 digits, 16 bytes."""
    hosts: tuple[str, ...] = field(repr=False, compare=False)
    """DNS names and IP addresses of the subject alternative name."""
    not_before: datetime.datetime = field(repr=False, compare=False)
    """With time zone UTC, as is ``not_after``."""
    not_after: datetime.datetime = field(repr=False, compare=False)
    permitted_eins: tuple[str, ...] = field(repr=False, compare=False)
    """Of the v3 extension; the name constraints are read when they are checked."""

    @classmethod
    def load(cls, der: bytes) -> Certificate:
        """Read one DER certificate. Raises CodecError for anything else, also for bytes after its end.

        The last ones that were read are remembered: a server meets the same few again and again. Nothing but reading is
        saved by that; whoever relies on a certificate verifies it.
        """
        return _loaded(bytes(der))

    @classmethod
    def _parse(cls, der: bytes) -> Certificate:
        parts = tlv.parse(der, "certificate").children() if der[:1] == b"\x30" else []
        # The first byte of the BIT STRING counts unused bits: nobody signs it, so that only 0 may stand there.
        if len(parts) != 3 or parts[2].tag != 0x03 or not parts[2].value.startswith(b"\x00"):
            raise CodecError("not a certificate", expected="30 { 30, 30, 03 }", found=der[:8].hex() or "no bytes")
        try:
            with warnings.catch_warnings():
                # Oddities that the parser would warn of (a serial of zero, a long attribute) are no reason to stop.
                warnings.simplefilter("ignore")
                return cls._read(der, parts[0].raw, parts[2].value[1:])
        except (ValueError, TypeError, OverflowError, UnsupportedAlgorithm) as exc:
            raise CodecError(f"not a certificate: {exc}", expected="X.509 v3 in DER") from exc
        except (x509.DuplicateExtension, x509.InvalidVersion) as exc:
            raise CodecError(f"not a certificate: {exc}", expected="X.509 v3 in DER") from exc
        except x509.UnsupportedGeneralNameType as exc:
            raise CodecError(f"unreadable name in the certificate: {exc}") from exc

    @classmethod
    def load_pem_or_der(cls, data: bytes, where: str | None = None) -> Certificate:
        """Read a certificate file: DER, or PEM with any text around its (first) certificate. Raises CodecError."""
        return cls.load_chain(data, where)[0]

    @classmethod
    def load_chain(cls, data: bytes, where: str | None = None) -> tuple[Certificate, ...]:
        """Read a file of one DER or any number of PEM certificates, at least one. Raises CodecError."""
        try:
            if b"-----BEGIN CERTIFICATE-----" not in data:
                return (cls.load(data),)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ders = [item.public_bytes(Encoding.DER) for item in x509.load_pem_x509_certificates(data)]
            return tuple(cls.load(der) for der in ders)
        except CodecError as exc:
            raise CodecError(exc.what, where=where, expected=exc.expected, found=exc.found) from exc
        except ValueError as exc:
            raise CodecError("not a PEM certificate", where=where, expected="PEM or DER X.509", found=exc) from exc

    @classmethod
    def _read(cls, der: bytes, tbs: bytes, signature: bytes) -> Certificate:
        parsed = x509.load_der_x509_certificate(der)
        alternative = _extension(parsed, x509.SubjectAlternativeName) or ()
        roles = [_ROLES.get(oid) for oid in _policies(parsed)]
        ski = _extension(parsed, x509.SubjectKeyIdentifier)
        aki = _extension(parsed, x509.AuthorityKeyIdentifier)
        ids = [name.value.dotted_string for name in alternative if isinstance(name, x509.RegisteredID)]
        return cls(
            der=der,
            parsed=parsed,
            tbs=tbs,
            signature=signature,
            subject=name_text(parsed.subject),
            issuer=name_text(parsed.issuer),
            role=next((role for role in roles if role), None),
            subject_key_id=ski.digest if ski else _key_id(tbs),
            authority_key_id=aki.key_identifier if aki else None,
            oid=ids[0] if ids else None,
            eid=_eid(parsed.subject),
            hosts=tuple(str(name.value) for name in alternative if isinstance(name, x509.DNSName | x509.IPAddress)),
            not_before=parsed.not_valid_before_utc,
            not_after=parsed.not_valid_after_utc,
            permitted_eins=_permitted_eins(parsed),
        )

    @cached_property
    def public_key(self) -> PublicKey:
        """Return the key. Raises CertificateError "unsupportedCurve" for any but the two curves of RSP."""
        try:
            key = self.parsed.public_key()
        except (ValueError, UnsupportedAlgorithm) as exc:
            raise self.error("unreadable public key", kind="unsupportedCurve", found=exc) from exc
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise self.error("not an elliptic curve key", kind="unsupportedCurve", found=type(key).__name__)
        try:
            curve_of(key)
        except CryptoError as exc:
            raise self.error(exc.what, kind="unsupportedCurve", expected=exc.expected, found=exc.found) from exc
        return key

    @property
    def label(self) -> str:
        """Return the role as text, for messages."""
        return self.role.label if self.role else "certificate without an RSP role"

    @property
    def serial_number(self) -> str | None:
        """Return the subject's serial number: of an eUICC its EID."""
        return _attribute(self.parsed.subject, NameOID.SERIAL_NUMBER)

    @cached_property
    def organization(self) -> str | None:
        """Return the subject's organization."""
        return _attribute(self.parsed.subject, NameOID.ORGANIZATION_NAME)

    @property
    def is_ca(self) -> bool:
        """Tell whether the basic constraints make it a CA."""
        constraints = self.extension(x509.BasicConstraints)
        return constraints is not None and constraints.ca

    def extension(self, kind: type[_Extension]) -> _Extension | None:
        """Return an extension's value, or None."""
        found = self._extensions.get(kind, self)
        if found is self:
            found = self._extensions[kind] = _extension(self.parsed, kind)
        return found  # type: ignore[return-value]

    @cached_property
    def _extensions(self) -> dict[type[x509.ExtensionType], object]:
        return {}

    def error(
        self,
        what: str,
        role: Role | None = None,
        *,
        kind: Kind = "invalid",
        expected: object = None,
        found: object = None,
    ) -> CertificateError:
        """Return an error about this certificate in a role (else its own), to be raised."""
        label = role.label if role else self.label
        return CertificateError(what, kind=kind, subject_role=label, expected=expected, found=found)


def name_text(name: x509.Name) -> str:
    """Return a name as RFC 4514 text, e.g. "CN=EUM Test,O=RSP Test EUM,C=ES"."""
    return name.rfc4514_string({NameOID.SERIAL_NUMBER: "serialNumber"})


@lru_cache(maxsize=REMEMBERED)
def _loaded(der: bytes) -> Certificate:
    return Certificate._parse(der)


def _extension(parsed: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return parsed.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _policies(parsed: x509.Certificate) -> list[str]:
    policies = _extension(parsed, x509.CertificatePolicies) or ()
    return [item.policy_identifier.dotted_string for item in policies]


def _key_id(tbs: bytes) -> bytes:
    """Return SHA-1 of the public key's bits (RFC 5280 4.2.1.2, method 1)."""
    fields = tlv.parse(tbs).children()
    key_info = fields[6 if fields[0].tag == 0xA0 else 5].children()
    return hashlib.sha1(key_info[1].value[1:], usedforsecurity=False).digest()


def _attribute(name: x509.Name, oid: x509.ObjectIdentifier) -> str | None:
    found = name.get_attributes_for_oid(oid)
    return str(found[0].value) if found else None


def _eid(subject: x509.Name) -> bytes | None:
    # With two of them, one could be in the range of the EUM and the other be taken for the EID.
    found = subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER)
    text = str(found[0].value) if len(found) == 1 else ""
    return bytes.fromhex(text) if len(text) == 32 and text.isascii() and text.isdigit() else None


def _permitted_eins(parsed: x509.Certificate) -> tuple[str, ...]:
    for extension in parsed.extensions:
        if extension.oid == PERMITTED_EINS_OID and isinstance(extension.value, x509.UnrecognizedExtension):
            eins = [item.value.decode("ascii") for item in tlv.parse(extension.value.value).children()]
            if not all(ein.isdigit() for ein in eins):
                raise ValueError(f"permittedEins must be digits, not {eins}")
            return tuple(eins)
    return ()
