"""Who an eIM is: its identifier, where it is reached, and the key that signs its eUICC Packages."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import serialization

from esim_bench.codec.eim_configuration import EimConfigurationData, KeyData
from esim_bench.codec.sgp32 import Version, eim_id
from esim_bench.crypto.certificates import Certificate
from esim_bench.crypto.keys import PrivateKey, PublicKey, curve_of, point
from esim_bench.errors import ConfigError


def public_der(key: PrivateKey | PublicKey) -> bytes:
    """Return a key's SubjectPublicKeyInfo, DER."""
    public = key.public_key() if isinstance(key, PrivateKey) else key
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_name(key: PrivateKey) -> str:
    """Return the name of a key in the store: SHA-256 of its SubjectPublicKeyInfo, hex."""
    return hashlib.sha256(public_der(key)).hexdigest()


def key_data(key: PrivateKey, certificate: bytes | None) -> KeyData:
    """Return what an eUICC is told of a key: its certificate where there is one. Raises ConfigError, CodecError."""
    if certificate is None:
        return KeyData(public_der(key))
    if point(Certificate.load(certificate).public_key) != point(key):
        raise ConfigError("the eIM's certificate is of another key", hint="give key and certificate of one pair")
    return KeyData(certificate, certificate=True)


@dataclass(frozen=True, slots=True)
class EimCredentials:
    """An eIM. Raises ConfigError or CodecError for what cannot be one."""

    eim_id: str
    """1 to 128 bytes of UTF-8, unique per eUICC."""
    fqdn: str
    """``host[:port]`` of its ESipa, or of a server before it."""
    signing_key: PrivateKey = field(repr=False)
    """P-256 or brainpoolP256r1."""
    certificate: bytes | None = field(default=None, repr=False)
    """Of ``signing_key``, DER; told to eUICCs in place of the bare key."""
    tls: KeyData | None = field(default=None, repr=False)
    """By which IPAs know the TLS server: its key, its certificate or a CA's. None: the device's CAs decide."""
    id_type: int | None = 2
    """1 OID, 2 FQDN, 3 proprietary."""

    def __post_init__(self) -> None:
        """Check what would otherwise be refused by an eUICC only."""
        eim_id(self.eim_id)
        curve_of(self.signing_key)
        self.public_key_data()

    def public_key_data(self) -> KeyData:
        """Return eimPublicKeyData."""
        return key_data(self.signing_key, self.certificate)

    def configuration(
        self,
        counter: int,
        token: int | None,
        version: Version = Version.V1_2,
        *,
        ci_pk_id: bytes | None = None,
        indirect: bool = False,
        public_key: KeyData | None = None,
    ) -> EimConfigurationData:
        """Return what AddInitialEim or addEim tells of this eIM.

        ``counter``: initial counterValue; packages must have a greater one. ``token``: GENERATE_TOKEN, or None for an
        association without token. ``public_key``: another one than that of ``signing_key``. ``indirect``: offer
        downloads through the eIM (v1.1 and later; v1.0 has no such member).
        """
        return EimConfigurationData(
            eim_id=self.eim_id,
            fqdn=self.fqdn,
            id_type=self.id_type,
            counter=counter,
            association_token=token,
            public_key=public_key or self.public_key_data(),
            tls_key=self.tls,
            protocols=("eimRetrieveHttps",),
            ci_pk_id=ci_pk_id,
            indirect_download=indirect and version >= Version.V1_2,
        )
