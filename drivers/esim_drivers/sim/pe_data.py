"""Profile elements that are not files: what each one leaves in NVM (SAIP 8.4 to 8.8).

Each function turns the decoded element into (key, value) pairs, one write each, in the order of the element. Keys start
behind ``isdp/<AID>/``: ``puk/..``, ``pin/..``, ``aka/..``, ``cdma/..``, ``sd/..``, ``app/..``, ``rfm/..``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from esim_bench.codec.tlv import encode
from esim_drivers.sim.fcp import MF
from esim_drivers.sim.filesystem import Path, path_text
from esim_drivers.sim.personality import Personality
from esim_drivers.sim.pins import ENABLED, PIN_LENGTH, Pin

Writes = list[tuple[str, bytes]]

_LOCAL_KEYS = (*range(129, 137), *range(138, 143))
_GLOBAL_KEYS = (*range(1, 9), *range(10, 15))
_PUK_KEYS = (*range(1, 9), *range(129, 137))
_DEFAULT_PIN_ATTRIBUTES, _DEFAULT_PIN_ATTEMPTS, _DEFAULT_PUK_ATTEMPTS = 7, 0x33, 0xAA
_MILENAGE, _TUAK, _TEST_ALGORITHM = 1, 2, 3
_SEQUENCE_NUMBERS, _SQN_LENGTH = 32, 6
_HIGHEST_SEQ = bytes.fromhex("07FFFFFFFFFF")
"""SEQ has 43 bits: SQN is it and an index of 5 bits (TS 33.102 C.3.2)."""


class PeStatus(IntEnum):
    """PEStatus.status (SAIP ASN.1)."""

    OK = 0
    PE_NOT_SUPPORTED = 1
    MEMORY_FAILURE = 2
    BAD_VALUES = 3
    NOT_ENOUGH_MEMORY = 4
    INVALID_REQUEST_FORMAT = 5
    INVALID_PARAMETER = 6
    RUNTIME_NOT_SUPPORTED = 7
    LIB_NOT_SUPPORTED = 8
    TEMPLATE_NOT_SUPPORTED = 9
    FEATURE_NOT_SUPPORTED = 10
    PIN_CODE_MISSING = 11
    UNSUPPORTED_PROFILE_VERSION = 31


class Refused(Exception):
    """An element's content is refused; ``at`` are the bytes at fault, to find their offset."""

    def __init__(self, status: PeStatus, at: bytes = b"", info: int | None = None) -> None:
        super().__init__(status.name)
        self.status = status
        self.at = at
        self.info = info


@dataclass(slots=True)
class Context:
    """What of the profile is there already when an element comes."""

    personality: Personality
    directory: Path = (MF,)
    """The file system context that pinCodes apply to: the directory created last by a template element."""
    adf: Path | None = None
    """The network access application created last."""
    puks: dict[int, bool] | None = None
    """Key references that pukCodes has defined; None: there was no pukCodes."""
    adfs: dict[bytes, Path] | None = None
    """ADFs by AID."""
    pinned: dict[Path, bool] | None = None
    """Directories that have PINs, or share them."""


def puk_codes(value: Mapping[str, Any], context: Context) -> Writes:
    """PE-PUKCodes: one write for each PUK."""
    writes: Writes = []
    context.puks = context.puks if context.puks is not None else {}
    for puk in value["pukCodes"]:
        reference, secret = puk["keyReference"], puk["pukValue"]
        if reference not in _PUK_KEYS or reference in context.puks:
            raise Refused(PeStatus.INVALID_PARAMETER, secret)
        attempts, left = _attempts(puk, _DEFAULT_PUK_ATTEMPTS, secret)
        context.puks[reference] = True
        writes.append((f"puk/{reference:02X}", Pin(secret, ENABLED, 0, attempts, left).encode()))
    return writes


