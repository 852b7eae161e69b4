"""ES10b of SGP.32: what an IPA asks of the ISD-R beside SGP.22's functions (SGP.32 5.9), both sides of it.

Requests are built here by the IPA and read by the eUICC; the answers are in ``es10_iot_answers``. As in ``es10``, the
tag of the request names the function, and is the tag of the answer as well. LoadEuiccPackage's request is the
EuiccPackageRequest itself, byte for byte as the eIM signed it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Final

from esim_bench.codec import euicc_package, tlv
from esim_bench.codec.eim_configuration import EimConfigurationData
from esim_bench.codec.es10 import Function
from esim_bench.codec.euicc_operations import ConfigureImmediateEnable, SetDefaultDpAddress
from esim_bench.codec.notification_search import Search, search_of
from esim_bench.codec.sgp32 import (
    Members,
    Version,
    boolean,
    boolean_of,
    choice,
    eim_id,
    eim_id_of,
    named_bits,
    names_of,
    open_object,
    sized,
    utf8,
)
from esim_bench.errors import CodecError


class IotTag(IntEnum):
    """Tags of the functions that SGP.32 adds."""

    LOAD_EUICC_PACKAGE = 0xBF51
    GET_EIM_CONFIGURATION_DATA = 0xBF55
    GET_CERTS = 0xBF56
    ADD_INITIAL_EIM = 0xBF57
    PROFILE_ROLLBACK = 0xBF58
    CONFIGURE_IMMEDIATE_PROFILE_ENABLING = 0xBF59
    IMMEDIATE_ENABLE = 0xBF5A
    ENABLE_EMERGENCY_PROFILE = 0xBF5B
    DISABLE_EMERGENCY_PROFILE = 0xBF5C
    EXECUTE_FALLBACK_MECHANISM = 0xBF5D
    RETURN_FROM_FALLBACK = 0xBF5E
    GET_CONNECTIVITY_PARAMETERS = 0xBF5F
    EUICC_MEMORY_RESET = 0xBF64
    SET_DEFAULT_DP_ADDRESS = 0xBF65


IPAE_ACTIVATION: Final = 0xBF42
"""SGP.22's LpaeActivation has the same tag."""
RETRIEVE_NOTIFICATIONS_LIST: Final = 0xBF2B
MEMORY_RESET_1_0: Final = 0xBF34
"""eUICCMemoryReset's tag in v1.0, SGP.22's."""

