"""Answers of SGP.32's ES10b functions: made by the eUICC, read by the IPA (SGP.32 5.9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from esim_bench.codec import euicc_package, tlv
from esim_bench.codec.eim_configuration import EimConfigurationData
from esim_bench.codec.es10_iot import (
    FUNCTIONS,
    IPAE_ACTIVATION,
    IPAE_RESULTS,
    MEMORY_RESET_1_0,
    RESET_EIM_RESULTS,
    RESET_IMMEDIATE_ENABLE_RESULTS,
    RETRIEVE_NOTIFICATIONS_LIST,
    IotTag,
    codes,
)
from esim_bench.codec.sgp32 import (
    INTEGER,
    NULL,
    SEQUENCE,
    Members,
    Version,
    certificate_of,
    choice,
    integer,
    name_of,
    open_object,
    retagged,
)
from esim_bench.codec.tlv import Tlv
from esim_bench.errors import BenchError, CodecError

WITH_CODE_ALONE: Final = (
    IotTag.CONFIGURE_IMMEDIATE_PROFILE_ENABLING,
    IotTag.IMMEDIATE_ENABLE,
    IotTag.ENABLE_EMERGENCY_PROFILE,
    IotTag.DISABLE_EMERGENCY_PROFILE,
    IotTag.EXECUTE_FALLBACK_MECHANISM,
    IotTag.RETURN_FROM_FALLBACK,
    IotTag.SET_DEFAULT_DP_ADDRESS,
    IPAE_ACTIVATION,
)
"""Functions that answer with a code (80) and nothing else."""
WITH_ERROR: Final = (IotTag.GET_CERTS, IotTag.ADD_INITIAL_EIM, IotTag.GET_CONNECTIVITY_PARAMETERS)
"""Functions that answer with A0, or 81 and a code."""
RETRIEVE_ERROR: Final = 127
"""The one error of RetrieveNotificationsList, undefinedError."""


def answer(tag: int, code: int, version: Version = Version.V1_2) -> bytes:
    """Return the answer of a function of WITH_CODE_ALONE. Raises CodecError for a code that it does not have."""
    if tag not in WITH_CODE_ALONE:
        raise CodecError("answer of more than a code", where=f"{tag:X}", expected="another function")
    return tlv.encode(tag, integer(0x80, _checked(tag, code, version)))


def failure(tag: int, code: int, version: Version = Version.V1_2) -> bytes:
    """Return the error (81) of a function of WITH_ERROR. Raises CodecError for a code that it does not have."""
    if tag not in WITH_ERROR:
        raise CodecError("no error choice", where=f"{tag:X}", expected="another function")
    return tlv.encode(tag, integer(0x81, _checked(tag, code, version)))


def _checked(tag: int, code: int, version: Version) -> int:
    names = codes(tag, version)
    if code not in names:
        expected = ", ".join(map(str, names)) or "a function of the version"
        raise CodecError("result code", where=f"{tag:X}, v{version.text}", expected=expected, found=code)
    return code


def result_code(response: bytes) -> tuple[int, str]:
    """Return (code, name) of an answer that has one: the functions of WITH_CODE_ALONE, rollback, reset, and errors.

    An answer A0 of a function of WITH_ERROR is (0, "ok"). Raises CodecError.
    """
    item = tlv.parse(response, "ES10b response")
    function = FUNCTIONS.get(_current(item.tag))
    names = IPAE_RESULTS if item.tag == IPAE_ACTIVATION else function.results if function else {}
    members = item.children()
    if not names or not members or members[0].tag not in (0x80, 0x81, INTEGER, 0xA0):
        raise CodecError("no result code", where=f"{item.tag:X}", expected="80, 81 or 02", found=response[:16].hex())
    if members[0].tag == 0xA0:
        return 0, "ok"
    code = members[0].integer()
    return code, name_of(names, code)


def _current(tag: int) -> int:
    return IotTag.EUICC_MEMORY_RESET if tag == MEMORY_RESET_1_0 else tag


class IotError(BenchError):
    """An error choice (81) of an ES10b function: its code and name."""

    def __init__(self, tag: int, code: int) -> None:
        function = FUNCTIONS.get(tag)
        self.code = code
        self.name = name_of(function.results if function else {127: "undefinedError"}, code)
        super().__init__(f"{function.name if function else f'{tag:X}'} failed", found=f"{self.name} ({code})")


def _arm(response: bytes, tag: int, *arms: int) -> Tlv:
    where = FUNCTIONS[tag].name if tag in FUNCTIONS else "RetrieveNotificationsList"
    arm = choice(open_object(response, tag, where), where, *arms, 0x81)
    if arm.tag == 0x81:
        raise IotError(tag, arm.integer())
    return arm


# ------------------------------------------------------------------------------------------------------------------ eIM


def eim_configurations(entries: Sequence[EimConfigurationData], version: Version = Version.V1_2) -> bytes:
    """Return the answer of GetEimConfigurationData; counters are left out, they are never told. Raises CodecError."""
    shown = [(entry if entry.counter is None else replace(entry, counter=None)).encode(version) for entry in entries]
    return tlv.encode(IotTag.GET_EIM_CONFIGURATION_DATA, tlv.encode(0xA0, *shown))


def eim_configurations_of(response: bytes) -> tuple[EimConfigurationData, ...]:
    """Read the answer of GetEimConfigurationData. Raises CodecError."""
    item = open_object(response, IotTag.GET_EIM_CONFIGURATION_DATA, "GetEimConfigurationData")
    entries = choice(item, "GetEimConfigurationData", 0xA0).children()
    wrong = next((entry for entry in entries if entry.tag != SEQUENCE), None)
    if wrong is not None:
        raise CodecError("EimConfigurationData", expected="30", found=f"{wrong.tag:X}")
    return tuple(EimConfigurationData.parse(entry.raw) for entry in entries)


def added_eims(tokens: Sequence[int | None]) -> bytes:
    """Return AddInitialEim's success: the token made for each entry, None where none was asked for."""
    entries = [integer(0x84, token) if token is not None else tlv.encode(NULL, b"") for token in tokens]
    return tlv.encode(IotTag.ADD_INITIAL_EIM, tlv.encode(0xA0, *entries))


