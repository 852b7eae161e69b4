"""The functions of ESipa as tables: members of their messages, error codes, and the error that a client meets (6.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from esim_bench.codec import es9_asn1
from esim_bench.codec.esipa_objects import (
    EIM_PACKAGE_ERRORS,
    EIM_PACKAGE_RESULT_TAGS,
    PROVIDE_ERRORS,
    RESULT_ERRORS,
)
from esim_bench.codec.sgp32 import INTEGER, NULL, SEQUENCE, Version, name_of
from esim_bench.errors import CodecError, RspError

Value = bytes | str | int
Fields = Mapping[str, Value]


class Kind(Enum):
    """How a field stands in the message."""

    OCTETS = auto()
    """Raw octets under the member's tag."""
    TEXT = auto()
    NUMBER = auto()
    FLAG = auto()
    """NULL; the field is True."""
    OBJECT = auto()
    """The field is the member, with its tag."""
    EXPLICIT = auto()
    """The member's tag is around the field."""
    RETAGGED = auto()
    """The member's tag stands in place of the field's own, which is ``own``."""
    EMPTY = auto()
    """An empty SEQUENCE that stands for no field at all."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a message."""

    field: str
    tags: tuple[int, ...]
    kind: Kind = Kind.OBJECT
    optional: bool = False
    lengths: tuple[int, int] | None = None
    """Least and most octets. They hold for what is sent; an EID of a wrong length is the eIM's to refuse."""
    own: tuple[int, ...] = ()
    """Tags of the field itself where the message has another, or those that are sent where more are read."""
    since: Version = Version.V1_0_1
    until: Version = Version.V1_3


@dataclass(frozen=True, slots=True)
class Function:
    """An ESipa function. A body is a SEQUENCE of members, or a CHOICE of one of them."""

    name: str
    tag: int
    request: tuple[Member, ...]
    response: tuple[Member, ...] = ()
    """Without an arm around it (a CHOICE, as far as there are several)."""
    arms: Mapping[int, tuple[Member, ...]] | None = None
    """Answers that are a choice of SEQUENCEs, by its tag."""
    error_tag: int | None = None
    """Tag of the error arm."""
    request_is_choice: bool = False


_TRANSACTION = Member("transactionId", (0x80,), Kind.OCTETS, lengths=(1, 16))
_MAY_TRANSACTION = Member("transactionId", (0x80,), Kind.OCTETS, optional=True, lengths=(1, 16))
_EID = Member("eidValue", (0x5A,), Kind.OCTETS, lengths=(16, 16))
_MAY_EID = Member("eidValue", (0x5A,), Kind.OCTETS, optional=True, lengths=(16, 16), since=Version.V1_2)
_PACKAGES = (
    Member("euiccPackageRequest", (0xBF51,), optional=True),
    Member("ipaEuiccDataRequest", (0xBF52,), optional=True),
    Member("profileDownloadTriggerRequest", (0xBF54,), optional=True),
)
NOTIFICATION_TAGS = (0xBF37, SEQUENCE, 0xA0, 0xA1)
_ACKNOWLEDGEMENTS = Member("eimAcknowledgements", (0xBF53,), optional=True)
_RESULTS, _RESULTS_1_0 = EIM_PACKAGE_RESULT_TAGS[:-1], (*EIM_PACKAGE_RESULT_TAGS[:-2], INTEGER)
_CORRELATED = (0xBF60, 0xBF61)
"""v1.3's answers with a correlation identifier, carried as they are."""

