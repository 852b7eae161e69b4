"""eUICC Packages: EuiccPackageRequest and EuiccPackageResult (BF51, SGP.32 2.11.1.1 and 2.11.2.1).

Signed parts are made here once and kept as they came: build the signed part, sign ``to_be_signed`` of it, and put both
together. Signatures are r || s, 64 bytes, and verified over ``signed_raw``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from esim_bench.codec import tlv
from esim_bench.codec.euicc_operations import Eco, Operation, Psmo, UnknownOperation, parse_eco, parse_psmo
from esim_bench.codec.euicc_results import OperationResult
from esim_bench.codec.sgp32 import (
    EID,
    EID_LENGTH,
    INTEGER,
    SEQUENCE,
    SIGNATURE,
    Members,
    Version,
    choice,
    eim_id,
    eim_id_of,
    integer,
    name_of,
    natural,
    open_object,
    sized,
    transaction_id,
    transaction_id_of,
)
from esim_bench.errors import CodecError

TAG: Final = 0xBF51
PSMO_LIST: Final = 0xA0
ECO_LIST: Final = 0xA1
_SIGNED, _SIGNED_ERROR, _UNSIGNED_ERROR = 0xA0, 0xA1, 0xA2

ERRORS: Final = {
    3: "invalidEid",
    4: "replayError",
    6: "counterValueOutOfRange",
    15: "sizeOverflow",
    104: "ecallActive",
    127: "undefinedError",
}
"""EuiccPackageErrorCode, of an error that is signed; ecallActive since v1.1."""
UNSIGNED_ERRORS: Final = {15: "sizeOverflow", 127: "undefinedError"}
"""The code of an error that is not signed (v1.3)."""


def association_token_object(token: int | None) -> bytes:
    """Return the data object that ends what is signed: 84 len INTEGER, 84 01 00 where the eUICC has no token."""
    return integer(0x84, 0 if token is None else token)


def to_be_signed(signed_raw: bytes, association_token: int | None) -> bytes:
    """Return what the eIM signs of a package and the eUICC of a result: the 30 as it is, and the token's object.

    ``association_token``: the one of this eIM on this eUICC, None where there is none; it is not transmitted.
    """
    return bytes(signed_raw) + association_token_object(association_token)


# -------------------------------------------------------------------------------------------------------------- request


def package_signed(
    eim_id_text: str,
    eid: bytes,
    counter: int,
    operations: Sequence[Operation],
    transaction: bytes | None = None,
    version: Version = Version.V1_2,
    list_tag: int | None = None,
) -> bytes:
    """Return the signed part of a request (30): PSMOs or eCOs, never both.

    ``list_tag`` (PSMO_LIST or ECO_LIST) is needed only where no operation tells. Raises CodecError.
    """
    kinds = {PSMO_LIST if isinstance(operation, Psmo) else ECO_LIST for operation in _known(operations)}
    if len(kinds) > 1 or (list_tag is not None and kinds - {list_tag}):
        raise CodecError("PSMOs and eCOs in one package", where="EuiccPackageSigned", expected="one kind of both")
    tag = list_tag if list_tag is not None else next(iter(kinds), PSMO_LIST)
    return tlv.encode(
        SEQUENCE,
        eim_id(eim_id_text),
        tlv.encode(EID, sized(eid, "EID", EID_LENGTH)),
        integer(0x81, counter),
        transaction_id(0x82, transaction),
        tlv.encode(tag, *(operation.encode(version) for operation in operations)),
    )


def package_request(signed_raw: bytes, signature: bytes) -> bytes:
    """Put a request together: BF51 { 30, 5F37 }. Raises CodecError."""
    return tlv.encode(TAG, open_object(signed_raw, SEQUENCE, "euiccPackageSigned").raw, _signature(signature))


@dataclass(frozen=True, slots=True)
class EuiccPackageRequest:
    """A request as it came."""

    eim_id: str
    eid: bytes
    """16 bytes, or what came in their place: that is invalidEid's matter."""
    counter: int
    transaction_id: bytes | None
    operations: tuple[Operation, ...]
    list_tag: int
    """PSMO_LIST or ECO_LIST."""
    signature: bytes
    signed_raw: bytes = field(repr=False)
    """The 30, as it came."""
    raw: bytes = field(repr=False)

    @classmethod
    def parse(cls, raw: bytes, version: Version = Version.V1_2) -> EuiccPackageRequest:
        """Read a request. Raises CodecError; one bad operation is an UnknownOperation instead."""
        item = open_object(raw, TAG, "EuiccPackageRequest")
        outer = Members(item, "EuiccPackageRequest")
        signed, signature = outer.take(SEQUENCE), outer.take(SIGNATURE)
        outer.end()
        members = Members(signed, "EuiccPackageSigned")
        name = eim_id_of(members.take(0x80))
        eid = members.take(EID).value
        counter = natural(members.take(0x81))
        transaction = transaction_id_of(members.optional(0x82))
        package = members.take(PSMO_LIST, ECO_LIST)
        members.end()
        parse_one = parse_psmo if package.tag == PSMO_LIST else parse_eco
        operations = tuple(parse_one(child, version) for child in package.children())
        return cls(name, eid, counter, transaction, operations, package.tag, signature.value, signed.raw, item.raw)