def added_eims_of(response: bytes) -> tuple[int | None, ...]:
    """Read AddInitialEim's answer: a token or None for each entry. Raises IotError, CodecError."""
    entries = _arm(response, IotTag.ADD_INITIAL_EIM, 0xA0).children()
    wrong = next((entry for entry in entries if entry.tag not in (0x84, NULL)), None)
    if wrong is not None:
        raise CodecError("entry of addInitialEimOk", expected="84 or 05", found=f"{wrong.tag:X}")
    return tuple(entry.integer() if entry.tag == 0x84 else None for entry in entries)


# --------------------------------------------------------------------------------------------- certificates, parameters


def certificates(eum: bytes, euicc: bytes) -> bytes:
    """Return GetCerts' success from two DER certificates. Raises CodecError."""
    members = retagged(0xA5, eum, "EUM certificate") + retagged(0xA6, euicc, "eUICC certificate")
    return tlv.encode(IotTag.GET_CERTS, tlv.encode(0xA0, members))


def certificates_of(response: bytes) -> tuple[bytes, bytes]:
    """Read GetCerts' answer: the EUM's certificate and the eUICC's, DER. Raises IotError, CodecError."""
    members = Members(_arm(response, IotTag.GET_CERTS, 0xA0), "GetCerts")
    eum, euicc = members.take(0xA5), members.take(0xA6)
    members.end()
    return certificate_of(eum, "EUM certificate"), certificate_of(euicc, "eUICC certificate")


def connectivity_parameters(http: bytes | None) -> bytes:
    """Return GetConnectivityParameters' success (httpParams serve CoAP as well)."""
    inner = b"" if http is None else tlv.encode(0x81, http)
    return tlv.encode(IotTag.GET_CONNECTIVITY_PARAMETERS, tlv.encode(0xA0, inner))


