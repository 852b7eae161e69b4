"""Who an SM-DP+ is: for each CI under which it has certificates, the keys for authentication and profile binding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec

from esim_bench.codec import tlv
from esim_bench.crypto.certificates import Certificate
from esim_bench.crypto.keys import Curve, curve_of
from esim_bench.errors import ConfigError

if TYPE_CHECKING:
    from esim_bench.servers.pki import Pki


@dataclass(frozen=True, slots=True)
class ServerKey:
    """A private key and its certificate."""

    private_key: ec.EllipticCurvePrivateKey
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class CiCredentials:
    """One CI's branch: the root that eUICCs are verified by, and the SM-DP+'s own keys under it."""

    ci: Certificate
    auth: ServerKey
    """SK.DPauth, CERT.DPauth (SGP.22 2.6.3.1)."""
    pb: ServerKey
    """SK.DPpb, CERT.DPpb."""

    @property
    def ci_key_id(self) -> bytes:
        """Return the CI's subject key identifier, by which eUICCs name it."""
        return self.ci.subject_key_id

    @property
    def curve(self) -> Curve:
        """Return the curve of CERT.DPpb, on which the one-time keys are made."""
        return curve_of(self.pb.private_key)

    @property
    def oid_tlv(self) -> bytes:
        """Return the SM-DP+ OID as a universal OBJECT IDENTIFIER (06), as it stands in the subject alternative name."""
        return tlv.encode(0x06, encode_oid(self.auth.certificate.oid or ""))


class SmdpCredentials:
    """All branches of an SM-DP+, by CI; several CIs and curves at once."""

    def __init__(self, branches: Sequence[CiCredentials]) -> None:
        if not branches:
            raise ConfigError("an SM-DP+ without certificates", hint="make a test PKI with: esim-bench pki init DIR")
        self._by_ci: dict[bytes, CiCredentials] = {}
        for branch in branches:
            if branch.auth.certificate.oid != branch.pb.certificate.oid or branch.auth.certificate.oid is None:
                raise ConfigError(
                    "CERT.DPauth and CERT.DPpb must name one SM-DP+ OID",
                    expected=branch.auth.certificate.oid or "an OID in the subject alternative name",
                    found=branch.pb.certificate.oid or "none",
                )
            if branch.ci_key_id in self._by_ci:
                raise ConfigError("two branches under one CI", found=branch.ci_key_id.hex().upper())
            self._by_ci[branch.ci_key_id] = branch

    @classmethod
    def from_pki(cls, *pkis: Pki) -> SmdpCredentials:
        """Take the SM-DP+'s part of one or several test PKIs (say, one per curve)."""
        branches = []
        for pki in pkis:
            auth, pb = pki.smdp_auth, pki.smdp_pb
            branches.append(
                CiCredentials(
                    Certificate.load(pki.ci.certificate),
                    ServerKey(auth.key, Certificate.load(auth.certificate)),
                    ServerKey(pb.key, Certificate.load(pb.certificate)),
                )
            )
        return cls(branches)

    def find(self, ci_key_id: bytes | None) -> CiCredentials | None:
        """Return the branch under a CI, or None."""
        return self._by_ci.get(ci_key_id) if ci_key_id is not None else None

    @property
    def branches(self) -> tuple[CiCredentials, ...]:
        """Return all branches in the order they were given."""
        return tuple(self._by_ci.values())


def encode_oid(dotted: str) -> bytes:
    """Return the content octets of an OBJECT IDENTIFIER (X.690 8.19). Raises ConfigError for what is none."""
    parts = dotted.split(".")
    if len(parts) < 2 or not all(part.isdecimal() for part in parts):
        raise ConfigError("not an OID", expected="numbers with dots, as in 2.999.10", found=repr(dotted))
    first, second, *rest = (int(part) for part in parts)
    out = b""
    for number in (first * 40 + second, *rest):
        septets = bytes((number & 0x7F,))
        while number := number >> 7:
            septets = bytes((number & 0x7F | 0x80,)) + septets
        out += septets
    return out
