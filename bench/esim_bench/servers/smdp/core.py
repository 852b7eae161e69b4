"""The functions of ES9+ as a session state machine (SGP.22 5.6). No HTTP, no JSON: fields in, fields out, sans-IO.

Fields are named as in SGP.22 5.6; values are whole TLVs as bytes, except ``euiccChallenge`` (16 raw bytes),
``transactionId`` (1 to 16 raw bytes) and ``smdpAddress`` (text). Bindings (JSON now) turn messages into these and back.
A function that fails leaves the session where it was; counters of tries are the only thing that a failure changes.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from esim_bench.codec import tlv
from esim_bench.crypto import ecdsa
from esim_bench.crypto.bsp import SessionKeys
from esim_bench.crypto.certificates import Role
from esim_bench.crypto.keys import Curve, PrivateKey, from_point, generate
from esim_bench.crypto.randomness import Randomness
from esim_bench.errors import CodecError, ConfigError
from esim_bench.servers.smdp import status
from esim_bench.servers.smdp.binding import Binding, Protected, bind, protect_beforehand
from esim_bench.servers.smdp.credentials import CiCredentials, SmdpCredentials
from esim_bench.servers.smdp.eligibility import check_eligible
from esim_bench.servers.smdp.limits import Limits, Throttle
from esim_bench.servers.smdp.messages import (
    CHALLENGE_LENGTH,
    OTPK,
    SIGNATURE,
    Authentication,
    EuiccInfo1,
    Preparation,
    Refused,
    parse_authentication,
    parse_cancellation,
    parse_preparation,
)
from esim_bench.servers.smdp.notifications import Notifications
from esim_bench.servers.smdp.orders import Orders, is_closed
from esim_bench.servers.smdp.session import LIFETIME_NS, Fields, Session, Sessions, Step
from esim_bench.servers.smdp.status import StatusCode, StatusError
from esim_bench.servers.smdp.store import Download, Order, OrderState, SmdpStore, StoredPackage, Transaction
from esim_bench.servers.smdp.verify import Euicc, load_certificate, verify_chain, verify_signature

log = logging.getLogger(__name__)

SVN_MAJOR: Final = 2
"""Versions of SGP.22 that are served; an eUICC of version 3 states the lowest version it supports here, 2.x too."""


class SmdpCore:
    """The SM-DP+ without a binding. One caller at a time."""

    def __init__(
        self,
        credentials: SmdpCredentials,
        store: SmdpStore,
        randomness: Randomness,
        addresses: Sequence[str],
        now_ns: Callable[[], int],
        *,
        session_lifetime_ns: int = LIFETIME_NS,
        limits: Limits = Limits(),  # noqa: B008 (frozen)
        check_dates: bool = True,
    ) -> None:
        if not addresses:
            raise ConfigError("an SM-DP+ without address", expected="at least one host name")
        self._credentials = credentials
        self._store = store
        self._randomness = randomness
        self._addresses = tuple(host_of(address) for address in addresses)
        # The host id goes into the session keys; it only has to be the same in BF23 and in the derivation.
        self._host_id = self._addresses[0].encode()[:16]
        self._now_ns = now_ns
        self._check_dates = check_dates
        self.sessions = Sessions(session_lifetime_ns, limits.sessions)
        self._guesses = Throttle(limits.matching_ids, limits.window_ns)
        self._wrong_codes = Throttle(limits.confirmation_codes, limits.window_ns)
        self.orders = Orders(store)
        self._notifications = Notifications(credentials, store, self.orders, check_dates=check_dates)
        self._functions: dict[str, Callable[[Mapping[str, bytes | str]], Fields]] = {
            "initiateAuthentication": self._initiate_authentication,
            "authenticateClient": self._authenticate_client,
            "getBoundProfilePackage": self._get_bound_profile_package,
            "cancelSession": self._cancel_session,
            "handleNotification": self._handle_notification,
        }

    def handle(self, function: str, fields: Mapping[str, bytes | str]) -> Fields:
        """Execute one function. Raises StatusError (status code), CodecError (malformed fields)."""
        if function not in self._functions:
            raise CodecError("unknown function", expected=", ".join(self._functions), found=repr(function[:40]))
        return self._functions[function](fields)

    # ----------------------------------------------------------------------- ES9+.InitiateAuthentication, SGP.22 5.6.1

    def _initiate_authentication(self, fields: Mapping[str, bytes | str]) -> Fields:
        challenge, address = octets(fields, "euiccChallenge"), fields.get("smdpAddress")
        if len(challenge) != CHALLENGE_LENGTH:
            raise CodecError("wrong length of euiccChallenge", expected=CHALLENGE_LENGTH, found=len(challenge))
        if not isinstance(address, str):
            raise CodecError("smdpAddress is missing", expected="text")
        info = EuiccInfo1.parse(octets(fields, "euiccInfo1"))
        if host_of(address) not in self._addresses:
            raise StatusError(status.WRONG_ADDRESS)
        if info.svn[0] != SVN_MAJOR:
            raise StatusError(status.UNSUPPORTED_SVN, f"expected {SVN_MAJOR}.x, found {'.'.join(map(str, info.svn))}")
        signing, own = self._first(info.signing), self._first(info.verification)
        if signing is None:
            raise StatusError(status.NO_COMMON_CI)
        if own is None:
            raise StatusError(status.NO_CERTIFICATE_FOR_CI)
        # The same CI both ways where that is possible: then one branch, and one curve, does for the whole session.
        both = self._first([key_id for key_id in info.verification if key_id in info.signing])
        if both is not None:
            signing = own = both
        now = self._now_ns()
        transaction_id, server_challenge = self._draw(challenge)
        signed = tlv.encode(
            0x30,
            tlv.encode(0x80, transaction_id),
            tlv.encode(0x81, challenge),
            # As the client wrote it, so that its comparison with the address it contacted holds in any spelling.
            tlv.encode(0x83, address.encode()),
            tlv.encode(0x84, server_challenge),
        )
        lives_until = now + self.sessions.lifetime_ns
        session = Session(transaction_id, own, signing, address, challenge, server_challenge, lives_until)
        self.sessions.add(session, now)
        return {
            "transactionId": transaction_id,
            "serverSigned1": signed,
            "serverSignature1": self._sign(own.auth.private_key, signed),
            "euiccCiPKIdToBeUsed": tlv.encode(0x04, signing.ci_key_id),
            "serverCertificate": own.auth.certificate.der,
        }

    def _draw(self, challenge: bytes) -> tuple[bytes, bytes]:
        """Draw transaction id and server challenge.

        Seeded, they depend on the eUICC's challenge alone, and on how often it was used: a client may open a second
        session with it, and no id ever comes back.
        """
        used = self._store.count_challenge(challenge) if self._randomness.deterministic else 0
        again = (f"use {used}",) if used else ()
        ids = self._randomness.fork("smdp", challenge, "transaction id", *again)
        challenges = self._randomness.fork("smdp", challenge, "server challenge", *again)
        return ids.bytes(16), challenges.bytes(CHALLENGE_LENGTH)

    def _first(self, key_ids: Sequence[bytes]) -> CiCredentials | None:
        found = (self._credentials.find(key_id) for key_id in key_ids)
        return next((branch for branch in found if branch is not None), None)

    # --------------------------------------------------------------------------- ES9+.AuthenticateClient, SGP.22 5.6.3

    def _authenticate_client(self, fields: Mapping[str, bytes | str]) -> Fields:
        request = octets(fields, "authenticateServerResponse")
        # The session first: who asks about an unknown one is told so, whatever else is in the request.
        session, now = self._session(fields)
        message = parse_authentication(request)
        repeated = session.answered("authenticateClient", request)
        if repeated is not None:
            return repeated
        if session.step is not Step.INITIATED:
            raise StatusError(status.UNKNOWN_TRANSACTION, "the session is past its authentication")
        if isinstance(message, Refused):
            self.sessions.end(session)
            raise StatusError(status.EUICC_NOT_VERIFIED, f"the eUICC refused the server: {message.reason}")
        euicc = self._verified(session, message, now)
        session.euicc = euicc
        if self._guesses.exceeded(euicc.eid, now):
            raise StatusError(status.MATCHING_ID_REFUSED, "too many MatchingIDs tried by this eUICC; wait")
        try:
            with self._store.transaction():
                order = self.orders.find(message.matching_id, euicc.eid)
                download = self.orders.check(order, euicc.eid, now)
                package = self._store.package(order.package)
                check_eligible(package.upp, package.metadata, message.info2, message.device_info)
                download, refused = self.orders.count_attempt(order, download)
        except StatusError:
            if message.matching_id and self.orders.is_foreign(message.matching_id, euicc.eid):
                self._guesses.count(euicc.eid, now)
            raise
        # Raised outside the transaction: the state that says "too many" must stay.
        if refused is not None:
            raise StatusError(refused)
        answer = self._offer(session, message, order, download, package.metadata)
        session.order_id = order.id
        session.step = Step.AUTHENTICATED
        session.remember("authenticateClient", request, answer)
        self.sessions.touch(session, now)
        return answer

    def _verified(self, session: Session, message: Authentication, now: int) -> Euicc:
        if message.signed.transaction_id != session.transaction_id:
            raise StatusError(status.UNKNOWN_TRANSACTION, "the eUICC signed another TransactionID")
        eum = load_certificate(message.eum_certificate, Role.EUM)
        euicc_certificate = load_certificate(message.euicc_certificate, Role.EUICC)
        if self._credentials.find(eum.authority_key_id) is None:
            raise StatusError(status.UNKNOWN_CI)
        if eum.authority_key_id != session.signing_ci.ci_key_id:
            raise StatusError(status.EUM_INVALID, "issued by another CI than the one to be used")
        euicc = verify_chain(euicc_certificate, eum, session.signing_ci.ci, now if self._check_dates else None)
        verify_signature(euicc.certificate.public_key, message.signed.signature, message.signed.content.raw)
        if not hmac.compare_digest(message.server_challenge, session.server_challenge):
            raise StatusError(status.EUICC_NOT_VERIFIED, "another server challenge")
        if message.server_address != session.server_address:
            raise StatusError(status.EUICC_NOT_VERIFIED, "another server address")
        return euicc

    def _offer(
        self, session: Session, message: Authentication, order: Order, download: Download, metadata: bytes
    ) -> Fields:
        own = session.credentials
        bound_before = download.euicc_otpk if download.state is OrderState.DOWNLOADED else None
        # The eUICC takes the same one-time key again, if it still has it; on another curve it cannot.
        otpk = tlv.encode(OTPK, bound_before) if bound_before and is_point(own.curve, bound_before) else b""
        required = b"\xff" if order.cc_hash is not None else b"\x00"
        signed = tlv.encode(0x30, tlv.encode(0x80, session.transaction_id), tlv.encode(0x01, required), otpk)
        signature = self._sign(own.pb.private_key, signed + message.signed.signature.raw)
        session.smdp_signature2 = signature
        return {
            "transactionId": session.transaction_id,
            "profileMetadata": metadata,
            "smdpSigned2": signed,
            "smdpSignature2": signature,
            "smdpCertificate": own.pb.certificate.der,
        }

    # ------------------------------------------------------------------------ ES9+.GetBoundProfilePackage, SGP.22 5.6.2

    def _get_bound_profile_package(self, fields: Mapping[str, bytes | str]) -> Fields:
        request = octets(fields, "prepareDownloadResponse")
        session, now = self._session(fields)
        message = parse_preparation(request)
        repeated = session.answered("getBoundProfilePackage", request)
        if repeated is not None:
            return repeated
        if session.step is Step.BOUND:
            raise StatusError(status.NO_REBINDING, "already bound in this session")
        if session.step is not Step.AUTHENTICATED or session.euicc is None or session.order_id is None:
            raise StatusError(status.UNKNOWN_TRANSACTION, "the eUICC is not authenticated in this session")
        if isinstance(message, Refused):
            self.sessions.end(session)
            raise StatusError(status.EUICC_NOT_VERIFIED, f"the eUICC refused the download: {message.reason}")
        if message.signed.transaction_id != session.transaction_id:
            raise StatusError(status.UNKNOWN_TRANSACTION, "the eUICC signed another TransactionID")
        signed = message.signed.content.raw + session.smdp_signature2
        verify_signature(session.euicc.certificate.public_key, message.signed.signature, signed)
        with self._store.transaction():
            # Once more: since the authentication another eUICC may have taken the order, or its time may have run out.
            order = self._store.order(session.order_id)
            download = self.orders.check(order, session.euicc.eid, now)
            refused = self._confirmation(session, order, download, message, now)
            if refused is None:
                answer = self._bind(session, session.euicc, order, download, message, now)
        # Raised outside the transaction: the count of wrong codes must stay.
        if refused is not None:
            raise StatusError(refused)
        session.step = Step.BOUND
        session.remember("getBoundProfilePackage", request, answer)
        self.sessions.bound(session)
        self.sessions.touch(session, now)
        return answer

    def _confirmation(
        self, session: Session, order: Order, download: Download, message: Preparation, now: int
    ) -> StatusCode | None:
        """Check the confirmation code (SGP.22 4.7): SHA-256 over the stored hash and the TransactionID."""
        if order.cc_hash is None:
            return None
        if message.hash_cc is None:
            raise StatusError(status.CC_MISSING)
        if self._wrong_codes.exceeded(download.eid, now):
            raise StatusError(status.CC_RETRIES, "too many wrong codes by this eUICC; wait")
        expected = hashlib.sha256(order.cc_hash + session.transaction_id).digest()
        if hmac.compare_digest(message.hash_cc, expected):
            return None
        self._wrong_codes.count(download.eid, now)
        return self.orders.count_cc_failure(order, download)

    def _bind(
        self, session: Session, euicc: Euicc, order: Order, download: Download, message: Preparation, now: int
    ) -> Fields:
        own = session.credentials
        try:
            euicc_otpk = from_point(own.curve, message.euicc_otpk)
        except CodecError as exc:
            raise StatusError(status.EUICC_NOT_VERIFIED, "euiccOtpk is not a point of the right curve") from exc
        bound_before = download.euicc_otpk if download.state is OrderState.DOWNLOADED else None
        if not order.rebinding and bound_before is not None and bound_before != message.euicc_otpk:
            raise StatusError(status.NO_REBINDING)
        source = self._randomness.fork("smdp", session.euicc_challenge, "binding", session.transaction_id)
        # A fresh key each time, also for the eUICC's old one: session keys are never used twice.
        otsk = generate(own.curve, source)
        package = self._store.package(order.package)
        binding = Binding(
            elements=self._protected(package) if order.random_keys else package.upp,
            metadata=package.metadata,
            transaction_id=session.transaction_id,
            host_id=self._host_id,
            eid=euicc.eid,
            euicc_otpk=euicc_otpk,
            smdp_otsk=otsk,
        )
        deterministic = self._randomness.deterministic
        bpp = bind(binding, lambda data: ecdsa.sign(own.pb.private_key, data, deterministic=deterministic))
        self.orders.bound(order, download, message.euicc_otpk, session.transaction_id)
        certificate = euicc.certificate.der
        self._store.add_transaction(
            Transaction(session.transaction_id, order.id, euicc.eid, certificate, own.oid_tlv, now)
        )
        return {"transactionId": session.transaction_id, "boundProfilePackage": bpp}

    def _protected(self, package: StoredPackage) -> Protected:
        """Return a package under its random keys, which it gets once (SGP.22 2.5.3)."""
        known = self._store.protected(package.digest)
        if known is not None:
            return Protected.load(known)
        source = self._randomness.fork("smdp", "profile protection keys", package.digest)
        protected = protect_beforehand(package.upp, SessionKeys(*(source.bytes(16) for _ in range(3))))
        self._store.add_protected(package.digest, protected.dump())
        return protected

    # ------------------------------------------------------------------------------- ES9+.CancelSession, SGP.22 5.6.5

    def _cancel_session(self, fields: Mapping[str, bytes | str]) -> Fields:
        session, _ = self._session(fields)
        message = parse_cancellation(octets(fields, "cancelSessionResponse"))
        if isinstance(message, Refused):
            raise StatusError(status.EUICC_NOT_VERIFIED, f"the eUICC did not cancel: {message.reason}")
        if message.signed.transaction_id != session.transaction_id:
            raise StatusError(status.UNKNOWN_TRANSACTION, "the eUICC signed another TransactionID")
        if session.euicc is None:
            raise StatusError(status.EUICC_NOT_VERIFIED, "the eUICC is not authenticated in this session")
        verify_signature(session.euicc.certificate.public_key, message.signed.signature, message.signed.content.raw)
        if message.smdp_oid != tlv.parse(session.credentials.oid_tlv).value:
            raise StatusError(status.WRONG_OID)
        if session.order_id is not None:
            with self._store.transaction():
                order = self._store.order(session.order_id)
                if not is_closed(order.state) and order.eid in (None, session.euicc.eid):
                    download = self._store.download(order.id, session.euicc.eid)
                    self.orders.cancelled(order, download, message.reason)
        self.sessions.end(session)
        log.info("session cancelled: %s", message.reason_name)
        return {}

    # --------------------------------------------------------------------------- ES9+.HandleNotification, SGP.22 5.6.4

    def _handle_notification(self, fields: Mapping[str, bytes | str]) -> Fields:
        record, ended = self._notifications.take(octets(fields, "pendingNotification"), self._now_ns())
        if ended is not None:
            self.sessions.forget(ended.transaction_id)
        if record.verified:
            log.info("notification %d (%s) verified %s", record.seq, record.operation, record.detail)
        else:
            log.warning("notification %d (%s) not verified: %s", record.seq, record.operation, record.detail)
        return {}

    # ---------------------------------------------------------------------------------------------------------- helpers

    def _session(self, fields: Mapping[str, bytes | str]) -> tuple[Session, int]:
        now = self._now_ns()
        return self.sessions.get(octets(fields, "transactionId"), now), now

    def _sign(self, key: PrivateKey, data: bytes) -> bytes:
        """Return a signature TLV, 5F37."""
        return tlv.encode(SIGNATURE, ecdsa.sign(key, data, deterministic=self._randomness.deterministic))


def octets(fields: Mapping[str, bytes | str], name: str) -> bytes:
    """Return a binary field. Raises CodecError when it is missing or is text."""
    value = fields.get(name)
    if not isinstance(value, bytes):
        raise CodecError(f"{name} is missing", expected="bytes", found=type(value).__name__)
    return value


def host_of(address: str) -> str:
    """Return an address in the form in which two are compared: lower case, without port, IPv6 without brackets."""
    text = address.lower()
    parts = re.fullmatch(r"(?:\[([0-9a-f:.]+)\]|([^:\[\]]*))(?::\d{1,5})?", text)
    return parts[1] or parts[2] if parts else text


def is_point(curve: Curve, data: bytes) -> bool:
    """Tell whether 65 bytes are a point of a curve."""
    try:
        from_point(curve, data)
    except CodecError:
        return False
    return True
