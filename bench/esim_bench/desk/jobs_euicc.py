"""Jobs on an eUICC: who it is, its profiles and their states, its notifications."""

from __future__ import annotations

from esim_bench.agents.switch import disable_profile, switch_profile
from esim_bench.codec.es10 import iccid_to_text
from esim_bench.desk.api import NotificationView, ProfileView, SlotReading
from esim_bench.desk.jobs_modem import modem
from esim_bench.desk.profile_views import profile_view
from esim_bench.errors import CardStatusError, ConfigError
from esim_bench.rack.slot import Slot


async def read(slot: Slot) -> SlotReading:
    """Read who is in the slot. A card without eUICC has no EID and no profiles. Raises DeviceError."""
    eid, found = "", list[ProfileView]()
    try:
        eid = await slot.lpa.eid()
        found = await profiles(slot)
    except CardStatusError as exc:
        if exc.sw != 0x6A82:
            raise
    state = await modem(slot) if slot.modem is not None else None
    return SlotReading(eid=eid, atr=slot.card.atr.hex().upper(), profiles=found, modem=state, powered=slot.powered)


async def profiles(slot: Slot) -> list[ProfileView]:
    """List the profiles. Raises DeviceError."""
    if slot.spec.iot:
        return [profile_view(one.profile, one.iot) for one in await slot.lpa.iot_profiles() if one.profile.iccid]
    return [profile_view(one) for one in await slot.lpa.profiles() if one.iccid]


async def pick(slot: Slot, text: str) -> bytes:
    """Return the ICCID, as EF.ICCID has it, of the profile whose ICCID is, or ends with, digits. Raises ConfigError."""
    known = {iccid_to_text(one.iccid): one.iccid for one in await slot.lpa.profiles() if one.iccid is not None}
    if text in known:
        return known[text]
    found = [raw for number, raw in known.items() if text and number.endswith(text)]
    if len(found) != 1:
        what = "this ICCID is not unique" if found else "no profile of this ICCID"
        raise ConfigError(
            what, where=slot.name, expected=f"one of {', '.join(known) or 'none installed'}", found=text or "nothing"
        )
    return found[0]


async def enable(slot: Slot, iccid: str) -> list[ProfileView]:
    """Enable a profile, and verify. Raises AgentError, DeviceError."""
    await switch_profile(slot.lpa, await pick(slot, iccid), refresh=True, recover=slot.recover)
    return await profiles(slot)


async def disable(slot: Slot, iccid: str) -> list[ProfileView]:
    """Disable a profile, and verify. Raises AgentError, DeviceError."""
    await disable_profile(slot.lpa, await pick(slot, iccid), refresh=True, recover=slot.recover)
    return await profiles(slot)


async def delete(slot: Slot, iccid: str, allow_destructive: bool) -> list[ProfileView]:
    """Delete a disabled profile. Raises ProtectedError, AgentError, DeviceError."""
    profile = await pick(slot, iccid)
    guard, protected = slot.card.guard, slot.protected
    if allow_destructive and protected:
        slot.mark("the protection of the slot is lifted for one deletion")
        slot.protected = guard.protect = False
    try:
        await slot.delete(profile)
    finally:
        slot.protected, guard.protect = protected, protected
    return await profiles(slot)


async def nickname(slot: Slot, iccid: str, text: str) -> list[ProfileView]:
    """Give a profile a nickname. Raises AgentError, DeviceError."""
    await slot.lpa.nickname(await pick(slot, iccid), text)
    return await profiles(slot)


# ------------------------------------------------------------------------------------------------------- notifications


async def notifications(slot: Slot) -> list[NotificationView]:
    """List the notifications that wait, oldest first. Raises DeviceError."""
    return [
        NotificationView(
            seq=one.seq,
            operation=one.operation,
            iccid=iccid_to_text(one.iccid) if one.iccid else "",
            address=one.address,
        )
        for one in await slot.lpa.notifications()
    ]


async def address_of(slot: Slot, seq: int) -> str:
    """Return where a notification goes. Raises ConfigError when there is none of this number."""
    waiting = await slot.lpa.notifications()
    for one in waiting:
        if one.seq == seq:
            return one.address
    known = ", ".join(str(one.seq) for one in waiting)
    raise ConfigError("no notification of this number", where=slot.name, expected=known or "none waits", found=seq)


async def send_notification(slot: Slot, seq: int) -> list[NotificationView]:
    """Deliver one, and remove it. Raises ConfigError, DeviceError, RspError."""
    await address_of(slot, seq)
    await slot.lpa.deliver_notifications({seq})
    return await notifications(slot)


async def remove_notification(slot: Slot, seq: int) -> list[NotificationView]:
    """Remove one. Raises ConfigError, AgentError, DeviceError."""
    await address_of(slot, seq)
    await slot.lpa.remove_notification(seq)
    return await notifications(slot)
