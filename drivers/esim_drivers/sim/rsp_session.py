"""The eUICC's half of common mutual authentication and download preparation (SGP.22 3.0.1, 3.1.3; ES10b 5.7.5, 5.7.7,
5.7.13, 5.7.14).

The session lives in RAM. What outlives a power cycle: ``euicc/session``, the number of the last session, from which
seeded randomness draws new challenges and keys; and ``euicc/otpk/<OID>``, the one-time key pair made for an SM-DP+,
kept until a BPP's secure channel was set up with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from cryptography.hazmat.primitives.asymmetric import ec

from esim_bench.codec.es10 import CANCEL_REASONS, Tag
from esim_bench.codec.tlv import Tlv, encode
from esim_bench.crypto.certificates import Certificate, CertificateError, Role, check_issued, check_server
from esim_bench.crypto.ecdsa import verify_der
from esim_bench.crypto.identity import CiKey, SigningIdentity
from esim_bench.crypto.keys import Curve, PrivateKey, curve_of, generate, point
from esim_bench.crypto.randomness import Randomness
from esim_bench.errors import BenchError, CodecError, CryptoError
from esim_drivers.sim import der
from esim_drivers.sim.crl import RevocationLists
from esim_drivers.sim.euicc import SIGNATURE, Euicc
from esim_drivers.sim.euicc_info import euicc_info2
from esim_drivers.sim.nvm import MemoryFailure

SESSION_KEY = "euicc/session"
_OTPK_ROOT = "euicc/otpk/"
_CHALLENGE_LENGTH = 16
_OTPK = 0x5F49
_CURVES = (Curve.P256, Curve.BRAINPOOL)


class AuthenticateError(IntEnum):
    """AuthenticateErrorCode (SGP.22, ASN.1)."""

    INVALID_CERTIFICATE = 1
    INVALID_SIGNATURE = 2
    UNSUPPORTED_CURVE = 3
    NO_SESSION_CONTEXT = 4
    INVALID_OID = 5
    EUICC_CHALLENGE_MISMATCH = 6
    CI_PK_UNKNOWN = 7
    UNDEFINED = 127


class DownloadError(IntEnum):
    """DownloadErrorCode (SGP.22, ASN.1)."""

    INVALID_CERTIFICATE = 1
    INVALID_SIGNATURE = 2
    UNSUPPORTED_CURVE = 3
    NO_SESSION_CONTEXT = 4
    INVALID_TRANSACTION_ID = 5
    UNDEFINED = 127


CANCEL_INVALID_TRANSACTION_ID = 5


class _Refused(Exception):
    """A step fails with a result code of its function."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Authenticated:
    """What is known of the server after AuthenticateServer."""

    transaction_id: bytes
    address: str
    smdp_oid: str
    role: Role
    """Of an SM-DP+ or an SM-DS, which authenticates by the same function but has no profiles."""
    issuer: CiKey
    """The CI of its certificate."""
    signing: SigningIdentity
    signature1: bytes
    """euiccSignature1, the TLV 5F37."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the load of a Bound Profile Package needs from PrepareDownload."""

    server: Authenticated
    pb_certificate: Certificate
    one_time_key: PrivateKey


@dataclass(frozen=True, slots=True)
class Installed:
    """The profile that a session has just installed, and from which server."""

    aid: bytes
    smdp_oid: str
    address: str