def identity(raw: bytes) -> tuple[str | None, bytes | None]:
    """Return the eimId and the transaction identifier of a request, as far as they can be found. Never raises.

    For the unsigned error about a package that is not parsable.
    """
    name, transaction = None, None
    try:
        signed = tlv.parse_prefix(tlv.parse_prefix(raw).value)
        for member in tlv.iterate(signed.value):
            if member.tag == 0x80 and name is None:
                name = eim_id_of(member)
            elif member.tag == 0x82 and name is not None:
                return name, transaction_id_of(member)
    except CodecError:
        pass
    return name, transaction


# --------------------------------------------------------------------------------------------------------------- result


def result_signed(
    eim_id_text: str,
    counter: int,
    seq: int,
    results: Sequence[OperationResult],
    transaction: bytes | None = None,
    version: Version = Version.V1_2,
) -> bytes:
    """Return the part of a result that the eUICC signs (30). Raises CodecError."""
    return tlv.encode(
        SEQUENCE,
        eim_id(eim_id_text),
        integer(0x81, counter),
        transaction_id(0x82, transaction),
        integer(0x83, seq),
        tlv.encode(SEQUENCE, *(result.encode(version) for result in results)),
    )


def error_signed(
    eim_id_text: str, counter: int, code: int, transaction: bytes | None = None, version: Version = Version.V1_2
) -> bytes:
    """Return the part of an error that the eUICC signs (30). Raises CodecError for a code that there is not."""
    if code not in ERRORS or (code == 104 and version < Version.V1_2):
        raise CodecError("EuiccPackageErrorCode", expected=", ".join(map(str, ERRORS)), found=code)
    return tlv.encode(
        SEQUENCE, eim_id(eim_id_text), integer(0x81, counter), transaction_id(0x82, transaction), integer(INTEGER, code)
    )


def signed_result(signed_raw: bytes, signature: bytes) -> bytes:
    """Put a result together: BF51 { A0 { 30, 5F37 } }. Raises CodecError."""
    return _signed_arm(_SIGNED, signed_raw, signature)


def signed_error(signed_raw: bytes, signature: bytes) -> bytes:
    """Put a signed error together: BF51 { A1 { 30, 5F37 } }. Raises CodecError."""
    return _signed_arm(_SIGNED_ERROR, signed_raw, signature)


def unsigned_error(
    eim_id_text: str,
    transaction: bytes | None = None,
    association_token: int | None = None,
    code: int | None = None,
    version: Version = Version.V1_2,
) -> bytes:
    """Return an unsigned error: eIM not known, wrong signature, or a package that is not parsable. Raises CodecError.

    v1.0 has no transaction identifier in it, and only v1.3 a code.
    """
    if code is not None and (version < Version.V1_3 or code not in UNSIGNED_ERRORS):
        raise CodecError("code of an unsigned error", expected="v1.3: 15 or 127", found=f"v{version.text}: {code}")
    if transaction is not None and version < Version.V1_2:
        raise CodecError("eimTransactionId in an unsigned error", expected="v1.1 or later", found=version.text)
    members = eim_id(eim_id_text) + transaction_id(0x82, transaction)
    if association_token is not None:
        members += association_token_object(association_token)
    if code is not None:
        members += integer(0x8F, code)
    return tlv.encode(TAG, tlv.encode(_UNSIGNED_ERROR, members))


