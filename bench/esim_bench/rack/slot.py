"""One device under test, opened: its card, its modem, its power, its LPA."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from esim_bench import clock, data
from esim_bench.agents.download import DownloadResult, OnProgress
from esim_bench.agents.ipa import Ipa, IpaSettings, MemoryState, StateStore
from esim_bench.agents.lpa import Lpa
from esim_bench.agents.user import NOBODY, Answer, User
from esim_bench.card import Card, terminal_capability
from esim_bench.codec import es10
from esim_bench.codec.activation_code import ActivationCode
from esim_bench.codec.eim_configuration import KeyData
from esim_bench.codec.es10 import ISD_R_AID
from esim_bench.codec.es10_iot import get_eim_configuration_data
from esim_bench.codec.iot_info import IotEuiccInfo2
from esim_bench.codec.metadata import Metadata
from esim_bench.codec.sgp32 import Version
from esim_bench.errors import AgentError, CardStatusError, ConfigError, PowerError, RigError, RspError
from esim_bench.events import EventSink, MarkEvent
from esim_bench.ports import (
    Bearer,
    CardLink,
    FormFactor,
    ModemLink,
    SlotHardware,
)
from esim_bench.rack import installed, safe_state
from esim_bench.rack.locks import DeviceLocks
from esim_bench.rack.model import IpaTable, SlotSpec
from esim_bench.rack.observing import trouble_of
from esim_bench.rack.parts import context_of, open_parts
from esim_bench.rack.power import OFF_SECONDS, ProvenPower, say_goodbye
from esim_bench.rack.radio import Radio, RadioBearer, registered, wait_registered
from esim_bench.rack.record import DeviceRecord
from esim_bench.rack.state import SimState
from esim_bench.rack.trust import Trust
from esim_bench.rack.world import World

DOWNLOAD_FEATURES = (
    *("directRsp", "directRspServerCommunication", "indirectRsp", "indirectRspServerCommunication"),
    "eimDownloadDataHandling",
)
TAC = bytes.fromhex("35290611")


@dataclass(frozen=True, slots=True)
class DeviceState:
    """What must survive a power cycle: read from the card, never from our memory."""

    eid: str
    iccid: str | None
    imsi: str | None
    profiles: tuple[tuple[str, str], ...]
    """(ICCID, "enabled" or "disabled") in the eUICC's order."""
    notifications: tuple[tuple[int, str], ...]
    """(sequence number, operation)."""


