"""How much of anything an SM-DP+ takes from one client, so that guessing and flooding end somewhere."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Final

HOUR_NS: Final = 3600 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a server. All of guessing are per authenticated eUICC (EID), over all its sessions and orders."""

    matching_ids: int = 20
    """MatchingIDs without an order for the eUICC that it may try within ``window_ns``."""
    confirmation_codes: int = 20
    """Wrong confirmation codes that it may send within ``window_ns``, besides the tries that each order has."""
    window_ns: int = HOUR_NS
    sessions: int = 4096
    """Open at once. More would let anybody fill the memory, since a session costs the client nothing."""


class Throttle:
    """Counts events by key in a sliding window. Time comes from the caller, ns."""

    MAX_KEYS: Final = 4096
    """Keys that are counted at once; of more, the one that was quiet for longest is forgotten."""

    def __init__(self, limit: int, window_ns: int) -> None:
        self._limit = limit
        self._window_ns = window_ns
        self._events: OrderedDict[bytes, deque[int]] = OrderedDict()

    def exceeded(self, key: bytes, now_ns: int) -> bool:
        """Tell whether a key had its share within the window."""
        events = self._events.get(key)
        if events is None:
            return False
        while events and events[0] <= now_ns - self._window_ns:
            events.popleft()
        if not events:
            del self._events[key]
        return len(events) >= self._limit

    def count(self, key: bytes, now_ns: int) -> None:
        """Count one event of a key."""
        events = self._events.setdefault(key, deque(maxlen=max(self._limit, 1)))
        events.append(now_ns)
        self._events.move_to_end(key)
        while len(self._events) > self.MAX_KEYS:
            self._events.popitem(last=False)
