"""What a PKI consists of, and the identities that it gives to simulated eUICCs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from esim_bench.crypto import keys
from esim_bench.crypto.certificates import Certificate, CertificateError, check_euicc_chain
from esim_bench.crypto.identity import CiKey, EuiccIdentity, SigningIdentity
from esim_bench.crypto.randomness import Randomness
from esim_bench.errors import ConfigError
from esim_bench.servers.pki import profiles


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A private key and its certificate in DER."""

    key: keys.PrivateKey = field(repr=False)
    certificate: bytes


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate that issues others; its key is missing where it belongs to somebody else."""

    certificate: bytes
    key: keys.PrivateKey | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class TlsKeyPair:
    """A TLS server's private key (any kind that TLS knows), its certificate and the chain below the root, in DER."""

    key: PrivateKeyTypes = field(repr=False)
    certificate: bytes
    intermediates: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Pki:
    """One CI with all that hangs below it, on one curve.

    ``smdp_tls`` may be on another curve and under a root of its own (``tls_root``, DER): browsers, curl and Python
    speak no TLS with brainpool certificates.
    """

    ci: Authority
    smdp_auth: KeyPair
    smdp_pb: KeyPair
    smdp_tls: TlsKeyPair
    tls_root: bytes
    eum: Authority | None = None
    """Missing where other people's eUICCs are talked to and none is made."""
    euiccs: Mapping[bytes, KeyPair] = field(default_factory=lambda: MappingProxyType({}))
    """Kept eUICCs by EID (16 bytes)."""
    eim: KeyPair | None = None
    """Signs eUICC packages; missing in a PKI that knows nothing of SGP.32."""
    eim_tls: TlsKeyPair | None = None
    """TLS server of the eIM, as ``smdp_tls``; under any root, since a device can be told which key to expect."""

    @property
    def curve(self) -> keys.Curve:
        """Return the curve of the CI."""
        return keys.curve_of(Certificate.load(self.ci.certificate).public_key)

    @property
    def ci_key(self) -> CiKey:
        """Return the CI as an eUICC knows it."""
        certificate = Certificate.load(self.ci.certificate)
        return CiKey(certificate.subject_key_id, certificate.public_key)

    def issue_euicc(self, eid: bytes, randomness: Randomness, *, now_ns: int | None = None) -> EuiccIdentity:
        """Return an eUICC's identity: of the kept one, else with a new key and certificate under our EUM.

        Made from seeded randomness, an EID's key is the same whatever was made before. ``now_ns``: the date for the
        eUICC's own checks and the first day of a new certificate; None: the eUICC has no date and its certificate
        starts with the EUM's. Raises ConfigError when it cannot be made.
        """
        eum = self.eum
        if eum is None:
            raise ConfigError(
                "no EUM in this PKI", hint="put its certificate and key into eum/, or make a PKI: pki init"
            )
        pair = self.euiccs.get(eid) or self._make_euicc(eid, eum, randomness, now_ns)
        ci = self.ci_key
        branch = SigningIdentity(
            ci_key_id=ci.key_id,
            private_key=pair.key,
            euicc_certificate=pair.certificate,
            eum_certificate=eum.certificate,
        )
        return EuiccIdentity(eid=eid, signing=(branch,), trusted=(ci,), now_ns=now_ns)

    def with_euicc(self, eid: bytes, randomness: Randomness, *, now_ns: int | None = None) -> Pki:
        """Return this PKI with one more kept eUICC."""
        branch = self.issue_euicc(eid, randomness, now_ns=now_ns).signing[0]
        kept = {**self.euiccs, eid: KeyPair(branch.private_key, branch.euicc_certificate)}
        return replace(self, euiccs=MappingProxyType(kept))

    def save(self, directory: Path, *, force: bool = False) -> None:
        """Write the PKI to a folder, see :func:`esim_bench.servers.pki.disk.save_pki`."""
        from esim_bench.servers.pki.disk import save_pki

        save_pki(self, directory, force=force)

    def _make_euicc(self, eid: bytes, eum: Authority, randomness: Randomness, now_ns: int | None) -> KeyPair:
        if eum.key is None:
            known = ", ".join(kept.hex() for kept in self.euiccs) or "none"
            raise ConfigError(
                f"cannot make a certificate for EID {eid.hex()}: the EUM's private key is missing",
                expected=f"one of the EIDs with a certificate of their own ({known})",
                hint="put the key into eum/key.pem, or the eUICC's certificate and key into euicc/EID/",
            )
        own = randomness.fork("euicc", eid)
        key = keys.generate(self.curve, own)
        issuer = Certificate.load(eum.certificate)
        signer = profiles.Signer.of(issuer, eum.key, own)
        pair = KeyPair(key, profiles.euicc(eid, key.public_key(), issuer, signer, now_ns))
        try:
            check_euicc_chain(Certificate.load(pair.certificate), issuer, Certificate.load(self.ci.certificate))
        except CertificateError as exc:
            # Most likely an EID that the EUM's certificate does not permit.
            hint = "make the PKI with this EID: pki init --eid"
            raise ConfigError(exc.what, where=exc.where, expected=exc.expected, found=exc.found, hint=hint) from exc
        return pair


def merge_identities(first: EuiccIdentity, *others: EuiccIdentity) -> EuiccIdentity:
    """Join one eUICC's identities of several PKIs: its branches in this order of preference, and all CIs it trusts.

    Raises ConfigError when they are not of one EID. The date is that of the first.
    """
    signing: dict[bytes, SigningIdentity] = {}
    trusted: dict[bytes, CiKey] = {}
    for identity in (first, *others):
        if identity.eid != first.eid:
            raise ConfigError("identities of two eUICCs", expected=f"EID {first.eid.hex()}", found=identity.eid.hex())
        for branch in identity.signing:
            signing.setdefault(branch.ci_key_id, branch)
        for ci in identity.trusted:
            trusted.setdefault(ci.key_id, ci)
    return replace(first, signing=tuple(signing.values()), trusted=tuple(trusted.values()))
