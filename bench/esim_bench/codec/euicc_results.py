"""The eUICC's result of each operation of a package (EuiccResultData, SGP.32 2.11.2.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from esim_bench.codec import tlv
from esim_bench.codec.eim_configuration import EimIdInfo
from esim_bench.codec.es10_results import AuthorisationRule, authorisation_table
from esim_bench.codec.sgp32 import INTEGER, Version, choice, integer, name_of
from esim_bench.codec.tlv import Tlv
from esim_bench.errors import CodecError

_OK: Final = {0: "ok"}
_UNDEFINED: Final = {127: "undefinedError"}

RESULTS: Final[Mapping[str, Mapping[int, str]]] = {
    "enable": {
        **_OK,
        1: "iccidOrAidNotFound",
        2: "profileNotInDisabledState",
        3: "disallowedByPolicy",
        5: "catBusy",
        20: "rollbackNotAvailable",
        **_UNDEFINED,
    },
    "disable": {
        **_OK,
        1: "iccidOrAidNotFound",
        2: "profileNotInEnabledState",
        3: "disallowedByPolicy",
        5: "catBusy",
        **_UNDEFINED,
    },
    "delete": {
        **_OK,
        1: "iccidOrAidNotFound",
        2: "profileNotInDisabledState",
        3: "disallowedByPolicy",
        20: "rollbackNotAvailable",
        21: "returnFallbackProfile",
        **_UNDEFINED,
    },
    "listProfileInfo": {**_OK, 1: "incorrectInputValues", 11: "profileChangeOngoing", **_UNDEFINED},
    "getRAT": {**_OK},
    "configureImmediateEnable": {**_OK, 1: "insufficientMemory", 7: "commandError", **_UNDEFINED},
    "setFallbackAttribute": {
        **_OK,
        1: "iccidOrAidNotFound",
        2: "fallbackNotAllowed",
        3: "fallbackProfileEnabled",
        **_UNDEFINED,
    },
    "unsetFallbackAttribute": {
        **_OK,
        2: "noFallbackAttribute",
        3: "fallbackProfileEnabled",
        7: "commandError",
        **_UNDEFINED,
    },
    "setDefaultDpAddress": {**_OK, **_UNDEFINED},
    "addEim": {
        **_OK,
        1: "insufficientMemory",
        2: "associatedEimAlreadyExists",
        3: "ciPKUnknown",
        5: "invalidAssociationToken",
        6: "counterValueOutOfRange",
        7: "commandError",
        **_UNDEFINED,
    },
    "deleteEim": {**_OK, 1: "eimNotFound", 2: "lastEimDeleted", 7: "commandError", **_UNDEFINED},
    "updateEim": {
        **_OK,
        1: "eimNotFound",
        3: "ciPKUnknown",
        6: "counterValueOutOfRange",
        7: "commandError",
        **_UNDEFINED,
    },
    "listEim": {**_OK, **_UNDEFINED},
    "rollback": {**_OK, **_UNDEFINED},
    "processingTerminated": {1: "resultSizeOverflow", 2: "unknownOrDamagedCommand", 3: "interruption", **_UNDEFINED},
}
"""Function -> code -> name, v1.1 and later. getRAT has no error; listProfileInfo's and listEim's 0 is the list."""

_BEFORE_1_1: Final[Mapping[str, Mapping[int, str]]] = {
    "enable": {**_OK, 1: "iccidOrAidNotFound", 2: "profileNotInDisabledState", **_UNDEFINED},
    "disable": {**_OK, 1: "iccidOrAidNotFound", 2: "profileNotInEnabledState", **_UNDEFINED},
    "delete": {**_OK, 1: "iccidOrAidNotFound", 2: "profileNotInDisabledState", **_UNDEFINED},
    "addEim": {code: name for code, name in RESULTS["addEim"].items() if code != 2},
    "listEim": {**_OK, 7: "commandError", **_UNDEFINED},
    "setFallbackAttribute": {},
    "unsetFallbackAttribute": {},
    "setDefaultDpAddress": {},
}

_NUMBERS: Final = {
    "enable": 0x83,
    "disable": 0x84,
    "delete": 0x85,
    "configureImmediateEnable": 0x87,
    "deleteEim": 0x89,
    "updateEim": 0x8A,
    "rollback": 0x8C,
    "setFallbackAttribute": 0x8D,
    "unsetFallbackAttribute": 0x8E,
    "processingTerminated": INTEGER,
}
_FUNCTIONS: Final = {tag: name for name, tag in _NUMBERS.items()}
_LIST_PROFILE_INFO, _GET_RAT, _ADD_EIM, _LIST_EIM, _SET_DEFAULT_DP = 0xBF2D, 0xA6, 0xA8, 0xAB, 0xBF65
UNKNOWN: Final = "unknown"
"""The function of a result that a later version added."""


def result_names(function: str, version: Version = Version.V1_2) -> Mapping[int, str]:
    """Return the codes of a function's result in a version, with their names; empty where it has none there."""
    if version < Version.V1_2 and function in _BEFORE_1_1:
        return _BEFORE_1_1[function]
    return RESULTS.get(function, {})


