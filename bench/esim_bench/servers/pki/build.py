"""Making a test PKI: byte-identical from the same seed, date and names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from esim_bench.crypto import keys
from esim_bench.crypto.certificates import Certificate, Role
from esim_bench.crypto.keys import Curve
from esim_bench.crypto.randomness import Randomness
from esim_bench.errors import ConfigError
from esim_bench.servers.pki import profiles
from esim_bench.servers.pki.eid import DEFAULT_IIN
from esim_bench.servers.pki.model import Authority, KeyPair, Pki, TlsKeyPair

STANDARD_HOSTS: Final = (profiles.SMDP_HOST, "localhost", "127.0.0.1", "::1")
"""Names of the SM-DP+ that every TLS certificate has."""

EIM_HOSTS: Final = (*profiles.EIM_HOSTS, "localhost", "127.0.0.1", "::1")
"""Names of the eIM that every TLS certificate of it has."""

_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
# A name whose last label is a number is a mistyped IP address.
_HOST = re.compile(rf"(\*\.)?({_LABEL}\.)*(?![0-9]+$){_LABEL}")


def create_pki(
    randomness: Randomness,
    *,
    curve: Curve = Curve.P256,
    hosts: Sequence[str] = (),
    now_ns: int,
    iins: Sequence[str] = (DEFAULT_IIN,),
) -> Pki:
    """Make a CI, an EUM, an SM-DP+ with its auth, pb and TLS certificates, and an eIM with its signing and TLS ones.

    ``hosts``: DNS names and IP addresses of the servers beside the standard ones. ``now_ns``: today, ns since 1970.
    ``iins``: first digits of the EIDs that the EUM may make (8, or more for an EIN).
    Raises ConfigError for an unusable host or IIN.
    """
    names = tuple(dict.fromkeys((*STANDARD_HOSTS, *map(_host, hosts))))
    for iin in iins:
        if not (iin.isascii() and iin.isdigit() and 8 <= len(iin) <= 30):
            raise ConfigError("not an issuer identification number", expected="8 digits", found=repr(iin))
    sources = {name: randomness.fork("pki", curve.value, name) for name in ("ci", "eum", "auth", "pb", "tls", "root")}

    ci_key = keys.generate(curve, sources["ci"])
    ci_der = profiles.ci(ci_key, sources["ci"], now_ns)
    ci = Certificate.load(ci_der)

    eum_key = keys.generate(curve, sources["eum"])
    eum_signer = profiles.Signer.of(ci, ci_key, sources["eum"])
    eum_der = profiles.eum(eum_key.public_key(), iins, eum_signer, now_ns)

    servers = {}
    for name, role in (("auth", Role.DP_AUTH), ("pb", Role.DP_PB)):
        key = keys.generate(curve, sources[name])
        signer = profiles.Signer.of(ci, ci_key, sources[name])
        servers[name] = KeyPair(key, profiles.smdp(key.public_key(), role, signer, now_ns))

    if curve is Curve.P256:
        root_key, root_der = ci_key, ci_der
    else:
        root_key = keys.generate(Curve.P256, sources["root"])
        root_der = profiles.tls_root(root_key, sources["root"], now_ns)
    tls_key = keys.generate(Curve.P256, sources["tls"])
    tls_signer = profiles.Signer.of(Certificate.load(root_der), root_key, sources["tls"])
    tls_der = profiles.smdp_tls(tls_key.public_key(), names, tls_signer, now_ns)

    eim_tls_source = randomness.fork("pki", curve.value, "eim-tls")
    eim_tls_key = keys.generate(Curve.P256, eim_tls_source)
    eim_tls_signer = profiles.Signer.of(Certificate.load(root_der), root_key, eim_tls_source)
    eim_names = tuple(dict.fromkeys((*EIM_HOSTS, *(name for name in names if name != profiles.SMDP_HOST))))
    eim_tls_der = profiles.eim_tls(eim_tls_key.public_key(), eim_names, eim_tls_signer, now_ns)

    made = Pki(
        ci=Authority(ci_der, ci_key),
        eum=Authority(eum_der, eum_key),
        smdp_auth=servers["auth"],
        smdp_pb=servers["pb"],
        smdp_tls=TlsKeyPair(tls_key, tls_der),
        tls_root=root_der,
        eim_tls=TlsKeyPair(eim_tls_key, eim_tls_der),
    )
    return replace(made, eim=create_eim(made, profiles.EIM_NAME, randomness, now_ns))


def create_eim(pki: Pki, name: str, randomness: Randomness, now_ns: int) -> KeyPair:
    """Make the signing key of an eIM and its certificate under the CI, on the CI's curve.

    ``name``: common name of the certificate; each name has a key of its own, which depends on nothing else that is
    made. ``now_ns``: today, ns since 1970. Raises ConfigError for a PKI without the CI's key, or an unusable name.
    """
    if pki.ci.key is None:
        raise ConfigError(
            "cannot make a certificate of an eIM: the CI's private key is missing",
            where="ci/key.pem",
            hint="put the eIM's own certificate and key into eim/sign/",
        )
    if not 1 <= len(name) <= 64:
        raise ConfigError("not a name for a certificate", expected="1 to 64 characters", found=repr(name[:80]))
    source = randomness.fork("pki", pki.curve.value, "eim", name)
    key = keys.generate(pki.curve, source)
    signer = profiles.Signer.of(Certificate.load(pki.ci.certificate), pki.ci.key, source)
    return KeyPair(key, profiles.eim(name, key.public_key(), signer, now_ns))


def _host(host: str) -> str:
    name = host.strip().removeprefix("[").removesuffix("]")
    if profiles.is_address(name) or (len(name) <= 253 and _HOST.fullmatch(name)):
        return name
    raise ConfigError(
        "not a host for the TLS certificate", expected="a DNS name or an IP address, without a port", found=repr(host)
    )