_OK: Final = {0: "ok"}
_UNDEFINED: Final = {127: "undefinedError"}
FUNCTIONS: Final[Mapping[int, Function]] = {
    function.tag: function
    for function in (
        Function(IotTag.LOAD_EUICC_PACKAGE, "ES10b.LoadEuiccPackage", "EuiccPackageRequest", "EuiccPackageResult",
                 euicc_package.ERRORS),
        Function(IotTag.GET_EIM_CONFIGURATION_DATA, "ES10b.GetEimConfigurationData", "GetEimConfigurationDataRequest",
                 "GetEimConfigurationDataResponse"),
        Function(IotTag.GET_CERTS, "ES10b.GetCerts", "GetCertsRequest", "GetCertsResponse",
                 {1: "invalidCiPKId", **_UNDEFINED}),
        Function(IotTag.ADD_INITIAL_EIM, "ES10b.AddInitialEim", "AddInitialEimRequest", "AddInitialEimResponse",
                 {1: "insufficientMemory", 2: "associatedEimAlreadyExists", 3: "ciPKUnknown",
                  5: "invalidAssociationToken", 6: "counterValueOutOfRange", 7: "commandError", **_UNDEFINED}),
        Function(IotTag.PROFILE_ROLLBACK, "ES10b.ProfileRollback", "ProfileRollbackRequest", "ProfileRollbackResponse",
                 {**_OK, 1: "rollbackNotAllowed", 5: "catBusy", 7: "commandError", **_UNDEFINED}),
        Function(IotTag.CONFIGURE_IMMEDIATE_PROFILE_ENABLING, "ES10b.ConfigureImmediateProfileEnabling",
                 "ConfigureImmediateProfileEnablingRequest", "ConfigureImmediateProfileEnablingResponse",
                 {**_OK, 1: "insufficientMemory", 2: "associatedEimAlreadyExists", **_UNDEFINED}),
        Function(IotTag.IMMEDIATE_ENABLE, "ES10b.ImmediateEnable", "ImmediateEnableRequest", "ImmediateEnableResponse",
                 {**_OK, 1: "immediateEnableNotAvailable", 4: "noSessionContext", 5: "catBusy", **_UNDEFINED}),
        Function(IotTag.ENABLE_EMERGENCY_PROFILE, "ES10b.EnableEmergencyProfile", "EnableEmergencyProfileRequest",
                 "EnableEmergencyProfileResponse",
                 {**_OK, 2: "profileNotInDisabledState", 5: "catBusy", 8: "ecallNotAvailable", **_UNDEFINED}),
        Function(IotTag.DISABLE_EMERGENCY_PROFILE, "ES10b.DisableEmergencyProfile", "DisableEmergencyProfileRequest",
                 "DisableEmergencyProfileResponse",
                 {**_OK, 2: "profileNotInEnabledState", 5: "catBusy", **_UNDEFINED}),
        Function(IotTag.EXECUTE_FALLBACK_MECHANISM, "ES10b.ExecuteFallbackMechanism", "ExecuteFallbackMechanismRequest",
                 "ExecuteFallbackMechanismResponse",
                 {**_OK, 2: "profileNotInDisabledState", 5: "catBusy", 6: "fallbackNotAvailable", 7: "commandError",
                  104: "ecallActive", **_UNDEFINED}),
        Function(IotTag.RETURN_FROM_FALLBACK, "ES10b.ReturnFromFallback", "ReturnFromFallbackRequest",
                 "ReturnFromFallbackResponse",
                 {**_OK, 5: "catBusy", 6: "fallbackNotAvailable", 7: "commandError", **_UNDEFINED}),
        Function(IotTag.GET_CONNECTIVITY_PARAMETERS, "ES10b.GetConnectivityParameters",
                 "GetConnectivityParametersRequest", "GetConnectivityParametersResponse",
                 {1: "parametersNotAvailable", **_UNDEFINED}),
        Function(IotTag.EUICC_MEMORY_RESET, "ES10b.eUICCMemoryReset", "EuiccMemoryResetRequest",
                 "EuiccMemoryResetResponse",
                 {**_OK, 1: "nothingToDelete", 5: "catBusy", 104: "ecallActive", **_UNDEFINED}),
        Function(IotTag.SET_DEFAULT_DP_ADDRESS, "ES10b.SetDefaultDpAddress", "SetDefaultDpAddressRequest",
                 "SetDefaultDpAddressResponse", {**_OK, **_UNDEFINED}),
    )
}  # fmt: skip
"""By tag, with the codes of v1.2; ``codes`` gives another version's. Type names are those of SGP.32's module."""

IPAE_RESULTS: Final = {0: "ok", 1: "notSupported"}
RESET_EIM_RESULTS: Final = {**_OK, 1: "nothingToDelete", 2: "eimResetNotSupported", **_UNDEFINED}
RESET_IMMEDIATE_ENABLE_RESULTS: Final = {**_OK, 1: "resetIECNotSupported", **_UNDEFINED}

_CODES_1_0_1: Final[Mapping[int, Mapping[int, str]]] = {
    IotTag.ADD_INITIAL_EIM: {
        1: "insufficientMemory",
        2: "unsignedEimConfigDisallowed",
        3: "ciPKUnknown",
        5: "invalidAssociationToken",
        6: "counterValueOutOfRange",
        **_UNDEFINED,
    },
    IotTag.CONFIGURE_IMMEDIATE_PROFILE_ENABLING: {
        **_OK,
        1: "insufficientMemory",
        2: "unsignedAutoEnableConfigDisallowed",
        **_UNDEFINED,
    },
    IotTag.IMMEDIATE_ENABLE: {**_OK, 1: "autoEnableNotAvailable", 4: "noSessionContext", **_UNDEFINED},
}
_NEW_IN_1_1: Final = frozenset(
    (
        IotTag.ENABLE_EMERGENCY_PROFILE,
        IotTag.DISABLE_EMERGENCY_PROFILE,
        IotTag.EXECUTE_FALLBACK_MECHANISM,
        IotTag.RETURN_FROM_FALLBACK,
        IotTag.GET_CONNECTIVITY_PARAMETERS,
        IotTag.EUICC_MEMORY_RESET,
        IotTag.SET_DEFAULT_DP_ADDRESS,
    )
)


