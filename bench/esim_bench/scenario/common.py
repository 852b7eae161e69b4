"""Pieces that scenarios share. Each can be started on a device in any state: it reads, then does what is missing."""

from __future__ import annotations

from esim_bench.agents.switch import disable_profile, switch_profile
from esim_bench.codec import es10
from esim_bench.codec.es10 import ProfileInfo
from esim_bench.rack.source import ProfileOrder, ProfileSource
from esim_bench.rack.trust import short_ci_names
from esim_bench.scenario.context import Bench
from esim_bench.scenario.results import CheckFailed


async def start(bench: Bench) -> None:
    """Power the slot, wait for its boot, start the card."""
    async with bench.step("start") as step:
        await bench.slot.start()
        atr = bench.slot.card.atr
        bench.slot.record.atr = atr.hex().upper()
        step.detail = f"ATR {atr.hex().upper()}" if atr else "ready"


async def identify(bench: Bench) -> None:
    """Read who the eUICC is, and hold the declared form factor against what it and the device say."""
    slot = bench.slot
    async with bench.step("identify") as step:
        eid = await slot.lpa.eid()
        info = await slot.lpa.info()
        slot.record.saw_euicc(eid, info)
        cis = short_ci_names(map(bytes.fromhex, info.ci_keys), bench.slot.world.ci_key_id)
        step.detail = f"EID {eid}, SGP.22 v{info.svn_text}, firmware {info.firmware_text}, trusts {cis}"
        await slot.record.saw_modem(slot)
        if slot.record.modem:
            step.detail += f", {' '.join(slot.record.modem.values())}"
    async with bench.step("form factor") as step:
        contradictions = await slot.form_factor_contradictions()
        if contradictions:
            raise CheckFailed("; ".join(contradictions), hint="correct form_factor in the rack file, or the wiring")
        step.detail = f"{slot.form_factor.value} agrees with eUICC and device"


async def find(bench: Bench, iccid: bytes) -> ProfileInfo | None:
    """Return the profile of an ICCID as the eUICC lists it now."""
    return next((p for p in await bench.slot.lpa.profiles() if p.iccid == iccid), None)


async def enabled(bench: Bench) -> ProfileInfo | None:
    """Return the profile that is enabled now."""
    return next((p for p in await bench.slot.lpa.profiles() if p.enabled), None)


async def install(bench: Bench, order: ProfileOrder, source: ProfileSource) -> bytes:
    """Download a profile unless it is there; return its ICCID."""
    lpa = bench.slot.lpa
    async with bench.step("download") as step:
        before = {p.iccid for p in await lpa.profiles()}
        if order.iccid is not None and order.iccid in before:
            step.detail = f"{es10.iccid_to_text(order.iccid)} is already installed"
            return order.iccid
        result = await bench.slot.install(
            order.activation_code, confirmation_code=source.confirmation_code, accept_rules=source.accept_rules
        )
        added = [p for p in await lpa.profiles() if p.iccid is not None and p.iccid not in before]
        if len(added) != 1 or added[0].iccid is None:
            raise CheckFailed("profiles added by the download", expected=1, found=len(added))
        iccid = added[0].iccid
        if order.iccid is not None:
            bench.check(
                "ICCID of the new profile", expected=es10.iccid_to_text(order.iccid), found=es10.iccid_to_text(iccid)
            )
        step.detail = f"{es10.iccid_to_text(iccid)} ({order.name}) in {result.segments} segments"
        return iccid


async def switch_to(bench: Bench, iccid: bytes) -> None:
    """Enable a profile and bring card and terminal up again, as a part of a step."""
    await switch_profile(bench.slot.lpa, iccid, refresh=True, recover=bench.slot.recover)


async def switch_off(bench: Bench, iccid: bytes) -> None:
    """Disable a profile and bring card and terminal up again, as a part of a step."""
    await disable_profile(bench.slot.lpa, iccid, refresh=True, recover=bench.slot.recover)


async def leave(bench: Bench, iccid: bytes) -> None:
    """See to it that a profile is not the enabled one: enable another, or disable it; as a part of a step."""
    profile = await find(bench, iccid)
    if profile is None or not profile.enabled:
        return
    other = next((p for p in await bench.slot.lpa.profiles() if p.iccid not in (iccid, None)), None)
    if other is not None and other.iccid is not None:
        await switch_to(bench, other.iccid)
    else:
        await switch_off(bench, iccid)


async def enable(bench: Bench, iccid: bytes, name: str = "enable") -> None:
    """Make a profile the enabled one, and bring card and terminal up again."""
    async with bench.step(name) as step:
        profile = await find(bench, iccid)
        if profile is None:
            raise CheckFailed("profile to enable", expected=es10.iccid_to_text(iccid), found="not installed")
        if profile.enabled:
            step.detail = f"{es10.iccid_to_text(iccid)} is already enabled"
            return
        await switch_to(bench, iccid)
        step.detail = es10.iccid_to_text(iccid)


async def verify(bench: Bench, iccid: bytes, imsi: str | None, name: str = "verify") -> None:
    """Check that the enabled profile is the right one and that its files can be read."""
    card = bench.slot.card
    text = es10.iccid_to_text(iccid)
    async with bench.step(name) as step:
        now = await enabled(bench)
        bench.check(
            "enabled profile", expected=text, found=es10.iccid_to_text(now.iccid) if now and now.iccid else None
        )
        bench.check("EF.ICCID", expected=text, found=await card.read_iccid())
        if bench.slot.modem is not None:
            # A modem goes on with what it read at the start of its SIM; one that tells no ICCID is not asked for more.
            shown = await bench.slot.modem.wait_iccid(text)
            bench.check("ICCID that the modem shows", expected=text, found=shown or text)
        found = await card.read_imsi()
        if imsi is not None:
            bench.check("EF.IMSI", expected=imsi, found=found)
        step.detail = f"EF.ICCID {text}, EF.IMSI {found}"


async def deliver(bench: Bench, name: str = "notifications") -> None:
    """Deliver all notifications, in order, and check that none is left."""
    async with bench.step(name) as step:
        delivered = await bench.slot.lpa.deliver_notifications()
        left = await bench.slot.lpa.notifications()
        bench.check("notifications left", expected=0, found=len(left))
        step.detail = ", ".join(f"{n.seq} {n.operation}" for n in delivered) or "none waiting"
