"""Profile policy rules and the Rules Authorisation Table (SGP.22 2.9)."""

from __future__ import annotations

from collections.abc import Sequence

from esim_bench.codec.es10 import Tag
from esim_bench.codec.tlv import encode, parse
from esim_drivers.sim import der
from esim_drivers.sim.personality import POLICY_RULES, AuthorisationRule, Operator, Personality
from esim_drivers.sim.profile_metadata import PolicyRule, ProfileClass, ProfileMetadata
from esim_drivers.sim.registry import IsdP

_CONSENT_REQUIRED = 0
_AKA_PARAMETER = 0xA4


def get_rat(who: Personality) -> bytes:
    """Return the response of ES10b.GetRAT (SGP.22 5.7.22)."""
    return encode(Tag.GET_RAT, encode(0xA0, *(_encode(rule) for rule in who.rules_authorisation_table)))


def forbidden_rules(who: Personality) -> bytes:
    """Return forbiddenProfilePolicyRules of EUICCInfo2 (99); nothing where there are none."""
    return der.bits(0x99, *map(POLICY_RULES.index, who.forbidden_policy_rules)) if who.forbidden_policy_rules else b""


def may_install(metadata: ProfileMetadata, installed: Sequence[IsdP], who: Personality) -> bool:
    """Tell whether the policy rules of a new profile are allowed (SGP.22 2.9.2.4 and 2.9.3.1)."""
    wanted = [rule for rule in metadata.policy_rules if rule != PolicyRule.UPDATE_CONTROL]
    if any(rule >= len(POLICY_RULES) or POLICY_RULES[rule] in who.forbidden_policy_rules for rule in wanted):
        return False
    table = who.rules_authorisation_table
    if not all(any(_allows(entry, POLICY_RULES[rule], metadata) for entry in table) for rule in wanted):
        return False
    # PPR1 is for the first operational profile only: another one could otherwise lock the user out of its own.
    operational = [one for one in installed if one.metadata.profile_class is ProfileClass.OPERATIONAL]
    return PolicyRule.PPR1_NO_DISABLE not in wanted or not operational


def unknown_naa_key(element: bytes) -> bool:
    """Tell whether a profile element of a test profile carries a network key other than the known ones.

    Those are 00 01 02 ... up to the last byte, which is free (SGP.22 2.4.5.3; TS.48 uses 00 .. 0F): a test profile must
    not authenticate in a real network. Raises CodecError.
    """
    found = parse(element)
    key = found.find(0xA1, 0xA1, 0x82) if found.tag == _AKA_PARAMETER else None
    return key is not None and key.value[:-1] != bytes(range(len(key.value) - 1))


def _encode(rule: AuthorisationRule) -> bytes:
    operators = (
        encode(
            0x30,
            encode(0x80, operator.mcc_mnc),
            encode(0x81, operator.gid1) if operator.gid1 else b"",
            encode(0x82, operator.gid2) if operator.gid2 else b"",
        )
        for operator in rule.operators
    )
    flags = der.bits(0x82, _CONSENT_REQUIRED) if rule.consent_required else der.bits(0x82)
    return encode(0x30, der.bits(0x80, *map(POLICY_RULES.index, rule.rules)), encode(0xA1, *operators), flags)


def _allows(entry: AuthorisationRule, rule: str, metadata: ProfileMetadata) -> bool:
    return rule in entry.rules and any(_matches(operator, metadata) for operator in entry.operators)


def _matches(pattern: Operator, metadata: ProfileMetadata) -> bool:
    owner = metadata.owner
    if owner is None:
        # Nobody is among the operators only where the table says that anybody is.
        return pattern == Operator()
    digits = zip(pattern.mcc_mnc.hex(), owner.mcc_mnc.hex(), strict=True)
    groups = ((pattern.gid1, owner.gid1), (pattern.gid2, owner.gid2))
    return all(wanted in ("e", digit) for wanted, digit in digits) and all(
        not wanted or wanted == group for wanted, group in groups
    )
