"""Pending notifications of a simulated eUICC (SGP.22 3.5, 5.7.9 to 5.7.11).

NVM: ``euicc/sequence`` holds the next sequence number, ``notification/<number>`` one stored notification each. The
counter never goes back, whatever is removed and whenever the power goes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from esim_bench.codec.es10 import Tag
from esim_bench.codec.tlv import Tlv, encode, parse
from esim_bench.crypto.identity import SigningIdentity
from esim_bench.errors import CodecError
from esim_drivers.sim import der
from esim_drivers.sim.euicc import Euicc
from esim_drivers.sim.profile_metadata import Event
from esim_drivers.sim.registry import IsdP

RESULT_ROOM = 1024
"""Bytes that a ProfileInstallationResult takes at most: no download begins without them."""
SEQUENCE_KEY = "euicc/sequence"
_ROOT = "notification/"
_METADATA = 0xBF2F
_NO_RESULT_AVAILABLE = 1
_INSTALLATION_RESULT = 0xBF37
_INSTALLATION_DATA = 0xBF27


@dataclass(frozen=True, slots=True)
class StoredNotification:
    """One pending notification as it is delivered."""

    raw: bytes
    """ProfileInstallationResult (BF37) or OtherSignedNotification (30)."""
    metadata: Tlv
    """NotificationMetadata (BF2F)."""

    @property
    def number(self) -> int:
        """Return the sequence number."""
        return der.read_integer(self.metadata.get(0x80))

    @property
    def events(self) -> tuple[int, ...]:
        """Return the event bits."""
        return der.read_bits(self.metadata.get(0x81))


class Notifications:
    """The list of pending notifications. Writes join the caller's transaction."""

    def __init__(self, euicc: Euicc) -> None:
        self._euicc = euicc

    def all(self) -> list[StoredNotification]:
        """Return all stored notifications by ascending sequence number."""
        return [self._read(key) for key in self._euicc.nvm.keys(_ROOT)]

    def select(self, number: int | None = None, events: tuple[int, ...] | None = None) -> list[StoredNotification]:
        """Return those of a sequence number, or of any of the event bits; all without either."""
        found = self.all()
        if number is not None:
            found = [one for one in found if one.number == number]
        if events is not None:
            found = [one for one in found if any(event in events for event in one.events)]
        return found

    def remove(self, number: int) -> bool:
        """Remove one; False when there is none of that number."""
        key = _key(number)
        if self._euicc.nvm.get(key) is None:
            return False
        self._euicc.nvm.delete(key)
        return True

    def add(self, make: Callable[[int], bytes]) -> bytes:
        """Store the notification that ``make`` builds for the next sequence number; return it. Two writes."""
        nvm = self._euicc.nvm
        number = int.from_bytes(nvm.get(SEQUENCE_KEY) or b"", "big")
        raw = make(number)
        nvm.put(_key(number), raw)
        nvm.put(SEQUENCE_KEY, (number + 1).to_bytes(4, "big"))
        return raw

    def has_room(self, *events: tuple[IsdP, Event]) -> bool:
        """Tell whether the memory takes the notifications of these events; they share it with the profiles."""
        needed = 0
        for profile, event in events:
            signing = self._euicc.signing(profile.issuer)
            each = len(signing.euicc_certificate) + len(signing.eum_certificate) + RESULT_ROOM // 2
            needed += each * len(profile.metadata.addresses(event))
        return needed <= self._euicc.services.free_memory

    def add_event(self, profile: IsdP, event: Event) -> None:
        """Store an OtherSignedNotification for each address of the profile that wants to hear of the event."""
        signing = self._euicc.signing(profile.issuer)
        for address in profile.metadata.addresses(event):
            self.add(partial(self._other, profile, event, address, signing))

    def _other(self, profile: IsdP, event: Event, address: str, signing: SigningIdentity, number: int) -> bytes:
        metadata = notification_metadata(number, event, address, profile.metadata.iccid)
        signature = self._euicc.sign(signing, metadata)
        return encode(0x30, metadata, signature, signing.euicc_certificate, signing.eum_certificate)

    def _read(self, key: str) -> StoredNotification:
        raw = self._euicc.nvm.get(key) or b""
        tlv = parse(raw, key)
        if tlv.tag == _INSTALLATION_RESULT:
            return StoredNotification(raw, tlv.get(_INSTALLATION_DATA, _METADATA))
        return StoredNotification(raw, tlv.get(_METADATA))

    # ------------------------------------------------------------------------------------------------ ES10b

    def list_notification(self, request: Tlv) -> bytes:
        """ES10b.ListNotification (SGP.22 5.7.9): metadata of those with the wanted event bits. Raises CodecError."""
        events = request.find(0x81)
        found = self.select(events=der.read_bits(events) if events is not None else None)
        return encode(Tag.LIST_NOTIFICATION, encode(0xA0, *(one.metadata.raw for one in found)))

    def retrieve(self, request: Tlv) -> bytes:
        """ES10b.RetrieveNotificationsList (SGP.22 5.7.10): whole notifications; none found is an empty list."""
        number: int | None = None
        events: tuple[int, ...] | None = None
        criteria = request.find(0xA0)
        if criteria is not None and criteria.value:
            choice = criteria.children()[0]
            if choice.tag == 0x80:
                number = der.read_integer(choice)
            elif choice.tag == 0x81:
                events = der.read_bits(choice)
            else:
                raise CodecError("search criteria", expected="80 or 81", found=f"{choice.tag:X}")
        found = self.select(number, events)
        if not found and self._euicc.personality.empty_list_is_error:
            return encode(Tag.RETRIEVE_NOTIFICATIONS_LIST, der.integer(0x81, _NO_RESULT_AVAILABLE))
        return encode(Tag.RETRIEVE_NOTIFICATIONS_LIST, encode(0xA0, *(one.raw for one in found)))

    def remove_from_list(self, request: Tlv) -> bytes:
        """ES10b.RemoveNotificationFromList (SGP.22 5.7.11): ok 0, nothingToDelete 1."""
        removed = self.remove(der.read_integer(request.get(0x80)))
        return encode(Tag.REMOVE_NOTIFICATION_FROM_LIST, der.integer(0x80, 0 if removed else 1))


def notification_metadata(number: int, event: Event, address: str, iccid: bytes | None) -> bytes:
    """Return a NotificationMetadata (BF2F)."""
    return encode(
        _METADATA,
        der.integer(0x80, number),
        der.bits(0x81, event),
        der.text(0x0C, address),
        encode(0x5A, iccid) if iccid is not None else b"",
    )


def _key(number: int) -> str:
    return f"{_ROOT}{number:010d}"
