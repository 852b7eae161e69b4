"""A PKI in a folder. Each file may be replaced by somebody else's: PEM or DER, keys in PKCS #8 or SEC 1.

::

    ci/certificate.pem          ci/key.pem          (the key may be missing)
    eum/certificate.pem         eum/key.pem         (the key, or the whole folder, may be missing)
    euicc/EID/certificate.pem   euicc/EID/key.pem   (any number of eUICCs, also none)
    smdp/auth/certificate.pem   smdp/auth/key.pem
    smdp/pb/certificate.pem     smdp/pb/key.pem
    smdp/tls/certificate.pem    smdp/tls/key.pem    (intermediates may follow the certificate)
    eim/sign/certificate.pem    eim/sign/key.pem    (the whole folder may be missing)
    eim/tls/certificate.pem     eim/tls/key.pem     (the same)
    tls-root.pem
"""

from __future__ import annotations

import os
import shutil
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

from esim_bench.crypto import keys
from esim_bench.crypto.certificates import (
    Certificate,
    CertificateError,
    Role,
    check_ci,
    check_dates,
    check_euicc_chain,
    check_eum,
    check_same_server,
    check_server,
)
from esim_bench.errors import BenchError, CodecError, ConfigError, CryptoError
from esim_bench.servers.pki.model import Authority, KeyPair, Pki, TlsKeyPair

MAX_SIZE: Final = 256 * 1024
"""Bytes of the largest file that is read: a chain of certificates with text around them has some ten thousand."""

_CERTIFICATE, _KEY, _ROOT = "certificate", "key", "tls-root"
_SUFFIXES: Final = {
    _CERTIFICATE: (".pem", ".der", ".crt", ".cer"),
    _KEY: (".pem", ".der", ".key"),
    _ROOT: (".pem", ".der", ".crt", ".cer"),
}
_PARTS: Final = ("ci", "eum", "smdp/auth", "smdp/pb", "smdp/tls", "eim/sign", "eim/tls")


# ------------------------------------------------------------ loading


def load_pki(directory: Path, *, now_ns: int | None = None) -> Pki:
    """Read a folder and check that keys belong to certificates and that all chains hold.

    ``now_ns``: judge the dates too. Raises ConfigError that names the file, and says what was expected and found.
    """
    directory = Path(directory)
    try:
        if not directory.is_dir():
            raise ConfigError("no PKI here", where=str(directory), expected="a folder", hint="make one: pki init DIR")
        return _load(directory, now_ns)
    except OSError as exc:
        raise ConfigError(f"cannot read: {exc.strerror}", where=str(exc.filename or directory)) from exc


def _load(directory: Path, now_ns: int | None) -> Pki:
    ci, ci_path = _certificate(directory / "ci")
    with _about(ci_path):
        check_ci(ci, now_ns)
    ci_key = _optional_key(directory / "ci", ci)

    servers: dict[str, Certificate] = {}
    pairs: dict[str, KeyPair] = {}
    for name, role in (("auth", Role.DP_AUTH), ("pb", Role.DP_PB)):
        folder = directory / "smdp" / name
        servers[name], path = _certificate(folder)
        with _about(path):
            check_server(servers[name], ci, role, now_ns)
            if name == "pb":
                check_same_server(servers["auth"], servers["pb"])
        pairs[name] = KeyPair(_key(folder, servers[name]), servers[name].der)

    root_path = _find(directory, _ROOT)
    with _about(root_path):
        root = Certificate.load_pem_or_der(_read(root_path))
    tls = _tls(directory / "smdp" / "tls", root, root_path, now_ns)
    eum, euiccs = _euiccs(directory, ci, now_ns)
    return Pki(
        ci=Authority(ci.der, ci_key),
        eum=eum,
        smdp_auth=pairs["auth"],
        smdp_pb=pairs["pb"],
        smdp_tls=tls,
        tls_root=root.der,
        euiccs=MappingProxyType(euiccs),
        eim=_eim(directory / "eim" / "sign", now_ns),
        eim_tls=_eim_tls(directory / "eim" / "tls", root, root_path, now_ns),
    )


