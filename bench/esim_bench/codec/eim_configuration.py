"""EimConfigurationData: what an eUICC, and the IPA through it, knows of an eIM (SGP.32 2.11.1.1.1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from esim_bench.codec import tlv
from esim_bench.codec.sgp32 import (
    SEQUENCE,
    Members,
    Version,
    certificate_of,
    choice,
    eim_id,
    eim_id_of,
    flag,
    flag_of,
    integer,
    name_of,
    named_bits,
    names_of,
    natural,
    retagged,
    sized,
    text_of,
    utf8,
)
from esim_bench.codec.tlv import Tlv
from esim_bench.errors import CodecError

WHERE: Final = "EimConfigurationData"
ID_TYPES: Final = {1: "eimIdTypeOid", 2: "eimIdTypeFqdn", 3: "eimIdTypeProprietary"}
PROTOCOLS: Final = (
    "eimRetrieveHttps",
    "eimRetrieveCoaps",
    "eimInjectHttps",
    "eimInjectCoaps",
    "eimProprietary",
)
"""EimSupportedProtocol, bit 0 first."""
GENERATE_TOKEN: Final = -1
"""The associationToken of a request: "please make one"."""


@dataclass(frozen=True, slots=True)
class KeyData:
    """A public key or a certificate."""

    der: bytes
    """SubjectPublicKeyInfo, or Certificate where ``certificate`` is true; with its own 30."""
    certificate: bool = False

    def encode(self, tag: int) -> bytes:
        """Return A5 or A6: explicit, and the choice's tag A0 or A1 stands in place of the 30. Raises CodecError."""
        what = "certificate" if self.certificate else "SubjectPublicKeyInfo"
        inner = retagged(0xA1 if self.certificate else 0xA0, self.der, f"{WHERE} {tag:X}, {what}")
        self.parse(tlv.parse(tlv.encode(tag, inner)))
        return tlv.encode(tag, inner)

    @classmethod
    def parse(cls, item: Tlv) -> KeyData:
        """Read an A5 or A6. Raises CodecError, also for a bare 30 inside, which eUICCs refuse."""
        where = f"{WHERE} {item.tag:X}"
        inner = choice(item, where, 0xA0, 0xA1)
        if inner.tag == 0xA1:
            return cls(certificate_of(inner, where), certificate=True)
        if [child.tag for child in inner.children()] != [0x30, 0x03]:
            raise CodecError("no public key", where=where, expected="30, 03 in place of SubjectPublicKeyInfo's 30")
        return cls(tlv.encode(SEQUENCE, inner.value))


@dataclass(frozen=True, slots=True)
class EimConfigurationData:
    """What is known of an eIM; None where it is not told. In updateEim, None is "as before"."""

    eim_id: str
    fqdn: str | None = None
    """FQDN of the eIM, or of a server before it."""
    id_type: int | None = None
    """A code of ID_TYPES."""
    counter: int | None = None
    """Initial counterValue; an eUICC never tells it."""
    association_token: int | None = None
    """GENERATE_TOKEN in a request, the number that the eUICC made in an answer."""
    public_key: KeyData | None = None
    """eimPublicKeyData: verifies eUICC Packages."""
    tls_key: KeyData | None = None
    """trustedPublicKeyDataTls: the eIM's key, its certificate, or a CA's; None: the device's CAs decide."""
    protocols: tuple[str, ...] | None = None
    """Of PROTOCOLS."""
    ci_pk_id: bytes | None = None
    """Key identifier of the CI under which the eUICC signs for this eIM."""
    indirect_download: bool = False
    proprietary: bytes | None = None
    """Content of eSipaProprietaryProtocolInformation (v1.3)."""

    @property
    def id_type_name(self) -> str:
        """Return the name of the kind of eimId, "" where it is not told."""
        return "" if self.id_type is None else name_of(ID_TYPES, self.id_type)

    def encode(self, version: Version = Version.V1_2, tag: int = SEQUENCE) -> bytes:
        """Return the object, under another tag where it is a member. Raises CodecError."""
        return _encoded(self, version, tag)

    @classmethod
    def parse(cls, raw: bytes) -> EimConfigurationData:
        """Read an object of its own, 30. Raises CodecError."""
        return _parsed(bytes(raw))

    @classmethod
    def from_tlv(cls, source: Tlv | Members) -> EimConfigurationData:
        """Read it where it is a member (A8, AA), whatever its version. Raises CodecError."""
        members = Members(source, WHERE) if isinstance(source, Tlv) else source
        name = eim_id_of(members.take(0x80))
        fqdn = members.optional(0x81)
        kind = members.optional(0x82)
        counter = members.optional(0x83)
        token = members.optional(0x84)
        key = members.optional(0xA5)
        tls_key = members.optional(0xA6)
        protocols = members.optional(0x87)
        ci_pk_id = members.optional(0x88)
        indirect = flag_of(members.optional(0x89), "indirectProfileDownload")
        proprietary = members.optional(0xAA)
        members.end()
        return cls(
            eim_id=name,
            fqdn=text_of(fqdn, "eimFqdn") if fqdn else None,
            id_type=kind.integer() if kind else None,
            counter=natural(counter) if counter else None,
            association_token=token.integer() if token else None,
            public_key=KeyData.parse(key) if key else None,
            tls_key=KeyData.parse(tls_key) if tls_key else None,
            protocols=names_of(protocols, PROTOCOLS, "eimSupportedProtocol") if protocols else None,
            ci_pk_id=sized(ci_pk_id.value, "euiccCiPKId", 1, 64) if ci_pk_id else None,
            indirect_download=indirect,
            proprietary=proprietary.value if proprietary else None,
        )


