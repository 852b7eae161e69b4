"""What single makes of eUICC do otherwise than the standard says, as seen on real ones: other ISD-R functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from esim_bench.codec.es10 import Tag
from esim_bench.codec.tlv import Tlv, encode
from esim_drivers.sim import der
from esim_drivers.sim.euicc import Euicc, StatusError
from esim_drivers.sim.personality import Odd
from esim_drivers.sim.profile_manager import CAT_BUSY, OK, UNDEFINED, ProfileManager

_Function = Callable[[Tlv], bytes]
_BEFORE_KEY: Final = "odd/before-switch"
"""AID of the profile that the last switch left; no bytes for none."""
_AID: Final = 0x4F


class OddFunctions:
    """The functions of an eUICC with odd manners; the manager's own do the work."""

    def __init__(self, euicc: Euicc, manager: ProfileManager) -> None:
        self._euicc = euicc
        self._odd = euicc.personality.odd
        self._manager = manager

    def wrap(self, functions: dict[int, _Function]) -> None:
        """Replace functions of a table by what this make has instead."""
        if self._odd == Odd():
            return
        for tag, made in (
            (Tag.ENABLE_PROFILE, self._switching),
            (Tag.DISABLE_PROFILE, self._switching),
            (Tag.LIST_NOTIFICATION, self._listing),
            (Tag.EUICC_MEMORY_RESET, self._resetting),
        ):
            if tag in functions:
                functions[tag] = made(tag, functions[tag])

    def power_up(self) -> None:
        """Take back the last switch, where this make does so at a loss of power."""
        before = self._euicc.nvm.get(_BEFORE_KEY)
        if before is None:
            return
        with self._euicc.nvm.transaction():
            self._manager.switch(self._manager.find(before) if before else None)
            self._euicc.nvm.delete(_BEFORE_KEY)
        self._manager.show(refresh=False)

    def _switching(self, tag: int, function: _Function) -> _Function:
        def switch(request: Tlv) -> bytes:
            named = request.get(0xA0).children()
            order = "aid" if named and named[0].tag == _AID else "iccid", der.read_boolean(request.get(0x81))
            if order not in self._odd.switch_orders:
                return encode(tag, der.integer(0x80, UNDEFINED))
            before = self._manager.enabled_aid
            with self._euicc.nvm.transaction():
                answer = function(request)
                done = answer == encode(tag, der.integer(0x80, OK))
                if done and self._odd.reverts_at_power_up:
                    self._euicc.nvm.put(_BEFORE_KEY, before or b"")
            return encode(tag, der.integer(0x80, CAT_BUSY)) if done and self._odd.false_cat_busy else answer

        return switch

    def _listing(self, _tag: int, function: _Function) -> _Function:
        def list_notification(request: Tlv) -> bytes:
            if self._odd.list_refused and self._manager.switched:
                raise StatusError(self._odd.list_refused)
            return function(request)

        return list_notification

    def _resetting(self, tag: int, function: _Function) -> _Function:
        def memory_reset(request: Tlv) -> bytes:
            return encode(tag, der.integer(0x80, OK)) if self._odd.ignores_memory_reset else function(request)

        return memory_reset
