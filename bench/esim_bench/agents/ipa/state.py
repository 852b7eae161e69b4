"""What an IPA must not forget when its power is cut: a journal of intentions, written before the acts.

One document for each eUICC, replaced as a whole, so that no cut can leave two facts that contradict each other. What
the eUICC keeps itself (package results, notifications) is not copied: the eUICC is asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Protocol, TypeVar

from esim_bench.codec.eim_configuration import EimConfigurationData
from esim_bench.codec.sgp32 import Version
from esim_bench.errors import CodecError, RigError

T = TypeVar("T")

KEY: Final = "ipa/journal/"
"""Before the EID: what is left to do for a card waits for that card, whichever is in the device meanwhile."""
MOST_REPORTS: Final = 16
"""Undelivered reports that are kept; of more, the oldest goes, as in an eUICC."""


class StateStore(Protocol):
    """A device's flash: small values under names; ``put`` is atomic and has happened when it returns."""

    def get(self, key: str) -> bytes | None:
        """Return a value, None where there is none."""

    def put(self, key: str, value: bytes) -> None:
        """Set a value: all of it, or, when the power goes, none of it."""

    def delete(self, key: str) -> None:
        """Remove a value; one that is not there is no error."""


class MemoryState:
    """The flash of a simulated device: it outlives the IPA, not the process."""

    def __init__(self, values: Mapping[str, bytes] | None = None) -> None:
        """``values``: what it holds from before."""
        self.values: dict[str, bytes] = dict(values or {})

    def get(self, key: str) -> bytes | None:
        """Return a value."""
        return self.values.get(key)

    def put(self, key: str, value: bytes) -> None:
        """Set a value."""
        self.values[key] = bytes(value)

    def delete(self, key: str) -> None:
        """Remove a value."""
        self.values.pop(key, None)


@dataclass(frozen=True, slots=True)
class Package:
    """A package that the eUICC was given and whose result the eIM may not have."""

    eim: str
    """EimConfigurationData, hexadecimal: a package may delete the very eIM that needs its result."""
    eim_id: str
    """Of the package."""
    counter: int
    transaction_id: str
    """Hexadecimal; "" for none."""
    rollback: bool
    """An operation asked for the possibility to go back."""
    stage: str = "load"
    """"load", "switched" (the result is known to change profiles), "rollback" (about to go back), "back"."""


@dataclass(frozen=True, slots=True)
class Download:
    """A download that an eIM triggered and that has no result yet."""

    eim: str
    trigger: str
    """ProfileDownloadTriggerRequest (BF54), hexadecimal."""
    session: str = ""
    """RSP transactionId of the last session, hexadecimal; "" before there is one."""
    attempts: int = 0
    """How often it was begun."""


@dataclass(frozen=True, slots=True)
class Report:
    """Something that an eIM is still to be told."""

    eim: str
    kind: str
    """As ``Done.kind``."""
    raw: str = ""
    """EimPackageResult, hexadecimal; "" for a package result that the eUICC keeps, ``seq``."""
    seq: int | None = None
    """Number of the stored package result, or of the ProfileInstallationResult in ``raw``."""
    transaction_id: str = ""
    removable: bool = False
    """Whether the eIM's acknowledgement of ``seq`` ends that notification's life (it delivers it itself)."""
    detail: str = ""
    """What the bench knows beyond the report itself."""
    refusals: int = 0
    """How often the eIM would not have it."""


@dataclass(frozen=True, slots=True)
class Act:
    """A switch of profiles that is the IPA's own decision."""

    kind: str
    cause: int
    """stateChangeCause, when it took place."""
    before: str
    """ICCID that was enabled before, hexadecimal; "" for none."""


@dataclass(frozen=True, slots=True)
class Journal:
    """All of it. Values are immutable: a new journal replaces the old one."""

    package: Package | None = None
    download: Download | None = None
    act: Act | None = None
    reports: tuple[Report, ...] = ()
    causes: Mapping[str, int] = field(default_factory=dict)
    """stateChangeCause that each eIM is to be told at its next GetEimPackage, by eimId."""
    acknowledged: tuple[int, ...] = ()
    """Sequence numbers that are to be removed from the eUICC's lists."""
    emergency: bool = False
    """The Emergency Profile was asked for; whether it is enabled, the eUICC knows."""