# An IPA reads who its eIMs are before everything that it does.
@lru_cache(maxsize=64)
def _parsed(raw: bytes) -> EimConfigurationData:
    return EimConfigurationData.from_tlv(Members.of(raw, SEQUENCE, WHERE))


# It says the same each time that it is asked, and writes down whom it works for before everything that it does.
@lru_cache(maxsize=64)
def _encoded(eim: EimConfigurationData, version: Version, tag: int) -> bytes:
    if eim.indirect_download and version < Version.V1_2:
        raise CodecError("indirectProfileDownload", where=WHERE, expected="v1.1 or later", found=version.text)
    if eim.proprietary is not None and version < Version.V1_3:
        raise CodecError("proprietary protocol", where=WHERE, expected="v1.3 or later", found=version.text)
    if eim.id_type is not None and eim.id_type not in ID_TYPES:
        raise CodecError("eimIdType", where=WHERE, expected="1, 2 or 3", found=eim.id_type)
    members = [eim_id(eim.eim_id)]
    if eim.fqdn is not None:
        members.append(utf8(0x81, eim.fqdn, "eimFqdn"))
    for tag_of_number, number in ((0x82, eim.id_type), (0x83, eim.counter), (0x84, eim.association_token)):
        if number is not None:
            members.append(integer(tag_of_number, number))
    if eim.public_key is not None:
        members.append(eim.public_key.encode(0xA5))
    if eim.tls_key is not None:
        members.append(eim.tls_key.encode(0xA6))
    if eim.protocols is not None:
        members.append(named_bits(0x87, eim.protocols, PROTOCOLS, "eimSupportedProtocol"))
    if eim.ci_pk_id is not None:
        members.append(tlv.encode(0x88, sized(eim.ci_pk_id, "euiccCiPKId", 1, 64)))
    members.append(flag(0x89, eim.indirect_download))
    if eim.proprietary is not None:
        members.append(tlv.encode(0xAA, eim.proprietary))
    return tlv.encode(tag, *members)


@dataclass(frozen=True, slots=True)
class EimIdInfo:
    """An entry of listEim's result."""

    eim_id: str
    id_type: int | None = None

    def encode(self, version: Version = Version.V1_2) -> bytes:
        """Return the 30; v1.0 has another tag for the type. Raises CodecError."""
        if self.id_type is not None and self.id_type not in ID_TYPES:
            raise CodecError("eimIdType", where="EimIdInfo", expected="1, 2 or 3", found=self.id_type)
        tag = 0x82 if version >= Version.V1_2 else 0x84
        return tlv.encode(
            SEQUENCE, eim_id(self.eim_id), integer(tag, self.id_type) if self.id_type is not None else b""
        )

    @classmethod
    def parse(cls, item: Tlv) -> EimIdInfo:
        """Read a 30 of either version. Raises CodecError."""
        if item.tag != SEQUENCE:
            raise CodecError("wrong tag", where="EimIdInfo", expected="30", found=f"{item.tag:X}")
        members = Members(item, "EimIdInfo")
        name = eim_id_of(members.take(0x80))
        kind = members.optional(0x82, 0x84)
        members.end()
        return cls(name, kind.integer() if kind else None)
