"""The client side of ES9+ (SGP.22 5.6, 6.5, 6.6): functions of an SM-DP+, called through a bearer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from esim_bench.codec import es9, es9_asn1
from esim_bench.codec.activation_code import check_address
from esim_bench.errors import CodecError, ProtocolError, RspError, TransportError
from esim_bench.ports import Bearer, HttpResponse

TIMEOUT: Final = 60.0
"""Seconds for one function; making a bound profile package may take a server several."""
_HEADERS: Final = {
    "content-type": es9.CONTENT_TYPE,
    "x-admin-protocol": es9.ADMIN_PROTOCOL,
    "user-agent": es9.USER_AGENT,
}

Binding = Literal["json", "asn1"]


class Es9Client:
    """ES9+ functions by name; fields are bytes and text (``codec.es9``), whichever way they are put on the wire.

    ``binding``: "json" (SGP.22 6.5), which is what servers speak, or "asn1" (6.6).
    """

    def __init__(self, bearer: Bearer, binding: Binding = "json") -> None:
        self._bearer = bearer
        self._binding = binding

    async def call(self, address: str, function: str, fields: es9.Fields) -> Mapping[str, bytes | str]:
        """Call a function of the SM-DP+ at ``host[:port]``.

        Raises RspError (the function failed: subject and reason code), TransportError (no way there, or an HTTP status
        other than 200), ProtocolError (an answer that makes no sense), DeviceTimeout.
        """
        response = await self._post(address, function, fields)
        if response.status != 200:
            raise _unexpected(function, address, response, 200)
        try:
            if self._binding == "asn1":
                return es9_asn1.decode_response(function, response.body)
            return es9.decode_response(function, response.body)
        except RspError as exc:
            make_plain(exc)
            raise
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
        try:
            # Some addresses come from cards: nothing but a host may stand in the URL's place for one.
            check_address(address, "SM-DP+ address")
        except CodecError as exc:
            raise ProtocolError(exc.what, expected=exc.expected, found=exc.found) from exc
        if self._binding == "asn1":
            headers = {**_HEADERS, "content-type": es9_asn1.CONTENT_TYPE}
            url = f"https://{address}{es9_asn1.PATH}"
            return await self._bearer.post(url, headers, es9_asn1.encode_request(function, fields), TIMEOUT)
        url = f"https://{address}{es9.PATH}{function}"
        return await self._bearer.post(url, _HEADERS, es9.encode_request(function, fields), TIMEOUT)


def _unexpected(function: str, address: str, response: HttpResponse, expected: int) -> TransportError:
    where = f"{function} at {address}"
    if 300 <= response.status < 400:
        # An SM-DP+ that moves has its address changed in activation codes; who answers elsewhere is not who was meant.
        target = plain(response.headers.get("location", "")) or "nowhere"
        return TransportError(
            f"{where} is redirected, which is not followed",
            expected=f"HTTP {expected}",
            found=f"{response.status} to {target}",
        )
    text = plain(response.body.decode(errors="replace"))
    return TransportError(where, expected=f"HTTP {expected}", found=f"{response.status} {text}".strip())


def make_plain(error: RspError) -> None:
    """Take out of a server's answer what would steer a terminal."""
    error.subject, error.reason, error.message = map(plain, (error.subject, error.reason, error.message))
    error.identifier = plain(error.identifier) if error.identifier is not None else None
    error.args = (f"{error.subject}/{error.reason} {error.message}".strip(),)


def plain(text: str) -> str:
    """Return the begin of what a server wrote, on one line, with nothing in it that steers a terminal."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else "?" for c in line[:200])
