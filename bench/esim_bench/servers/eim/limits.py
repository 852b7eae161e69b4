"""How much of anything an eIM takes from one eUICC or client, so that guessing and flooding end somewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MINUTE_NS: Final = 60 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of an eIM."""

    queue: int = 100
    """Orders of one eUICC that may wait at once."""
    package_bytes: int = 4096
    """Of one eUICC Package: eUICCs need not take longer ones."""
    body_bytes: int = 64 * 1024
    """Of a request; results and notifications of an eUICC are far shorter, a list of all of them is not."""
    bad_signatures: int = 20
    """Objects that do not verify, per EID and client, within ``window_ns``; more are refused without a look."""
    window_ns: int = 10 * MINUTE_NS
    resends: int = 20
    """How often a data request or a download trigger goes out without an answer before its order has failed."""
    retry_ns: int = MINUTE_NS
    """After a request of the eIM's own (for certificates, for a probe) failed, how long until the next one."""
    notifications: int = 1000
    """Notifications of one eUICC that may wait for their delivery; of more, none is acknowledged."""
    delivery_retry_ns: int = MINUTE_NS
    """After a first failed delivery; twice as long after each further one, up to ``delivery_retry_most_ns``."""
    delivery_retry_most_ns: int = 60 * MINUTE_NS
    connections: int = 4096
    """Client connections whose eUICC is remembered."""