FUNCTIONS: Final[Mapping[str, Function]] = {
    function.name: function
    for function in (
        Function(
            "initiateAuthentication",
            0xBF39,
            (
                Member("euiccChallenge", (0x81,), Kind.OCTETS, lengths=(16, 16)),
                Member("smdpAddress", (0x83,), Kind.TEXT, optional=True),
                Member("euiccInfo1", (0xBF20,), optional=True),
                Member("eimTransactionId", (0x82,), Kind.OCTETS, True, (1, 16), since=Version.V1_2),
            ),
            arms={
                0xA0: (
                    _MAY_TRANSACTION,
                    Member("serverSigned1", (SEQUENCE,)),
                    Member("serverSignature1", (0x5F37,)),
                    Member("euiccCiPKIdToBeUsed", (0x04,)),
                    Member("serverCertificate", (SEQUENCE,)),
                    Member("matchingId", (0x0C,), Kind.TEXT, optional=True),
                    Member("ctxParams1", (0xA2,), Kind.EXPLICIT, optional=True, own=(0xA0,)),
                )
            },
            error_tag=0x81,
        ),
        Function(
            "authenticateClient",
            0xBF3B,
            (_TRANSACTION, Member("authenticateServerResponse", (0xBF38,))),
            arms={
                0xA0: (
                    _MAY_TRANSACTION,
                    Member("profileMetadata", (0xBF25,), optional=True),
                    Member("smdpSigned2", (SEQUENCE,)),
                    Member("smdpSignature2", (0x5F37,)),
                    Member("smdpCertificate", (SEQUENCE,)),
                    Member("hashCc", (0x04,), Kind.OCTETS, optional=True, lengths=(32, 32)),
                ),
                0xA1: (_TRANSACTION, Member("profileDownloadTrigger", (0xBF54,), optional=True)),
            },
            error_tag=0x82,
        ),
        Function(
            "getBoundProfilePackage",
            0xBF3A,
            (_TRANSACTION, Member("prepareDownloadResponse", (0xBF21,))),
            arms={0xA0: (_MAY_TRANSACTION, Member("boundProfilePackage", (0xBF36,)))},
            error_tag=0x81,
        ),
        Function(
            "cancelSession",
            0xBF41,
            (_TRANSACTION, Member("cancelSessionResponse", (0xA1,), Kind.RETAGGED, own=(0xBF41,))),
            arms={0xA0: ()},
            error_tag=0x81,
        ),
        Function(
            "handleNotification",
            0xBF3D,
            (
                Member("pendingNotification", (0xA0,), Kind.EXPLICIT, optional=True, own=NOTIFICATION_TAGS),
                Member("provideEimPackageResult", (0xBF50,), optional=True, since=Version.V1_2),
                Member(
                    "provideEimPackageResult",
                    (0xA1,),
                    Kind.RETAGGED,
                    optional=True,
                    own=(0xBF50,),
                    until=Version.V1_0_1,
                ),
            ),
            request_is_choice=True,
        ),
        Function(
            "getEimPackage",
            0xBF4F,
            (
                _EID,
                Member("notifyStateChange", (0x80,), Kind.FLAG, optional=True),
                Member("stateChangeCause", (0x81,), Kind.NUMBER, optional=True, since=Version.V1_2),
                Member("rPLMN", (0x82,), Kind.OCTETS, True, (3, 3), since=Version.V1_2),
                Member("rPLMN", (0x81,), Kind.OCTETS, True, (3, 3), until=Version.V1_0_1),
            ),
            (*_PACKAGES, Member("eimPackageError", (INTEGER,), Kind.NUMBER, optional=True)),
        ),
        Function(
            "provideEimPackageResult",
            0xBF50,
            (
                _MAY_EID,
                Member("eimPackageResult", EIM_PACKAGE_RESULT_TAGS, own=_RESULTS, since=Version.V1_2),
                Member("eimPackageResult", EIM_PACKAGE_RESULT_TAGS, own=_RESULTS_1_0, until=Version.V1_0_1),
            ),
            (
                _ACKNOWLEDGEMENTS,
                Member("", (SEQUENCE,), Kind.EMPTY, optional=True, since=Version.V1_2),
                Member(
                    "provideEimPackageResultError", (INTEGER,), Kind.NUMBER, optional=True, since=Version.V1_2
                ),
            ),
        ),
        Function(
            "transferEimPackage",
            0xBF4E,
            (*_PACKAGES, _ACKNOWLEDGEMENTS),
            (
                Member("eimPackageResult", (0xBF51, SEQUENCE, 0xBF52, *_CORRELATED), optional=True),
                Member("eimPackageReceived", (NULL,), Kind.FLAG, optional=True),
                Member("eimPackageError", (INTEGER,), Kind.NUMBER, optional=True),
            ),
            request_is_choice=True,
        ),
    )
}  # fmt: skip
"""By their names in the JSON binding. TransferEimPackage goes from the eIM to the IPA, all others the other way."""
BY_TAG: Final[Mapping[int, Function]] = {function.tag: function for function in FUNCTIONS.values()}

