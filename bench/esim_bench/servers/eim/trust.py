"""Whom an eIM believes: certificate chains and signatures of eUICCs (SGP.22 4.5.2, SGP.32 2.11)."""

from __future__ import annotations

from collections.abc import Sequence

from esim_bench.codec.tlv import Tlv
from esim_bench.crypto import ecdsa
from esim_bench.crypto.certificates import Certificate, check_euicc_chain
from esim_bench.crypto.identity import CiKey
from esim_bench.crypto.keys import PublicKey
from esim_bench.errors import CodecError, ConfigError, CryptoError
from esim_bench.servers.eim.store import Device


class Trust:
    """The CIs whose eUICCs are believed. ``check_dates`` False: certificates hold on any day. Raises ConfigError."""

    def __init__(self, cis: Sequence[CiKey], *, check_dates: bool = True) -> None:
        if not cis:
            hint = "give the CI under which the eUICCs have their certificates"
            raise ConfigError("an eIM that trusts no CI can verify no result", hint=hint)
        self._cis = tuple(cis)
        self._check_dates = check_dates

    def chain(self, euicc: bytes, eum: bytes, now_ns: int) -> Certificate:
        """Verify CI -> EUM -> eUICC and return the eUICC's certificate; it has an EID. Raises CryptoError, CodecError.

        ``euicc``, ``eum``: DER.
        """
        certificate, issuer = Certificate.load(euicc), Certificate.load(eum)
        ci = next((ci for ci in self._cis if ci.key_id == issuer.authority_key_id), None)
        if ci is None:
            found = issuer.authority_key_id.hex().upper() if issuer.authority_key_id else "none"
            expected = ", ".join(ci.key_id.hex().upper() for ci in self._cis)
            raise CryptoError("the EUM's certificate is of another CI", expected=expected, found=found)
        check_euicc_chain(certificate, issuer, ci, now_ns if self._check_dates else None)
        return certificate

    def chain_of(self, eid: bytes, euicc: bytes, eum: bytes, now_ns: int) -> Certificate:
        """Verify the chain of one eUICC. Raises CryptoError, also for another eUICC's, CodecError."""
        certificate = self.chain(euicc, eum, now_ns)
        if certificate.eid != eid:
            found = certificate.eid.hex() if certificate.eid else "none"
            raise CryptoError("the certificate of another eUICC", expected=f"EID {eid.hex()}", found=found)
        return certificate


def device_key(device: Device) -> PublicKey:
    """Return the key of a chain that was verified when it was stored. Raises CryptoError where there is none yet."""
    if device.euicc_certificate is None:
        raise CryptoError("nothing can be verified before the eUICC's certificates are known")
    return Certificate.load(device.euicc_certificate).public_key


def verify(key: PublicKey, signature: bytes | Tlv, data: bytes) -> None:
    """Verify a signature of an eUICC over bytes as received: r || s. Raises CryptoError."""
    try:
        ecdsa.verify(key, signature if isinstance(signature, bytes) else signature.value, data)
    except CodecError as exc:
        raise CryptoError("the signature does not hold") from exc
