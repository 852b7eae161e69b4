"""What the eUICC signed, cut out of the received bytes: the DP+ side's view of ES9+ payloads (SGP.22 5.6, 5.7).

Every reader here takes bytes from outside and raises CodecError for anything malformed. Signed parts stay as they came.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from esim_bench.codec import tlv
from esim_bench.codec.es10 import AUTHENTICATE_ERRORS, CANCEL_REASONS, DOWNLOAD_ERRORS, FUNCTIONS, Tag
from esim_bench.codec.tlv import Tlv
from esim_bench.errors import CodecError

SIGNATURE: Final = 0x5F37
OTPK: Final = 0x5F49
CHALLENGE_LENGTH: Final = 16


@dataclass(frozen=True, slots=True)
class Refused:
    """The error branch of an eUICC's answer."""

    transaction_id: bytes | None
    reason: str


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed object: the bytes that were signed, and the signature TLV."""

    content: Tlv
    signature: Tlv
    transaction_id: bytes


@dataclass(frozen=True, slots=True)
class EuiccInfo1:
    """EUICCInfo1, BF20 (SGP.22 5.7.8)."""

    svn: tuple[int, int, int]
    verification: tuple[bytes, ...]
    """CI key ids that it verifies servers by, in order of preference."""
    signing: tuple[bytes, ...]

    @classmethod
    def parse(cls, data: bytes) -> EuiccInfo1:
        """Read the whole TLV. Raises CodecError."""
        info = Members(expect(tlv.parse(data, "euiccInfo1"), 0xBF20, "euiccInfo1"))
        return cls(version(info.get(0x82).value), _key_ids(info.get(0xA9)), _key_ids(info.get(0xAA)))


@dataclass(frozen=True, slots=True)
class EuiccInfo2:
    """What a SM-DP+ judges eligibility by, of EUICCInfo2, BF22 (SGP.22 5.7.8, Annex H)."""

    profile_versions: tuple[tuple[int, int, int], ...]
    capabilities: bytes
    """Content of uiccCapability, without the count of unused bits."""
    forbidden_pprs: bytes
    """Content of forbiddenProfilePolicyRules, likewise."""
    free_memory: int | None
    """Bytes of free non-volatile memory; None where the eUICC does not say."""

    @classmethod
    def cut(cls, info: Tlv) -> EuiccInfo2:
        """Read it from BF22. Raises CodecError."""
        members = Members(expect(info, 0xBF22, "EUICCInfo2"))
        versions = [version(members.get(0x81).value)]
        more = members.find(0xAF)
        versions += [version(item.value) for item in (more.children() if more else ())]
        capabilities, pprs, resources = members.find(0x85), members.find(0x99), members.find(0x84)
        free = None
        if resources is not None:
            # TS 102 226 8.2.1.7.2: TLVs inside an OCTET STRING; may be empty.
            memory = [item.value for item in tlv.iterate(resources.value, "in extCardResource") if item.tag == 0x82]
            free = int.from_bytes(memory[0], "big") if memory else None
        return cls(
            tuple(versions),
            _bits(capabilities) if capabilities else b"",
            _bits(pprs) if pprs else b"",
            free,
        )


@dataclass(frozen=True, slots=True)
class Authentication:
    """authenticateResponseOk (SGP.22 5.7.13), its parts cut."""

    signed: Signed
    euicc_certificate: bytes
    eum_certificate: bytes
    server_address: str
    server_challenge: bytes
    info2: EuiccInfo2
    matching_id: str = field(repr=False)
    device_info: Tlv | None
    """A1 of ctxParams1, as the device stated it."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """downloadResponseOk (SGP.22 5.7.5), its parts cut."""

    signed: Signed
    euicc_otpk: bytes
    """65 bytes, unchecked."""
    hash_cc: bytes | None


@dataclass(frozen=True, slots=True)
class Cancellation:
    """cancelSessionResponseOk (SGP.22 5.7.14), its parts cut."""

    signed: Signed
    smdp_oid: bytes
    """Content octets."""
    reason: int

    @property
    def reason_name(self) -> str:
        """Return the reason's name."""
        return CANCEL_REASONS.get(self.reason, f"reason {self.reason}")


def parse_authentication(data: bytes) -> Authentication | Refused:
    """Read AuthenticateServerResponse, BF38. Raises CodecError."""
    where = "authenticateServerResponse"
    branch = _branch(data, 0xBF38, where)
    if branch.tag == 0xA1:
        return _refused(branch, AUTHENTICATE_ERRORS)
    signed, signature, euicc, eum = _members(branch, (0x30, SIGNATURE, 0x30, 0x30), where)
    members = Members(signed)
    context = Members(members.get(0xA0))
    matching_id = context.find(0x80)
    return Authentication(
        Signed(signed, signature, members.get(0x80).value),
        euicc.raw,
        eum.raw,
        text(members.get(0x83), "serverAddress"),
        members.get(0x84).value,
        EuiccInfo2.cut(members.get(0xBF22)),
        text(matching_id, "matchingId") if matching_id else "",
        context.find(0xA1),
    )