def connectivity_parameters_of(response: bytes) -> bytes | None:
    """Read GetConnectivityParameters' answer: httpParams. Raises IotError, CodecError."""
    members = Members(_arm(response, IotTag.GET_CONNECTIVITY_PARAMETERS, 0xA0), "GetConnectivityParameters")
    http = members.optional(0x81)
    return http.value if http else None


# --------------------------------------------------------------------------------------------------- rollback and reset


@dataclass(frozen=True, slots=True)
class RollbackResult:
    """The answer of ProfileRollback: a code, and the EuiccPackageResult that replaces the first one."""

    code: int
    package_result: bytes | None = None
    """BF51, as the eUICC signed it."""

    @property
    def name(self) -> str:
        """Return the standard's name of the code."""
        return name_of(FUNCTIONS[IotTag.PROFILE_ROLLBACK].results, self.code)

    def encode(self) -> bytes:
        """Return the BF58. Raises CodecError."""
        code = integer(INTEGER, _checked(IotTag.PROFILE_ROLLBACK, self.code, Version.V1_2))
        result = b""
        if self.package_result is not None:
            result = open_object(self.package_result, euicc_package.TAG, "EuiccPackageResult").raw
        return tlv.encode(IotTag.PROFILE_ROLLBACK, code, result)

    @classmethod
    def parse(cls, response: bytes) -> RollbackResult:
        """Read a BF58. Raises CodecError."""
        members = Members.of(response, IotTag.PROFILE_ROLLBACK, "ProfileRollback")
        code, result = members.take(INTEGER).integer(), members.optional(euicc_package.TAG)
        members.end()
        return cls(code, result.raw if result else None)


@dataclass(frozen=True, slots=True)
class MemoryResetResult:
    """The answer of eUICCMemoryReset: codes of the function, RESET_EIM_RESULTS and RESET_IMMEDIATE_ENABLE_RESULTS."""

    code: int
    eim_code: int | None = None
    immediate_enable_code: int | None = None

    @property
    def name(self) -> str:
        """Return the standard's name of the first code."""
        return name_of(FUNCTIONS[IotTag.EUICC_MEMORY_RESET].results, self.code)

    def encode(self, version: Version = Version.V1_2) -> bytes:
        """Return the BF64; v1.0 has BF34, and 02 for its first code. Raises CodecError."""
        old = version < Version.V1_2
        tag = MEMORY_RESET_1_0 if old else IotTag.EUICC_MEMORY_RESET
        members = integer(INTEGER if old else 0x80, _checked(tag, self.code, version))
        for member, code, names in (
            (0x81, self.eim_code, RESET_EIM_RESULTS),
            (0x82, self.immediate_enable_code, RESET_IMMEDIATE_ENABLE_RESULTS),
        ):
            if code is not None:
                if code not in names:
                    raise CodecError("result code", where="eUICCMemoryReset", expected=list(names), found=code)
                members += integer(member, code)
        return tlv.encode(tag, members)

    @classmethod
    def parse(cls, response: bytes) -> MemoryResetResult:
        """Read a BF64 or BF34; the first code may have either tag. Raises CodecError."""
        item = tlv.parse(response, "eUICCMemoryReset")
        tag = MEMORY_RESET_1_0 if item.tag == MEMORY_RESET_1_0 else IotTag.EUICC_MEMORY_RESET
        members = Members.of(response, tag, "eUICCMemoryReset")
        code, eim, immediate = members.take(0x80, INTEGER), members.optional(0x81), members.optional(0x82)
        members.end()
        return cls(code.integer(), eim.integer() if eim else None, immediate.integer() if immediate else None)


# -------------------------------------------------------------------------------------------------------- notifications


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What RetrieveNotificationsList gave, each object as the eUICC signed it."""

    notifications: tuple[bytes, ...] = ()
    """BF37 or 30."""
    package_results: tuple[bytes, ...] = ()
    """BF51."""


def retrieved_notifications(items: Sequence[bytes]) -> bytes:
    """Return RetrieveNotificationsList's answer with notifications."""
    return tlv.encode(RETRIEVE_NOTIFICATIONS_LIST, tlv.encode(0xA0, *items))