def _euiccs(directory: Path, ci: Certificate, now_ns: int | None) -> tuple[Authority | None, dict[bytes, KeyPair]]:
    kept = directory / "euicc"
    folders = sorted(path for path in kept.iterdir() if path.is_dir() and path.name[0] != ".") if kept.is_dir() else []
    if not (directory / "eum").is_dir():
        if folders:
            raise ConfigError("missing", where=str(directory / "eum"), expected="the EUM of the eUICCs in euicc/")
        return None, {}
    eum, path = _certificate(directory / "eum")
    with _about(path):
        check_eum(eum, ci, now_ns)
    authority = Authority(eum.der, _optional_key(directory / "eum", eum))
    euiccs: dict[bytes, KeyPair] = {}
    for folder in folders:
        certificate, path = _certificate(folder)
        with _about(path):
            check_euicc_chain(certificate, eum, ci, now_ns)
        eid = certificate.eid
        if eid is None or eid.hex() != folder.name:
            found = eid.hex() if eid else "none"
            raise ConfigError("of another EID than its folder", where=str(path), expected=folder.name, found=found)
        euiccs[eid] = KeyPair(_key(folder, certificate), certificate.der)
    return authority, euiccs


def _eim(folder: Path, now_ns: int | None) -> KeyPair | None:
    # No chain is asked for: an eUICC trusts the key that it was given (SGP.32 2.6.4), whoever issued the certificate.
    if not _exists(folder):
        return None
    certificate, path = _certificate(folder)
    with _about(path):
        check_dates(certificate, now_ns)
    return KeyPair(_key(folder, certificate), certificate.der)


def _eim_tls(folder: Path, root: Certificate, root_path: Path, now_ns: int | None) -> TlsKeyPair | None:
    # A device may have been told which key to expect, so that an issuer that nobody here knows is no mistake.
    return _tls(folder, root, root_path, now_ns, any_root=True) if _exists(folder) else None


def _exists(folder: Path) -> bool:
    return bool(_candidates(folder, _CERTIFICATE) or _candidates(folder, _KEY))


def _tls(folder: Path, root: Certificate, root_path: Path, now_ns: int | None, *, any_root: bool = False) -> TlsKeyPair:
    path = _find(folder, _CERTIFICATE)
    with _about(path):
        chain = Certificate.load_chain(_read(path))
        for certificate in chain:
            check_dates(certificate, now_ns, None if any_root else Role.DP_TLS)
        # A file of the whole chain often ends with the root itself.
        below = [certificate for certificate in chain if certificate.der != root.der] or [root]
        for certificate, issuer in zip(below, [*below[1:], *([] if any_root else [root])], strict=not any_root):
            _check_tls_link(certificate, issuer, root_path)
    key_path = _find(folder, _KEY)
    with _about(key_path):
        key = keys.load_any_private(_read(key_path))
        _check_pair(_spki(key.public_key()), below[0], path)
    return TlsKeyPair(key, below[0].der, tuple(item.der for item in below[1:]))


def _check_tls_link(certificate: Certificate, issuer: Certificate, root_path: Path) -> None:
    try:
        certificate.parsed.verify_directly_issued_by(issuer.parsed)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as exc:
        raise CryptoError(
            f"{certificate.subject!r} is not issued by {issuer.subject!r}",
            expected=f"a chain up to {root_path}",
            found=f"issuer {certificate.issuer!r}" if certificate.issuer != issuer.subject else "another signature",
        ) from exc


def _certificate(folder: Path) -> tuple[Certificate, Path]:
    path = _find(folder, _CERTIFICATE)
    with _about(path):
        return Certificate.load_pem_or_der(_read(path)), path


def _key(folder: Path, certificate: Certificate) -> keys.PrivateKey:
    path = _find(folder, _KEY)
    with _about(path):
        key = keys.load_private(_read(path))
        _check_pair(_spki(key.public_key()), certificate, folder)
    return key


def _optional_key(folder: Path, certificate: Certificate) -> keys.PrivateKey | None:
    return _key(folder, certificate) if _candidates(folder, _KEY) else None


def _check_pair(public: bytes, certificate: Certificate, where: Path) -> None:
    wanted = _spki(certificate.parsed.public_key())
    if public != wanted:
        raise CryptoError(
            "not the key of its certificate",
            expected=f"the private key to the public key ..{wanted[-8:].hex()} of the certificate in {where}",
            found=f"that to ..{public[-8:].hex()}",
        )


def _spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _candidates(folder: Path, stem: str) -> list[Path]:
    return [path for suffix in _SUFFIXES[stem] if (path := folder / (stem + suffix)).exists()]


def _find(folder: Path, stem: str) -> Path:
    found = _candidates(folder, stem)
    if len(found) != 1:
        raise ConfigError(
            "more than one file" if found else "missing",
            where=str(folder / (stem + ".pem")),
            expected="one of " + ", ".join(stem + suffix for suffix in _SUFFIXES[stem]),
            found=" and ".join(path.name for path in found) or "none",
        )
    return found[0]


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise ConfigError("not a file", where=str(path))
    with path.open("rb") as file:
        data = file.read(MAX_SIZE + 1)
    if len(data) > MAX_SIZE:
        raise ConfigError("too large", where=str(path), expected=f"at most {MAX_SIZE} bytes")
    return data