class Slot:
    """An opened slot. Made by ``open_slot``; ``close`` it in the end."""

    def __init__(
        self,
        spec: SlotSpec,
        world: World,
        sink: EventSink,
        hardware: SlotHardware,
        *,
        allow_destructive: bool = False,
    ) -> None:
        self.spec = spec
        self.world = world
        self.sink = sink
        self.hardware = hardware
        self.protected = spec.protected and not allow_destructive
        capability = terminal_capability(lpa=not spec.iot or spec.sim is None or "sgp22" in spec.sim.rsp, ipa=spec.iot)
        isd_r = bytes.fromhex(spec.isd_r) if spec.isd_r else ISD_R_AID
        self.card = Card(hardware.card, sink=sink, protect=self.protected, capability=capability, isd_r=isd_r)
        self.radio = Radio(self.card.read_iccid)
        self._bearers: list[Bearer] = []
        self.bearer = self._bearer()
        self.lpa = Lpa(self.card, self.bearer, device=self._device_info(), binding=world.rack.network.binding)
        self.powered = False
        self.dark = False
        """It was cut and has no power yet: whoever closes the slot gives it back."""
        self.stays_dark = False
        """The operator wants it without power: nobody gives it back."""
        self._dark_record: Path | None = None
        self.timed_out = False
        """Something did not answer in time: before the slot is closed somebody looks whether the device is stuck."""
        self.locks: DeviceLocks | None = None
        """Of its devices, given back by ``close``."""
        self.run: str | None = None
        self.record = DeviceRecord(spec.form_factor.value, spec.module)
        self.flash: StateStore = MemoryState()
        """The memory of the device beside its eUICC: what its IPA must not forget."""
        self._prepared = False
        """The module was reset once, because it did not register."""
        self._ipa: Ipa | None = None
        self._features: tuple[str, ...] | None = None
        """Of the IPA, where they are others than the rack file's."""

    def _bearer(self, pin: KeyData | None = None) -> Bearer:
        bearer = self.world.bearer(self.sink, pin, keep=True)
        if self.spec.iot:
            bearer = RadioBearer(bearer, self.radio)
        self._bearers.append(bearer)
        return bearer

    async def _hang_up(self) -> None:
        for bearer in self._bearers:
            await bearer.hang_up()

    @property
    def name(self) -> str:
        """Return the slot's name."""
        return self.spec.name

    @property
    def form_factor(self) -> FormFactor:
        """Return the form factor that the rack file declares."""
        return self.spec.form_factor

    @property
    def link(self) -> CardLink:
        """Return the way to the card."""
        return self.hardware.card

    @property
    def modem(self) -> ModemLink | None:
        """Return the modem, where the slot has one."""
        return self.hardware.modem

    def _device_info(self) -> bytes:
        # euiccFormFactorType: removable 0, non-removable 1; the device states it, the eUICC does not know.
        return es10.device_info(tac=TAC, imei=None, form_factor_type=0 if self.form_factor.removable else 1)

    # --------------------------------------------------------------------------------------------------------- IoT

    @property
    def ipa(self) -> Ipa:
        """Return the IPA of the device (SGP.32), as the rack file's ``ipa`` table has it."""
        if self._ipa is None:
            self._ipa = self._make_ipa()
        return self._ipa

    def use_downloads(self, *, direct: bool, held: bool = False) -> None:
        """Have the IPA download directly, or by way of the eIM; ``held``: the eIM keeps the activation code.

        The IPA starts anew with these features; its memory remains.
        """
        features = ("directRsp",) if direct else ("indirectRsp", *(("eimDownloadDataHandling",) if held else ()))
        others = (one for one in (self.spec.ipa or IpaTable()).features if one not in DOWNLOAD_FEATURES)
        self._features = (*features, *others)
        self._ipa = None

    def _make_ipa(self) -> Ipa:
        table = self.spec.ipa or IpaTable()
        settings = IpaSettings(
            version=Version.from_text(self.spec.iot_version),
            binding=table.binding,
            features=self._features or tuple(table.features),
            immediate_enable=table.immediate_enable,
        )
        return Ipa(
            self.lpa,
            bearer_for=self._bearer,
            settings=settings,
            state=self.flash,
            recover=self.recover,
            connected=self.connected,
        )

    async def iot(self) -> Version | None:
        """Return the version of SGP.32 that the eUICC has, None for an eUICC of SGP.22 alone. Raises DeviceError."""
        info = IotEuiccInfo2.parse(await self.lpa.info())
        if info.iot is not None:
            known = [version for version in Version if version.octets in info.iot.versions]
            return max(known, default=Version.V1_2)
        try:
            await self.card.es10(get_eim_configuration_data())
        except CardStatusError:
            return None
        # v1.0 did not tell of itself in all drafts: the function is there.
        return Version.V1_0_1

    async def connected(self) -> bool:
        """Tell whether the enabled profile gives connectivity: the network does not fail it, a modem is registered.

        Raises TransportError, DeviceTimeout.
        """
        return self.radio.connected and (self.modem is None or await registered(self.modem))

    # ------------------------------------------------------------------------------------------------------- power

    async def start(self) -> None:
        """Power the slot, wait for its boot, start the card. What listens beside it begins before that.

        Raises RigError when a required observer does not.
        """
        for observer in self.hardware.observers:
            await observer.start()
        if not self.powered:
            await self.restore_power()
        if self.modem is not None:
            await self.modem.wait_ready()
        await self.card.start()
        if not await self._attach() and self._may_be_kept_out():
            self._prepared = True
            await self.recover()

    async def _attach(self) -> bool:
        """Have a device with an IPA look for a network, with patience; tell whether it found one."""
        if not self.spec.iot:
            return True
        await self.radio.attach()
        if self.modem is None or not self.radio.connected:
            return self.radio.connected
        return await wait_registered(self.modem, (self.spec.ipa or IpaTable()).register_s)

    def _may_be_kept_out(self) -> bool:
        """Tell whether the module may be kept from a network that is there, by what it keeps from a profile before.

        The first reset of the SIM that the bench asks for mends that.
        """
        if self._prepared or not self.radio.connected or self.spec.module is None:
            return False
        return bool(data.module(self.spec.module).switch.prepare)

    async def restore_power(self) -> None:
        """Give the power back; the device boots after this returns. Raises PowerError."""
        await self.hardware.power.on()
        self.powered = True
        self.dark = False
        self._forget_dark()

    def _forget_dark(self) -> None:
        if self._dark_record is not None:
            self._dark_record.unlink(missing_ok=True)
            self._dark_record = None

    def leave_dark(self) -> None:
        """Have the slot stay without power when it is closed, because the operator said so."""
        self.stays_dark, self.dark = True, False
        self._forget_dark()

    async def cut(self) -> None:
        """Cut the power, cold."""
        if self.spec.power is not None:
            self._dark_record = safe_state.record(self.world.rack, self.spec, self.run)
            self.dark = True
        self.powered = False
        self.radio.detach()
        self._ipa = None
        try:
            await self.hardware.power.off()
        finally:
            await self._hang_up()

    async def power_down(self) -> None:
        """Take the power in order: a module that has a command for it powers down first; then as ``cut``.

        Raises PowerError also when the module does not say that it is down: its supply then stays.
        """
        power = self.hardware.power
        if (
            self.modem is not None
            and isinstance(power, ProvenPower)
            and not power.orderly
            and await say_goodbye(self.modem, self.sink, power.on_since)
        ):
            power.said_down()
        await self.cut()

    async def power_cycle(self, off_seconds: float = OFF_SECONDS, *, orderly: bool = False) -> None:
        """Cut the power, stay dark for a while, start again. Never shorter than the rack file's ``off_s``.

        A cut is deliberately cold unless ``orderly``.
        """
        await (self.power_down() if orderly else self.cut())
        await asyncio.sleep(off_seconds)
        await self.start()

    @property
    def cut_unproven(self) -> bool:
        """Tell whether the proof of the last cut can only come when the power is back: boot lines."""
        power = self.hardware.power
        return isinstance(power, ProvenPower) and power.unproven

    @property
    def power_trouble(self) -> PowerError | None:
        """Return the first cut (or power-on) that failed or was not proven: nothing after it tells of the device."""
        power = self.hardware.power
        return power.trouble if isinstance(power, ProvenPower) else None

    @property
    def rig_trouble(self) -> RigError | None:
        """Return why no verdict on the device is possible: its power, or an observer that the rack file requires."""
        return self.power_trouble or trouble_of(self.hardware.observers)

    async def recover(self) -> None:
        """Bring card and terminal to a fresh start after a profile switch: reset of the card or of the modem."""
        await self._hang_up()
        if self.link.capabilities.resets_card:
            await self.card.reset()
            await self._attach()
        else:
            await self.power_cycle(orderly=True)

    def sim_state(self) -> SimState:
        """Return a simulated slot at rest: its card, and what its device keeps. Raises ConfigError for a real one."""
        if self.hardware.snapshot is None:
            raise ConfigError("a card that cannot be kept", where=self.name, expected="a simulated slot")
        flash = dict(self.flash.values) if isinstance(self.flash, MemoryState) else {}
        return SimState(self.world.seed, self.hardware.snapshot(), flash)

    async def close(self) -> None:
        """Release the hardware. A real slot is left in its safe state first, in bounded time.

        Raises RigError when that did not come about.
        """
        if not self.spec.simulated:
            await safe_state.leave(self)
            return
        await self._hang_up()
        await self.link.close()
        if self.modem is not None:
            await self.modem.close()
        await self.hardware.power.close()

    # ---------------------------------------------------------------------------------------------------- profiles

    async def install(
        self,
        code: ActivationCode,
        *,
        confirmation_code: str | None = None,
        user: User = NOBODY,
        accept_rules: bool = False,
        progress: OnProgress | None = None,
    ) -> DownloadResult:
        """Download a profile, and remember that it was this bench that installed it.

        Before anything is sent the eUICC's CIs are held against those of our SM-DP+: ConfigError where it cannot serve
        this eUICC. Policy rules that ask for consent lock a card: on a protected slot the profile is postponed unless
        ``accept_rules``, or the user agrees.
        """
        own = self.world.serves(code.address)
        seen: list[Trust] = []

        def examine(info: es10.EuiccInfo1) -> None:
            seen.append(Trust.of(info, self.world.ci_key_id if own else None))
            if own:
                seen[0].require_bench()
            else:
                self.mark(seen[0].of_server(code.address))

        asked = user.consent is not None or accept_rules or not self.protected
        if not asked:
            user = replace(user, consent=_not_now)
        try:
            result = await self.lpa.download(
                code, confirmation_code=confirmation_code, user=user, examine=examine, progress=progress
            )
        except AgentError as exc:
            if exc.code == "consentMissing" and not asked:
                hint = "agree with --accept-rules, or -p accept_rules=true"
                raise AgentError(exc.what, code=exc.code, hint=f"{exc.hint}; {hint}" if exc.hint else hint) from exc
            raise (seen[0].explain(exc, code.address) if seen else exc) from exc
        except RspError as exc:
            raise (seen[0].explain(exc, code.address) if seen else exc) from exc
        if self.spec.protected:
            installed.remember(await self.lpa.eid(), es10.iccid_to_text(result.metadata.iccid))
        return result

    async def delete(self, iccid: bytes) -> None:
        """Delete a disabled profile. On a protected slot: one that this bench installed; else ProtectedError."""
        eid, text = await self.lpa.eid(), es10.iccid_to_text(iccid)
        if self.protected and text in installed.installed(eid):
            self.card.guard.allow_deletion(iccid)
        await self.lpa.delete(iccid)
        if self.spec.protected:
            installed.forget(eid, text)

    async def memory_reset(
        self, *, operational: bool = False, test: bool = False, default_dp_address: bool = False
    ) -> None:
        """Reset parts of the eUICC's memory, and start the card again: its enabled profile may be gone.

        Raises ProtectedError on a protected slot; AgentError with the standard's name of the result.
        """
        await self.lpa.memory_reset(operational=operational, test=test, default_dp_address=default_dp_address)
        if operational or test:
            await self.recover()
        there = [one for one in await self.lpa.profiles() if operational and one.class_name == "operational"]
        if there:
            text = "the eUICC said ok to eUICCMemoryReset and did not do it"
            raise AgentError(text, code="memoryNotReset", hint=f"{len(there)} operational profiles are still there")
        if self.spec.protected:
            eid = await self.lpa.eid()
            left = {es10.iccid_to_text(one.iccid) for one in await self.lpa.profiles() if one.iccid is not None}
            for gone in set(installed.installed(eid)) - left:
                installed.forget(eid, gone)

    # ------------------------------------------------------------------------------------------------------- state

    async def state(self) -> DeviceState:
        """Read the state that a power cycle must not change."""
        profiles = await self.lpa.profiles()
        return DeviceState(
            eid=await self.lpa.eid(),
            iccid=await self.card.read_iccid(),
            imsi=await self.card.read_imsi(),
            profiles=tuple((es10.iccid_to_text(p.iccid), p.state_name) for p in profiles if p.iccid is not None),
            notifications=tuple((n.seq, n.operation) for n in await self.lpa.notifications()),
        )

    async def trust(self) -> Trust:
        """Read which CIs the eUICC trusts, beside that of our SM-DP+."""
        return Trust.of(await self.lpa.info1(), self.world.ci_key_id)

    async def form_factor_contradictions(self) -> list[str]:
        """Hold the declared form factor against what eUICC and device say; an empty list is agreement."""
        info = await self.lpa.info()
        declared = self.form_factor
        found = []
        if info.tre is not None:
            if declared.integrated and not info.tre.integrated:
                found.append(f"the rack file says {declared.value}, treProperties says discrete")
            if not declared.integrated and info.tre.integrated:
                found.append(f"the rack file says {declared.value}, treProperties says integrated")
        removable = self.link.capabilities.removable
        if removable is not None and removable != declared.removable:
            words = {True: "removable", False: "not removable"}
            found.append(f"the rack file says {declared.value}, the card's interface says {words[removable]}")
        return found

    def mark(self, text: str) -> None:
        """Put a mark into the trace."""
        self.sink.emit(MarkEvent(clock.wall_ns(), text))


async def _not_now(metadata: Metadata, rules: Sequence[str]) -> Answer:
    return Answer.LATER


def open_slot(
    spec: SlotSpec, world: World, sink: EventSink, *, state: bytes | None = None, allow_destructive: bool = False
) -> Slot:
    """Open a slot's parts through its drivers; no I/O yet.

    ``state``: simulated slots go on from this snapshot. ``allow_destructive``: lifts the protection. Raises
    ConfigError: unknown driver, unusable table.
    """
    context = context_of(spec, world, sink, state)
    return Slot(spec, world, sink, open_parts(spec, context), allow_destructive=allow_destructive)
