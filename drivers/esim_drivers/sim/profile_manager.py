"""ES10c: local profile management (SGP.22 5.7.15 to 5.7.21): list, enable, disable, delete, nickname, memory reset."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum

from esim_bench.codec.es10 import Tag
from esim_bench.codec.sgp32 import Version, boolean
from esim_bench.codec.tlv import Tlv, encode
from esim_bench.errors import CodecError
from esim_drivers.sim import der, profile_metadata
from esim_drivers.sim.euicc import Euicc, StatusError
from esim_drivers.sim.notifications import Notifications
from esim_drivers.sim.profile_metadata import Event, PolicyRule, ProfileClass
from esim_drivers.sim.registry import (
    BEFORE_FALLBACK_KEY,
    BEFORE_TEST_KEY,
    ENABLED_KEY,
    FALLBACK_KEY,
    ROLLBACK_KEY,
    IsdP,
    Registry,
)

DEFAULT_ADDRESS_KEY = "euicc/default-dp"

OK = 0
NOT_FOUND = 1
NOTHING_TO_DELETE = 1
WRONG_STATE = 2
DISALLOWED_BY_POLICY = 3
WRONG_PROFILE_REENABLING = 4
CAT_BUSY = 5
UNDEFINED = 127

_MAX_NICKNAME = 64
_AID = 0x4F
_STATE = 0x9F70
_NICKNAME = 0x90
_DP_DATA = 0xB8
_TAG_LIST = 0x5C
_INFO_ORDER = (
    *(profile_metadata.ICCID, _AID, _STATE, _NICKNAME, profile_metadata.SERVICE_PROVIDER),
    *(profile_metadata.PROFILE_NAME, profile_metadata.ICON_TYPE, profile_metadata.ICON, profile_metadata.CLASS),
    *(profile_metadata.NOTIFICATIONS, profile_metadata.OWNER, _DP_DATA, profile_metadata.POLICY_RULES),
    profile_metadata.SERVICE_DATA,
)
"""All tags of SGP.22's ProfileInfo, in the order of the ASN.1."""
_IOT_TAGS = (profile_metadata.ECALL_INDICATION, profile_metadata.FALLBACK_ATTRIBUTE, profile_metadata.FALLBACK_ALLOWED)
"""What SGP.32 1.1 adds to them."""
_DEFAULT_TAGS = _INFO_ORDER[:9]
"""What GetProfilesInfo gives without a tag list."""
_IOT_DEFAULT_TAGS = (
    *(profile_metadata.ICCID, _AID, _STATE, profile_metadata.SERVICE_PROVIDER, profile_metadata.PROFILE_NAME),
    *(profile_metadata.CLASS, *_IOT_TAGS),
)
"""The same of an IoT eUICC: neither nickname nor icon."""


class EraseOption(Enum):
    """What eUICCMemoryReset deletes, by SGP.32's names."""

    OPERATIONAL = "deleteOperationalProfiles"
    FIELD_TEST = "deleteFieldLoadedTestProfiles"
    DEFAULT_ADDRESS = "resetDefaultSmdpAddress"
    FACTORY_TEST = "deletePreLoadedTestProfiles"
    PROVISIONING = "deleteProvisioningProfiles"


_SGP22_OPTIONS = (EraseOption.OPERATIONAL, EraseOption.FIELD_TEST, EraseOption.DEFAULT_ADDRESS)
"""In bit order."""


