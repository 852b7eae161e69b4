"""RSP certificates: the checks of SGP.22 4.5.2 and SGP.26, pair by pair from the CI downwards.

The generic path validation of RFC 5280 refuses real eUICC chains, since the EUM's name constraint is a *prefix* of
the EID and not an equal attribute: that is why the checks are written out here.
"""

from __future__ import annotations

import datetime
from functools import lru_cache
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID, SignatureAlgorithmOID

from esim_bench.crypto import ecdsa
from esim_bench.crypto.identity import CiKey
from esim_bench.crypto.keys import PublicKey
from esim_bench.crypto.x509 import PERMITTED_EINS_OID, REMEMBERED, Certificate, CertificateError, Role, name_text
from esim_bench.errors import CryptoError

__all__ = [
    "Certificate",
    "CertificateError",
    "Issuer",
    "Role",
    "check_ci",
    "check_dates",
    "check_euicc_chain",
    "check_eum",
    "check_issued",
    "check_same_server",
    "check_server",
]

Issuer: TypeAlias = Certificate | CiKey | PublicKey
"""A certificate, or what an eUICC knows of a CI, or a bare key (then only the signature ties the two)."""

_SERIAL_NUMBER = NameOID.SERIAL_NUMBER
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)

# Extensions that these checks process or may pass over; any other one that is critical refuses the certificate.
_UNDERSTOOD: Final = frozenset(
    (
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.CERTIFICATE_POLICIES,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.NAME_CONSTRAINTS,
        ExtensionOID.CRL_DISTRIBUTION_POINTS,
        PERMITTED_EINS_OID,
    )
)


def check_ci(ci: Certificate, now_ns: int | None = None) -> None:
    """Check a CI certificate: self-signed, role, CA, keyCertSign and cRLSign, dates. Raises CertificateError."""
    check_issued(ci, ci, Role.CI)
    _check_ca(ci, Role.CI)
    _check_key_usage(ci, Role.CI, "key_cert_sign", "crl_sign")
    check_dates(ci, now_ns, Role.CI)


def check_server(certificate: Certificate, issuer: Issuer, role: Role, now_ns: int | None = None) -> None:
    """Check a server's certificate (SGP.22 4.5.2.2): issued by ``issuer``, for ``role``, to sign with, with an OID.

    ``issuer``: the CI's (or sub-CA's) certificate, or what an eUICC knows of a CI. ``now_ns``: ns since 1970, or None
    where nobody knows the date, as in a card. Raises CertificateError.
    """
    check_issued(certificate, issuer, role)
    _check_end_entity(certificate, role)
    if certificate.oid is None and role not in (Role.DP_TLS, Role.DS_TLS):
        raise certificate.error("no OID", role, expected="a registered ID as subject alternative name")
    if role in (Role.DP_TLS, Role.DS_TLS):
        usage = certificate.extension(x509.ExtendedKeyUsage) or ()
        if ExtendedKeyUsageOID.SERVER_AUTH not in usage:
            raise certificate.error("wrong extended key usage", role, expected="serverAuth", found=_purposes(usage))
    check_dates(certificate, now_ns, role)


def check_same_server(auth: Certificate, pb: Certificate) -> None:
    """Check that CERT.DPauth and CERT.DPpb are of one SM-DP+, i.e. have one OID. Raises CertificateError."""
    if auth.oid is None or auth.oid != pb.oid:
        raise pb.error("of another SM-DP+", Role.DP_PB, expected=f"OID {auth.oid}", found=pb.oid)


def check_euicc_chain(euicc: Certificate, eum: Certificate, ci: Issuer, now_ns: int | None = None) -> None:
    """Check CI -> EUM -> eUICC (SGP.22 4.5.2.2), the EUM first. Raises CertificateError that says whose fault it is."""
    check_eum(eum, ci, now_ns)
    check_issued(euicc, eum, Role.EUICC)
    _check_euicc_form(euicc, eum)
    check_dates(euicc, now_ns, Role.EUICC)