def pin_codes(value: Mapping[str, Any], context: Context) -> Writes:
    """PE-PINCodes: one write for each PIN, or the path of the directory whose PINs are shared."""
    kind, content = value["pinCodes"]
    directory = context.directory
    context.pinned = context.pinned if context.pinned is not None else {}
    if kind == "filePath":
        path = (MF, *(int.from_bytes(content[at : at + 2], "big") for at in range(0, len(content), 2)))
        if len(content) % 2 or path not in context.pinned or path == directory:
            raise Refused(PeStatus.INVALID_PARAMETER, content)
        context.pinned[directory] = True
        return [(f"pin/{path_text(directory)}/shared", path_text(path).encode())]
    writes: Writes = []
    allowed = _GLOBAL_KEYS if directory == (MF,) else _LOCAL_KEYS
    seen: dict[int, bool] = {}
    for pin in content:
        reference, secret = pin["keyReference"], pin["pinValue"]
        if reference not in allowed or reference in seen:
            raise Refused(PeStatus.INVALID_PARAMETER, secret)
        puk = pin.get("unblockingPINReference") or 0
        if puk and puk not in (context.puks or {}):
            raise Refused(PeStatus.PIN_CODE_MISSING, secret)
        attempts, left = _attempts(pin, _DEFAULT_PIN_ATTEMPTS, secret)
        attributes = pin.get("pinAttributes", _DEFAULT_PIN_ATTRIBUTES)
        seen[reference] = True
        stored = Pin(secret, attributes, puk, attempts, left).encode()
        writes.append((f"pin/{path_text(directory)}/{reference:02X}", stored))
    context.pinned[directory] = True
    return writes


def aka_parameter(value: Mapping[str, Any], context: Context) -> Writes:
    """PE-AKAParameter: the algorithm with its keys, and the sequence numbers, of the application created last."""
    if context.adf is None:
        raise Refused(PeStatus.INVALID_PARAMETER)
    place = f"aka/{path_text(context.adf)}"
    kind, content = value["algoConfiguration"]
    if kind == "mappingParameter":
        source = content["mappingSource"]
        if source not in (context.adfs or {}):
            raise Refused(PeStatus.INVALID_PARAMETER, source)
        return [(f"{place}/mapping", encode(0x80, content["mappingOptions"]) + encode(0x81, source))]
    algorithm, key, opc = content["algorithmID"], content["key"], content["opc"]
    need = {
        _MILENAGE: "milenage",
        _TUAK: "tuak256" if len(key) == 32 else "tuak128",
        _TEST_ALGORITHM: "usim-test-algorithm",
    }
    if algorithm not in need:
        raise Refused(PeStatus.BAD_VALUES, key)
    if not context.personality.supports(need[algorithm]):
        raise Refused(PeStatus.FEATURE_NOT_SUPPORTED, key)
    # The test algorithm takes no OPc; Milenage one of the key's size, TUAK 32 bytes (TS 35.206, TS 35.231).
    sizes = {_MILENAGE: ((16,), (16,)), _TUAK: ((16, 32), (32,)), _TEST_ALGORITHM: ((16,), tuple(range(256)))}[
        algorithm
    ]
    for part, allowed in zip((key, opc), sizes, strict=True):
        if len(part) not in allowed:
            raise Refused(PeStatus.BAD_VALUES, part)
    if algorithm == _TUAK and content.get("numberOfKeccak", 1) < 1:
        raise Refused(PeStatus.BAD_VALUES, key)
    parameters = encode(
        0xA1,
        encode(0x80, bytes((algorithm,))),
        encode(0x81, content["algorithmOptions"]),
        encode(0x82, key),
        encode(0x83, opc),
        encode(0x84, _bytes(content.get("rotationConstants"), bytes.fromhex("4000204060"))),
        encode(0x85, _bytes(content.get("xoringConstants"), _XORING)),
        encode(0x86, content["authCounterMax"]) if "authCounterMax" in content else b"",
        encode(0x87, bytes((content.get("numberOfKeccak", 1),))),
    )
    sqn = value.get("sqnInit")
    numbers = list(sqn) if isinstance(sqn, Sequence) and not isinstance(sqn, str | bytes) else []
    numbers = numbers or [bytes(_SQN_LENGTH)] * _SEQUENCE_NUMBERS
    if len(numbers) != _SEQUENCE_NUMBERS or any(len(number) != _SQN_LENGTH for number in numbers):
        raise Refused(PeStatus.BAD_VALUES, numbers[0])
    limits = [_bytes(value.get(name), b"") for name in ("sqnDelta", "sqnAgeLimit")]
    for number in (*numbers, *limits):
        if number > _HIGHEST_SEQ:
            raise Refused(PeStatus.BAD_VALUES, number)
    rules = b"".join(
        encode(tag, _bytes(value.get(name), default))
        for tag, name, default in (
            (0x82, "sqnOptions", b"\x02"),
            (0x83, "sqnDelta", bytes.fromhex("000010000000")),
            (0x84, "sqnAgeLimit", bytes.fromhex("000010000000")),
        )
    )
    return [(f"{place}/algorithm", parameters), (f"{place}/rules", rules), (f"{place}/sqn", b"".join(numbers))]