def supported(tag: int, version: Version) -> bool:
    """Tell whether a version has the function of a tag; BF34 is v1.0's memory reset, BF42 came with v1.1."""
    if tag == MEMORY_RESET_1_0:
        return version < Version.V1_2
    if tag == IPAE_ACTIVATION or tag in _NEW_IN_1_1:
        return version >= Version.V1_2
    return tag in FUNCTIONS


def codes(tag: int, version: Version = Version.V1_2) -> Mapping[int, str]:
    """Return the result codes of a function in a version, with their names; empty for one that it does not have."""
    if not supported(tag, version):
        return {}
    if tag == IPAE_ACTIVATION:
        return IPAE_RESULTS
    if version < Version.V1_2 and tag in _CODES_1_0_1:
        return _CODES_1_0_1[tag]
    results = FUNCTIONS[IotTag.EUICC_MEMORY_RESET if tag == MEMORY_RESET_1_0 else tag].results
    if tag == MEMORY_RESET_1_0 or (tag == IotTag.LOAD_EUICC_PACKAGE and version < Version.V1_2):
        return {code: name for code, name in results.items() if code != 104}
    if tag == IotTag.DISABLE_EMERGENCY_PROFILE and version >= Version.V1_3:
        return {**results, 8: "ecallNotAvailable"}
    return results


def _need(tag: int, version: Version) -> int:
    if not supported(tag, version):
        name = FUNCTIONS[tag].name if tag in FUNCTIONS else f"{tag:X}"
        raise CodecError(f"{name} does not exist in this version", where="ES10b", found=f"v{version.text}")
    return tag


# ------------------------------------------------------------------------------------------------ requests, by the IPA


def get_eim_configuration_data(eim_id_text: str | None = None, version: Version = Version.V1_2) -> bytes:
    """Ask for the associated eIMs, or one of them, which v1.0 cannot (5.9.18). Raises CodecError."""
    if eim_id_text is None:
        return tlv.encode(IotTag.GET_EIM_CONFIGURATION_DATA, b"")
    if version < Version.V1_2:
        raise CodecError("search for an eIM", where="GetEimConfigurationData", expected="v1.1", found=version.text)
    return tlv.encode(IotTag.GET_EIM_CONFIGURATION_DATA, tlv.encode(0xA0, eim_id(eim_id_text)))


def get_certs(ci_pk_id: bytes | None = None) -> bytes:
    """Ask for the eUICC's certificate and its EUM's, under a CI key or the preferred one (5.9.10)."""
    return tlv.encode(IotTag.GET_CERTS, b"" if ci_pk_id is None else tlv.encode(0x80, ci_pk_id))


def add_initial_eim(
    configurations: Sequence[EimConfigurationData | bytes], version: Version = Version.V1_2
) -> bytes:  # fmt: skip
    """Associate the first eIMs; configurations as values, or as bytes that are passed on (5.9.4). Raises CodecError."""
    entries = [
        entry.encode(version) if isinstance(entry, EimConfigurationData) else open_object(entry, 0x30, "eIM").raw
        for entry in configurations
    ]
    return tlv.encode(IotTag.ADD_INITIAL_EIM, tlv.encode(0xA0, *entries))


def profile_rollback(refresh: bool) -> bytes:
    """Go back to the profile that was enabled before (5.9.16)."""
    return _refreshing(IotTag.PROFILE_ROLLBACK, refresh, Version.V1_2)


def configure_immediate_profile_enabling(
    enabled: bool, smdp_oid: str | None = None, smdp_address: str | None = None
) -> bytes:
    """Say, while no eIM is associated, from which SM-DP+ a profile may be enabled at once (5.9.17)."""
    configuration = ConfigureImmediateEnable(enabled, smdp_oid, smdp_address)
    return configuration.encode(tag=IotTag.CONFIGURE_IMMEDIATE_PROFILE_ENABLING)