# What is only a matter of what certificates say is looked at once for each pair of them: servers meet the same ones
# again and again. Signatures and dates are checked each time; a refusal is not remembered.
@lru_cache(maxsize=REMEMBERED)
def _check_euicc_form(euicc: Certificate, eum: Certificate) -> None:
    _check_end_entity(euicc, Role.EUICC)
    if euicc.eid is None:
        raise euicc.error(
            "no EID", Role.EUICC, expected="one serialNumber of 32 digits in the subject", found=euicc.subject
        )
    if euicc.organization != eum.organization:
        raise euicc.error(
            "another organization than its EUM", Role.EUICC, expected=eum.organization, found=euicc.organization
        )
    _check_permitted(euicc, eum)


def check_eum(eum: Certificate, ci: Issuer, now_ns: int | None = None) -> None:
    """Check an EUM certificate: issued by the CI, role, CA of path length 0, keyCertSign, dates.

    Raises CertificateError.
    """
    check_issued(eum, ci, Role.EUM)
    _check_eum_form(eum)
    check_dates(eum, now_ns, Role.EUM)


@lru_cache(maxsize=REMEMBERED)
def _check_eum_form(eum: Certificate) -> None:
    _check_ca(eum, Role.EUM)
    constraints = eum.extension(x509.BasicConstraints)
    if constraints is None or constraints.path_length != 0:
        found = constraints.path_length if constraints else None
        raise eum.error("wrong path length", Role.EUM, expected=0, found="none" if found is None else found)
    _check_key_usage(eum, Role.EUM, "key_cert_sign")
    if eum.organization is None:
        raise eum.error("no organization", Role.EUM, expected="an organizationName", found=eum.subject)


def check_issued(certificate: Certificate, issuer: Issuer, role: Role | None = None) -> None:
    """Check signature, key identifier, issuer's name, role and critical extensions. Raises CertificateError."""
    known = issuer.key_id if isinstance(issuer, CiKey) else issuer if isinstance(issuer, Certificate) else None
    _check_issued_form(certificate, known, role)
    certificate.public_key  # noqa: B018 - raises for a curve that RSP does not use
    issuer_key = issuer.public_key if isinstance(issuer, Certificate | CiKey) else issuer
    try:
        ecdsa.verify_der(issuer_key, certificate.signature, certificate.tbs)
    except CryptoError as exc:
        raise certificate.error("the issuer's signature does not hold", role) from exc


@lru_cache(maxsize=REMEMBERED)
def _check_issued_form(certificate: Certificate, issuer: Certificate | bytes | None, role: Role | None) -> None:
    """Check what a certificate says of its issuer: a certificate, the key identifier of a CI, or nothing known."""
    key_id = issuer.subject_key_id if isinstance(issuer, Certificate) else issuer
    name = issuer.parsed.subject if isinstance(issuer, Certificate) else None
    self_signed = isinstance(issuer, Certificate) and issuer.der == certificate.der
    if role is not None and certificate.role is not role:
        raise certificate.error(
            "wrong role", role, expected=f"policy {role.oid} ({role.label})", found=certificate.label
        )
    if name is not None and certificate.parsed.issuer != name:
        raise certificate.error("issued by another", role, expected=name_text(name), found=certificate.issuer)
    aki = certificate.authority_key_id
    if key_id is not None and aki != key_id and not (self_signed and aki is None):
        raise certificate.error(
            "wrong authority key identifier",
            role,
            expected=key_id.hex().upper(),
            found=aki.hex().upper() if aki else "none",
        )
    unknown = [
        ext.oid.dotted_string for ext in certificate.parsed.extensions if ext.critical and ext.oid not in _UNDERSTOOD
    ]
    if unknown:
        raise certificate.error("unknown critical extension", role, found=", ".join(unknown))
    algorithm = certificate.parsed.signature_algorithm_oid
    if algorithm != SignatureAlgorithmOID.ECDSA_WITH_SHA256:
        raise certificate.error("wrong signature algorithm", role, expected="ECDSA with SHA-256", found=algorithm._name)


