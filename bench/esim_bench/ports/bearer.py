"""What a slot's way to the servers must be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An HTTP answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Bearer(Protocol):
    """A slot's way to the servers. Emits an RspEvent for each request to the slot's sink."""

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: float | None = None
    ) -> HttpResponse:
        """POST and return the answer, whatever its status. Redirects are not followed.

        Raises TransportError (no way to the server, TLS refused: the message says why), DeviceTimeout.
        """

    async def hang_up(self) -> None:
        """Close connections that are kept for the next request, as when the device loses its network; never raises."""