class RspSession:
    """At most one session; a new challenge starts a new one."""

    def __init__(self, euicc: Euicc) -> None:
        self._euicc = euicc
        self._revocations = RevocationLists(euicc)
        self._number = 0
        self._challenge: bytes | None = None
        self.authenticated: Authenticated | None = None
        self.prepared: Prepared | None = None
        self.installed: Installed | None = None
        """What it ended with, until another one begins or the eUICC is reset."""

    def close(self) -> None:
        """Forget the session."""
        self._challenge = self.authenticated = self.prepared = self.installed = None

    def finish(self, aid: bytes) -> None:
        """Forget the session but for the profile that it has installed."""
        prepared = self.prepared
        self.close()
        if prepared is not None:
            self.installed = Installed(aid, prepared.server.smdp_oid, prepared.server.address)

    # ------------------------------------------------------------------------------------------------ ES10b

    def get_challenge(self, request: Tlv) -> bytes:
        """ES10b.GetEUICCChallenge (SGP.22 5.7.7): 16 bytes; an older session ends."""
        self.close()
        nvm = self._euicc.nvm
        self._number = int.from_bytes(nvm.get(SESSION_KEY) or b"", "big") + 1
        nvm.put(SESSION_KEY, self._number.to_bytes(4, "big"))
        self._challenge = self._fork("challenge").bytes(_CHALLENGE_LENGTH)
        return encode(Tag.GET_EUICC_CHALLENGE, encode(0x80, self._challenge))

    def authenticate_server(self, request: Tlv) -> bytes:
        """ES10b.AuthenticateServer (SGP.22 5.7.13). Raises CodecError for a request that is not one.

        A failure ends the session; without a session nothing changes, nor does it where a transaction has members
        that it can't make sense of (undefinedError).
        """
        signed1, signature, ci_key_id, certificate, context = _ordered(request, 0x30, SIGNATURE, 0x04, 0x30, 0xA0)
        transaction = signed1.get(0x80)
        _check_transaction(transaction)
        try:
            return self._authenticate(transaction, signed1, signature, ci_key_id, certificate, context)
        except CodecError:
            return _undefined(Tag.AUTHENTICATE_SERVER, transaction)

    def _authenticate(
        self, transaction: Tlv, signed1: Tlv, signature: Tlv, ci_key_id: Tlv, certificate: Tlv, context: Tlv
    ) -> bytes:
        challenge = der.exactly(signed1.get(0x81), _CHALLENGE_LENGTH)
        address = signed1.get(0x83)
        server_challenge = signed1.get(0x84)
        name = der.read_text(address, 255)
        der.exactly(server_challenge, _CHALLENGE_LENGTH)
        context.get(0xA1)
        try:
            if self._challenge is None or self.authenticated is not None:
                raise _Refused(AuthenticateError.NO_SESSION_CONTEXT)
            try:
                server, issuer = self._check_dp_auth(ci_key_id.value, certificate.raw)
                self._check_signature(server, signature, signed1.raw, AuthenticateError.INVALID_SIGNATURE)
                if challenge != self._challenge:
                    raise _Refused(AuthenticateError.EUICC_CHALLENGE_MISMATCH)
            except _Refused:
                self.close()
                raise
        except _Refused as refusal:
            return encode(Tag.AUTHENTICATE_SERVER, encode(0xA1, transaction.raw, der.integer(0x02, refusal.code)))
        signing = self._euicc.signing(ci_key_id.value)
        signed = encode(0x30, transaction.raw, address.raw, server_challenge.raw, euicc_info2(self._euicc), context.raw)
        signature1 = self._euicc.sign(signing, signed)
        role = server.role or Role.DP_AUTH
        self.authenticated = Authenticated(transaction.value, name, server.oid or "", role, issuer, signing, signature1)
        return encode(
            Tag.AUTHENTICATE_SERVER,
            encode(0xA0, signed, signature1, signing.euicc_certificate, signing.eum_certificate),
        )

    def prepare_download(self, request: Tlv) -> bytes:
        """ES10b.PrepareDownload (SGP.22 5.7.5). Raises CodecError for a request that is not one.

        undefinedError where a transaction has members that it can't make sense of, where a confirmation code is
        missing, and where the memory did not take the one-time key.
        """
        signed2, signature, *rest = _ordered(request, 0x30, SIGNATURE) + request.children()[2:]
        transaction = signed2.get(0x80)
        _check_transaction(transaction)
        try:
            return self._prepare(transaction, signed2, signature, rest)
        except (CodecError, MemoryFailure):
            return _undefined(Tag.PREPARE_DOWNLOAD, transaction)

    def _prepare(self, transaction: Tlv, signed2: Tlv, signature: Tlv, rest: list[Tlv]) -> bytes:
        hash_cc = rest.pop(0) if rest and rest[0].tag == 0x04 else None
        if not rest or rest[0].tag != 0x30:
            raise CodecError("PrepareDownload", expected="30, 5F37, 04 (optional), 30")
        if hash_cc is not None:
            der.exactly(hash_cc, 32)
        code_required = der.read_boolean(signed2.get(0x01))
        bound_key = signed2.find(_OTPK)
        try:
            server = self.authenticated
            if server is None:
                raise _Refused(DownloadError.NO_SESSION_CONTEXT)
            certificate = self._check_dp_pb(server, rest[0].raw)
            self._check_signature(
                certificate, signature, signed2.raw + server.signature1, DownloadError.INVALID_SIGNATURE
            )
            if transaction.value != server.transaction_id:
                raise _Refused(DownloadError.INVALID_TRANSACTION_ID)
            if code_required and hash_cc is None:
                raise _Refused(DownloadError.UNDEFINED)
        except _Refused as refusal:
            return encode(Tag.PREPARE_DOWNLOAD, encode(0xA1, transaction.raw, der.integer(0x02, refusal.code)))
        key = self._one_time_key(server, certificate, bound_key.value if bound_key is not None else None)
        self.prepared = Prepared(server, certificate, key)
        signed = encode(
            0x30,
            transaction.raw,
            encode(_OTPK, point(key)),
            hash_cc.raw if code_required and hash_cc is not None else b"",
        )
        return encode(
            Tag.PREPARE_DOWNLOAD, encode(0xA0, signed, self._euicc.sign(server.signing, signed + signature.raw))
        )

    def cancel(self, request: Tlv) -> bytes:
        """ES10b.CancelSession (SGP.22 5.7.14): ends the session, with a signature for the SM-DP+.

        Raises CodecError for a request that is not one, or has a reason that is none.
        """
        transaction = request.get(0x80)
        _check_transaction(transaction)
        reason = der.read_integer(request.get(0x81))
        if reason not in CANCEL_REASONS:
            raise CodecError("reason to cancel", expected=f"one of {', '.join(map(str, CANCEL_REASONS))}", found=reason)
        server = self.authenticated
        if server is None or transaction.value != server.transaction_id:
            return encode(Tag.CANCEL_SESSION, der.integer(0x81, CANCEL_INVALID_TRANSACTION_ID))
        signed = encode(0x30, transaction.raw, der.oid(0x81, server.smdp_oid), der.integer(0x82, reason))
        signature = self._euicc.sign(server.signing, signed)
        self.close()
        return encode(Tag.CANCEL_SESSION, encode(0xA0, signed, signature))

    # ------------------------------------------------------------------------------------------------ checks

    def _check_dp_auth(self, ci_key_id: bytes, der_bytes: bytes) -> tuple[Certificate, CiKey]:
        if not self._euicc.can_sign_for(ci_key_id):
            raise _Refused(AuthenticateError.CI_PK_UNKNOWN)
        certificate = _load(der_bytes, AuthenticateError.INVALID_CERTIFICATE)
        issuer = self._euicc.trusted(certificate.authority_key_id)
        # An SM-DS authenticates by the same function, with a role of its own.
        role = Role.DS_AUTH if certificate.role is Role.DS_AUTH else Role.DP_AUTH
        if issuer is None:
            raise _Refused(AuthenticateError.INVALID_CERTIFICATE)
        _check_curve(certificate, issuer, AuthenticateError.INVALID_CERTIFICATE, AuthenticateError.UNSUPPORTED_CURVE)
        if not self._holds(certificate, issuer, role):
            nameless = certificate.oid is None and _issued(certificate, issuer, role)
            raise _Refused(AuthenticateError.INVALID_OID if nameless else AuthenticateError.INVALID_CERTIFICATE)
        return certificate, issuer

    def _check_dp_pb(self, server: Authenticated, der_bytes: bytes) -> Certificate:
        certificate = _load(der_bytes, DownloadError.INVALID_CERTIFICATE)
        _check_curve(certificate, server.issuer, DownloadError.INVALID_CERTIFICATE, DownloadError.UNSUPPORTED_CURVE)
        same_server = server.role is Role.DP_AUTH and certificate.oid == server.smdp_oid
        if not (same_server and self._holds(certificate, server.issuer, Role.DP_PB)):
            raise _Refused(DownloadError.INVALID_CERTIFICATE)
        return certificate

    def _holds(self, certificate: Certificate, issuer: CiKey, role: Role) -> bool:
        self._euicc.seconds += self._euicc.personality.verify_seconds
        try:
            check_server(certificate, issuer, role, self._euicc.identity.now_ns)
        except CertificateError:
            return False
        # Last, since only now its serial number is what the CI gave it.
        return not self._revocations.revoked(certificate)

    def _check_signature(self, certificate: Certificate, signature: Tlv, data: bytes, code: int) -> None:
        try:
            self._euicc.verify(certificate.public_key, signature.value, data)
        except CryptoError as exc:
            raise _Refused(code) from exc

    # ------------------------------------------------------------------------------------------------ keys

    def _fork(self, purpose: str) -> Randomness:
        return self._euicc.randomness.fork("isdr", purpose, str(self._number))

    def _one_time_key(self, server: Authenticated, certificate: Certificate, bound: bytes | None) -> PrivateKey:
        """Return the stored one-time key pair when a BPP is already bound to it (SGP.22 5.7.5), else a new one."""
        curve = curve_of(certificate.public_key)
        slot = one_time_key_slot(server.smdp_oid)
        stored = self._euicc.nvm.get(slot)
        if bound is not None and stored is not None:
            key = _stored_key(stored)
            if point(key) == bound and curve_of(key) is curve:
                return key
        self._euicc.seconds += self._euicc.personality.key_seconds
        key = generate(curve, self._fork("one-time-key"))
        scalar = key.private_numbers().private_value.to_bytes(32, "big")
        self._euicc.nvm.put(slot, bytes((_CURVES.index(curve),)) + scalar)
        return key