def retrieved_package_results(items: Sequence[bytes]) -> bytes:
    """Return RetrieveNotificationsList's answer with EuiccPackageResults."""
    return tlv.encode(RETRIEVE_NOTIFICATIONS_LIST, tlv.encode(0xA2, *items))


def retrieved_both(items: Retrieved) -> bytes:
    """Return v1.0's answer with notifications and EuiccPackageResults (notificationAndEprList)."""
    both = tlv.encode(0xA0, *items.notifications) + tlv.encode(0xA1, *items.package_results)
    return tlv.encode(RETRIEVE_NOTIFICATIONS_LIST, tlv.encode(0xA3, both))


def retrieve_failure() -> bytes:
    """Return RetrieveNotificationsList's error."""
    return tlv.encode(RETRIEVE_NOTIFICATIONS_LIST, integer(0x81, RETRIEVE_ERROR))


def retrieved(response: bytes) -> Retrieved:
    """Read RetrieveNotificationsList's answer of any version. Raises IotError, CodecError."""
    arm = _arm(response, RETRIEVE_NOTIFICATIONS_LIST, 0xA0, 0xA2, 0xA3)
    if arm.tag == 0xA0:
        return Retrieved(notifications=_raw(arm))
    if arm.tag == 0xA2:
        return Retrieved(package_results=_package_results(arm))
    members = Members(arm, "notificationAndEprList")
    notifications, results = members.take(0xA0), members.take(0xA1)
    members.end()
    return Retrieved(_raw(notifications), _package_results(results))


def _raw(item: Tlv) -> tuple[bytes, ...]:
    return tuple(child.raw for child in item.children())


def _package_results(item: Tlv) -> tuple[bytes, ...]:
    wrong = next((child for child in item.children() if child.tag != euicc_package.TAG), None)
    if wrong is not None:
        raise CodecError("euiccPackageResultList", expected="BF51", found=f"{wrong.tag:X}")
    return _raw(item)


# ----------------------------------------------------------------------------------------------------------- for people


_OTHER_NAMES: Final = {
    IPAE_ACTIVATION: "ES10b.IpaeActivation",
    RETRIEVE_NOTIFICATIONS_LIST: "ES10b.RetrieveNotificationsList",
}


def describe(request: bytes, response: bytes | None) -> str:
    """Say a call of one of these functions in one line, e.g. "ES10b.ProfileRollback -> ok". Never raises."""
    try:
        tag, _, _ = tlv.parse_header(request)
    except CodecError:
        return f"STORE DATA {request[:8].hex().upper()}"
    function = FUNCTIONS.get(_current(tag))
    name = _OTHER_NAMES.get(tag, function.name if function else f"STORE DATA {tag:X}")
    try:
        text = f"{name}{_argument(tag, request)}"
    except BenchError:
        text = name
    if response is None:
        return text
    try:
        return f"{text} -> {_outcome(tag, response)}"
    except IotError as exc:
        return f"{text} -> {exc.name}"
    except BenchError:
        return f"{text} -> {len(response)} bytes"


def _argument(tag: int, request: bytes) -> str:
    if tag != IotTag.LOAD_EUICC_PACKAGE:
        return ""
    package = euicc_package.EuiccPackageRequest.parse(request)
    return f" {package.counter} of {package.eim_id}: " + ", ".join(one.NAME for one in package.operations)


def _outcome(tag: int, response: bytes) -> str:
    if not response:
        return "no data"
    match tag:
        case IotTag.LOAD_EUICC_PACKAGE:
            result = euicc_package.parse_result(response)
            if isinstance(result, euicc_package.SignedResult):
                return ", ".join(f"{one.function} {one.name}" for one in result.results) or "no results"
            return result.name
        case IotTag.GET_EIM_CONFIGURATION_DATA:
            return ", ".join(eim.eim_id for eim in eim_configurations_of(response)) or "no eIM"
        case IotTag.PROFILE_ROLLBACK:
            return RollbackResult.parse(response).name
        case 0xBF2B:
            found = retrieved(response)
            return f"{len(found.notifications)} notifications, {len(found.package_results)} package results"
    return result_code(response)[1]
