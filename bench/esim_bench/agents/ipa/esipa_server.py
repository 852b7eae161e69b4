"""Indirect download: the eIM in the place of an SM-DP+ (SGP.32 3.2.3.2), as ``agents.download`` wants one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from esim_bench.agents.ipa import compacting
from esim_bench.agents.ipa.esipa_client import EsipaClient, HttpStatusError
from esim_bench.agents.ipa.settings import EIM_CTX_PARAMS1, EIM_METADATA, MINIMIZE
from esim_bench.agents.rsp_server import (
    Announcement,
    Authentication,
    RspServer,
    check_transaction,
    octets,
    server_session,
)
from esim_bench.codec.esipa import EsipaError, Value
from esim_bench.codec.sgp32 import Version
from esim_bench.errors import CodecError, ProtocolError

_SIGNATURE_INVALID: Final = {"authenticateClient": 5, "getBoundProfilePackage": 1, "cancelSession": 2}
_UNDEFINED: Final = 127
_BAD_REQUEST: Final = 400


class EsipaServer:
    """An SM-DP+ behind an eIM.

    ``address``: what the IPA sends as smdpAddress; None: the eIM knows where (eimDownloadDataHandling). ``smdp_oid``:
    of the activation code. ``transaction``: eimTransactionId of the trigger.
    """

    def __init__(
        self,
        client: EsipaClient,
        *,
        address: str | None = None,
        smdp_oid: str | None = None,
        transaction: bytes | None = None,
    ) -> None:
        self._client = client
        self._settings = client.settings
        self._address = address
        self._smdp_oid = smdp_oid
        self._transaction = transaction
        self._context_by_eim = False

    @property
    def address(self) -> str | None:
        """Return the smdpAddress that was sent, which the SM-DP+ has to sign."""
        return self._address

    @property
    def smdp_oid(self) -> str | None:
        """Return the OID that the activation code names."""
        return self._smdp_oid

    async def initiate(self, challenge: bytes, info1: bytes) -> Authentication:
        """ESipa.InitiateAuthentication (5.14.1)."""
        fields: dict[str, Value] = {"euiccChallenge": challenge, "euiccInfo1": info1}
        if self._address is not None:
            fields["smdpAddress"] = self._address
        if self._transaction is not None and self._settings.version >= Version.V1_2:
            fields["eimTransactionId"] = self._transaction
        answer = await self._client.call("initiateAuthentication", fields)
        context = answer.get("ctxParams1")
        if context is not None and not self._settings.has(EIM_CTX_PARAMS1):
            raise ProtocolError("ctxParams1 of the eIM", expected="none: this IPA has not eimCtxParams1Generation")
        self._context_by_eim = context is not None
        signed1 = octets(answer, "serverSigned1")
        # Whether it is the one that the server signed is checked by the download itself.
        transaction = octets(answer, "transactionId") if "transactionId" in answer else server_session(signed1)
        matching_id = answer.get("matchingId")
        return Authentication(
            transaction,
            signed1,
            octets(answer, "serverSignature1"),
            octets(answer, "euiccCiPKIdToBeUsed"),
            octets(answer, "serverCertificate"),
            matching_id if isinstance(matching_id, str) else None,
            context if isinstance(context, bytes) else None,
        )

    async def authenticate(self, transaction_id: bytes, response: bytes) -> Announcement:
        """ESipa.AuthenticateClient (5.14.2)."""
        function = "authenticateClient"
        answer = await self._call(
            function,
            transaction_id,
            "authenticateServerResponse",
            response,
            lambda raw: compacting.authenticate(raw, context_by_eim=self._context_by_eim),
        )
        if "smdpSigned2" not in answer:
            raise ProtocolError("authenticateClient", expected="an SM-DP+'s answer", found="an SM-DS's")
        metadata = answer.get("profileMetadata")
        if metadata is None and not self._settings.has(EIM_METADATA):
            raise ProtocolError("no profileMetadata", expected="BF25: this IPA has not eimProfileMetadataVerification")
        hash_cc = answer.get("hashCc")
        return Announcement(
            octets(answer, "smdpSigned2"),
            octets(answer, "smdpSignature2"),
            octets(answer, "smdpCertificate"),
            metadata if isinstance(metadata, bytes) else None,
            hash_cc if isinstance(hash_cc, bytes) else None,
        )

    async def package(self, transaction_id: bytes, response: bytes) -> bytes:
        """ESipa.GetBoundProfilePackage (5.14.3)."""
        function, field = "getBoundProfilePackage", "prepareDownloadResponse"
        answer = await self._call(function, transaction_id, field, response, compacting.prepare_download)
        return octets(answer, "boundProfilePackage")

    async def cancel(self, transaction_id: bytes, response: bytes) -> None:
        """ESipa.CancelSession (5.14.4)."""
        function, field = "cancelSession", "cancelSessionResponse"
        await self._call(function, transaction_id, field, response, compacting.cancel_session)

    async def _call(
        self, function: str, transaction_id: bytes, field: str, whole: bytes, shorten: Callable[[bytes], bytes]
    ) -> Mapping[str, Value]:
        """Call a function, with the compact form of the eUICC's answer where the eIM takes it."""
        answer: Mapping[str, Value] | None = None
        if self._settings.has(MINIMIZE) and function not in self._client.refused_compact:
            try:
                fields: dict[str, Value] = {"transactionId": transaction_id, field: shorten(whole)}
                answer = await self._client.call(function, fields)
                self._client.knows_certificates = True
            except CodecError:
                # An answer that has no compact form, such as the eUICC's error.
                pass
            except EsipaError as exc:
                if exc.number not in (_UNDEFINED, _SIGNATURE_INVALID[function]):
                    raise
                self._client.refused_compact.add(function)
            except HttpStatusError as exc:
                if exc.status != _BAD_REQUEST:
                    raise
                self._client.refused_compact.add(function)
        if answer is None:
            answer = await self._client.call(function, {"transactionId": transaction_id, field: whole})
        if "transactionId" in answer:
            check_transaction(function, transaction_id, answer)
        return answer


class NotedServer:
    """A server whose sessions are noted before the eUICC hears of them: a result that it keeps is then found again."""

    def __init__(self, server: RspServer, note: Callable[[bytes], Awaitable[None]]) -> None:
        self._server = server
        self._note = note

    @property
    def address(self) -> str | None:
        """Return the other server's."""
        return self._server.address

    @property
    def smdp_oid(self) -> str | None:
        """Return the other server's."""
        return self._server.smdp_oid

    async def initiate(self, challenge: bytes, info1: bytes) -> Authentication:
        """Begin a session and note it."""
        offered = await self._server.initiate(challenge, info1)
        await self._note(offered.transaction_id)
        return offered

    async def authenticate(self, transaction_id: bytes, response: bytes) -> Announcement:
        """Pass on."""
        return await self._server.authenticate(transaction_id, response)

    async def package(self, transaction_id: bytes, response: bytes) -> bytes:
        """Pass on."""
        return await self._server.package(transaction_id, response)

    async def cancel(self, transaction_id: bytes, response: bytes) -> None:
        """Pass on."""
        await self._server.cancel(transaction_id, response)