_UNDEFINED: Final = {127: "undefinedError"}
ERRORS: Final[Mapping[str, Mapping[int, str]]] = {
    "initiateAuthentication": {
        1: "invalidDpAddress",
        2: "euiccVersionNotSupportedByDp",
        3: "ciPKIdNotSupported",
        50: "smdpAddressMismatch",
        51: "smdpOidMismatch",
        52: "invalidEimTransactionId",
        **_UNDEFINED,
    },
    "authenticateClient": {
        1: "eumCertificateInvalid",
        2: "eumCertificateExpired",
        3: "euiccCertificateInvalid",
        4: "euiccCertificateExpired",
        5: "euiccSignatureInvalid",
        6: "matchingIdRefused",
        7: "eidMismatch",
        8: "noEligibleProfile",
        9: "ciPKUnknown",
        10: "invalidTransactionId",
        11: "insufficientMemory",
        18: "downloadOrderExpired",
        50: "pprNotAllowed",
        56: "eventIdUnknown",
        **_UNDEFINED,
    },
    "getBoundProfilePackage": {
        1: "euiccSignatureInvalid",
        2: "confirmationCodeMissing",
        3: "confirmationCodeRefused",
        4: "confirmationCodeRetriesExceeded",
        5: "bppRebindingRefused",
        6: "downloadOrderExpired",
        50: "metadataMismatch",
        95: "invalidTransactionId",
        **_UNDEFINED,
    },
    "cancelSession": {1: "invalidTransactionId", 2: "euiccSignatureInvalid", **_UNDEFINED},
    "getEimPackage": EIM_PACKAGE_ERRORS,
    "provideEimPackageResult": PROVIDE_ERRORS,
    "transferEimPackage": RESULT_ERRORS,
}
"""Error codes of each answer. The last three are fields of an answer, the others an arm of their own: EsipaError."""

_SINCE: Final = {
    ("initiateAuthentication", 52): Version.V1_2,
    ("authenticateClient", 18): Version.V1_3,
    ("getEimPackage", 2): Version.V1_2,
    ("getEimPackage", 3): Version.V1_2,
    ("getEimPackage", 4): Version.V1_2,
}
_OTHER_STATUS: Final = ("1.6", "4.2")
"""Function, execution error: for codes that no status code stands for in JSON; the message then has the name."""


def errors(function: str, version: Version = Version.V1_2) -> Mapping[int, str]:
    """Return the error codes of a function in a version, with their names."""
    names = ERRORS.get(function, {})
    if function == "provideEimPackageResult" and version < Version.V1_2:
        return {}
    return {code: name for code, name in names.items() if _SINCE.get((function, code), version) <= version}


class EsipaError(RspError):
    """An error arm: ``number`` and ``name`` as in the ASN.1, subject and reason as JSON has them."""

    def __init__(
        self,
        function: str,
        number: int,
        message: str = "",
        *,
        status: tuple[str, str] | None = None,
        identifier: str | None = None,
    ) -> None:
        self.function = function
        self.number = number
        self.name = name_of(ERRORS.get(function, {}), number)
        known = next((one for one in es9_asn1.ERRORS.get(function, ()) if one.number == number and one.statuses), None)
        subject, reason = status or (known.statuses[0] if known else _OTHER_STATUS)
        super().__init__(subject, reason, message or self.name, identifier=identifier)


def error_number(function: str, error: RspError) -> int:
    """Return the code for an error of any kind: an SM-DP+'s status codes have codes here, too; else undefinedError."""
    if isinstance(error, EsipaError) and error.function == function:
        return error.number
    for number, name in ERRORS.get(function, {}).items():
        if name == error.message:
            return number
    for known in es9_asn1.ERRORS.get(function, ()):
        if (error.subject, error.reason) in known.statuses and known.number in ERRORS.get(function, {}):
            return known.number
    return 127


def known_function(name: str) -> Function:
    """Return a function by its name. Raises CodecError."""
    if name not in FUNCTIONS:
        raise CodecError("unknown function", where="ESipa", expected=", ".join(FUNCTIONS), found=repr(name))
    return FUNCTIONS[name]


def members_of(members: tuple[Member, ...], version: Version) -> tuple[Member, ...]:
    """Return those members that a version has."""
    return tuple([member for member in members if member.since <= version <= member.until])
