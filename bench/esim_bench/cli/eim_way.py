"""The eIM that a command speaks to when it is not that of this process: a served one, by its REST API."""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from esim_bench.errors import CodecError, ConfigError, DeviceTimeout, ProtocolError, TransportError
from esim_bench.rack.eim_way import Document
from esim_bench.rack.network import Network, no_way, tls_context

API: Final = "/api/v1"
MAX_ANSWER: Final = 16 * 1024 * 1024
_STARTS: Final = (b"\x30", b"\xbf\x57")
"""Of EimConfigurationData and of AddInitialEimRequest."""
LIST: Final = 1000
"""Orders that are asked for at a time."""


class RestEim:
    """A served eIM. ``url``: https://HOST[:PORT]; ``ca``: PEM file of TLS roots, None: the public ones."""

    def __init__(self, url: str, token: str, ca: Path | None, network: Network) -> None:
        parts = urlsplit(url if "//" in url else f"https://{url}")
        if parts.scheme != "https" or not parts.hostname or parts.path.rstrip("/") not in ("", API):
            raise ConfigError("not an eIM's URL", where="--eim", expected="https://HOST[:PORT]", found=repr(url))
        self._base = f"https://{parts.netloc}{API}"
        self._where = parts.netloc
        self._token = token
        self._ca = ca
        self._network = network
        self._proxy = network.proxy_of(parts)
        self._context: ssl.SSLContext | None = None

    async def eim_id(self) -> str:
        """Return its eimId."""
        return str((await self._ask("GET", "/eim"))["eim_id"])

    async def add_device(self, eid: str, label: str | None, indirect: bool | None) -> None:
        """Add an eUICC, or change what is given."""
        wanted = {"eid": eid, "label": label, "indirect": indirect}
        await self._ask("POST", "/devices", {name: value for name, value in wanted.items() if value is not None})

    async def configuration(self, eid: str) -> bytes:
        """Return the EimConfigurationData, DER."""
        answer = await self._ask("POST", f"/devices/{eid}/configuration", {})
        return base64.b64decode(answer["configuration"])

    async def associated(self, eid: str, token: int | None) -> None:
        """Tell what AddInitialEim answered."""
        await self._ask("PUT", f"/devices/{eid}/association", {"token": token})

    async def device(self, eid: str) -> Document | None:
        """Return an eUICC with what is believed of it."""
        return await self._ask("GET", f"/devices/{eid}", missing=True) or None

    async def orders(self, eid: str) -> list[Document]:
        """Return the orders of an eUICC, all of them."""
        found: list[Document] = []
        while True:
            after = found[-1]["id"] if found else 0
            page = await self._ask("GET", f"/orders?eid={eid}&after={after}&limit={LIST}")
            found += page["orders"]
            if not page["more"] or not page["orders"]:
                return found

    async def order(self, eid: str, wanted: Document) -> Document:
        """Order something."""
        return await self._ask("POST", f"/devices/{eid}/orders", wanted)

    async def find(self, number: int) -> Document:
        """Return an order with its results."""
        return await self._ask("GET", f"/orders/{number}")

    async def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, missing: bool = False
    ) -> Document:
        """Return the answer; ``missing``: {} where there is no such thing. Raises ConfigError for a refusal."""
        if self._context is None:
            self._context = tls_context(self._ca)
        seconds = self._network.timeout or 60.0
        times = httpx.Timeout(seconds, connect=min(seconds, self._network.connect_timeout))
        headers = {"authorization": f"Bearer {self._token}"}
        try:
            async with httpx.AsyncClient(
                verify=self._context, trust_env=False, timeout=times, proxy=self._proxy, headers=headers
            ) as client:
                answer = await client.request(method, self._base + path, json=body)
        except httpx.TimeoutException as exc:
            limit = f"an answer within {seconds:g} s"
            raise DeviceTimeout("the eIM did not answer in time", where=self._where, expected=limit) from exc
        except httpx.HTTPError as exc:
            error = no_way(self._where, exc, self._ca)
            hint = error.hint.replace("--tls-roots", "--ca") if error.hint else None
            raise TransportError(error.what, where=error.where, hint=hint) from exc
        if missing and answer.status_code == 404:
            return {}
        return self._read(answer)

    def _read(self, answer: httpx.Response) -> Document:
        try:
            document = json.loads(answer.content)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise ProtocolError(
                "answer of the eIM's REST API",
                expected="a JSON object",
                found=f"HTTP {answer.status_code}, {answer.headers.get('content-type', 'no type')}",
            )
        if answer.is_success:
            return document
        text = str(document.get("error", f"HTTP {answer.status_code}"))[:500]
        if answer.status_code == 401:
            raise ConfigError("the eIM refused the token", where=self._where, hint="see --token; serve eim prints it")
        raise ConfigError(f"the eIM refused: {text}", where=self._where)


def read_configuration(file: Path) -> bytes:
    """Return a file's EimConfigurationData or AddInitialEimRequest: DER, hexadecimal, base64, or JSON of the REST API.

    Raises ConfigError, CodecError.
    """
    raw = file.read_bytes()
    if len(raw) > 64 * 1024:
        raise ConfigError("too long for an EimConfigurationData", where=str(file), found=f"{len(raw)} bytes")
    # As text it begins with 3, b, M, v or a brace, never with the bytes that DER begins with.
    der = raw if raw.startswith(_STARTS) else _of_text(raw.decode("ascii", "replace").strip())
    if not der.startswith(_STARTS):
        expected = "EimConfigurationData: DER, hexadecimal, base64, or the REST API's JSON"
        raise CodecError("not an eIM's configuration", where=str(file), expected=expected)
    return der


def _of_text(text: str) -> bytes:
    """Return the bytes that a text stands for; b"" where it stands for none."""
    try:
        if text.startswith("{"):
            text = str(json.loads(text)["configuration"])
        text = "".join(text.split())
        with contextlib.suppress(ValueError):
            return bytes.fromhex(text)
        return base64.b64decode(text, validate=True)
    except (ValueError, KeyError, TypeError):
        return b""