def immediate_enable(refresh: bool, version: Version = Version.V1_2) -> bytes:
    """Enable the profile that was just installed (5.9.15); v1.0's EnableUsingDD says nothing of a refresh."""
    if version < Version.V1_2:
        return tlv.encode(IotTag.IMMEDIATE_ENABLE, b"")
    return _refreshing(IotTag.IMMEDIATE_ENABLE, refresh, version)


def enable_emergency_profile(refresh: bool, version: Version = Version.V1_2) -> bytes:
    """Enable the Emergency Profile. Raises CodecError before v1.1."""
    return _refreshing(IotTag.ENABLE_EMERGENCY_PROFILE, refresh, version)


def disable_emergency_profile(refresh: bool, version: Version = Version.V1_2) -> bytes:
    """Disable the Emergency Profile. Raises CodecError before v1.1."""
    return _refreshing(IotTag.DISABLE_EMERGENCY_PROFILE, refresh, version)


def execute_fallback_mechanism(refresh: bool, version: Version = Version.V1_2) -> bytes:
    """Enable the Fallback Profile. Raises CodecError before v1.1."""
    return _refreshing(IotTag.EXECUTE_FALLBACK_MECHANISM, refresh, version)


def return_from_fallback(refresh: bool, version: Version = Version.V1_2) -> bytes:
    """Enable the profile that was enabled before the fallback. Raises CodecError before v1.1."""
    return _refreshing(IotTag.RETURN_FROM_FALLBACK, refresh, version)


def get_connectivity_parameters(version: Version = Version.V1_2) -> bytes:
    """Ask for the connectivity parameters of the enabled profile. Raises CodecError before v1.1."""
    return tlv.encode(_need(IotTag.GET_CONNECTIVITY_PARAMETERS, version), b"")


def set_default_dp_address(address: str, version: Version = Version.V1_2) -> bytes:
    """Set the default SM-DP+ address; an empty one clears it. Raises CodecError before v1.1."""
    return tlv.encode(_need(IotTag.SET_DEFAULT_DP_ADDRESS, version), utf8(0x80, address, "defaultDpAddress"))


def ipae_activation(version: Version = Version.V1_2) -> bytes:
    """Hand control to the IPA in the eUICC. Raises CodecError before v1.1."""
    return tlv.encode(_need(IPAE_ACTIVATION, version), named_bits(0x80, ["activateIpae"], IPAE_OPTIONS, "ipaeOption"))


IPAE_OPTIONS: Final = ("activateIpae",)
RESET_OPTIONS: Final = (
    "deleteOperationalProfiles",
    "deleteFieldLoadedTestProfiles",
    "resetDefaultSmdpAddress",
    "deletePreLoadedTestProfiles",
    "deleteProvisioningProfiles",
    "resetEimConfigData",
    "resetImmediateEnableConfig",
)
"""Bits of eUICCMemoryReset, bit 0 first."""
RESET_OPTIONS_1_0: Final = (*RESET_OPTIONS[:3], "resetEimConfigData", "resetImmediateEnableConfig")
"""The same in v1.0, where the last one is named resetAutoEnableConfig."""


def memory_reset(options: Iterable[str], version: Version = Version.V1_2) -> bytes:
    """Reset parts of the eUICC's memory, options of RESET_OPTIONS (5.9.5). Raises CodecError."""
    old = version < Version.V1_2
    bits = named_bits(0x82, options, RESET_OPTIONS_1_0 if old else RESET_OPTIONS, "resetOptions")
    return tlv.encode(MEMORY_RESET_1_0 if old else IotTag.EUICC_MEMORY_RESET, bits)


def retrieve_notifications(
    seq: int | None = None, events: Iterable[str] | None = None, package_results: bool = False
) -> bytes:
    """Ask for notifications (all, one, those of some events), or for the waiting EuiccPackageResults (5.9.11)."""
    search = Search(seq, None if events is None else tuple(events), package_results)
    criterion = search.encode()
    return tlv.encode(RETRIEVE_NOTIFICATIONS_LIST, tlv.encode(0xA0, criterion) if criterion else b"")


def _refreshing(tag: int, refresh: bool, version: Version) -> bytes:
    return tlv.encode(_need(tag, version), boolean(0x80, refresh))