@contextmanager
def _about(path: Path) -> Iterator[None]:
    """Turn what is wrong with a file's content into the operator's mistake, with the file's name."""
    try:
        yield
    except CertificateError as exc:
        raise _mistake(path, exc, f"{exc.where}: {exc.what}") from exc
    except (CodecError, CryptoError) as exc:
        raise _mistake(path, exc, exc.what) from exc
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        # Only other people's TLS files get here: a key or signature of a kind that is not known.
        raise ConfigError(f"unusable: {exc}", where=str(path), expected="an RSA or EC key and certificate") from exc


def _mistake(path: Path, exc: BenchError, what: str) -> ConfigError:
    return ConfigError(what, where=str(path), expected=exc.expected, found=exc.found, hint=exc.hint)


# ------------------------------------------------------------ saving


def save_pki(pki: Pki, directory: Path, *, force: bool = False) -> None:
    """Write a PKI; private keys get mode 0600.

    A folder that has anything in it is refused; with ``force`` the PKI in it is replaced, and nothing else is touched.
    Raises ConfigError.
    """
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _check_target(directory, force)
        # Written aside first, so that a full disk does not leave half of the old PKI and half of the new one.
        staging = Path(tempfile.mkdtemp(prefix=".new-", dir=directory))
        try:
            files = _files(pki)
            for name, (data, mode) in files.items():
                _write(staging / name, data, mode)
            _remove_old(directory)
            for name in files:
                (directory / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(staging / name, directory / name)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as exc:
        raise ConfigError(
            f"cannot write the PKI: {exc.strerror}", where=str(exc.filename or directory), hint="choose another folder"
        ) from exc


def _check_target(directory: Path, force: bool) -> None:
    if not any(directory.iterdir()):
        return
    if not force:
        raise ConfigError("the folder is not empty", where=str(directory), hint="--force replaces the PKI in it")
    if not (_candidates(directory / "ci", _CERTIFICATE) and (directory / "smdp").is_dir()):
        raise ConfigError(
            "the folder holds something else than a PKI",
            where=str(directory),
            expected="a folder with ci/ and smdp/, or an empty one",
            found=", ".join(sorted(path.name for path in directory.iterdir())[:5]),
        )


def _files(pki: Pki) -> dict[str, tuple[bytes, int]]:
    """Return content and mode of each file, by its name below the folder."""
    files: dict[str, tuple[bytes, int]] = {f"{_ROOT}.pem": (_pem(pki.tls_root), 0o644)}
    parts: list[tuple[str, tuple[bytes, ...], PrivateKeyTypes | None]] = [
        ("ci", (pki.ci.certificate,), pki.ci.key),
        ("smdp/auth", (pki.smdp_auth.certificate,), pki.smdp_auth.key),
        ("smdp/pb", (pki.smdp_pb.certificate,), pki.smdp_pb.key),
        ("smdp/tls", (pki.smdp_tls.certificate, *pki.smdp_tls.intermediates), pki.smdp_tls.key),
    ]
    if pki.eim is not None:
        parts.append(("eim/sign", (pki.eim.certificate,), pki.eim.key))
    if pki.eim_tls is not None:
        parts.append(("eim/tls", (pki.eim_tls.certificate, *pki.eim_tls.intermediates), pki.eim_tls.key))
    if pki.eum is not None:
        parts.append(("eum", (pki.eum.certificate,), pki.eum.key))
    parts += [(f"euicc/{eid.hex()}", (pair.certificate,), pair.key) for eid, pair in pki.euiccs.items()]
    for folder, chain, key in parts:
        files[f"{folder}/{_CERTIFICATE}.pem"] = (b"".join(map(_pem, chain)), 0o644)
        if key is not None:
            pem = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            files[f"{folder}/{_KEY}.pem"] = (pem, 0o600)
    return files


def _pem(der: bytes) -> bytes:
    return ssl.DER_cert_to_PEM_cert(der).encode()


def _write(path: Path, data: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)


def _remove_old(directory: Path) -> None:
    kept = directory / "euicc"
    euiccs = [path for path in kept.iterdir() if len(path.name) == 32 and path.name.isdigit()] if kept.is_dir() else []
    folders = [*(directory / part for part in _PARTS), *euiccs]
    for folder in folders:
        for path in [*_candidates(folder, _CERTIFICATE), *_candidates(folder, _KEY)]:
            path.unlink()
    for path in _candidates(directory, _ROOT):
        path.unlink()
    for folder in euiccs:
        if not any(folder.iterdir()):
            folder.rmdir()
