"""ESipa as its client (SGP.32 6): functions of one eIM, called through a bearer in either binding."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from esim_bench.agents.ipa.settings import IpaSettings
from esim_bench.codec import esipa, esipa_json
from esim_bench.codec.activation_code import check_address
from esim_bench.codec.esipa import Fields, Value
from esim_bench.errors import CodecError, DeviceTimeout, ProtocolError, RspError, TransportError
from esim_bench.es9_client import make_plain, plain
from esim_bench.ports import Bearer, HttpResponse

REPEATABLE: Final = frozenset(("getEimPackage", "provideEimPackageResult", "handleNotification"))
"""Functions that may be called again when no answer came: the second call does nothing that the first did not."""
BUSY: Final = (408, 429, 502, 503, 504)
"""HTTP statuses of a server that may be well again soon."""


class HttpStatusError(TransportError):
    """The eIM was reached, and answered with an HTTP status that is no answer to the function."""

    def __init__(self, what: str, *, status: int, expected: object, found: object) -> None:
        self.status = status
        super().__init__(what, expected=expected, found=found)


class MalformedAnswerError(ProtocolError):
    """The eIM was reached, and its answer makes no sense."""

    unknown = False
    """It is well-formed, but of a kind that is not known."""


class EsipaClient:
    """One eIM. Fields are those of ``codec.esipa``, whichever way they are put on the wire."""

    def __init__(self, bearer: Bearer, address: str, settings: IpaSettings) -> None:
        self.address = address
        self._checked = ""
        """The address that was found to be one."""
        self.settings = settings
        self.refused_compact: set[str] = set()
        """Functions for which this eIM took no compact form."""
        self.knows_certificates = False
        """The eIM was given the eUICC's certificates, or showed that it has them."""
        self._bearer = bearer
        agent = esipa.USER_AGENTS[0] + (f";{settings.user_agent}" if settings.user_agent else "")
        json = settings.binding == "json"
        self._headers: Mapping[str, str] = {
            "content-type": esipa_json.CONTENT_TYPE if json else esipa.CONTENT_TYPE,
            "x-admin-protocol": esipa.ADMIN_PROTOCOL,
            "user-agent": agent,
        }

    async def call(self, function: str, fields: Fields) -> Mapping[str, Value]:
        """Call a function, again after a while where that is safe and the way there failed.

        Raises EsipaError (the function failed), TransportError (no way there), HttpStatusError (another status than
        200), MalformedAnswerError, DeviceTimeout. Codes that are fields of an answer are the caller's to look at.
        """
        response = await self._repeated(function, fields)
        if response.status != 200:
            raise self._unexpected(function, response, 200)
        decode = esipa_json.decode_response if self.settings.binding == "json" else esipa.decode_response
        try:
            return decode(function, response.body, self.settings.version)
        except RspError as exc:
            make_plain(exc)
            raise
        except CodecError as exc:
            error = MalformedAnswerError(
                f"malformed answer to {function} of {self.address}: {plain(exc.what)}",
                expected=exc.expected,
                found=exc.found,
            )
            error.unknown = exc.what == "wrong choice"
            raise error from exc

    async def notify(self, fields: Fields) -> None:
        """Call handleNotification, which has no answer: 204, or 200 as some eIMs say. Raises as ``call``."""
        response = await self._repeated("handleNotification", fields)
        if response.status not in (200, 204):
            raise self._unexpected("handleNotification", response, 204)

    async def _repeated(self, function: str, fields: Fields) -> HttpResponse:
        url, body = self._request(function, fields)
        failure: TransportError | DeviceTimeout | None = None
        response: HttpResponse | None = None
        for delay in self.settings.delays():
            if delay:
                await asyncio.sleep(delay)
            try:
                response = await self._bearer.post(url, self._headers, body, self.settings.timeout)
            except (TransportError, DeviceTimeout) as exc:
                failure, response = exc, None
                if function not in REPEATABLE:
                    raise
                continue
            if response.status not in BUSY or function not in REPEATABLE:
                return response
        if response is not None:
            return response
        raise failure or TransportError(f"{function} at {self.address} was not tried")

    def _request(self, function: str, fields: Fields) -> tuple[str, bytes]:
        if self._checked != self.address:
            self._check_address()
        if self.settings.binding == "json":
            body = esipa_json.encode_request(function, fields, self.settings.version)
            return f"https://{self.address}{esipa_json.path(function)}", body
        return f"https://{self.address}{esipa.PATH}", esipa.encode_request(function, fields, self.settings.version)

    def _check_address(self) -> None:
        try:
            # The address comes from the card: nothing but a host may stand in the URL's place for one.
            check_address(self.address, "eIM address")
        except CodecError as exc:
            raise ProtocolError(exc.what, expected=exc.expected, found=exc.found) from exc
        self._checked = self.address

    def _unexpected(self, function: str, response: HttpResponse, expected: int) -> HttpStatusError:
        text = plain(response.body.decode(errors="replace"))
        return HttpStatusError(
            f"{function} at {self.address}",
            status=response.status,
            expected=f"HTTP {expected}",
            found=f"{response.status} {text}".strip(),
        )