# ---------------------------------------------------------------------------------------------- requests, in the eUICC


def refresh_flag(request: bytes) -> bool:
    """Read the flag of a function that changes profiles; one IPA sends 01 in place of 80. Raises CodecError.

    v1.0's EnableUsingDD has none: that is True, because the terminal has to learn of the change.
    """
    item = tlv.parse(request, "ES10b request")
    open_object(request, item.tag, "ES10b request")
    members = Members(item, "refreshFlag")
    if item.tag == IotTag.IMMEDIATE_ENABLE and members.peek() is None:
        return True
    value = boolean_of(members.take(0x80, 0x01), "refreshFlag")
    members.end()
    return value


def searched_eim(request: bytes) -> str | None:
    """Return the eimId that GetEimConfigurationData asks for, None for all. Raises CodecError."""
    members = Members.of(request, IotTag.GET_EIM_CONFIGURATION_DATA, "GetEimConfigurationData")
    criterion = members.optional(0xA0)
    members.end()
    return eim_id_of(choice(criterion, "searchCriteria", 0x80)) if criterion else None


def certs_ci_pk_id(request: bytes) -> bytes | None:
    """Return the CI key identifier that GetCerts asks for; one IPA sends 04 in place of 80. Raises CodecError."""
    members = Members.of(request, IotTag.GET_CERTS, "GetCerts")
    found = members.optional(0x80, 0x04)
    members.end()
    return sized(found.value, "euiccCiPKId", 1, 64) if found else None


def initial_eims(request: bytes) -> tuple[EimConfigurationData, ...]:
    """Return the configurations of AddInitialEim. Raises CodecError."""
    members = Members.of(request, IotTag.ADD_INITIAL_EIM, "AddInitialEim")
    entries = members.take(0xA0).children()
    members.end()
    wrong = next((entry for entry in entries if entry.tag != 0x30), None)
    if wrong is not None or not entries:
        found = f"{wrong.tag:X}" if wrong else "none"
        raise CodecError("EimConfigurationData", where="AddInitialEim", expected="30", found=found)
    return tuple(EimConfigurationData.from_tlv(entry) for entry in entries)


def immediate_enabling(request: bytes) -> ConfigureImmediateEnable:
    """Read ConfigureImmediateProfileEnabling. Raises CodecError."""
    where = "ConfigureImmediateProfileEnabling"
    return ConfigureImmediateEnable.parse(open_object(request, IotTag.CONFIGURE_IMMEDIATE_PROFILE_ENABLING, where))


def default_dp_address(request: bytes) -> str:
    """Return the address of SetDefaultDpAddress. Raises CodecError."""
    return SetDefaultDpAddress.parse(open_object(request, IotTag.SET_DEFAULT_DP_ADDRESS, "SetDefaultDpAddress")).address


def activates_ipae(request: bytes) -> bool:
    """Tell whether IpaeActivation asks to start the IPAe. Raises CodecError."""
    members = Members.of(request, IPAE_ACTIVATION, "IpaeActivation")
    return bool(names_of(members.take(0x80), IPAE_OPTIONS, "ipaeOption"))


def reset_options(request: bytes) -> tuple[str, ...]:
    """Return the options of eUICCMemoryReset, of RESET_OPTIONS; the tag tells the version. Raises CodecError."""
    item = tlv.parse(request, "eUICCMemoryReset")
    if item.tag not in (IotTag.EUICC_MEMORY_RESET, MEMORY_RESET_1_0):
        raise CodecError("wrong tag", where="eUICCMemoryReset", expected="BF64 or BF34", found=f"{item.tag:X}")
    table = RESET_OPTIONS_1_0 if item.tag == MEMORY_RESET_1_0 else RESET_OPTIONS
    return names_of(Members(item, "eUICCMemoryReset").take(0x82), table, "resetOptions")


def searched_notifications(request: bytes) -> Search:
    """Read RetrieveNotificationsList. Raises CodecError."""
    members = Members.of(request, RETRIEVE_NOTIFICATIONS_LIST, "RetrieveNotificationsList")
    criterion = members.optional(0xA0)
    members.end()
    return search_of(choice(criterion, "searchCriteria")) if criterion else Search()
