"""Who a simulated eUICC is: handed to it by the rack, never made by itself."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec


@dataclass(frozen=True, slots=True)
class CiKey:
    """A certificate issuer that an eUICC trusts."""

    key_id: bytes
    """Subject key identifier, 20 bytes."""
    public_key: ec.EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class SigningIdentity:
    """One CI's branch of an eUICC: its key and the chain up to that CI."""

    ci_key_id: bytes
    private_key: ec.EllipticCurvePrivateKey
    euicc_certificate: bytes
    """CERT.EUICC.ECDSA, DER."""
    eum_certificate: bytes
    """CERT.EUM.ECDSA, DER."""


@dataclass(frozen=True, slots=True)
class EuiccIdentity:
    """An eUICC's EID, keys, certificates and trust anchors."""

    eid: bytes
    """16 bytes, BCD without nibble swap."""
    signing: tuple[SigningIdentity, ...]
    """In order of preference (euiccCiPKIdListForSigning)."""
    trusted: tuple[CiKey, ...]
    """CIs whose servers it accepts (euiccCiPKIdListForVerification)."""
    now_ns: int | None = None
    """The date at which certificate validity is judged, ns since 1970; None: not judged (a card has no clock)."""
