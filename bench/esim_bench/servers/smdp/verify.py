"""Whom an SM-DP+ believes: certificate chains and signatures of eUICCs, as status codes (SGP.22 4.5.2, 5.6.3)."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.x509 import InvalidVersion, load_der_x509_certificate

from esim_bench.codec.tlv import Tlv
from esim_bench.crypto import ecdsa
from esim_bench.crypto.certificates import Certificate, CertificateError, Issuer, Role, check_euicc_chain
from esim_bench.crypto.keys import PublicKey
from esim_bench.errors import CodecError, CryptoError, RigError
from esim_bench.servers.smdp.messages import SIGNATURE
from esim_bench.servers.smdp.status import (
    EUICC_EXPIRED,
    EUICC_INVALID,
    EUICC_NOT_VERIFIED,
    EUM_EXPIRED,
    EUM_INVALID,
    StatusError,
)


@dataclass(frozen=True, slots=True)
class Euicc:
    """An eUICC whose chain was verified."""

    eid: bytes
    certificate: Certificate


def load_certificate(der: bytes, role: Role) -> Certificate:
    """Read an EUM's or eUICC's certificate. Raises StatusError (invalid) when it cannot be read."""
    try:
        return Certificate.load(der)
    except (CodecError, CryptoError, InvalidVersion) as exc:
        raise StatusError(EUM_INVALID if role is Role.EUM else EUICC_INVALID, "unreadable") from exc


def verify_chain(euicc: Certificate, eum: Certificate, ci: Issuer, now_ns: int | None) -> Euicc:
    """Verify CI -> EUM -> eUICC, dates unless ``now_ns`` is None. Raises StatusError 8.1.2 or 8.1.3 with 6.1 or 6.3."""
    try:
        check_euicc_chain(euicc, eum, ci, now_ns)
    except CertificateError as exc:
        expired = exc.kind == "expired"
        if exc.subject_role == Role.EUM.label:
            raise StatusError(EUM_EXPIRED if expired else EUM_INVALID, exc.what) from exc
        raise StatusError(EUICC_EXPIRED if expired else EUICC_INVALID, exc.what) from exc
    except (CodecError, CryptoError) as exc:
        raise StatusError(EUICC_INVALID, "unreadable") from exc
    if euicc.eid is None:
        raise StatusError(EUICC_INVALID, "no EID")
    return Euicc(euicc.eid, euicc)


def key_of(certificate: bytes) -> PublicKey:
    """Return the public key of an eUICC certificate that was verified before."""
    key = load_der_x509_certificate(certificate).public_key()
    if not isinstance(key, EllipticCurvePublicKey):
        raise RigError("the store has a certificate without an EC key", found=type(key).__name__)
    return key


def verify_signature(key: PublicKey, signature: Tlv, data: bytes) -> None:
    """Verify a signature TLV (5F37) of an eUICC over bytes as received. Raises StatusError 8.1/6.1."""
    try:
        if signature.tag != SIGNATURE:
            raise CodecError("wrong tag", expected=f"{SIGNATURE:X}", found=f"{signature.tag:X}")
        ecdsa.verify(key, signature.value, data)
    except (CodecError, CryptoError) as exc:
        raise StatusError(EUICC_NOT_VERIFIED, "the signature does not hold") from exc
