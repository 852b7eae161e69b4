"""What an eIM believes of an eUICC: as far as verified results, notifications and data told it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any, Final

from esim_bench.codec import tlv
from esim_bench.codec.euicc_operations import (
    AddEim,
    Delete,
    DeleteEim,
    Disable,
    Enable,
    ListProfileInfo,
    Operation,
    SetDefaultDpAddress,
    SetFallbackAttribute,
)
from esim_bench.codec.euicc_results import OperationResult
from esim_bench.codec.tlv import Tlv
from esim_bench.errors import CodecError

ENABLED, DISABLED, DELETED, UNKNOWN = "enabled", "disabled", "deleted", "unknown"
_EVENTS = {"install": DISABLED, "enable": ENABLED, "disable": DISABLED, "delete": DELETED}


@dataclass(frozen=True, slots=True)
class ProfileView:
    """A profile."""

    iccid: bytes
    """10 bytes as in tag 5A."""
    state: str = UNKNOWN
    """enabled, disabled, deleted (kept, so that nothing older brings it back), unknown."""
    seq: int = -1
    """Sequence number of the newest result or notification that told of its state."""
    name: str | None = None
    provider: str | None = None
    fallback: bool | None = None


@dataclass(frozen=True, slots=True)
class EimView:
    """An eIM that the eUICC knows."""

    eim_id: str
    id_type: int | None = None
    token: int | None = field(default=None, repr=False)
    """That the eUICC made for it, where this eIM added it."""


@dataclass(frozen=True, slots=True)
class View:
    """The eUICC as it is believed to be."""

    known: tuple[ProfileView, ...] = ()
    """All profiles that were ever told of."""
    complete: bool = False
    """A whole list of profiles was told, and nothing since then said that the state changed some other way."""
    eims: tuple[EimView, ...] = ()
    default_smdp_address: str | None = None
    root_smds_address: str | None = None
    state_change_cause: int | None = None
    """The last stateChangeCause (see ``esipa_objects.STATE_CHANGE_CAUSES``)."""
    state_changed: bool = False
    """The IPA notified of a change by others (notifyStateChange) that no result has cleared up yet."""
    network: bytes | None = None
    """rPLMN, 3 bytes."""
    euicc_info1: bytes | None = field(default=None, repr=False)
    euicc_info2: bytes | None = field(default=None, repr=False)
    device_info: bytes | None = field(default=None, repr=False)
    features: tuple[str, ...] | None = None
    """ipaFeatures."""
    before: tuple[int, bytes | None] | None = None
    """Of the last enable: its order, and the profile that was enabled before it (what a rollback brings back)."""

    @property
    def profiles(self) -> tuple[ProfileView, ...]:
        """Return the profiles that are there."""
        return tuple(profile for profile in self.known if profile.state != DELETED)

    @property
    def enabled_iccid(self) -> bytes | None:
        """Return the ICCID of the enabled profile; None: none is known to be."""
        return next((profile.iccid for profile in self.known if profile.state == ENABLED), None)

    def profile(self, iccid: bytes) -> ProfileView | None:
        """Return a profile, also a deleted one."""
        return next((profile for profile in self.known if profile.iccid == iccid), None)

    # ------------------------------------------------------------------------------------------------------- changes

    def _with(self, profile: ProfileView) -> View:
        if self.profile(profile.iccid) is None:
            return replace(self, known=(*self.known, profile))
        return replace(self, known=tuple(profile if one.iccid == profile.iccid else one for one in self.known))

    def _moved(self, iccid: bytes, state: str, seq: int) -> View:
        """Note a profile's state, unless something newer told of it; only one can be enabled."""
        profile = self.profile(iccid)
        if profile is not None and seq < profile.seq and profile.state != UNKNOWN:
            return self
        known = []
        for one in self.known:
            if one is profile:
                known.append(replace(one, state=state, seq=seq))
            elif state == ENABLED and one.state == ENABLED and one.seq <= seq:
                known.append(replace(one, state=DISABLED, seq=seq))
            else:
                known.append(one)
        if profile is None:
            known.append(ProfileView(iccid, state, seq))
        return replace(self, known=tuple(known))

    def notified(self, operation: str, iccid: bytes | None, seq: int) -> View:
        """Return it after a verified notification."""
        return self._moved(iccid, _EVENTS[operation], seq) if iccid is not None and operation in _EVENTS else self

    def after(
        self, order_id: int, operations: Sequence[Operation], results: Sequence[OperationResult], seq: int
    ) -> View:
        """Return it after the results of an order's operations; of sequence number ``seq``."""
        view = self
        for index, result in enumerate(results):
            operation = operations[index] if index < len(operations) else None
            if result.function == "rollback":
                view = view._rolled_back(order_id, seq) if result.done else view
            elif result.done and operation is not None:
                view = view._executed(order_id, operation, result, seq)
        return view

    def _executed(self, order_id: int, operation: Operation, result: OperationResult, seq: int) -> View:
        match operation:
            case Enable():
                before = self.before
                # A disable of the same package came first: what was enabled before that is what counts.
                if before is None or before[0] != order_id:
                    before = (order_id, self.enabled_iccid)
                return replace(self._moved(operation.iccid, ENABLED, seq), before=before)
            case Disable():
                before = (order_id, operation.iccid)
                return replace(self._moved(operation.iccid, DISABLED, seq), before=before)
            case Delete():
                return self._moved(operation.iccid, DELETED, seq)
            case ListProfileInfo() if result.function == "listProfileInfo":
                return self._listed(operation, result.content, seq)
            case SetFallbackAttribute():
                return self._fallback(operation.iccid)
            case SetDefaultDpAddress():
                return replace(self, default_smdp_address=operation.address)
            case AddEim():
                data = operation.configuration
                added = EimView(data.eim_id, data.id_type, result.association_token)
                return replace(self, eims=(*(eim for eim in self.eims if eim.eim_id != data.eim_id), added))
            case DeleteEim():
                return replace(self, eims=tuple(eim for eim in self.eims if eim.eim_id != operation.eim_id))
        if result.function == "unsetFallbackAttribute":
            return self._fallback(None)
        if result.function == "listEim":
            tokens = {eim.eim_id: eim.token for eim in self.eims}
            return replace(
                self, eims=tuple(EimView(eim.eim_id, eim.id_type, tokens.get(eim.eim_id)) for eim in result.eims)
            )
        return self

    def _fallback(self, iccid: bytes | None) -> View:
        return replace(self, known=tuple(replace(one, fallback=one.iccid == iccid) for one in self.known))

    def _rolled_back(self, order_id: int, seq: int) -> View:
        if self.before is None or self.before[0] != order_id:
            # The enable was never told of: nothing has to be taken back.
            return self
        view, previous = self, self.before[1]
        for profile in self.known:
            if profile.state == ENABLED and profile.iccid != previous:
                view = view._with(replace(profile, state=DISABLED, seq=seq))
        if previous is not None:
            view = view._with(replace(view.profile(previous) or ProfileView(previous), state=ENABLED, seq=seq))
        return replace(view, before=None)

    def _listed(self, operation: ListProfileInfo, content: bytes, seq: int) -> View:
        view = self
        whole = not any(child.tag == 0xA0 for child in tlv.parse(operation.request).children())
        seen = set()
        for item in tlv.iterate(content):
            found = _profile(item)
            if found is None:
                continue
            seen.add(found.iccid)
            old = self.profile(found.iccid) or ProfileView(found.iccid)
            view = view._with(
                ProfileView(
                    found.iccid,
                    found.state if found.state != UNKNOWN else old.state,
                    seq,
                    found.name if found.name is not None else old.name,
                    found.provider if found.provider is not None else old.provider,
                    found.fallback if found.fallback is not None else old.fallback,
                )
            )
        if not whole:
            return view
        for profile in view.known:
            if profile.iccid not in seen and profile.seq < seq:
                view = view._with(replace(profile, state=DELETED, seq=seq))
        return replace(view, complete=True, state_changed=False)

    # ------------------------------------------------------------------------------------------------------- storing

    def to_json(self) -> str:
        """Return it as text for the store."""
        return _text_of(self)

    @classmethod
    def from_json(cls, text: str) -> View:
        """Read what ``to_json`` made."""
        return _view_of(text)

    def _written(self) -> str:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return _TO_JSON(values)

    @classmethod
    def _read(cls, text: str) -> View:
        data = json.loads(text, object_hook=lambda item: bytes.fromhex(item["hex"]) if set(item) == {"hex"} else item)
        data["known"] = tuple(ProfileView(**item) for item in data["known"])
        data["eims"] = tuple(EimView(**item) for item in data["eims"])
        for name in ("features", "before"):
            data[name] = _tuple(data[name])
        return cls(**data)


