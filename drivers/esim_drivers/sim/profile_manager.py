"""ES10c: local profile management (SGP.22 5.7.15 to 5.7.21): list, enable, disable, delete, nickname, memory reset."""

from __future__ import annotations

from esim_bench.codec.es10 import Tag
from esim_bench.codec.tlv import Tlv, encode
from esim_bench.errors import CodecError
from esim_drivers.sim import der, profile_metadata
from esim_drivers.sim.euicc import Euicc, StatusError
from esim_drivers.sim.notifications import Notifications
from esim_drivers.sim.profile_metadata import Event, PolicyRule, ProfileClass
from esim_drivers.sim.registry import BEFORE_TEST_KEY, ENABLED_KEY, IsdP, Registry

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
"""All tags of ProfileInfo, in the order of the ASN.1."""
_DEFAULT_TAGS = _INFO_ORDER[:9]
"""What GetProfilesInfo gives without a tag list."""

_DELETE_OPERATIONAL, _DELETE_TEST, _RESET_ADDRESS = 0, 1, 2


class ProfileManager:
    """The functions that change or show profiles; each change is one NVM transaction with its notifications."""

    def __init__(self, euicc: Euicc, notifications: Notifications) -> None:
        self._euicc = euicc
        self._notifications = notifications
        self._registry = Registry(euicc.nvm)
        self.switched = False
        """Whether a switch has happened since the last reset."""
        self._shown: bytes | None = None
        """The profile whose files the UICC shows: after a switch with REFRESH the old one, until the reset."""
        self.reset()

    def reset(self) -> None:
        """Start anew: the UICC has mounted the enabled profile."""
        self.switched = False
        self._shown = self._euicc.nvm.get(ENABLED_KEY)

    @property
    def change_pending(self) -> bool:
        """Tell whether a switch waits for the reset that makes it seen."""
        return self._shown != self._euicc.nvm.get(ENABLED_KEY)

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
            tags = _tag_list(request.find(_TAG_LIST))
        except CodecError:
            return encode(Tag.GET_PROFILES_INFO, der.integer(0x81, 1))
        return encode(Tag.GET_PROFILES_INFO, encode(0xA0, *(_profile_info(profile, tags) for profile in wanted)))

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
        if profile is None:
            return NOT_FOUND
        if profile.enabled:
            return WRONG_STATE
        current = self._registry.enabled()
        if not self._may_give_way(current, profile):
            return DISALLOWED_BY_POLICY
        if current is not None and not self._may_follow(current, profile):
            return WRONG_PROFILE_REENABLING
        if refresh and self._euicc.services.cat_busy:
            return CAT_BUSY
        events = [(profile, Event.ENABLE)]
        if current is not None:
            events.insert(0, (current, Event.DISABLE))
        if not self._notifications.has_room(*events):
            return UNDEFINED
        nvm = self._euicc.nvm
        with nvm.transaction():
            self._remember_before_test(current, profile)
            self._registry.set_enabled(profile.aid)
            self._notify(events)
        self._show(profile.aid, refresh)
        return OK

    def disable(self, request: Tlv) -> bytes:
        """ES10c.DisableProfile (SGP.22 5.7.17). Raises CodecError for a request that is not one.

        After a test profile, the operational profile that was enabled before it is enabled again.
        """
        profile, refresh = self._target(request)
        code = self._disable(profile, refresh)
        return encode(Tag.DISABLE_PROFILE, der.integer(0x80, code))

    def _disable(self, profile: IsdP | None, refresh: bool) -> int:
        if profile is None:
            return NOT_FOUND
        if not profile.enabled:
            return WRONG_STATE
        if PolicyRule.PPR1_NO_DISABLE in profile.metadata.policy_rules:
            return DISALLOWED_BY_POLICY
        if refresh and self._euicc.services.cat_busy:
            return CAT_BUSY
        following = self._before_test() if profile.metadata.profile_class is ProfileClass.TEST else None
        events = [(profile, Event.DISABLE)]
        if following is not None:
            events.append((following, Event.ENABLE))
        if not self._notifications.has_room(*events):
            return UNDEFINED
        aid = following.aid if following is not None else None
        with self._euicc.nvm.transaction():
            self._registry.set_enabled(aid)
            self._euicc.nvm.delete(BEFORE_TEST_KEY)
            self._notify(events)
        self._show(aid, refresh)
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

    def _show(self, aid: bytes | None, refresh: bool) -> None:
        """Make the switch seen: at the reset that REFRESH asks for, or at once (SGP.22 3.2.1)."""
        who = self._euicc.personality
        self._euicc.seconds += who.switch_seconds
        self.switched = True
        if not refresh:
            self._mount(aid)
        elif who.raises_refresh and (self._euicc.services.terminal_profile_seen or not who.needs_terminal_profile):
            self._euicc.services.queue_refresh(who.refresh_mode)

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
        if profile is None:
            return NOT_FOUND
        if profile.enabled:
            return WRONG_STATE
        if PolicyRule.PPR2_NO_DELETE in profile.metadata.policy_rules:
            return DISALLOWED_BY_POLICY
        self._remove([profile])
        if profile.aid == self._shown:
            # Disabled, but shown until a reset that has not come: its files must not be read any more.
            self._mount(self._euicc.nvm.get(ENABLED_KEY))
        return OK

    def _remove(self, profiles: list[IsdP]) -> None:
        with self._euicc.nvm.transaction():
            for profile in profiles:
                self._registry.remove(profile.aid)
                self._notifications.add_event(profile, Event.DELETE)

    def memory_reset(self, request: Tlv) -> bytes:
        """ES10c.eUICCMemoryReset (SGP.22 5.7.19): profiles go whatever their state and policy rules are."""
        options = der.read_bits(request.get(0x82))
        return encode(Tag.EUICC_MEMORY_RESET, der.integer(0x80, self._memory_reset(options)))

    def _memory_reset(self, options: tuple[int, ...]) -> int:
        doomed = [
            one
            for one in self._registry.profiles()
            if (one.metadata.profile_class is ProfileClass.OPERATIONAL and _DELETE_OPERATIONAL in options)
            or (one.metadata.profile_class is ProfileClass.TEST and not one.factory and _DELETE_TEST in options)
        ]
        nvm = self._euicc.nvm
        clears_address = _RESET_ADDRESS in options and nvm.get(DEFAULT_ADDRESS_KEY) is not None
        if not doomed and not clears_address:
            return NOTHING_TO_DELETE
        loses_files = any(one.enabled or one.aid == self._shown for one in doomed)
        if loses_files and self._euicc.services.cat_busy:
            return CAT_BUSY
        kept = self._before_test() if any(one.enabled for one in doomed) else None
        with nvm.transaction():
            self._remove(doomed)
            if kept is not None and kept not in doomed:
                # The test profile is gone that stood in for it.
                self._registry.set_enabled(kept.aid)
                self._notifications.add_event(kept, Event.ENABLE)
                nvm.delete(BEFORE_TEST_KEY)
            if clears_address:
                nvm.delete(DEFAULT_ADDRESS_KEY)
        if loses_files:
            # The files are gone at once: nothing may go on reading them until the terminal has reset the card.
            remaining = nvm.get(ENABLED_KEY)
            self._show(remaining, refresh=True)
            self._mount(remaining)
        return OK

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


def _tag_list(tag_list: Tlv | None) -> tuple[int, ...]:
    """Return the wanted tags: the value is a plain row of them. Tags that ProfileInfo has not are passed over."""
    if tag_list is None:
        return _DEFAULT_TAGS
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


def _profile_info(profile: IsdP, tags: tuple[int, ...]) -> bytes:
    values = dict(profile.metadata.members)
    values[_AID] = encode(_AID, profile.aid)
    values[_STATE] = der.integer(_STATE, profile.state)
    values[profile_metadata.CLASS] = der.integer(profile_metadata.CLASS, profile.metadata.profile_class)
    if profile.nickname is not None:
        values[_NICKNAME] = der.text(_NICKNAME, profile.nickname)
    if profile.dp_data is not None:
        values[_DP_DATA] = profile.dp_data
    return encode(0xE3, *(values[tag] for tag in _INFO_ORDER if tag in tags and tag in values))
