"""Who may do what with a file: access rules in expanded format, kept in EF.ARR (TS 102 221 9.2.7, ISO 7816-4 5.4.3.2).

A rule record is a list of access mode data objects (80: bits; 81 to 8F: other ways to name commands), each followed by
its security conditions. What a record does not mention is not allowed; a record that cannot be read allows nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from esim_bench.codec import tlv
from esim_bench.errors import CodecError

READ, UPDATE = 0x01, 0x02
DEACTIVATE, ACTIVATE = 0x08, 0x10
"""Bits of the access mode byte of an EF (TS 102 221 9.2.2): READ and SEARCH, UPDATE, ACTIVATE FILE, DEACTIVATE FILE."""
INCREASE = 0x32
"""INCREASE has no bit: rules name it by its instruction (tag 84)."""

_JUNCTIONS = {0xA0: "or", 0xAF: "and"}
_KEY_REFERENCE = 0x83
_INSTRUCTION = 0x84


@dataclass(frozen=True, slots=True)
class Condition:
    """A security condition: ``always``, ``never``, ``key`` with its reference, or ``or``/``and`` of others."""

    kind: str
    key: int = 0
    parts: tuple[Condition, ...] = ()

    def holds(self, satisfied: Callable[[int], bool]) -> bool:
        """Evaluate it; ``satisfied`` tells of a key reference whether it is verified (or needs no verification)."""
        match self.kind:
            case "always":
                return True
            case "key":
                return satisfied(self.key)
            case "or":
                return any(part.holds(satisfied) for part in self.parts)
            case "and":
                return bool(self.parts) and all(part.holds(satisfied) for part in self.parts)
            case _:
                return False


@dataclass(frozen=True, slots=True)
class Rule:
    """One access mode (bit map of ISO 7816-4 5.4.3.1; 0: named otherwise) and its conditions, any of them."""

    mode: int
    conditions: tuple[Condition, ...]
    instructions: bytes = b""
    """The instruction bytes that tag 84 names."""


@lru_cache(maxsize=512)
def parse_rules(record: bytes) -> tuple[Rule, ...]:
    """Read a record of EF.ARR, which is padded with FF. Raises CodecError."""
    rules: list[Rule] = []
    mode: int | None = None
    instructions = b""
    conditions: list[Condition] = []
    offset = 0
    while offset < len(record) and record[offset] not in (0xFF, 0x00):
        item = tlv.parse_prefix(record, offset, "of an access rule")
        offset += len(item.raw)
        if 0x80 <= item.tag <= 0x8F:
            if mode is not None:
                rules.append(Rule(mode, tuple(conditions), instructions))
            if item.tag == 0x80 and len(item.value) != 1:
                raise CodecError("wrong access mode", expected="one byte", found=item.value.hex())
            mode, conditions = (item.value[0] if item.tag == 0x80 else 0), []
            instructions = item.value if item.tag == _INSTRUCTION else b""
        elif mode is None:
            raise CodecError("security condition before any access mode", expected="80", found=f"{item.tag:X}")
        else:
            conditions.append(_condition(item, 0))
    if mode is not None:
        rules.append(Rule(mode, tuple(conditions), instructions))
    return tuple(rules)


def allows(record: bytes, mode: int, satisfied: Callable[[int], bool]) -> bool:
    """Tell whether a rule record allows a mode (READ, UPDATE, ACTIVATE, DEACTIVATE) or INCREASE now."""
    try:
        rules = parse_rules(record)
    except CodecError:
        return False
    return any(_covers(rule, mode) and any(c.holds(satisfied) for c in rule.conditions) for rule in rules)


def _covers(rule: Rule, mode: int) -> bool:
    return mode in rule.instructions if mode == INCREASE else bool(rule.mode & mode)


def _condition(item: tlv.Tlv, depth: int) -> Condition:
    if depth > 8:
        raise CodecError("access rule too deep", expected="at most 8 levels")
    match item.tag:
        case 0x90:
            return Condition("always")
        case 0x97:
            return Condition("never")
        case 0xA4:
            # The usage qualifier (95) tells PIN from other authentication; both are "verified" here.
            references = [child for child in item.children() if child.tag == _KEY_REFERENCE]
            if len(references) != 1 or len(references[0].value) != 1:
                raise CodecError("wrong authentication template", expected="one key reference", found=item.raw.hex())
            return Condition("key", references[0].value[0])
        case 0xA0 | 0xAF:
            return Condition(
                _JUNCTIONS[item.tag], parts=tuple(_condition(child, depth + 1) for child in item.children())
            )
        case _:
            # Secure messaging and the like: it can't be fulfilled here. NOT too, or it would open the unknown.
            return Condition("never")