# Views are values, and each request reads and writes the same one several times.
@lru_cache(maxsize=128)
def _text_of(view: View) -> str:
    return view._written()


@lru_cache(maxsize=128)
def _view_of(text: str) -> View:
    return View._read(text)


def _plain(value: Any) -> dict[str, Any]:
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    return {field.name: getattr(value, field.name) for field in fields(value)}


_TO_JSON: Final = json.JSONEncoder(default=_plain, separators=(",", ":")).encode


def _tuple(value: Iterable[Any] | None) -> tuple[Any, ...] | None:
    return None if value is None else tuple(value)


def _profile(item: Tlv) -> ProfileView | None:
    """Read a ProfileInfo (E3): what is of interest here, whatever else is in it."""
    try:
        iccid = item.find(0x5A) if item.tag == 0xE3 else None
        if iccid is None:
            return None
        state, name, provider, fallback = (item.find(tag) for tag in (0x9F70, 0x92, 0x91, 0x9F26))
        states = {b"\x00": DISABLED, b"\x01": ENABLED}
        return ProfileView(
            iccid.value,
            states.get(state.value, UNKNOWN) if state else UNKNOWN,
            name=name.value.decode(errors="replace") if name else None,
            provider=provider.value.decode(errors="replace") if provider else None,
            fallback=any(fallback.value) if fallback else None,
        )
    except CodecError:
        return None