class ProfileManager:
    """The functions that change or show profiles; each change is one NVM transaction with its notifications."""

    def __init__(self, euicc: Euicc, notifications: Notifications) -> None:
        self._euicc = euicc
        self._notifications = notifications
        self._registry = Registry(euicc.nvm)
        standards = euicc.standards
        knows_iot_tags = standards.iot is not None and standards.iot >= Version.V1_2
        self._info_order = _INFO_ORDER + (_IOT_TAGS if knows_iot_tags else ())
        self._default_tags = _DEFAULT_TAGS if standards.consumer else _IOT_DEFAULT_TAGS
        self.switched = False
        """Whether a switch has happened since the last reset."""
        self._lost_files = False
        """Whether profiles whose files were in use are deleted, and nobody has been told."""
        self._shown: bytes | None = None
        """The profile whose files the UICC shows: after a switch with REFRESH the old one, until the reset."""
        self.reset()

    def reset(self) -> None:
        """Start anew: the UICC has mounted the enabled profile."""
        self.switched = self._lost_files = False
        self._shown = self._euicc.nvm.get(ENABLED_KEY)

    @property
    def change_pending(self) -> bool:
        """Tell whether a switch waits for the reset that makes it seen."""
        return self._shown != self._euicc.nvm.get(ENABLED_KEY)

    @property
    def enabled_aid(self) -> bytes | None:
        """Return the ISD-P AID of the enabled profile."""
        return self._euicc.nvm.get(ENABLED_KEY)

    def find(self, aid: bytes) -> IsdP | None:
        """Return the profile of an ISD-P AID."""
        return self._registry.find(aid=aid)

    # ------------------------------------------------------------------------------------------------ reading

    def get_eid(self, request: Tlv) -> bytes:
        """ES10c.GetEID (SGP.22 5.7.20). Raises StatusError 6A80 for another tag list than 5A."""
        if request.get(_TAG_LIST).value != b"\x5a":
            raise StatusError(0x6A80)
        return encode(Tag.GET_EID, encode(0x5A, self._euicc.identity.eid))

    def get_profiles_info(self, request: Tlv) -> bytes:
        """ES10c.GetProfilesInfo (SGP.22 5.7.15): incorrectInputValues 1 for criteria or a tag list that are none.

        Raises CodecError for a body that is no TLV.
        """
        criteria = request.find(0xA0)
        choices = criteria.children() if criteria is not None else None
        try:
            wanted = self._search(choices)
            tag_list = request.find(_TAG_LIST)
            tags = _tag_list(tag_list) if tag_list is not None else self._default_tags
        except CodecError:
            return encode(Tag.GET_PROFILES_INFO, der.integer(0x81, 1))
        return encode(Tag.GET_PROFILES_INFO, encode(0xA0, *(self._profile_info(profile, tags) for profile in wanted)))

    def _profile_info(self, profile: IsdP, tags: tuple[int, ...]) -> bytes:
        values = dict(profile.metadata.members)
        values[_AID] = encode(_AID, profile.aid)
        values[_STATE] = der.integer(_STATE, profile.state)
        values[profile_metadata.CLASS] = der.integer(profile_metadata.CLASS, profile.metadata.profile_class)
        if profile.nickname is not None:
            values[_NICKNAME] = der.text(_NICKNAME, profile.nickname)
        if profile.dp_data is not None:
            values[_DP_DATA] = profile.dp_data
        values.pop(profile_metadata.FALLBACK_ATTRIBUTE, None)
        if self._euicc.nvm.get(FALLBACK_KEY) == profile.aid:
            values[profile_metadata.FALLBACK_ATTRIBUTE] = boolean(profile_metadata.FALLBACK_ATTRIBUTE, True)
        return encode(0xE3, *(values[tag] for tag in self._info_order if tag in tags and tag in values))

    def _search(self, choices: list[Tlv] | None) -> list[IsdP]:
        profiles = self._registry.profiles()
        if choices is None:
            return profiles
        if len(choices) != 1:
            raise CodecError("search criteria", expected="one of 4F, 5A, 95", found=f"{len(choices)} members")
        choice = choices[0]
        if choice.tag == _AID:
            return [one for one in profiles if one.aid == choice.value]
        if choice.tag == profile_metadata.ICCID:
            return [one for one in profiles if one.metadata.iccid == choice.value]
        if choice.tag == profile_metadata.CLASS:
            return [one for one in profiles if one.metadata.profile_class == der.read_integer(choice)]
        raise CodecError("search criteria", expected="one of 4F, 5A, 95", found=f"{choice.tag:X}")

    # ------------------------------------------------------------------------------------------------ switching

    def enable(self, request: Tlv) -> bytes:
        """ES10c.EnableProfile (SGP.22 5.7.16). Raises CodecError for a request that is not one."""
        profile, refresh = self._target(request)
        code = self._enable(profile, refresh)
        return encode(Tag.ENABLE_PROFILE, der.integer(0x80, code))

    def _enable(self, profile: IsdP | None, refresh: bool) -> int:
        code = self.order_enable(profile, refresh)
        if code == OK:
            self.show(refresh)
        return code

    def order_enable(self, profile: IsdP | None, refresh: bool) -> int:
        """Enable a profile in one transaction, without showing it: codes of EnableProfile. Raises MemoryFailure."""
        if profile is None:
            return NOT_FOUND
        if profile.enabled:
            return WRONG_STATE
        current = self._registry.enabled()
        if self.is_emergency(profile) or self.is_emergency(current) or not self._may_give_way(current, profile):
            return DISALLOWED_BY_POLICY
        if current is not None and not self._may_follow(current, profile):
            return WRONG_PROFILE_REENABLING
        if refresh and self._euicc.services.cat_busy:
            return CAT_BUSY
        with self._euicc.nvm.transaction():
            if not self._replace(current, profile):
                return UNDEFINED
            self._remember_before_test(current, profile)
            self._forget_way_back()
        return OK

    def switch(self, profile: IsdP | None, *, standing_in: bool = False) -> bool:
        """Enable a profile, or none, whatever the policy rules say, in one transaction and without showing it.

        One that is ``standing_in``, or gives the place back, leaves it to a test profile which one is enabled after it.
        False, and nothing happens, when the notifications find no room. Raises MemoryFailure.
        """
        current = self._registry.enabled()
        with self._euicc.nvm.transaction():
            if not self._replace(current, profile):
                return False
            if profile is not None and not standing_in:
                self._remember_before_test(current, profile)
        return True

    def _replace(self, current: IsdP | None, profile: IsdP | None) -> bool:
        events = [(one, event) for one, event in ((current, Event.DISABLE), (profile, Event.ENABLE)) if one is not None]
        if not self._notifications.has_room(*events):
            return False
        self._registry.set_enabled(profile.aid if profile is not None else None)
        self._notify(events)
        return True

    def is_emergency(self, profile: IsdP | None) -> bool:
        """Tell whether it is an Emergency Profile, which only functions of its own enable and disable (SGP.32)."""
        return profile is not None and profile.metadata.ecall and self._euicc.knows_ecall

    def _forget_way_back(self) -> None:
        """Whoever enables or disables a profile by order makes an end of fallback and rollback."""
        for key in (ROLLBACK_KEY, BEFORE_FALLBACK_KEY):
            self._euicc.nvm.delete(key)

    def disable(self, request: Tlv) -> bytes:
        """ES10c.DisableProfile (SGP.22 5.7.17). Raises CodecError for a request that is not one.

        After a test profile, the operational profile that was enabled before it is enabled again.
        """
        profile, refresh = self._target(request)
        code = self._disable(profile, refresh)
        return encode(Tag.DISABLE_PROFILE, der.integer(0x80, code))

    def _disable(self, profile: IsdP | None, refresh: bool) -> int:
        code = self.order_disable(profile, refresh)
        if code == OK:
            self.show(refresh)
        return code

    def order_disable(self, profile: IsdP | None, refresh: bool) -> int:
        """Disable a profile in one transaction, without showing it: codes of DisableProfile. Raises MemoryFailure."""
        if profile is None:
            return NOT_FOUND
        if not profile.enabled:
            return WRONG_STATE
        if PolicyRule.PPR1_NO_DISABLE in profile.metadata.policy_rules or self.is_emergency(profile):
            return DISALLOWED_BY_POLICY
        if refresh and self._euicc.services.cat_busy:
            return CAT_BUSY
        following = self._before_test() if profile.metadata.profile_class is ProfileClass.TEST else None
        with self._euicc.nvm.transaction():
            if not self._replace(profile, following):
                return UNDEFINED
            self._euicc.nvm.delete(BEFORE_TEST_KEY)
            self._forget_way_back()
        return OK

    def _notify(self, events: list[tuple[IsdP, Event]]) -> None:
        for profile, event in events:
            self._notifications.add_event(profile, event)

    def _before_test(self) -> IsdP | None:
        """Return the operational profile that was enabled before the running test profile, if it is still there."""
        aid = self._euicc.nvm.get(BEFORE_TEST_KEY)
        return self._registry.find(aid=aid) if aid is not None else None

    def _may_give_way(self, current: IsdP | None, profile: IsdP) -> bool:
        """PPR1 holds against other profiles, but not against a test profile: that one gives the place back."""
        if current is None or PolicyRule.PPR1_NO_DISABLE not in current.metadata.policy_rules:
            return True
        return profile.metadata.profile_class is ProfileClass.TEST

    def _may_follow(self, current: IsdP, profile: IsdP) -> bool:
        """After a test profile only the operational one from before it, or another test profile, may follow."""
        tests = [one.metadata.profile_class is ProfileClass.TEST for one in (current, profile)]
        before = self._euicc.nvm.get(BEFORE_TEST_KEY)
        return not tests[0] or tests[1] or before in (None, profile.aid)

    def _remember_before_test(self, current: IsdP | None, profile: IsdP) -> None:
        nvm = self._euicc.nvm
        if profile.metadata.profile_class is not ProfileClass.TEST:
            nvm.delete(BEFORE_TEST_KEY)
        elif current is not None and current.metadata.profile_class is not ProfileClass.TEST:
            nvm.put(BEFORE_TEST_KEY, current.aid)

    def show(self, refresh: bool) -> None:
        """Make the switch seen: at the reset that REFRESH asks for, or at once (SGP.22 3.2.1)."""
        who = self._euicc.personality
        self._euicc.seconds += who.switch_seconds
        self.switched = True
        if not refresh:
            self._mount(self._euicc.nvm.get(ENABLED_KEY))
        elif who.raises_refresh and (self._euicc.services.terminal_profile_seen or not who.needs_terminal_profile):
            self._euicc.services.queue_refresh(who.refresh_mode)

    def hide_removed(self) -> None:
        """Show a profile no longer that was deleted meanwhile: its files must not be read any more, reset or not."""
        if self._shown is not None and self._registry.find(aid=self._shown) is None:
            self._mount(self._euicc.nvm.get(ENABLED_KEY))

    def _mount(self, aid: bytes | None) -> None:
        self._euicc.services.mount(aid)
        self._shown = aid

    # ------------------------------------------------------------------------------------------------ deleting

    def delete(self, request: Tlv) -> bytes:
        """ES10c.DeleteProfile (SGP.22 5.7.18). Raises CodecError for a request that is not one."""
        choices = request.children()
        if len(choices) != 1:
            raise CodecError("DeleteProfile", expected="one of 4F, 5A", found=f"{len(choices)} members")
        code = self._delete(self._identified(choices[0]))
        return encode(Tag.DELETE_PROFILE, der.integer(0x80, code))

    def _delete(self, profile: IsdP | None) -> int:
        code = self.order_delete(profile)
        self.hide_removed()
        return code

    def order_delete(self, profile: IsdP | None) -> int:
        """Delete a profile in one transaction: codes of DeleteProfile. Raises MemoryFailure.

        Disabled, but shown until a reset that has not come, it is seen until ``hide_removed``.
        """
        if profile is None:
            return NOT_FOUND
        if profile.enabled:
            return WRONG_STATE
        if PolicyRule.PPR2_NO_DELETE in profile.metadata.policy_rules:
            return DISALLOWED_BY_POLICY
        self._remove([profile])
        return OK

    def _remove(self, profiles: list[IsdP]) -> None:
        with self._euicc.nvm.transaction():
            for profile in profiles:
                self._registry.remove(profile.aid)
                self._notifications.add_event(profile, Event.DELETE)

    def memory_reset(self, request: Tlv) -> bytes:
        """ES10c.eUICCMemoryReset (SGP.22 5.7.19): profiles go whatever their state and policy rules are."""
        wanted = der.read_bits(request.get(0x82))
        code = self.erase([option for bit, option in enumerate(_SGP22_OPTIONS) if bit in wanted])
        self.show_erased()
        return encode(Tag.EUICC_MEMORY_RESET, der.integer(0x80, code))

    def erase(self, options: Collection[EraseOption]) -> int:
        """Delete profiles and the default SM-DP+ address in one transaction: codes of eUICCMemoryReset.

        ``show_erased`` makes it seen. Raises MemoryFailure.
        """
        current = self._registry.enabled()
        if self.is_emergency(current):
            return UNDEFINED
        doomed = [one for one in self._registry.profiles() if _kind(one) in options]
        nvm = self._euicc.nvm
        clears_address = EraseOption.DEFAULT_ADDRESS in options and nvm.get(DEFAULT_ADDRESS_KEY) is not None
        if not doomed and not clears_address:
            return NOTHING_TO_DELETE
        loses_files = any(one.enabled or one.aid == self._shown for one in doomed)
        if loses_files and self._euicc.services.cat_busy:
            return CAT_BUSY
        stood_in = current is not None and current in doomed and current.metadata.profile_class is ProfileClass.TEST
        kept = self._before_test() if stood_in else None
        with nvm.transaction():
            self._remove(doomed)
            if kept is not None and kept not in doomed:
                # The test profile is gone that stood in for it.
                self._registry.set_enabled(kept.aid)
                self._notifications.add_event(kept, Event.ENABLE)
                nvm.delete(BEFORE_TEST_KEY)
            if clears_address:
                nvm.delete(DEFAULT_ADDRESS_KEY)
        self._lost_files = loses_files
        return OK

    def show_erased(self) -> None:
        """Show nothing of profiles that ``erase`` deleted, and ask for a reset where one in use was among them."""
        lost, self._lost_files = self._lost_files, False
        if lost:
            # The files are gone at once: nothing may go on reading them until the terminal has reset the card.
            self.show(refresh=True)
            self._mount(self._euicc.nvm.get(ENABLED_KEY))

    # ------------------------------------------------------------------------------------------------ names

    def set_nickname(self, request: Tlv) -> bytes:
        """ES10c.SetNickname (SGP.22 5.7.21). Raises CodecError for a text of more than 64 bytes or not in UTF-8."""
        iccid = der.exactly(request.get(profile_metadata.ICCID), 10)
        nickname = request.get(_NICKNAME)
        profile = self._registry.find(iccid=iccid)
        code = OK
        if profile is None:
            code = NOT_FOUND
        else:
            if len(nickname.value) > _MAX_NICKNAME:
                raise CodecError("nickname", expected=f"at most {_MAX_NICKNAME} bytes", found=len(nickname.value))
            self._registry.set_nickname(profile.aid, der.read_text(nickname, _MAX_NICKNAME))
        return encode(Tag.SET_NICKNAME, der.integer(0x80, code))

    # ------------------------------------------------------------------------------------------------ requests

    def _target(self, request: Tlv) -> tuple[IsdP | None, bool]:
        refresh = der.read_boolean(request.get(0x81))
        choices = request.get(0xA0).children()
        if len(choices) != 1:
            raise CodecError("profileIdentifier", expected="one of 4F, 5A", found=f"{len(choices)} members")
        return self._identified(choices[0]), refresh

    def _identified(self, choice: Tlv) -> IsdP | None:
        if choice.tag == _AID:
            if not 1 <= len(choice.value) <= 16:
                raise CodecError("isdpAid", expected="1 to 16 bytes", found=len(choice.value))
            return self._registry.find(aid=choice.value)
        if choice.tag == profile_metadata.ICCID:
            return self._registry.find(iccid=der.exactly(choice, 10))
        raise CodecError("profileIdentifier", expected="4F or 5A", found=f"{choice.tag:X}")


def _kind(profile: IsdP) -> EraseOption:
    match profile.metadata.profile_class:
        case ProfileClass.OPERATIONAL:
            return EraseOption.OPERATIONAL
        case ProfileClass.PROVISIONING:
            return EraseOption.PROVISIONING
        case _:
            return EraseOption.FACTORY_TEST if profile.factory else EraseOption.FIELD_TEST


def _tag_list(tag_list: Tlv) -> tuple[int, ...]:
    """Return the wanted tags: the value is a plain row of them. Tags that ProfileInfo has not are passed over."""
    found: list[int] = []
    data = tag_list.value
    while data:
        size = 1
        if data[0] & 0x1F == 0x1F:
            size = 2
            while size <= len(data) and data[size - 1] & 0x80:
                size += 1
        if size > len(data):
            raise CodecError("tag list", expected="whole tags", found=tag_list.value.hex())
        found.append(int.from_bytes(data[:size], "big"))
        data = data[size:]
    return tuple(found)
