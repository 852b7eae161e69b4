"""Switches of profiles that are the device's own decision: fallback and return, emergency, immediate enable.

Each is noted before it is done, with the profile that was enabled then: after a power cut the eUICC tells whether it
took place, and then all eIMs are told so (stateChangeCause).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from esim_bench.agents.ipa.context import Context
from esim_bench.agents.ipa.report import Done, PollReport
from esim_bench.agents.ipa.state import Act
from esim_bench.codec import es10_iot
from esim_bench.codec.sgp32 import Version
from esim_bench.errors import AgentError, DeviceError

OTHER_EIM: Final = 0
FALLBACK: Final = 1
EMERGENCY: Final = 2
IMMEDIATE_ENABLE: Final = 5
_CAT_BUSY: Final = "catBusy"


class Switching:
    """What a device does with its profiles without an eIM."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._keeper = context.keeper

    async def fall_back(self) -> str:
        """Enable the Fallback Profile (ExecuteFallbackMechanism); return "ok" or the name of another code."""
        request = lambda version: es10_iot.execute_fallback_mechanism(True, version)  # noqa: E731
        return await self._perform("fallback", FALLBACK, request)

    async def return_from_fallback(self) -> str:
        """Enable the profile of before the fallback (ReturnFromFallback); return "ok" or the name of another code."""
        request = lambda version: es10_iot.return_from_fallback(True, version)  # noqa: E731
        return await self._perform("return", FALLBACK, request)

    async def immediate_enable(self) -> str:
        """Enable the profile that was just downloaded (ImmediateEnable); return "ok" or the name of another code."""
        request = lambda version: es10_iot.immediate_enable(True, version)  # noqa: E731
        return await self._perform("immediateEnable", IMMEDIATE_ENABLE, request)

    async def emergency(self, on: bool) -> str:
        """Enable or disable the Emergency Profile; return "ok" or the name of another code."""
        if on:
            self._keeper.update(emergency=True)
        build = es10_iot.enable_emergency_profile if on else es10_iot.disable_emergency_profile
        try:
            name = await self._perform("emergency", EMERGENCY, lambda version: build(True, version))
        except AgentError:
            self._keeper.update(emergency=False)
            raise
        await self.ecall_active()
        return name

    async def ecall_active(self) -> bool:
        """Tell whether the Emergency Profile is enabled. The eUICC is asked only where the device asked for it."""
        if not self._keeper.now.emergency:
            return False
        active = await self._context.card.ecall_active()
        if not active:
            self._keeper.update(emergency=False)
        return active

    async def resume(self, report: PollReport) -> None:
        """Find out whether a switch that was cut off took place."""
        act = self._keeper.now.act
        if act is None:
            return
        if await self._enabled() == act.before:
            self._keeper.update(act=None)
            return
        self._keeper.update(act=None, causes=self._context.causes(act.cause))
        report.add(Done(act.kind, results=("ok",)))

    async def _perform(self, kind: str, cause: int, build: Callable[[Version], bytes]) -> str:
        card = self._context.card
        before = await self._enabled()
        self._keeper.update(act=Act(kind, cause, before))
        name = _CAT_BUSY
        for delay in self._context.settings.delays():
            if delay:
                await asyncio.sleep(delay)
            try:
                name = await card.order(build)
            except AgentError:
                self._keeper.update(act=None)
                raise
            except DeviceError:
                # "Command failed" is not "card unchanged".
                await self._context.recover()
                if await self._enabled() != before:
                    name = "ok"
                    break
                self._keeper.update(act=None)
                raise
            if name != _CAT_BUSY:
                break
        if name != "ok":
            self._keeper.update(act=None)
            return name
        self._keeper.update(act=None, causes=self._context.causes(cause))
        await self._context.recover()
        return name

    async def _enabled(self) -> str:
        return (await self._context.card.enabled() or b"").hex()