_NOTHING: Final = Journal()
_TO_JSON: Final = json.JSONEncoder(separators=(",", ":")).encode
_NAMES: Final = {kind: tuple(one.name for one in fields(kind)) for kind in (Package, Download, Report, Act, Journal)}


class Keeper:
    """The journal of one eUICC in its store; ``open`` says which."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._key = ""
        self.now = Journal()

    def open(self, eid: bytes) -> None:
        """Take the journal of the eUICC with an EID, 16 bytes."""
        key = KEY + eid.hex()
        if key != self._key:
            self._key = key
            self.now = _parse(self._store.get(key))

    def update(self, **changes: Any) -> None:
        """Replace parts of the journal; it is stored when this returns."""
        if not self._key:
            raise RigError("a journal of no eUICC", hint="Keeper.open comes first")
        journal = replace(self.now, **changes)
        if len(journal.reports) > MOST_REPORTS:
            journal = replace(journal, reports=journal.reports[-MOST_REPORTS:])
        if journal == self.now:
            return
        if journal == _NOTHING:
            self._store.delete(self._key)
        else:
            self._store.put(self._key, _TO_JSON(_document(journal)).encode())
        self.now = journal

    def report(self, report: Report, **changes: Any) -> None:
        """Add a report, together with other changes."""
        self.update(reports=(*self.now.reports, report), **changes)

    def found(self, eim_id: str, transaction_id: bytes | None) -> Report | None:
        """Return the report that answers an order of an eIM, where it could not be delivered yet."""
        wanted = (transaction_id or b"").hex()
        for one in self.now.reports:
            if wanted and one.transaction_id == wanted and eim_of(one.eim).eim_id == eim_id:
                return one
        return None

    def replace_report(self, old: Report, new: Report | None, **changes: Any) -> None:
        """Replace a report, or remove it."""
        kept: list[Report] = []
        for one in self.now.reports:
            if one is not old and one != old:
                kept.append(one)
            elif new is not None:
                kept.append(new)
        self.update(reports=tuple(kept), **changes)


def eim_text(eim: EimConfigurationData) -> str:
    """Return an eIM as the journal keeps it."""
    return eim.encode(Version.V1_3).hex()


def eim_of(text: str) -> EimConfigurationData:
    """Return an eIM from the journal."""
    return EimConfigurationData.parse(bytes.fromhex(text))


def _document(journal: Journal) -> dict[str, Any]:
    """Return a journal as JSON values; by hand, because each step of each poll is written down."""
    document: dict[str, Any] = {name: getattr(journal, name) for name in _names(Journal)}
    for name in ("package", "download", "act"):
        document[name] = _values(document[name])
    document["reports"] = [_values(report) for report in journal.reports]
    return document


def _values(record: Any) -> dict[str, Any] | None:
    return None if record is None else {name: getattr(record, name) for name in _names(type(record))}


def _names(kind: Any) -> tuple[str, ...]:
    return _NAMES[kind]


def _parse(raw: bytes | None) -> Journal:
    """Read a journal. What is no journal (another program's, a broken flash) is none: the eUICC's truth remains."""
    if raw is None:
        return Journal()
    try:
        document = json.loads(raw)
        journal = Journal(
            _record(Package, document["package"]),
            _record(Download, document["download"]),
            _record(Act, document["act"]),
            tuple(report for one in document["reports"] if (report := _record(Report, one)) is not None),
            {str(name): int(cause) for name, cause in document["causes"].items()},
            tuple(int(seq) for seq in document["acknowledged"]),
            bool(document["emergency"]),
        )
        for record in (journal.package, journal.download, *journal.reports):
            if record is not None:
                eim_of(record.eim)
    except (ValueError, TypeError, KeyError, AttributeError, CodecError):
        return Journal()
    return journal


def _record(kind: type[T], document: Mapping[str, Any] | None) -> T | None:
    if document is None:
        return None
    known = _names(kind)
    return kind(**{name: value for name, value in document.items() if name in known})
