"""Profiles of an eUICC as they are shown."""

from __future__ import annotations

from esim_bench.codec.es10 import ProfileInfo, iccid_to_text
from esim_bench.codec.es10_results import rules_of
from esim_bench.codec.iot_info import IotProfileMembers
from esim_bench.desk.api import ProfileView


def profile_view(profile: ProfileInfo, iot: IotProfileMembers | None = None) -> ProfileView:
    """Return a profile with what SGP.32 tells of it beside. Raises CodecError for an ICCID that is none."""
    roles = []
    if iot is not None:
        roles += ["fallback"] * bool(iot.fallback_attribute) + ["emergency"] * bool(iot.ecall_indication)
    return ProfileView(
        iccid=iccid_to_text(profile.iccid or b""),
        state="enabled" if profile.enabled else "disabled",
        name=profile.profile_name or "",
        provider=profile.service_provider or "",
        nickname=profile.nickname or "",
        profile_class=profile.class_name,
        roles=roles,
        rules=list(rules_of(profile.policy_rules)) if profile.policy_rules is not None else [],
        plmn=network_text(profile.owner) if profile.owner is not None else "",
    )


def network_text(coded: bytes) -> str:
    """Say an MCC and MNC (TS 24.008 10.5.1.13): "001-01"; an E stands for any digit."""
    digits = coded[:3].hex().upper()
    if len(digits) != 6:
        return digits
    mcc, mnc = digits[1] + digits[0] + digits[3], digits[5] + digits[4] + digits[2]
    return f"{mcc}-{mnc.rstrip('F')}".replace("E", "x")