@dataclass(frozen=True, slots=True)
class SignedResult:
    """An EuiccPackageResult (EPR): the results of the operations, in their order, up to the first that failed."""

    eim_id: str
    counter: int
    transaction_id: bytes | None
    seq: int
    """The eUICC's notification counter."""
    results: tuple[OperationResult, ...]
    signature: bytes
    signed_raw: bytes = field(repr=False)
    """The 30, as it came."""
    raw: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SignedError:
    """The package was understood, and refused."""

    eim_id: str
    counter: int
    transaction_id: bytes | None
    code: int
    """Of ERRORS."""
    signature: bytes
    signed_raw: bytes = field(repr=False)
    """The 30, as it came."""
    raw: bytes = field(repr=False)

    @property
    def name(self) -> str:
        """Return the standard's name of the code."""
        return name_of(ERRORS, self.code)


@dataclass(frozen=True, slots=True)
class UnsignedError:
    """The package was not accepted as this eIM's."""

    eim_id: str
    transaction_id: bytes | None
    association_token: int | None
    code: int | None = None
    """Of UNSIGNED_ERRORS (v1.3)."""
    raw: bytes = field(default=b"", repr=False)

    @property
    def name(self) -> str:
        """Return the standard's name of the code."""
        return name_of(UNSIGNED_ERRORS, self.code) if self.code is not None else "unsigned error"


EuiccPackageResult = SignedResult | SignedError | UnsignedError


def parse_result(raw: bytes) -> EuiccPackageResult:
    """Read an EuiccPackageResult of any version. Raises CodecError."""
    return _parsed(bytes(raw))


# The same result is read by each layer that it passes through.
@lru_cache(maxsize=128)
def _parsed(raw: bytes) -> EuiccPackageResult:
    item = open_object(raw, TAG, "EuiccPackageResult")
    arm = choice(item, "EuiccPackageResult", _SIGNED, _SIGNED_ERROR, _UNSIGNED_ERROR)
    outer = Members(arm, "EuiccPackageResult")
    if arm.tag == _UNSIGNED_ERROR:
        name = eim_id_of(outer.take(0x80))
        transaction = transaction_id_of(outer.optional(0x82))
        token, reason = outer.optional(0x84), outer.optional(0x8F)
        outer.end()
        return UnsignedError(
            name,
            transaction,
            token.integer() if token else None,
            reason.integer() if reason else None,
            item.raw,
        )
    signed, signature = outer.take(SEQUENCE), outer.take(SIGNATURE)
    outer.end()
    members = Members(signed, "EuiccPackageResult, signed part")
    name = eim_id_of(members.take(0x80))
    counter = natural(members.take(0x81))
    transaction = transaction_id_of(members.optional(0x82))
    if arm.tag == _SIGNED_ERROR:
        code = members.take(INTEGER).integer()
        members.end()
        return SignedError(name, counter, transaction, code, signature.value, signed.raw, item.raw)
    seq = natural(members.take(0x83))
    results = tuple(OperationResult.parse(child) for child in members.take(SEQUENCE).children())
    members.end()
    return SignedResult(name, counter, transaction, seq, results, signature.value, signed.raw, item.raw)


def _known(operations: Sequence[Operation]) -> list[Psmo | Eco]:
    return [operation for operation in operations if not isinstance(operation, UnknownOperation)]


def _signature(signature: bytes) -> bytes:
    return tlv.encode(SIGNATURE, sized(signature, "signature", 1, 256))


def _signed_arm(tag: int, signed_raw: bytes, signature: bytes) -> bytes:
    signed = open_object(signed_raw, SEQUENCE, "signed part of an EuiccPackageResult").raw
    return tlv.encode(TAG, tlv.encode(tag, signed, _signature(signature)))
