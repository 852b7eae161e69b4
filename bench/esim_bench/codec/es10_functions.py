"""The functions of ES10a, ES10b and ES10c by tag, with their result codes (SGP.22 5.7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final


class Tag(IntEnum):
    """Tags of the ES10 functions."""

    GET_EUICC_INFO1 = 0xBF20
    PREPARE_DOWNLOAD = 0xBF21
    GET_EUICC_INFO2 = 0xBF22
    LIST_NOTIFICATION = 0xBF28
    SET_NICKNAME = 0xBF29
    RETRIEVE_NOTIFICATIONS_LIST = 0xBF2B
    GET_PROFILES_INFO = 0xBF2D
    GET_EUICC_CHALLENGE = 0xBF2E
    REMOVE_NOTIFICATION_FROM_LIST = 0xBF30
    ENABLE_PROFILE = 0xBF31
    DISABLE_PROFILE = 0xBF32
    DELETE_PROFILE = 0xBF33
    EUICC_MEMORY_RESET = 0xBF34
    LOAD_CRL = 0xBF35
    LOAD_BOUND_PROFILE_PACKAGE = 0xBF36
    AUTHENTICATE_SERVER = 0xBF38
    GET_EUICC_CONFIGURED_ADDRESSES = 0xBF3C
    GET_EID = 0xBF3E
    SET_DEFAULT_DP_ADDRESS = 0xBF3F
    CANCEL_SESSION = 0xBF41
    LPAE_ACTIVATION = 0xBF42
    GET_RAT = 0xBF43


@dataclass(frozen=True, slots=True)
class Function:
    """An ES10 function: its tag, its name with the interface, its ASN.1 types, its result codes."""

    tag: int
    name: str
    request_type: str | None = None
    response_type: str | None = None
    results: Mapping[int, str] = field(default_factory=dict)


_UNDEFINED = {127: "undefinedError"}
_NOT_FOUND = {0: "ok", 1: "iccidOrAidNotFound"}

AUTHENTICATE_ERRORS: Final[Mapping[int, str]] = {
    1: "invalidCertificate",
    2: "invalidSignature",
    3: "unsupportedCurve",
    4: "noSessionContext",
    5: "invalidOid",
    6: "euiccChallengeMismatch",
    7: "ciPKUnknown",
    **_UNDEFINED,
}
DOWNLOAD_ERRORS: Final[Mapping[int, str]] = {
    1: "invalidCertificate",
    2: "invalidSignature",
    3: "unsupportedCurve",
    4: "noSessionContext",
    5: "invalidTransactionId",
    **_UNDEFINED,
}
CANCEL_REASONS: Final[Mapping[int, str]] = {
    0: "endUserRejection",
    1: "postponed",
    2: "timeout",
    3: "pprNotAllowed",
    4: "metadataMismatch",
    5: "loadBppExecutionError",
    127: "undefinedReason",
}

FUNCTIONS: Final[Mapping[int, Function]] = {
    function.tag: function
    for function in (
        Function(Tag.GET_EUICC_CONFIGURED_ADDRESSES, "ES10a.GetEuiccConfiguredAddresses",
                 "EuiccConfiguredAddressesRequest", "EuiccConfiguredAddressesResponse"),
        Function(Tag.SET_DEFAULT_DP_ADDRESS, "ES10a.SetDefaultDpAddress",
                 "SetDefaultDpAddressRequest", "SetDefaultDpAddressResponse", {0: "ok", **_UNDEFINED}),
        Function(Tag.GET_EUICC_CHALLENGE, "ES10b.GetEuiccChallenge",
                 "GetEuiccChallengeRequest", "GetEuiccChallengeResponse"),
        Function(Tag.GET_EUICC_INFO1, "ES10b.GetEuiccInfo1", "GetEuiccInfo1Request", "EUICCInfo1"),
        Function(Tag.GET_EUICC_INFO2, "ES10b.GetEuiccInfo2", "GetEuiccInfo2Request", "EUICCInfo2"),
        Function(Tag.AUTHENTICATE_SERVER, "ES10b.AuthenticateServer",
                 "AuthenticateServerRequest", "AuthenticateServerResponse", AUTHENTICATE_ERRORS),
        Function(Tag.PREPARE_DOWNLOAD, "ES10b.PrepareDownload",
                 "PrepareDownloadRequest", "PrepareDownloadResponse", DOWNLOAD_ERRORS),
        Function(Tag.LOAD_BOUND_PROFILE_PACKAGE, "ES10b.LoadBoundProfilePackage"),
        Function(Tag.CANCEL_SESSION, "ES10b.CancelSession", "CancelSessionRequest", "CancelSessionResponse",
                 {5: "invalidTransactionId", **_UNDEFINED}),
        Function(Tag.LIST_NOTIFICATION, "ES10b.ListNotification",
                 "ListNotificationRequest", "ListNotificationResponse", _UNDEFINED),
        Function(Tag.RETRIEVE_NOTIFICATIONS_LIST, "ES10b.RetrieveNotificationsList",
                 "RetrieveNotificationsListRequest", None, {1: "noResultAvailable", **_UNDEFINED}),
        Function(Tag.REMOVE_NOTIFICATION_FROM_LIST, "ES10b.RemoveNotificationFromList",
                 "NotificationSentRequest", "NotificationSentResponse", {0: "ok", 1: "nothingToDelete", **_UNDEFINED}),
        Function(Tag.LOAD_CRL, "ES10b.LoadCRL", None, None,
                 {1: "invalidSignature", 2: "invalidCRLFormat", 3: "notEnoughMemorySpace", 4: "verificationKeyNotFound",
                  5: "fresherCrlAlreadyLoaded", 6: "baseCrlMissing", **_UNDEFINED}),
        Function(Tag.GET_RAT, "ES10b.GetRAT", "GetRatRequest", "GetRatResponse"),
        Function(Tag.LPAE_ACTIVATION, "ES10b.LpaeActivation", None, None, {0: "ok", 1: "notSupported"}),
        Function(Tag.GET_PROFILES_INFO, "ES10c.GetProfilesInfo", "ProfileInfoListRequest", "ProfileInfoListResponse",
                 {1: "incorrectInputValues", **_UNDEFINED}),
        Function(Tag.ENABLE_PROFILE, "ES10c.EnableProfile", "EnableProfileRequest", "EnableProfileResponse",
                 {**_NOT_FOUND, 2: "profileNotInDisabledState", 3: "disallowedByPolicy", 4: "wrongProfileReenabling",
                  5: "catBusy", **_UNDEFINED}),
        Function(Tag.DISABLE_PROFILE, "ES10c.DisableProfile", "DisableProfileRequest", "DisableProfileResponse",
                 {**_NOT_FOUND, 2: "profileNotInEnabledState", 3: "disallowedByPolicy", 5: "catBusy", **_UNDEFINED}),
        Function(Tag.DELETE_PROFILE, "ES10c.DeleteProfile", "DeleteProfileRequest", "DeleteProfileResponse",
                 {**_NOT_FOUND, 2: "profileNotInDisabledState", 3: "disallowedByPolicy", **_UNDEFINED}),
        Function(Tag.EUICC_MEMORY_RESET, "ES10c.eUICCMemoryReset", "EuiccMemoryResetRequest",
                 "EuiccMemoryResetResponse", {0: "ok", 1: "nothingToDelete", 5: "catBusy", **_UNDEFINED}),
        Function(Tag.GET_EID, "ES10c.GetEID", "GetEuiccDataRequest", "GetEuiccDataResponse"),
        Function(Tag.SET_NICKNAME, "ES10c.SetNickname", "SetNicknameRequest", "SetNicknameResponse",
                 {0: "ok", 1: "iccidNotFound", **_UNDEFINED}),
    )
}  # fmt: skip
