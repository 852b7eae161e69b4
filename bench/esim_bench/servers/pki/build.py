"""Making a test PKI: byte-identical from the same seed, date and names."""

from __future__ import annotations

import re
from collections.abc import Sequence
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
    """Make a CI, an EUM, and an SM-DP+ with its auth, pb and TLS certificates.

    ``hosts``: DNS names and IP addresses of the SM-DP+ beside the standard ones. ``now_ns``: today, ns since 1970.
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

    return Pki(
        ci=Authority(ci_der, ci_key),
        eum=Authority(eum_der, eum_key),
        smdp_auth=servers["auth"],
        smdp_pb=servers["pb"],
        smdp_tls=TlsKeyPair(tls_key, tls_der),
        tls_root=root_der,
    )


def _host(host: str) -> str:
    name = host.strip().removeprefix("[").removesuffix("]")
    if profiles.is_address(name) or (len(name) <= 253 and _HOST.fullmatch(name)):
        return name
    raise ConfigError(
        "not a host for the TLS certificate", expected="a DNS name or an IP address, without a port", found=repr(host)
    )