@dataclass(frozen=True, slots=True)
class OperationResult:
    """The result of one operation: a code of RESULTS, and what some operations give in place of a code."""

    function: str
    """A key of RESULTS, or UNKNOWN."""
    code: int = 0
    association_token: int | None = None
    """addEim: the token that the eUICC made."""
    eims: tuple[EimIdInfo, ...] = ()
    """listEim."""
    content: bytes = b""
    """listProfileInfo: the profiles (E3), one after the other; getRAT: the rules (30); UNKNOWN: the whole object."""

    @property
    def name(self) -> str:
        """Return the standard's name of the code."""
        if self.function == UNKNOWN:
            return f"unknown result {self.content[:1].hex().upper()}"
        return name_of({**_BEFORE_1_1.get(self.function, {}), **RESULTS.get(self.function, {})}, self.code)

    @property
    def done(self) -> bool:
        """Tell whether the operation took effect; the last eIM deleted is one, too."""
        last_deleted = self.function == "deleteEim" and self.code == 2
        return self.function != UNKNOWN and (self.code == 0 or last_deleted)

    def rules(self) -> list[AuthorisationRule]:
        """Return the rules of getRAT. Raises CodecError."""
        return authorisation_table(tlv.encode(0xBF43, tlv.encode(0xA0, self.content)))

    def encode(self, version: Version = Version.V1_2) -> bytes:
        """Return the object. Raises CodecError for a code that the version does not have."""
        if self.function == UNKNOWN:
            return bytes(self.content)
        names = result_names(self.function, version)
        if self.code not in names:
            expected = ", ".join(str(code) for code in names) or "no such result"
            where = f"result of {self.function}, v{version.text}"
            raise CodecError("result code", where=where, expected=expected, found=self.code)
        if self.function in _NUMBERS:
            return integer(_NUMBERS[self.function], self.code)
        match self.function:
            case "listProfileInfo":
                tag, inner = _LIST_PROFILE_INFO, tlv.encode(0xA0, self.content)
            case "getRAT":
                return tlv.encode(_GET_RAT, self.content)
            case "listEim":
                tag, inner = _LIST_EIM, tlv.encode(0xA0, *(eim.encode(version) for eim in self.eims))
            case "addEim":
                token = self.association_token
                code = integer(INTEGER, self.code)
                return tlv.encode(_ADD_EIM, integer(0x84, token) if token is not None and not self.code else code)
            case _:
                return tlv.encode(_SET_DEFAULT_DP, integer(0x80, self.code))
        return tlv.encode(tag, integer(0x81, self.code) if self.code else inner)

    @classmethod
    def parse(cls, item: Tlv) -> OperationResult:
        """Read a result of any version. Raises CodecError for a malformed one, not for one that is not known."""
        function = _FUNCTIONS.get(item.tag)
        if function is not None:
            return cls(function, item.integer())
        match item.tag:
            case 0xBF2D:
                arm = choice(item, "listProfileInfoResult", 0xA0, 0x81)
                if arm.tag == 0x81:
                    return cls("listProfileInfo", _error(arm))
                return cls("listProfileInfo", content=arm.value)
            case 0xA6:
                return cls("getRAT", content=item.value)
            case 0xA8:
                arm = choice(item, "addEimResult", 0x84, INTEGER)
                if arm.tag == INTEGER:
                    return cls("addEim", arm.integer())
                return cls("addEim", association_token=arm.integer())
            case 0xAB:
                arm = choice(item, "listEimResult", 0xA0, 0x81)
                if arm.tag == 0x81:
                    return cls("listEim", _error(arm))
                return cls("listEim", eims=tuple(EimIdInfo.parse(child) for child in arm.children()))
            case 0xBF65:
                return cls("setDefaultDpAddress", choice(item, "setDefaultDpAddressResult", 0x80).integer())
        return cls(UNKNOWN, content=item.raw)


def _error(arm: Tlv) -> int:
    code = arm.integer()
    if code == 0:
        raise CodecError("error code", expected="another than 0", found=arm.raw.hex())
    return code


def profile_list_result(answer: bytes) -> OperationResult:
    """Make the result of listProfileInfo from an answer of GetProfilesInfo (BF2D). Raises CodecError."""
    item = tlv.parse(answer, "ProfileInfoListResponse")
    if item.tag != _LIST_PROFILE_INFO:
        raise CodecError("wrong tag", where="ProfileInfoListResponse", expected="BF2D", found=f"{item.tag:X}")
    return OperationResult.parse(item)


def rules_result(answer: bytes) -> OperationResult:
    """Make the result of getRAT from an answer of GetRAT (BF43). Raises CodecError."""
    item = tlv.parse(answer, "GetRatResponse")
    if item.tag != 0xBF43:
        raise CodecError("wrong tag", where="GetRatResponse", expected="BF43", found=f"{item.tag:X}")
    return OperationResult("getRAT", content=item.get(0xA0).value)
