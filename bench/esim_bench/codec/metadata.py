"""Profile metadata: StoreMetadata, BF25 (SGP.22 5.5.3, and what SGP.32 adds)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from esim_bench.codec.es10_results import CLASSES, POLICY_RULES, event_bits, events_of, rules_of
from esim_bench.codec.iot_info import IotProfileMembers
from esim_bench.codec.schema import RSP
from esim_bench.errors import CodecError

RULES: Final = POLICY_RULES


@dataclass(frozen=True, slots=True)
class Metadata:
    """What an SM-DP+ tells of a profile before and while it is installed."""

    iccid: bytes
    """10 bytes as in EF.ICCID."""
    service_provider: str
    profile_name: str
    profile_class: str = "operational"
    notifications: Sequence[tuple[Sequence[str], str]] = ()
    """(events, address) pairs; events of install, enable, disable, delete."""
    icon_type: int | None = None
    icon: bytes | None = None
    owner: tuple[bytes, bytes | None, bytes | None] | None = None
    """MCC and MNC (3 bytes), GID1, GID2."""
    policy_rules: Sequence[str] = ()
    """Of pprUpdateControl, ppr1, ppr2."""
    ecall: bool | None = None
    """ecallIndication of SGP.32: True for an Emergency Profile; None: not told."""
    fallback_allowed: bool | None = None
    """fallbackAllowed of SGP.32: whether an eIM may make it the Fallback Profile; None: not told, it may not."""

    def encode(self) -> bytes:
        """Return the BF25. Raises CodecError."""
        if self.profile_class not in CLASSES.values():
            raise CodecError(
                "profile class", expected=f"one of {', '.join(CLASSES.values())}", found=repr(self.profile_class)
            )
        value: dict[str, Any] = {
            "iccid": self.iccid,
            "serviceProviderName": self.service_provider,
            "profileName": self.profile_name,
            "profileClass": next(code for code, name in CLASSES.items() if name == self.profile_class),
        }
        if self.icon_type is not None:
            value["iconType"] = self.icon_type
        if self.icon is not None:
            value["icon"] = self.icon
        if self.notifications:
            value["notificationConfigurationInfo"] = [
                {"profileManagementOperation": event_bits(events), "notificationAddress": address}
                for events, address in self.notifications
            ]
        if self.owner is not None:
            mcc_mnc, gid1, gid2 = self.owner
            value["profileOwner"] = {"mccMnc": mcc_mnc}
            if gid1 is not None:
                value["profileOwner"]["gid1"] = gid1
            if gid2 is not None:
                value["profileOwner"]["gid2"] = gid2
        if self.policy_rules:
            value["profilePolicyRules"] = _rule_bits(self.policy_rules)
        raw = RSP.encode("StoreMetadataRequest", value)
        iot = IotProfileMembers(ecall_indication=self.ecall, fallback_allowed=self.fallback_allowed)
        return iot.added_to(raw) if iot != IotProfileMembers() else raw

    @classmethod
    def parse(cls, raw: bytes) -> Metadata:
        """Read a BF25; unknown members are passed over. Raises CodecError."""
        value = RSP.decode("StoreMetadataRequest", raw)
        code = value.get("profileClass", 2)
        if code not in CLASSES:
            raise CodecError("profile class", where="StoreMetadata", expected="0, 1 or 2", found=code)
        owner = value.get("profileOwner")
        iot = IotProfileMembers.parse(raw)
        return cls(
            iccid=value["iccid"],
            service_provider=value["serviceProviderName"],
            profile_name=value["profileName"],
            profile_class=CLASSES[code],
            notifications=tuple(
                (events_of(item["profileManagementOperation"]), item["notificationAddress"])
                for item in value.get("notificationConfigurationInfo", ())
            ),
            icon_type=value.get("iconType"),
            icon=value.get("icon"),
            owner=(owner["mccMnc"], owner.get("gid1"), owner.get("gid2")) if owner else None,
            policy_rules=rules_of(value.get("profilePolicyRules", (b"", 0))),
            ecall=iot.ecall_indication,
            fallback_allowed=iot.fallback_allowed,
        )


def _rule_bits(rules: Sequence[str]) -> tuple[bytes, int]:
    unknown = [rule for rule in rules if rule not in RULES]
    if unknown:
        raise CodecError("profile policy rule", expected=f"one of {', '.join(RULES)}", found=repr(unknown[0]))
    indexes = [RULES.index(rule) for rule in rules]
    return bytes((sum(0x80 >> index for index in set(indexes)),)), max(indexes) + 1
