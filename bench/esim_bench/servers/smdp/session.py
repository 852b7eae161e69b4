"""RSP sessions of an SM-DP+: one per TransactionID, in memory, each with an end of its own (SGP.22 3.1.3, 5.6)."""

from __future__ import annotations

import hashlib
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeAlias

from esim_bench.servers.smdp.credentials import CiCredentials
from esim_bench.servers.smdp.status import UNKNOWN_TRANSACTION, StatusError
from esim_bench.servers.smdp.verify import Euicc

Fields: TypeAlias = dict[str, bytes | str]

LIFETIME_NS: Final = 600 * 1_000_000_000
"""How long a session lives after its last successful step."""
MAX_REMEMBERED: Final = 4096
"""How many transactions of the past are still known: expired ones are told from unknown ones, no id is used again."""
MAX_ANSWERS: Final = 32
"""How many bound packages are kept for a client that lost the answer; of older ones it is told that they were bound."""


class Step(Enum):
    """How far a session is."""

    INITIATED = "initiated"
    AUTHENTICATED = "authenticated"
    """The eUICC is verified and an order is chosen: a package may be bound."""
    BOUND = "bound"


@dataclass(slots=True)
class Session:
    """One RSP session."""

    transaction_id: bytes
    credentials: CiCredentials
    """The branch whose certificates the eUICC verifies."""
    signing_ci: CiCredentials
    """The branch whose CI the eUICC's own chain must end in (euiccCiPKIdToBeUsed)."""
    server_address: str
    euicc_challenge: bytes
    server_challenge: bytes
    expires_ns: int
    step: Step = Step.INITIATED
    euicc: Euicc | None = None
    """Set once chain and signature were verified, also when no order was found."""
    order_id: int | None = None
    smdp_signature2: bytes = b""
    """The whole TLV, 5F37: the eUICC's second signature covers it."""
    answers: dict[str, tuple[bytes, Fields]] = field(default_factory=dict)
    """Per function the last request's digest and its answer: a client that lost an answer may ask again."""

    def answered(self, function: str, request: bytes) -> Fields | None:
        """Return the answer that this very request got before, or None."""
        digest, answer = self.answers.get(function, (b"", None))
        return answer if digest == hashlib.sha256(request).digest() else None

    def remember(self, function: str, request: bytes, answer: Mapping[str, bytes | str]) -> None:
        """Keep an answer for repeated requests; bigger ones of earlier steps are dropped."""
        self.answers = {function: (hashlib.sha256(request).digest(), dict(answer))}


class Sessions:
    """All sessions, by transaction id."""

    def __init__(self, lifetime_ns: int = LIFETIME_NS, limit: int = 4096) -> None:
        self.lifetime_ns = lifetime_ns
        self._limit = limit
        # In the order in which they expire: whatever prolongs a session moves it to the end.
        self._live: OrderedDict[bytes, Session] = OrderedDict()
        self._expired: OrderedDict[bytes, None] = OrderedDict()
        self._ended: OrderedDict[bytes, None] = OrderedDict()
        self._bound: deque[Session] = deque()

    def __len__(self) -> int:
        return len(self._live)

    def __contains__(self, transaction_id: bytes) -> bool:
        return any(transaction_id in some for some in (self._live, self._expired, self._ended))

    def add(self, session: Session, now_ns: int) -> None:
        """Keep a new session; of too many the oldest goes, first of those whose eUICC is not known yet."""
        while self._live:
            oldest = next(iter(self._live.values()))
            if oldest.expires_ns > now_ns:
                break
            self._expire(oldest.transaction_id)
        if len(self._live) >= self._limit:
            nameless = (key for key, other in self._live.items() if other.step is Step.INITIATED)
            self._expire(next(nameless, next(iter(self._live))))
        self._live[session.transaction_id] = session

    def get(self, transaction_id: bytes, now_ns: int) -> Session:
        """Return a live session.

        Raises StatusError 8.10.1/3.9: status ``Expired`` for one whose time ran out, ``Failed`` for an unknown one.
        """
        session = self._live.get(transaction_id)
        if session is not None and session.expires_ns <= now_ns:
            self._expire(transaction_id)
            session = None
        if session is None:
            if transaction_id in self._expired:
                raise StatusError(UNKNOWN_TRANSACTION, "the session has expired", status="Expired")
            raise StatusError(UNKNOWN_TRANSACTION)
        return session

    def touch(self, session: Session, now_ns: int) -> None:
        """Let a session live on after a successful step."""
        session.expires_ns = now_ns + self.lifetime_ns
        if session.transaction_id in self._live:
            self._live.move_to_end(session.transaction_id)

    def bound(self, session: Session) -> None:
        """Note that a session's answers now hold a whole package; those of older sessions are dropped."""
        self._bound.append(session)
        if len(self._bound) > MAX_ANSWERS:
            self._bound.popleft().answers = {}

    def end(self, session: Session) -> None:
        """Forget a session: its transaction id is unknown from now on."""
        self.forget(session.transaction_id)

    def forget(self, transaction_id: bytes) -> None:
        """Forget the session of a transaction id, if there is one."""
        if self._live.pop(transaction_id, None) is not None:
            _remember(self._ended, transaction_id)

    def _expire(self, transaction_id: bytes) -> None:
        self._live.pop(transaction_id, None)
        _remember(self._expired, transaction_id)


def _remember(past: OrderedDict[bytes, None], transaction_id: bytes) -> None:
    past[transaction_id] = None
    while len(past) > MAX_REMEMBERED:
        past.popitem(last=False)