def check_dates(certificate: Certificate, now_ns: int | None, role: Role | None = None) -> None:
    """Check the validity period, unless there is no date. Raises CertificateError of kind "expired"."""
    if now_ns is None:
        return
    now = _EPOCH + datetime.timedelta(microseconds=now_ns // 1000)
    if now > certificate.not_after:
        raise certificate.error(
            "expired",
            role,
            kind="expired",
            expected=f"a date up to {certificate.not_after:%Y-%m-%d}",
            found=f"{now:%Y-%m-%d}",
        )
    if now < certificate.not_before:
        raise certificate.error(
            "not valid yet",
            role,
            kind="expired",
            expected=f"a date from {certificate.not_before:%Y-%m-%d}",
            found=f"{now:%Y-%m-%d}",
        )


def _check_end_entity(certificate: Certificate, role: Role) -> None:
    if certificate.is_ca:
        raise certificate.error("a CA", role, expected="an end entity")
    _check_key_usage(certificate, role, "digital_signature")


def _check_ca(certificate: Certificate, role: Role) -> None:
    if not certificate.is_ca:
        raise certificate.error("not a CA", role, expected="basic constraints with cA TRUE")


def _check_key_usage(certificate: Certificate, role: Role, *wanted: str) -> None:
    usage = certificate.extension(x509.KeyUsage)
    missing = [name for name in wanted if usage is None or not getattr(usage, name)]
    if missing:
        raise certificate.error(
            "wrong key usage", role, expected=" and ".join(wanted), found=f"no {', '.join(missing)}"
        )


def _check_permitted(euicc: Certificate, eum: Certificate) -> None:
    """Check the EID against the EUM's IINs: prefixes, in name constraints (v2) or the permittedEins (v3)."""
    eid = euicc.serial_number or ""
    constraints = eum.extension(x509.NameConstraints)
    permitted = _directory_names(constraints.permitted_subtrees if constraints else None)
    excluded = _directory_names(constraints.excluded_subtrees if constraints else None)
    # A constraint that names no IIN would permit every EID.
    permitted = [name for name in permitted if any(item.value for item in name.get_attributes_for_oid(_SERIAL_NUMBER))]
    if not permitted and not eum.permitted_eins:
        raise eum.error("no EIDs permitted", Role.EUM, expected="name constraints with an IIN, or permittedEins")
    by_name = any(_within(euicc.parsed.subject, name) for name in permitted)
    by_ein = any(eid.startswith(ein) for ein in eum.permitted_eins)
    refused = any(_within(euicc.parsed.subject, name) for name in excluded)
    # An EUM certificate that carries both forms must permit the EID in both.
    if refused or (permitted and not by_name) or (eum.permitted_eins and not by_ein):
        stated = [name_text(name) for name in permitted] + list(eum.permitted_eins)
        raise euicc.error("EID not permitted to its EUM", Role.EUICC, expected=" or ".join(stated), found=eid)


def _directory_names(subtrees: list[x509.GeneralName] | None) -> list[x509.Name]:
    return [tree.value for tree in subtrees or () if isinstance(tree, x509.DirectoryName)]


def _within(subject: x509.Name, constraint: x509.Name) -> bool:
    """Tell whether a subject satisfies a constraint: the serial number by prefix, everything else by equality."""
    for wanted in constraint:
        values = [str(item.value) for item in subject.get_attributes_for_oid(wanted.oid)]
        text = str(wanted.value)
        if wanted.oid == _SERIAL_NUMBER:
            if not any(value.startswith(text) for value in values):
                return False
        elif text not in values:
            return False
    return True


def _purposes(usage: x509.ExtendedKeyUsage | tuple[()]) -> str:
    return ", ".join(purpose._name for purpose in usage) or "none"
