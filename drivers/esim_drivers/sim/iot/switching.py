"""Which profile is enabled on an IoT eUICC, and which one comes back: PSMOs, rollback, fallback, emergency and so on.

(SGP.32 3.3, 3.5, 3.7, 5.9.15 to 5.9.17, 5.9.20 to 5.9.23.) The states themselves are the profile manager's.

NVM: ``iot/rollback``, ``iot/fallback/profile``, ``iot/fallback/before``, ``iot/emergency/before`` (ISD-P AIDs, see
``registry``), and ``iot/immediate``, the configuration of immediate enabling as it stands in a PSMO. Each change is one
transaction with its notifications, and joins the caller's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager

from esim_bench.codec.euicc_operations import ConfigureImmediateEnable
from esim_bench.codec.sgp32 import Version
from esim_bench.codec.tlv import parse
from esim_drivers.sim.euicc import Euicc
from esim_drivers.sim.notifications import Notifications
from esim_drivers.sim.profile_manager import (
    CAT_BUSY,
    DEFAULT_ADDRESS_KEY,
    DISALLOWED_BY_POLICY,
    NOT_FOUND,
    OK,
    UNDEFINED,
    WRONG_PROFILE_REENABLING,
    WRONG_STATE,
    EraseOption,
    ProfileManager,
)
from esim_drivers.sim.profile_metadata import PolicyRule
from esim_drivers.sim.registry import (
    BEFORE_EMERGENCY_KEY,
    BEFORE_FALLBACK_KEY,
    ENABLED_KEY,
    FALLBACK_KEY,
    ROLLBACK_KEY,
    IsdP,
    Registry,
)
from esim_drivers.sim.rsp_session import RspSession

IMMEDIATE_KEY = "iot/immediate"
_RESULT_ROOM = 512
"""Bytes that a configuration leaves free: the result of the package that brings it must find room."""

ROLLBACK_NOT_ALLOWED = 1
INSUFFICIENT_MEMORY = 1
IMMEDIATE_ENABLE_NOT_AVAILABLE = 1
FALLBACK_NOT_ALLOWED = 2
NO_FALLBACK_ATTRIBUTE = 2
FALLBACK_PROFILE_ENABLED = 3
NO_SESSION_CONTEXT = 4
FALLBACK_NOT_AVAILABLE = 6
COMMAND_ERROR = 7
ECALL_NOT_AVAILABLE = 8
ROLLBACK_NOT_AVAILABLE = 20
RETURN_FALLBACK_PROFILE = 21
ECALL_ACTIVE = 104


class Switching:
    """All ways in which an IoT eUICC changes profiles. In RAM: the profile that was enabled when the command began."""

    def __init__(
        self, euicc: Euicc, notifications: Notifications, manager: ProfileManager, session: RspSession
    ) -> None:
        self._euicc = euicc
        self._notifications = notifications
        self._manager = manager
        self._session = session
        self._registry = Registry(euicc.nvm)
        self._before: bytes | None = None

    @property
    def version(self) -> Version:
        """Return the eUICC's version of SGP.32."""
        return self._euicc.standards.iot or Version.V1_2

    @property
    def consumer(self) -> bool:
        """Tell whether the eUICC is a consumer one as well."""
        return self._euicc.standards.consumer

    # ------------------------------------------------------------------------------------------------ commands

    def begin_package(self) -> None:
        """Hear that a command begins which may change profiles, by several operations."""
        self._before = self._euicc.nvm.get(ENABLED_KEY)

    def show(self, refresh: bool) -> None:
        """Make the change seen if another profile, or none, is enabled than when the command began (REFRESH, once)."""
        if self._euicc.nvm.get(ENABLED_KEY) != self._before:
            self._manager.show(refresh)
        self._manager.hide_removed()

    def transaction(self) -> AbstractContextManager[None]:
        """Return a transaction of the eUICC's memory: what is done within lasts together, or not at all."""
        return self._euicc.nvm.transaction()

    @contextmanager
    def _change(self, refresh: bool) -> Iterator[None]:
        """One change that is a command of its own: a transaction, and afterwards it is seen."""
        self.begin_package()
        with self.transaction():
            yield
        self.show(refresh)

    def _busy(self, refresh: bool) -> bool:
        return refresh and self._euicc.services.cat_busy

    # ------------------------------------------------------------------------------------------------ PSMO

    def psmo_enable(self, iccid: bytes, rollback: bool) -> int:
        """Enable a profile (3.3.2); with ``rollback`` the one from before the package may come back."""
        profile = self._registry.find(iccid=iccid)
        if profile is None:
            return NOT_FOUND
        if profile.enabled:
            return WRONG_STATE
        before = self._registry.find(aid=self._before) if self._before is not None else None
        if rollback and (before is None or before.aid == profile.aid):
            return ROLLBACK_NOT_AVAILABLE
        with self._euicc.nvm.transaction():
            code = self._manager.order_enable(profile, refresh=True)
            if code == OK and rollback and before is not None:
                self._euicc.nvm.put(ROLLBACK_KEY, before.aid)
        return DISALLOWED_BY_POLICY if code == WRONG_PROFILE_REENABLING else code

    def psmo_disable(self, iccid: bytes) -> int:
        """Disable a profile (3.3.3)."""
        return self._manager.order_disable(self._registry.find(iccid=iccid), refresh=True)

    def psmo_delete(self, iccid: bytes) -> int:
        """Delete a profile (3.3.4): not the one that a rollback or the end of a fallback would go back to."""
        profile = self._registry.find(iccid=iccid)
        if profile is not None and not profile.enabled:
            if self._euicc.nvm.get(ROLLBACK_KEY) == profile.aid:
                return ROLLBACK_NOT_AVAILABLE
            if self._euicc.nvm.get(BEFORE_FALLBACK_KEY) == profile.aid:
                return RETURN_FALLBACK_PROFILE
        return self._manager.order_delete(profile)

    # ------------------------------------------------------------------------------------------------ rollback

    @property
    def rollback_available(self) -> bool:
        """Tell whether ES10b.ProfileRollback is authorised."""
        return self._euicc.nvm.get(ROLLBACK_KEY) is not None

    def package_accepted(self) -> None:
        """Cancel the authorisation of a rollback: the eIM has heard of the switch, for it sends something new."""
        self._cancel_rollback()

    def _cancel_rollback(self) -> None:
        self._euicc.nvm.delete(ROLLBACK_KEY)

    def rollback(self, refresh: bool) -> int:
        """Enable the profile from before again (5.9.16). On ok the caller makes a new result, then calls ``show``."""
        self.begin_package()
        before = self._registry.remembered(ROLLBACK_KEY)
        if before is None:
            return ROLLBACK_NOT_ALLOWED
        if self.ecall_active:
            # There is no code of its own for it.
            return COMMAND_ERROR
        if self._busy(refresh):
            return CAT_BUSY
        with self._euicc.nvm.transaction():
            if not self._manager.switch(before):
                return UNDEFINED
            self._cancel_rollback()
        return OK

    # ------------------------------------------------------------------------------------------------ fallback

    def set_fallback(self, iccid: bytes) -> int:
        """Give a profile the fallback attribute; the one that has it loses it (PSMO setFallbackAttribute)."""
        profile = self._registry.find(iccid=iccid)
        if profile is None:
            return NOT_FOUND
        allowed = self._euicc.knows_fallback and profile.metadata.fallback_allowed
        if not allowed or self._manager.is_emergency(profile):
            return FALLBACK_NOT_ALLOWED
        holder = self._registry.remembered(FALLBACK_KEY)
        if holder is not None and holder.aid == profile.aid:
            return OK
        if holder is not None and holder.enabled:
            return FALLBACK_PROFILE_ENABLED
        self._euicc.nvm.put(FALLBACK_KEY, profile.aid)
        return OK

    def unset_fallback(self) -> int:
        """Take the fallback attribute away (PSMO unsetFallbackAttribute)."""
        if not self._euicc.knows_fallback:
            return COMMAND_ERROR
        holder = self._registry.remembered(FALLBACK_KEY)
        if holder is None:
            return NO_FALLBACK_ATTRIBUTE
        if holder.enabled:
            return FALLBACK_PROFILE_ENABLED
        self._euicc.nvm.delete(FALLBACK_KEY)
        return OK

    def execute_fallback(self, refresh: bool) -> int:
        """Enable the Fallback Profile, for the enabled one has no connectivity (5.9.22). PPR1 does not hold here."""
        current = self._registry.enabled()
        if current is None:
            return COMMAND_ERROR
        profile = self._registry.remembered(FALLBACK_KEY) if self._euicc.knows_fallback else None
        if profile is None:
            return FALLBACK_NOT_AVAILABLE
        if self.ecall_active:
            return ECALL_ACTIVE
        if profile.enabled:
            return WRONG_STATE
        if self._busy(refresh):
            return CAT_BUSY
        with self._change(refresh):
            if not self._manager.switch(profile, standing_in=True):
                return UNDEFINED
            self._euicc.nvm.put(BEFORE_FALLBACK_KEY, current.aid)
            self._cancel_rollback()
        return OK

    def return_from_fallback(self, refresh: bool) -> int:
        """Enable the profile from before the fallback again (5.9.23)."""
        before = self._registry.remembered(BEFORE_FALLBACK_KEY)
        if before is None:
            return FALLBACK_NOT_AVAILABLE
        if self.ecall_active:
            # There is no code of its own for it.
            return COMMAND_ERROR
        if self._busy(refresh):
            return CAT_BUSY
        with self._change(refresh):
            if not self._manager.switch(before, standing_in=True):
                return UNDEFINED
            self._euicc.nvm.delete(BEFORE_FALLBACK_KEY)
            self._cancel_rollback()
        return OK

    # ------------------------------------------------------------------------------------------------ emergency

    @property
    def ecall_active(self) -> bool:
        """Tell whether an Emergency Profile is enabled."""
        return self._manager.is_emergency(self._registry.enabled())

    def _emergency_profile(self) -> IsdP | None:
        return next((one for one in self._registry.profiles() if self._manager.is_emergency(one)), None)

    def enable_emergency(self, refresh: bool) -> int:
        """Enable the Emergency Profile (5.9.20). PPR1 does not hold here."""
        profile = self._emergency_profile()
        if profile is None:
            return ECALL_NOT_AVAILABLE
        if self.ecall_active:
            return WRONG_STATE
        if self._busy(refresh):
            return CAT_BUSY
        current = self._registry.enabled()
        with self._change(refresh):
            if not self._manager.switch(profile, standing_in=True):
                return UNDEFINED
            if current is not None:
                self._euicc.nvm.put(BEFORE_EMERGENCY_KEY, current.aid)
            if refresh:
                self._cancel_rollback()
        return OK

    def disable_emergency(self, refresh: bool) -> int:
        """Disable the Emergency Profile (5.9.21): the one that was enabled before it, if any, is enabled again."""
        if not self.ecall_active:
            return WRONG_STATE
        if self._busy(refresh):
            return CAT_BUSY
        with self._change(refresh):
            if not self._manager.switch(self._registry.remembered(BEFORE_EMERGENCY_KEY), standing_in=True):
                return UNDEFINED
            self._euicc.nvm.delete(BEFORE_EMERGENCY_KEY)
            if refresh:
                self._cancel_rollback()
        return OK

    # ------------------------------------------------------------------------------------------------ immediate enable

    def configure_immediate(self, configuration: ConfigureImmediateEnable) -> int:
        """Say from which SM-DP+ a profile may be enabled at once; without the flag, from none.

        Codes of the PSMO: a make that does not know it answers commandError, and so does any for an SM-DP+ without the
        flag, since nothing could be enabled from it.
        """
        named = configuration.smdp_oid is not None or configuration.smdp_address is not None
        if not self._euicc.personality.immediate_enable_supported or (named and not configuration.enabled):
            return COMMAND_ERROR
        if not configuration.enabled:
            self._euicc.nvm.delete(IMMEDIATE_KEY)
            return OK
        stored = configuration.encode()
        if len(stored) + _RESULT_ROOM > self._euicc.services.free_memory:
            return INSUFFICIENT_MEMORY
        self._euicc.nvm.put(IMMEDIATE_KEY, stored)
        return OK

    def reset_immediate(self) -> bool:
        """Forget from which SM-DP+ a profile may be enabled at once; False where that can't be configured."""
        self._euicc.nvm.delete(IMMEDIATE_KEY)
        return self._euicc.personality.immediate_enable_supported

    def immediate_enable(self, refresh: bool) -> int:
        """Enable the profile that has just been installed (5.9.15), where its SM-DP+ is the configured one.

        What the configuration does not name, OID or address, may be any.
        """
        stored = self._euicc.nvm.get(IMMEDIATE_KEY)
        configured = ConfigureImmediateEnable.parse(parse(stored)) if stored is not None else None
        if configured is None:
            return IMMEDIATE_ENABLE_NOT_AVAILABLE
        installed = self._session.installed
        profile = self._registry.find(aid=installed.aid) if installed is not None else None
        if installed is None or profile is None or profile.enabled:
            return NO_SESSION_CONTEXT
        fits = configured.smdp_oid in (None, installed.smdp_oid) and _same(configured.smdp_address, installed.address)
        current = self._registry.enabled()
        kept = current is not None and PolicyRule.PPR1_NO_DISABLE in current.metadata.policy_rules
        if not fits or kept or self.ecall_active or self._manager.is_emergency(profile):
            return IMMEDIATE_ENABLE_NOT_AVAILABLE
        had_rollback = self._euicc.nvm.get(ROLLBACK_KEY)
        with self._change(refresh):
            code = self._manager.order_enable(profile, refresh)
            if code == OK and had_rollback not in (None, profile.aid) and not refresh:
                self._euicc.nvm.put(ROLLBACK_KEY, had_rollback or b"")
        if code == OK:
            self._session.installed = None
        return code if code in (OK, CAT_BUSY) else UNDEFINED

    # ------------------------------------------------------------------------------------------------ memory reset

    @property
    def eim_reset_supported(self) -> bool:
        """Tell whether eUICCMemoryReset can forget the associated eIMs."""
        return self._euicc.personality.eim_reset_supported

    def erase(self, options: Collection[EraseOption]) -> int:
        """Delete profiles and the default SM-DP+ address: codes of eUICCMemoryReset."""
        return self._manager.erase(options)

    def show_erased(self) -> None:
        """Show nothing of the profiles that ``erase`` deleted."""
        self._manager.show_erased()

    def set_default_address(self, address: str) -> None:
        """Set the default SM-DP+ address; an empty one removes it."""
        if address:
            self._euicc.nvm.put(DEFAULT_ADDRESS_KEY, address.encode())
        else:
            self._euicc.nvm.delete(DEFAULT_ADDRESS_KEY)

    # ------------------------------------------------------------------------------------------------ invariants

    def violations(self) -> list[str]:
        """Return what is inconsistent, as sentences; [] is what has to come out after any power cut."""
        nvm = self._euicc.nvm
        found: list[str] = []
        enabled = nvm.get(ENABLED_KEY)
        holder = self._registry.remembered(FALLBACK_KEY)
        if holder is not None and not holder.metadata.fallback_allowed:
            found.append("the Fallback Profile may not be one")
        before_emergency = nvm.get(BEFORE_EMERGENCY_KEY)
        if before_emergency is not None and not self.ecall_active:
            found.append("a profile waits for the end of an emergency that there is not")
        if nvm.get(BEFORE_FALLBACK_KEY) is not None and nvm.get(FALLBACK_KEY) not in (enabled, before_emergency):
            found.append("a profile waits for the end of a fallback that there is not")
        for key in (ROLLBACK_KEY, BEFORE_FALLBACK_KEY, BEFORE_EMERGENCY_KEY):
            if enabled is not None and nvm.get(key) == enabled:
                found.append(f"{key} is the enabled profile")
        return found


def _same(wanted: str | None, address: str) -> bool:
    return wanted is None or wanted.lower() == address.lower()