def parse_preparation(data: bytes) -> Preparation | Refused:
    """Read PrepareDownloadResponse, BF21. Raises CodecError."""
    where = "prepareDownloadResponse"
    branch = _branch(data, 0xBF21, where)
    if branch.tag == 0xA1:
        return _refused(branch, DOWNLOAD_ERRORS)
    signed, signature = _members(branch, (0x30, SIGNATURE), where)
    members = Members(signed)
    hash_cc = members.find(0x04)
    return Preparation(
        Signed(signed, signature, members.get(0x80).value),
        members.get(OTPK).value,
        hash_cc.value if hash_cc else None,
    )


def parse_cancellation(data: bytes) -> Cancellation | Refused:
    """Read CancelSessionResponse, BF41. Raises CodecError."""
    where = "cancelSessionResponse"
    outer = expect(tlv.parse(data, where), 0xBF41, where)
    branch = _only_child(outer, where)
    if branch.tag == 0x81:
        return Refused(None, FUNCTIONS[Tag.CANCEL_SESSION].results.get(integer(branch, where), "undefinedError"))
    expect(branch, 0xA0, where)
    signed, signature = _members(branch, (0x30, SIGNATURE), where)
    members = Members(signed)
    return Cancellation(
        Signed(signed, signature, members.get(0x80).value),
        members.get(0x81).value,
        integer(members.get(0x82), "reason"),
    )


# ------------------------------------------------------------------------------------------------------------- helpers


class Members:
    """The members of a constructed object by tag, parsed once; of several with one tag the first. Raises CodecError."""

    __slots__ = ("_by_tag", "_outer")

    def __init__(self, outer: Tlv) -> None:
        self._outer = outer.tag
        self._by_tag: dict[int, Tlv] = {}
        for child in outer.children():
            self._by_tag.setdefault(child.tag, child)

    def find(self, tag: int) -> Tlv | None:
        """Return a member, or None."""
        return self._by_tag.get(tag)

    def get(self, tag: int) -> Tlv:
        """Return a member. Raises CodecError when it is missing."""
        found = self._by_tag.get(tag)
        if found is None:
            raise CodecError(f"missing member in {self._outer:X}", expected=f"{tag:X}")
        return found


def expect(found: Tlv, tag: int, where: str) -> Tlv:
    """Return the TLV when it has the tag. Raises CodecError."""
    if found.tag != tag:
        raise CodecError("wrong tag", where=where, expected=f"{tag:X}", found=f"{found.tag:X}")
    return found


def integer(item: Tlv, where: str) -> int:
    """Return the value of a small non-negative INTEGER. Raises CodecError."""
    if not 1 <= len(item.value) <= 8 or item.value[0] & 0x80:
        raise CodecError(
            "not a small positive INTEGER",
            where=where,
            expected="1 to 8 bytes, not negative",
            found=item.value[:9].hex(),
        )
    return int.from_bytes(item.value, "big")


def text(item: Tlv, where: str) -> str:
    """Return the value of a UTF8String. Raises CodecError."""
    try:
        return item.value.decode()
    except UnicodeDecodeError as exc:
        # Not the bytes: a MatchingID is a secret.
        raise CodecError("not UTF-8", where=where, found=f"byte {exc.start}") from exc


def version(data: bytes) -> tuple[int, int, int]:
    """Return a VersionType: major, minor, revision. Raises CodecError."""
    if len(data) != 3:
        raise CodecError("wrong length of a version", expected="3 bytes", found=len(data))
    return data[0], data[1], data[2]


def bit(bits: bytes, number: int) -> bool:
    """Tell whether a bit of a BIT STRING's content is set; bit 0 is the most significant, missing bits are 0."""
    return number // 8 < len(bits) and bool(bits[number // 8] & 0x80 >> number % 8)


def _bits(item: Tlv) -> bytes:
    if not item.value or item.value[0] > 7 or (item.value[0] and len(item.value) == 1):
        raise CodecError("not a BIT STRING", where=f"in {item.tag:X}", found=item.value[:8].hex() or "no bytes")
    return item.value[1:]


def _key_ids(listing: Tlv) -> tuple[bytes, ...]:
    return tuple(expect(item, 0x04, f"in {listing.tag:X}").value for item in listing.children())


def _only_child(outer: Tlv, where: str) -> Tlv:
    children = outer.children()
    if len(children) != 1:
        raise CodecError("wrong number of members", where=where, expected=1, found=len(children))
    return children[0]


def _branch(data: bytes, tag: int, where: str) -> Tlv:
    branch = _only_child(expect(tlv.parse(data, where), tag, where), where)
    if branch.tag not in (0xA0, 0xA1):
        raise CodecError("wrong choice", where=where, expected="A0 or A1", found=f"{branch.tag:X}")
    return branch


def _members(outer: Tlv, tags: Sequence[int], where: str) -> list[Tlv]:
    """Return the members in their fixed order; unknown ones may follow (SGP.22 extensibility)."""
    children = outer.children()
    if [child.tag for child in children[: len(tags)]] != list(tags):
        raise CodecError(
            "wrong members",
            where=where,
            expected=" ".join(f"{tag:X}" for tag in tags),
            found=" ".join(f"{child.tag:X}" for child in children) or "none",
        )
    return children[: len(tags)]


def _refused(branch: Tlv, names: Mapping[int, str]) -> Refused:
    code = integer(branch.get(0x02), "error code")
    return Refused(branch.get(0x80).value, names.get(code, f"code {code}"))
