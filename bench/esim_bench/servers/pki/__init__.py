"""A test PKI: CI, EUM, eUICCs, SM-DP+ and eIM, made here or brought by others. ``docs/pki.md`` is its layout."""

from esim_bench.servers.pki.build import create_eim, create_pki
from esim_bench.servers.pki.disk import load_pki, save_pki
from esim_bench.servers.pki.eid import DEFAULT_IIN, check_eid, make_eid
from esim_bench.servers.pki.model import Authority, KeyPair, Pki, TlsKeyPair, merge_identities
from esim_bench.servers.pki.tls import eim_tls_context, tls_context

__all__ = [
    "DEFAULT_IIN",
    "Authority",
    "KeyPair",
    "Pki",
    "TlsKeyPair",
    "check_eid",
    "create_eim",
    "create_pki",
    "eim_tls_context",
    "load_pki",
    "make_eid",
    "merge_identities",
    "save_pki",
    "tls_context",
]
