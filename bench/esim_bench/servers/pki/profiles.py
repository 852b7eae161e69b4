"""The certificates of the test PKI: subjects, extensions and lifetimes as in SGP.26 (variant O)."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from esim_bench.crypto.certificates import Certificate, Role
from esim_bench.crypto.keys import PrivateKey, PublicKey
from esim_bench.crypto.randomness import Randomness

CI_OID: Final = "2.999.1"
EUM_OID: Final = "2.999.5"
SMDP_OID: Final = "2.999.10"
SMDP_HOST: Final = "testsmdpplus1.example.com"
EIM_NAME: Final = "eim.example.com"
EIM_HOSTS: Final = ("testeim1.example.com", "testeim2.example.com")

EUM_ORGANIZATION: Final = "RSP Test EUM"

_CRLS: Final = ("http://ci.test.example.com/CRL-A.crl", "http://ci.test.example.com/CRL-B.crl")
"""Placeholders, as in SGP.26: nobody serves them."""

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_EUICC_END = datetime.datetime(7500, 5, 10, tzinfo=datetime.UTC)
"""A card cannot be given another certificate: the date is as far out as in SGP.26."""

CI_YEARS: Final = 35
EUM_YEARS: Final = 34
SERVER_YEARS: Final = 10
EIM_YEARS: Final = 7
TLS_DAYS: Final = 397
"""TLS clients refuse certificates of more than 398 days."""

_KEY_USAGES: Final = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs: the key, its name, its key identifier (None: it signs itself), and where serial numbers come from."""

    key: PrivateKey
    name: x509.Name
    key_id: bytes | None
    randomness: Randomness

    @classmethod
    def of(cls, certificate: Certificate, key: PrivateKey, randomness: Randomness) -> Signer:
        """Return the owner of a CA's certificate."""
        return cls(key, certificate.parsed.subject, certificate.subject_key_id, randomness)