def one_time_key_slot(smdp_oid: str) -> str:
    """Return the NVM key under which the one-time key pair for an SM-DP+ is kept."""
    return _OTPK_ROOT + smdp_oid


def _stored_key(stored: bytes) -> PrivateKey:
    return ec.derive_private_key(int.from_bytes(stored[1:], "big"), _CURVES[stored[0]].implementation)


def _load(data: bytes, invalid: int) -> Certificate:
    try:
        return Certificate.load(data)
    except BenchError as exc:
        raise _Refused(invalid) from exc


def _check_curve(certificate: Certificate, issuer: CiKey, invalid: int, unsupported: int) -> None:
    """A curve that RSP does not use has a code of its own, where it is the CI that says so and not a changed byte."""
    try:
        curve_of(certificate.public_key)
    except CryptoError as exc:
        try:
            verify_der(issuer.public_key, certificate.signature, certificate.tbs)
        except CryptoError:
            raise _Refused(invalid) from exc
        raise _Refused(unsupported) from exc


def _issued(certificate: Certificate, issuer: CiKey, role: Role) -> bool:
    try:
        check_issued(certificate, issuer, role)
    except CertificateError:
        return False
    return True


def _ordered(request: Tlv, *tags: int) -> list[Tlv]:
    """Return the first members of a request, which must have these tags. Raises CodecError."""
    members = request.children()[: len(tags)]
    found = tuple(member.tag for member in members)
    if found != tags:
        shown = [" ".join(f"{tag:X}" for tag in some) for some in (tags, found)]
        raise CodecError(f"members of {request.tag:X}", expected=shown[0], found=shown[1])
    return members


def _undefined(function: Tag, transaction: Tlv) -> bytes:
    return encode(function, encode(0xA1, transaction.raw, der.integer(0x02, AuthenticateError.UNDEFINED)))


def _check_transaction(transaction: Tlv) -> None:
    if not 1 <= len(transaction.value) <= 16:
        raise CodecError("transactionId", expected="1 to 16 bytes", found=len(transaction.value))
