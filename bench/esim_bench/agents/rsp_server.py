"""Whom a download talks to: an SM-DP+ over ES9+, or an eIM that passes all on to one (SGP.22 3.1.3, SGP.32 3.2.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from esim_bench.codec.activation_code import ActivationCode
from esim_bench.codec.schema import RSP
from esim_bench.errors import CodecError, ProtocolError
from esim_bench.es9_client import Es9Client

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Authentication:
    """The answer to initiateAuthentication; objects are TLVs as they came."""

    transaction_id: bytes
    server_signed1: bytes
    server_signature1: bytes
    ci_pk_id: bytes
    certificate: bytes
    matching_id: str | None = None
    """An eIM may know it where the device does not."""
    ctx_params1: bytes | None = None
    """A0, made by the eIM; None: the device makes them."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """The answer to authenticateClient; objects are TLVs as they came."""

    smdp_signed2: bytes
    smdp_signature2: bytes
    smdp_certificate: bytes
    metadata: bytes | None
    """BF25; None where an eIM looks at it in the device's place."""
    hash_cc: bytes | None = None
    """32 bytes; from an eIM that knows the confirmation code."""


class RspServer(Protocol):
    """The server's side of one download. All methods raise what ``Es9Client.call`` does."""

    @property
    def address(self) -> str | None:
        """Return what the SM-DP+ has to call itself; None where the eIM checks that."""

    @property
    def smdp_oid(self) -> str | None:
        """Return the OID that the SM-DP+'s certificate has to carry; None: any."""

    async def initiate(self, challenge: bytes, info1: bytes) -> Authentication:
        """Begin a session: the eUICC's challenge (16 bytes) and EUICCInfo1 (BF20)."""

    async def authenticate(self, transaction_id: bytes, response: bytes) -> Announcement:
        """Give the eUICC's answer to the server's authentication (BF38)."""

    async def package(self, transaction_id: bytes, response: bytes) -> bytes:
        """Give the eUICC's consent (BF21), get the bound profile package (BF36)."""

    async def cancel(self, transaction_id: bytes, response: bytes) -> None:
        """End the session with what the eUICC signed (BF41)."""


class Es9Server:
    """An SM-DP+ itself."""

    def __init__(self, client: Es9Client, code: ActivationCode) -> None:
        self._client = client
        self._code = code

    @property
    def address(self) -> str:
        """Return the SM-DP+'s address."""
        return self._code.address

    @property
    def smdp_oid(self) -> str | None:
        """Return the OID that the activation code names."""
        return self._code.smdp_oid

    async def initiate(self, challenge: bytes, info1: bytes) -> Authentication:
        """ES9+.InitiateAuthentication."""
        answer = await self._client.call(
            self.address,
            "initiateAuthentication",
            {"euiccChallenge": challenge, "euiccInfo1": info1, "smdpAddress": self.address},
        )
        return Authentication(
            octets(answer, "transactionId"),
            octets(answer, "serverSigned1"),
            octets(answer, "serverSignature1"),
            octets(answer, "euiccCiPKIdToBeUsed"),
            octets(answer, "serverCertificate"),
        )

    async def authenticate(self, transaction_id: bytes, response: bytes) -> Announcement:
        """ES9+.AuthenticateClient."""
        answer = await self._client.call(
            self.address,
            "authenticateClient",
            {"transactionId": transaction_id, "authenticateServerResponse": response},
        )
        check_transaction("authenticateClient", transaction_id, answer)
        return Announcement(
            octets(answer, "smdpSigned2"),
            octets(answer, "smdpSignature2"),
            octets(answer, "smdpCertificate"),
            octets(answer, "profileMetadata"),
        )

    async def package(self, transaction_id: bytes, response: bytes) -> bytes:
        """ES9+.GetBoundProfilePackage."""
        answer = await self._client.call(
            self.address,
            "getBoundProfilePackage",
            {"transactionId": transaction_id, "prepareDownloadResponse": response},
        )
        check_transaction("getBoundProfilePackage", transaction_id, answer)
        return octets(answer, "boundProfilePackage")

    async def cancel(self, transaction_id: bytes, response: bytes) -> None:
        """ES9+.CancelSession."""
        fields: Mapping[str, bytes | str] = {"transactionId": transaction_id, "cancelSessionResponse": response}
        await self._client.call(self.address, "cancelSession", fields)


def octets(answer: Mapping[str, bytes | str | int], name: str) -> bytes:
    """Return a field of an answer that has to be octets. Raises ProtocolError."""
    value = answer.get(name)
    if not isinstance(value, bytes):
        raise ProtocolError(f"field {name}", expected="bytes", found=type(value).__name__)
    return value


def check_transaction(function: str, expected: bytes, answer: Mapping[str, bytes | str | int]) -> None:
    """Check that an answer is of this session. Raises ProtocolError."""
    found = octets(answer, "transactionId")
    if found != expected:
        raise ProtocolError(f"transaction id in {function}", expected=expected.hex().upper(), found=found.hex().upper())


def server_session(server_signed1: bytes) -> bytes:
    """Return the transaction id in a serverSigned1. Raises ProtocolError."""
    signed = checked(lambda raw: RSP.decode("ServerSigned1", raw), server_signed1, "serverSigned1")
    transaction: bytes = signed["transactionId"]
    return transaction


def checked(parse: Callable[[bytes], T], raw: bytes, what: str) -> T:
    """Parse something that a device or server sent: what is malformed is its fault, not the operator's."""
    try:
        return parse(raw)
    except CodecError as exc:
        raise ProtocolError(f"malformed {what}: {exc}") from exc


def checked_fields(build: Callable[[], bytes], function: str) -> bytes:
    """Build a request from fields that a server sent: what is malformed is its fault."""
    try:
        return build()
    except CodecError as exc:
        raise ProtocolError(f"malformed answer to {function}: {exc}") from exc