def first_day(now_ns: int) -> datetime.datetime:
    """Return the midnight that yesterday began with: clocks of servers and clients may differ by hours."""
    today = (_EPOCH + datetime.timedelta(seconds=now_ns // 1_000_000_000)).replace(hour=0, minute=0, second=0)
    return today - datetime.timedelta(days=1)


def ci(key: PrivateKey, randomness: Randomness, now_ns: int) -> bytes:
    """Return CERT.CI.ECDSA, self-signed."""
    subject = _name(("CN", "Test CI"), ("OU", "TESTCERT"), ("O", "RSPTEST"), ("C", "IT"))
    builder = _builder(subject, key.public_key(), first_day(now_ns), years=CI_YEARS)
    builder = _add(
        builder,
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (_policy(Role.CI), True),
        (_key_usage("key_cert_sign", "crl_sign"), True),
        (_alternative(CI_OID), False),
        (_crl_points(*_CRLS), False),
    )
    return _sign(builder, Signer(key, subject, None, randomness))


def tls_root(key: PrivateKey, randomness: Randomness, now_ns: int) -> bytes:
    """Return the root of the TLS certificate where the CI's curve is none of TLS; it has no RSP role."""
    subject = _name(("CN", "Test TLS root"), ("OU", "TESTCERT"), ("O", "RSPTEST"), ("C", "IT"))
    builder = _builder(subject, key.public_key(), first_day(now_ns), years=CI_YEARS)
    builder = _add(
        builder,
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (_key_usage("key_cert_sign", "crl_sign"), True),
    )
    return _sign(builder, Signer(key, subject, None, randomness))


def eum(key: PublicKey, iins: Sequence[str], signer: Signer, now_ns: int) -> bytes:
    """Return CERT.EUM.ECDSA for eUICCs whose EIDs start with one of ``iins``."""
    subject = _name(("C", "ES"), ("O", EUM_ORGANIZATION), ("CN", "EUM Test"))
    permitted = [x509.DirectoryName(_name(("O", EUM_ORGANIZATION), ("serialNumber", iin))) for iin in iins]
    builder = _builder(subject, key, first_day(now_ns), years=EUM_YEARS)
    builder = _add(
        builder,
        (_key_usage("key_cert_sign"), True),
        (_policy(Role.EUM), True),
        (_alternative(EUM_OID), False),
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (_crl_points(_CRLS[1]), False),
        (x509.NameConstraints(permitted, None), True),
    )
    return _sign(builder, signer)


def euicc(eid: bytes, key: PublicKey, eum_certificate: Certificate, signer: Signer, now_ns: int | None) -> bytes:
    """Return CERT.EUICC.ECDSA. Its serial number is the EID; without a date it starts with the EUM's."""
    # An EUM of other people has an organization of its own, and the eUICC's must be equal to it.
    organization = eum_certificate.organization or EUM_ORGANIZATION
    subject = _name(("C", "ES"), ("O", organization), ("serialNumber", eid.hex()), ("CN", "Test eUICC"))
    start = eum_certificate.not_before if now_ns is None else first_day(now_ns)
    builder = _builder(subject, key, start, end=_EUICC_END)
    builder = _add(builder, (_key_usage("digital_signature"), True), (_policy(Role.EUICC), True))
    return _sign(builder, signer, int.from_bytes(eid, "big"))


def smdp(key: PublicKey, role: Role, signer: Signer, now_ns: int) -> bytes:
    """Return CERT.DPauth.ECDSA or CERT.DPpb.ECDSA."""
    subject = _name(("O", "ACME"), ("CN", "TEST SM-DP+"))
    builder = _builder(subject, key, first_day(now_ns), years=SERVER_YEARS)
    builder = _add(
        builder,
        (_alternative(SMDP_OID), False),
        (_key_usage("digital_signature"), True),
        (_policy(role), True),
        (_crl_points(*_CRLS), False),
    )
    return _sign(builder, signer)


def smdp_tls(key: PublicKey, hosts: Sequence[str], signer: Signer, now_ns: int) -> bytes:
    """Return CERT.DP.TLS for names and IP addresses."""
    subject = _name(("O", "ACME"), ("CN", SMDP_HOST))
    start = first_day(now_ns)
    builder = _builder(subject, key, start, end=start + datetime.timedelta(days=TLS_DAYS))
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = _add(
        builder,
        (_key_usage("digital_signature"), True),
        (x509.ExtendedKeyUsage(usages), True),
        (_policy(Role.DP_TLS), False),
        (_alternative(SMDP_OID, hosts), False),
        (_crl_points(*_CRLS), False),
    )
    return _sign(builder, signer)


def eim(name: str, key: PublicKey, signer: Signer, now_ns: int) -> bytes:
    """Return an eIM's signing certificate (SGP.32 2.6.4): no role, no key identifier of its own, as in SGP.26 v3."""
    subject = _name(("C", "DE"), ("CN", name))
    builder = _builder(subject, key, first_day(now_ns), years=EIM_YEARS, own_key_id=False)
    return _sign(_add(builder, (_key_usage("digital_signature"), True)), signer)


def eim_tls(key: PublicKey, hosts: Sequence[str], signer: Signer, now_ns: int) -> bytes:
    """Return the TLS certificate of eIMs for names and IP addresses; it has no RSP role either."""
    start = first_day(now_ns)
    subject = _name(("C", "DE"), ("CN", EIM_HOSTS[0]))
    builder = _builder(subject, key, start, end=start + datetime.timedelta(days=TLS_DAYS))
    builder = _add(
        builder,
        (_key_usage("digital_signature"), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), True),
        (x509.SubjectAlternativeName(_general_names(hosts)), False),
    )
    return _sign(builder, signer)


def is_address(host: str) -> bool:
    """Tell whether a host is an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


# ------------------------------------------------------------ the builder


_NAME_OIDS: Final = {
    "C": NameOID.COUNTRY_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "CN": NameOID.COMMON_NAME,
    "serialNumber": NameOID.SERIAL_NUMBER,
}


def _name(*attributes: tuple[str, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(_NAME_OIDS[name], value) for name, value in attributes])


def _policy(role: Role) -> x509.CertificatePolicies:
    return x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier(role.oid), None)])


def _key_usage(*wanted: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{name: name in wanted for name in _KEY_USAGES})


def _alternative(oid: str, hosts: Sequence[str] = ()) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([*_general_names(hosts), x509.RegisteredID(x509.ObjectIdentifier(oid))])


def _general_names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    return [x509.IPAddress(ipaddress.ip_address(host)) if is_address(host) else x509.DNSName(host) for host in hosts]


def _crl_points(*urls: str) -> x509.CRLDistributionPoints:
    return x509.CRLDistributionPoints(
        [x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None) for url in urls]
    )


def _builder(
    subject: x509.Name,
    key: PublicKey,
    start: datetime.datetime,
    *,
    years: int = 0,
    end: datetime.datetime | None = None,
    own_key_id: bool = True,
) -> x509.CertificateBuilder:
    # The 29th of February has no namesake in most years.
    day = start.replace(day=28) if (start.month, start.day) == (2, 29) else start
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .not_valid_before(start)
        .not_valid_after(end or day.replace(year=day.year + years))
    )
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False) if own_key_id else builder


def _add(builder: x509.CertificateBuilder, *extensions: tuple[x509.ExtensionType, bool]) -> x509.CertificateBuilder:
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder


def _sign(builder: x509.CertificateBuilder, signer: Signer, serial: int | None = None) -> bytes:
    if serial is None:
        # Eight bytes as in SGP.26; with its first bit set the number would take a ninth, and zero is not allowed.
        serial = int.from_bytes(signer.randomness.bytes(8), "big") >> 1 or 1
    builder = builder.serial_number(serial).issuer_name(signer.name)
    if signer.key_id is not None:
        builder = builder.add_extension(x509.AuthorityKeyIdentifier(signer.key_id, None, None), False)
    deterministic = signer.randomness.deterministic or None
    return builder.sign(signer.key, hashes.SHA256(), ecdsa_deterministic=deterministic).public_bytes(Encoding.DER)