_XORING = b"".join(number.to_bytes(16, "big") for number in (0, 1, 2, 4, 8))


def cdma_parameter(value: Mapping[str, Any], context: Context) -> Writes:
    """PE-CDMAParameter: one write for each member."""
    names = (
        "authenticationKey",
        "ssd",
        "hrpdAccessAuthenticationData",
        "simpleIPAuthenticationData",
        "mobileIPAuthenticationData",
    )
    return [(f"cdma/{name}", value[name]) for name in names if name in value]


def security_domain(value: Mapping[str, Any], raw: bytes) -> Writes:
    """PE-SecurityDomain: the instance, each key, each item of personalisation data."""
    place = f"sd/{value['instance']['instanceAID'].hex().upper()}"
    writes: Writes = [(f"{place}/element", raw)]
    for key in value.get("keyList", ()):
        version, number = key["keyVersionNumber"], key["keyIdentifier"]
        components = b"".join(
            encode(0x30, encode(0x80, part["keyType"]) + encode(0x86, part["keyData"])) for part in key["keyComponents"]
        )
        writes.append(
            (f"{place}/key/{version.hex()}{number.hex()}", encode(0x95, key["keyUsageQualifier"]) + components)
        )
    for index, data in enumerate(value.get("sdPersoData", ())):
        writes.append((f"{place}/data/{index:02X}", data))
    return writes


def application(value: Mapping[str, Any], context: Context) -> Writes:
    """PE-Application: the load block and each instance."""
    writes: Writes = []
    block = value.get("loadBlock")
    if block is not None:
        writes.append((f"app/{block['loadPackageAID'].hex().upper()}/code", block["loadBlockObject"]))
    for instance in value.get("instanceList", ()):
        aid = instance["instanceAID"]
        state = encode(0x4F, aid) + encode(0x82, instance["applicationPrivileges"])
        writes.append(
            (f"app/instance/{aid.hex().upper()}", state + encode(0xC9, instance["applicationSpecificParametersC9"]))
        )
    return writes


def rfm(value: Mapping[str, Any], raw: bytes) -> Writes:
    """PE-RFM: the instance as it came."""
    return [(f"rfm/{value['instanceAID'].hex().upper()}", raw)]


def _attempts(entry: Mapping[str, Any], default: int, secret: bytes) -> tuple[int, int]:
    """Split maxNumOfAttemps-retryNumLeft: the most in the high nibble, what is left in the low one."""
    packed = entry.get("maxNumOfAttemps-retryNumLeft", default)
    attempts, left = packed >> 4, packed & 0x0F
    if len(secret) != PIN_LENGTH or left > attempts:
        raise Refused(PeStatus.BAD_VALUES, secret)
    return attempts, left


def _bytes(value: object, default: bytes) -> bytes:
    """A member with a DEFAULT: some decoders give the default as text."""
    return value if isinstance(value, bytes) else default
