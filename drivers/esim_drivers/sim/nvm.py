"""The one place where a simulated card keeps what must outlive its power: a journal of writes in transactions.

Every put or delete is one write. Power may vanish between any two writes: then RAM goes, what a transaction had written
without commit is rolled back at the next start, and what was committed is there, exactly.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple


class PowerLost(Exception):
    """The power vanished; the card is silent until it is powered on again."""


class MemoryFailure(Exception):
    """A write did not hold: the cells under the key are worn out. Nothing of it was written."""


class Write(NamedTuple):
    """One entry of the journal. ``value`` None: the key was deleted."""

    number: int
    key: str
    value: bytes | None
    transaction: int


class _Pending(dict[str, bytes | None]):
    """Writes that wait for their commit; ``size`` is the bytes of their keys and values."""

    size = 0

    def note(self, key: str, value: bytes | None) -> None:
        old = self.get(key)
        if old is not None:
            self.size -= len(key) + len(old)
        if value is not None:
            self.size += len(key) + len(value)
        self[key] = value

    def clear(self) -> None:
        super().clear()
        self.size = 0


class LongTransaction:
    """A transaction that stays open across commands: made by ``Nvm.begin``, filled inside ``Nvm.within``.

    It ends by ``commit`` or ``rollback``; a loss of power ends it too. Writes outside ``within`` are not part of it.
    """

    def __init__(self, nvm: Nvm, number: int, power_cycle: int) -> None:
        self._nvm = nvm
        self._power_cycle = power_cycle
        self.number = number
        self.pending = _Pending()

    @property
    def size(self) -> int:
        """Return the bytes of keys and values that wait for the commit."""
        return self.pending.size

    @property
    def alive(self) -> bool:
        """Tell whether it can still be committed: the power has not gone since ``begin``."""
        return self._nvm.powered and self._power_cycle == self._nvm.power_cycles

    def commit(self) -> None:
        """Make all its writes last, together. Raises PowerLost when the power has gone since ``begin``."""
        if not self.alive:
            self.pending.clear()
            raise PowerLost
        self._nvm._apply(self.pending)

    def rollback(self) -> None:
        """Drop all its writes; never raises."""
        self.pending.clear()


class _Transaction:
    """What ``Nvm.transaction`` returns. A generator would do, but each command has a dozen of them."""

    __slots__ = ("_cycle", "_nvm")

    def __init__(self, nvm: Nvm) -> None:
        self._nvm = nvm
        self._cycle = 0

    def __enter__(self) -> None:
        self._cycle = self._nvm.power_cycles
        self._nvm._depth += 1

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        nvm = self._nvm
        if self._cycle != nvm.power_cycles:
            return
        nvm._depth -= 1
        if nvm._depth:
            # A nested failure fails the whole: the outer transaction sees the same exception or rolls on by itself.
            return
        if kind is None:
            nvm._commit()
        else:
            nvm._pending.clear()


class Nvm:
    """Keys (text, ``/``-separated) to values (bytes), with transactions and a power cut before any chosen write."""

    def __init__(self) -> None:
        self._committed: dict[str, bytes] = {}
        self._sorted: list[str] = []
        """Committed keys in order."""
        self._used = 0
        self._pending = _Pending()
        self._depth = 0
        self._transaction = 0
        self._next_transaction = 1
        self.power_cycles = 0
        """How often the power has been lost."""
        self.powered = True
        self.journal: list[Write] = []
        """All writes of this power cycle and the ones before it, oldest first (also rolled back ones)."""
        self.cut_before: int | None = None
        """Lose the power instead of making the write of this number (the first write ever is number 0)."""
        self.worn: tuple[str, ...] = ()
        """Beginnings of keys whose cells take no more writes: each of them raises MemoryFailure."""

    # ------------------------------------------------------------------------------------------------ reading

    def get(self, key: str) -> bytes | None:
        """Return the value, with the running transaction's own writes visible."""
        if key in self._pending:
            return self._pending[key]
        return self._committed.get(key)

    def keys(self, prefix: str = "") -> list[str]:
        """Return the keys that start with a prefix, sorted."""
        keys = self._sorted
        first = last = bisect_left(keys, prefix)
        while last < len(keys) and keys[last].startswith(prefix):
            last += 1
        committed = keys[first:last]
        changed = [(key, value) for key, value in self._pending.items() if key.startswith(prefix)]
        if not changed:
            return committed
        found = set(committed)
        for key, value in changed:
            if value is None:
                found.discard(key)
            else:
                found.add(key)
        return sorted(found)

    @property
    def writes(self) -> int:
        """Return the number of writes so far, which is the number of the next one."""
        return len(self.journal)

    @property
    def used(self) -> int:
        """Return the bytes of all committed values and keys: what a card reports as used."""
        return self._used

    # ------------------------------------------------------------------------------------------------ writing

    def put(self, key: str, value: bytes) -> None:
        """Write one value. Outside a transaction it is committed at once.

        Raises PowerLost at the cut, MemoryFailure where the cells are worn.
        """
        self._write(key, bytes(value))

    def delete(self, key: str) -> None:
        """Delete one key (one write); deleting a key that is not there writes nothing."""
        if self.get(key) is not None:
            self._write(key, None)

    def transaction(self) -> _Transaction:
        """Commit all writes inside together, or none: an exception rolls them back. Nested ones join the outer one.

        A transaction that was open when the power went is over: whoever still holds it may leave it at any later time,
        and nothing happens.
        """
        return _Transaction(self)

    def begin(self) -> LongTransaction:
        """Open a transaction that lives across commands; writes go into it inside ``within``."""
        number, self._next_transaction = self._next_transaction, self._next_transaction + 1
        return LongTransaction(self, number, self.power_cycles)

    @contextmanager
    def within(self, long: LongTransaction) -> Iterator[None]:
        """Read and write inside an open transaction; afterwards it is still open, also after an exception.

        Must not stand inside ``transaction``. Raises PowerLost when the power has gone since ``begin``.
        """
        if not long.alive:
            raise PowerLost
        saved = self._pending, self._depth, self._transaction
        self._pending, self._depth, self._transaction = long.pending, 1, long.number
        try:
            yield
        finally:
            self._pending, self._depth, self._transaction = saved

    def _write(self, key: str, value: bytes | None) -> None:
        if not self.powered:
            raise PowerLost
        number = len(self.journal)
        if self.cut_before is not None and number >= self.cut_before:
            self.cut_before = None
            self.power_off()
            raise PowerLost
        if self.worn and value is not None and key.startswith(self.worn):
            raise MemoryFailure(key)
        self.journal.append(Write(number, key, value, self._transaction))
        self._pending.note(key, value)
        if self._depth == 0:
            self._commit()

    def _commit(self) -> None:
        self._apply(self._pending)
        self._transaction, self._next_transaction = self._next_transaction, self._next_transaction + 1

    def _apply(self, pending: _Pending) -> None:
        committed = self._committed
        for key, value in pending.items():
            old = committed.get(key)
            if (old is None) != (value is None):
                place = bisect_left(self._sorted, key)
                if old is None:
                    self._sorted.insert(place, key)
                else:
                    del self._sorted[place]
            if old is not None:
                self._used -= len(key) + len(old)
            if value is not None:
                committed[key] = value
                self._used += len(key) + len(value)
            elif old is not None:
                del committed[key]
        pending.clear()

    # ------------------------------------------------------------------------------------------------ power

    def power_off(self) -> None:
        """Lose the power now: what was not committed is gone."""
        if self.powered:
            self.power_cycles += 1
        self.powered = False
        self._depth = 0
        self._pending.clear()

    def power_on(self) -> None:
        """Have power again. Without a ``power_off`` before it, a warm reset: RAM goes, so do open transactions."""
        if self.powered:
            self.power_off()
        self.powered = True

    # ------------------------------------------------------------------------------------------------ snapshots

    def contents(self) -> dict[str, bytes]:
        """Return a copy of all that is committed."""
        return dict(self._committed)

    def snapshot(self) -> bytes:
        """Return all that is committed as bytes for ``restore``; the same contents give the same bytes."""
        return json.dumps({key: self._committed[key].hex() for key in self._sorted}).encode()

    @classmethod
    def restore(cls, data: bytes) -> Nvm:
        """Make an NVM from a snapshot."""
        nvm = cls()
        nvm._committed = {key: bytes.fromhex(value) for key, value in json.loads(data).items()}
        nvm._sorted = sorted(nvm._committed)
        nvm._used = sum(len(key) + len(value) for key, value in nvm._committed.items())
        return nvm
