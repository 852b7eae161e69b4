"""The LPA's side of ES9+ (SGP.22 5.6, 6.5): functions of an SM-DP+, called through the slot's bearer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from esim_bench.codec import es9
from esim_bench.errors import CodecError, ProtocolError, TransportError
from esim_bench.ports import Bearer, HttpResponse

TIMEOUT: Final = 60.0
"""Seconds for one function; making a bound profile package may take a server several."""
_HEADERS: Final = {
    "content-type": es9.CONTENT_TYPE,
    "x-admin-protocol": es9.ADMIN_PROTOCOL,
    "user-agent": es9.USER_AGENT,
}


class Es9Client:
    """ES9+ functions by name; fields are bytes and text (``codec.es9``)."""

    def __init__(self, bearer: Bearer) -> None:
        self._bearer = bearer

    async def call(self, address: str, function: str, fields: es9.Fields) -> Mapping[str, bytes | str]:
        """Call a function of the SM-DP+ at ``host[:port]``.

        Raises RspError (the function failed: subject and reason code), TransportError (no way there, or an HTTP status
        other than 200), ProtocolError (an answer that makes no sense), DeviceTimeout.
        """
        response = await self._post(address, function, fields)
        if response.status != 200:
            raise _unexpected(function, address, response, 200)
        try:
            return es9.decode_response(function, response.body)
        except CodecError as exc:
            raise ProtocolError(
                f"malformed answer to {function} of {address}: {exc.what}", expected=exc.expected, found=exc.found
            ) from exc

    async def notify(self, address: str, notification: bytes) -> None:
        """Deliver a notification. Raises TransportError unless it is acknowledged (204, or 200 as some servers do)."""
        response = await self._post(address, "handleNotification", {"pendingNotification": notification})
        if response.status not in (200, 204):
            raise _unexpected("handleNotification", address, response, 204)

    async def _post(self, address: str, function: str, fields: es9.Fields) -> HttpResponse:
        url = f"https://{address}{es9.PATH}{function}"
        return await self._bearer.post(url, _HEADERS, es9.encode_request(function, fields), TIMEOUT)


def _unexpected(function: str, address: str, response: HttpResponse, expected: int) -> TransportError:
    text = response.body[:200].decode(errors="replace").strip()
    return TransportError(
        f"{function} at {address}", expected=f"HTTP {expected}", found=f"{response.status} {text}".strip()
    )
