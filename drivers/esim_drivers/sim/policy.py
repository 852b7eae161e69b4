"""Profile policy rules and the Rules Authorisation Table (SGP.22 2.9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from esim_bench.codec.es10 import Tag
from esim_bench.codec.tlv import encode
from esim_drivers.sim import der
from esim_drivers.sim.profile_metadata import PolicyRule, ProfileClass, ProfileMetadata
from esim_drivers.sim.registry import IsdP

ANY_OPERATOR = bytes.fromhex("EEEEEE")
"""mccMnc in which each digit is the wildcard E."""


@dataclass(frozen=True, slots=True)
class AuthorisationRule:
    """ProfilePolicyAuthorisationRule: which rules profiles of which operators may carry."""

    rules: tuple[int, ...]
    operators: tuple[bytes, ...]
    """mccMnc of 3 bytes each; a digit E matches any."""
    consent_required: bool = True

    def encode(self) -> bytes:
        """Return the rule as it stands in the RAT."""
        operators = (encode(0x30, encode(0x80, operator)) for operator in self.operators)
        flags = der.bits(0x82, 0) if self.consent_required else der.bits(0x82)
        return encode(0x30, der.bits(0x80, *self.rules), encode(0xA1, *operators), flags)

    def allows(self, rule: int, owner: bytes | None) -> bool:
        """Tell whether a profile of an owner may carry a rule."""
        return rule in self.rules and any(_matches(operator, owner) for operator in self.operators)


RULES: Sequence[AuthorisationRule] = (
    AuthorisationRule((PolicyRule.PPR1_NO_DISABLE, PolicyRule.PPR2_NO_DELETE), (ANY_OPERATOR,)),
)
"""The RAT of the simulated eUICC: any operator may set PPR1 and PPR2, with the end user's consent."""


def get_rat(rules: Sequence[AuthorisationRule] = RULES) -> bytes:
    """Return the response of ES10b.GetRAT (SGP.22 5.7.22)."""
    return encode(Tag.GET_RAT, encode(0xA0, *(rule.encode() for rule in rules)))


def may_install(
    metadata: ProfileMetadata, installed: Sequence[IsdP], rules: Sequence[AuthorisationRule] = RULES
) -> bool:
    """Tell whether the policy rules of a new profile are allowed (SGP.22 2.9.2.4 and 2.9.3.1)."""
    wanted = [rule for rule in metadata.policy_rules if rule != PolicyRule.UPDATE_CONTROL]
    if not all(any(entry.allows(rule, metadata.owner) for entry in rules) for rule in wanted):
        return False
    # PPR1 is for the first operational profile only: another one could otherwise lock the user out of its own.
    operational = [one for one in installed if one.metadata.profile_class is ProfileClass.OPERATIONAL]
    return PolicyRule.PPR1_NO_DISABLE not in wanted or not operational


def _matches(pattern: bytes, owner: bytes | None) -> bool:
    if pattern == ANY_OPERATOR:
        return True
    if owner is None:
        return False
    return all(wanted in ("e", digit) for wanted, digit in zip(pattern.hex(), owner.hex(), strict=True))
