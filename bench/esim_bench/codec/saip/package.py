"""eUICC profile packages (TCA interoperable format): a concatenation of profile elements, from header to end."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from esim_bench.codec import tlv
from esim_bench.codec.identifiers import iccid_to_text, imsi_to_text, swap_nibbles
from esim_bench.codec.schema import SAIP
from esim_bench.errors import CodecError

MAX_PACKAGE = 1024 * 1024
"""Bytes. The memory of an eUICC is smaller."""
MAX_ELEMENTS = 1024

KINDS = (
    *("header", "genericFileManagement", "pinCodes", "pukCodes", "akaParameter", "cdmaParameter", "securityDomain"),
    *("rfm", "application", "nonStandard", "end", "rfu1", "rfu2", "rfu3", "rfu4", "rfu5", "mf", "cd", "telecom"),
    *("usim", "opt-usim", "isim", "opt-isim", "phonebook", "gsm-access", "csim", "opt-csim", "eap", "df-5gs"),
    *("df-saip", "df-snpn", "df-5gprose", "iot", "opt-iot"),
)
"""The kinds of profile elements; the place in this list is the tag number."""


def tag_of(kind: str) -> int:
    """Return the tag of a kind of element, as in ``Tlv.tag``. Raises CodecError for an unknown kind."""
    try:
        number = KINDS.index(kind)
    except ValueError:
        raise CodecError("no such profile element", expected="one of " + ", ".join(KINDS), found=repr(kind)) from None
    return 0xA0 + number if number < 31 else 0xBF00 + number


_FIRST_WITH_TEMPLATE = tag_of("mf")
_KIND_OF_TAG = {tag_of(kind): kind for kind in KINDS}


@dataclass(frozen=True)
class Element:
    """One profile element. The value is decoded when it is first asked for."""

    kind: str
    tag: int
    raw: bytes
    identification: int | None
    """What the eUICC reports in PEStatus; the header element has none."""
    mandated: bool
    """The eUICC must process the element or abort; otherwise it may skip what it does not support."""
    offset: int = 0
    """Where the element starts in its package."""
    index: int = 0
    """Its place among the elements of its package, from 0."""

    @classmethod
    def parse(cls, raw: bytes, offset: int = 0, index: int = 0) -> Element:
        """Take exactly one element: its tag and the header that names it. Raises CodecError."""
        return cls.of(tlv.parse(raw, "profile element"), offset, index)

    @classmethod
    def of(cls, outer: tlv.Tlv, offset: int = 0, index: int = 0) -> Element:
        """Take a parsed TLV as an element. Raises CodecError."""
        kind = _KIND_OF_TAG.get(outer.tag)
        if kind is None:
            raise CodecError(
                "unknown profile element",
                where=f"profile element {index} at byte {offset}",
                expected="a tag A0 to BE or BF1F to BF21",
                found=f"{outer.tag:X}",
            )
        try:
            identification, mandated = _pe_header(kind, outer)
        except CodecError as exc:
            raise _placed(exc, kind, offset, index) from exc
        return cls(kind, outer.tag, outer.raw, identification, mandated, offset, index)

    @property
    def where(self) -> str:
        """Name the element in messages."""
        return _where(self.kind, self.offset, self.index)

    @cached_property
    def value(self) -> dict[str, Any]:
        """The members as ``schema`` decodes them, by their names in the ASN.1 of the format. Raises CodecError."""
        try:
            _, value = SAIP.decode("ProfileElement", self.raw)
        except CodecError as exc:
            raise _placed(exc, self.kind, self.offset, self.index) from exc
        members: dict[str, Any] = value
        return members

    @property
    def header(self) -> Mapping[str, Any]:
        """The PEHeader member; empty for the header element, which has none. Raises CodecError."""
        name = next((name for name in self.value if name.lower().endswith("-header")), None)
        members: Mapping[str, Any] = self.value[name] if name else {}
        return members

    @property
    def template(self) -> str | None:
        """The object identifier of the template, dotted; None for elements without one. Raises CodecError."""
        return self.value.get("templateID")

    @property
    def has_files(self) -> bool:
        """Tell whether the element creates files from a template."""
        return self.tag >= _FIRST_WITH_TEMPLATE

    def encode(self) -> bytes:
        """Encode the decoded value again. Raises CodecError."""
        return encode_element(self.kind, self.value)


def encode_element(kind: str, value: Mapping[str, Any]) -> bytes:
    """Encode a profile element of a kind from its members. Raises CodecError naming the member."""
    tag_of(kind)
    return SAIP.encode("ProfileElement", (kind, dict(value)))


@dataclass(frozen=True)
class ProfilePackage:
    """An unprotected profile package (UPP)."""

    raw: bytes
    elements: tuple[Element, ...]

    @classmethod
    def parse(cls, upp: bytes, *, deep: bool = False, ordered: bool = True) -> ProfilePackage:
        """Take a package apart: header first, end last, known elements between.

        The elements' values are decoded only with ``deep``, or later on demand. Without ``ordered`` header and end may
        stand anywhere or be missing; what asks for the header then may fail. Raises CodecError naming the element.
        """
        upp = bytes(upp)
        if len(upp) > MAX_PACKAGE:
            raise CodecError("profile package too long", expected=f"at most {MAX_PACKAGE} bytes", found=len(upp))
        elements: list[Element] = []
        for outer in tlv.iterate(upp, "of the profile package"):
            if len(elements) == MAX_ELEMENTS:
                raise CodecError("too many profile elements", expected=f"at most {MAX_ELEMENTS}")
            element = Element.of(outer, outer.offset, len(elements))
            if ordered:
                _check_place(element, elements)
            elements.append(element)
        if not elements or (ordered and elements[-1].kind != "end"):
            raise CodecError(
                "profile package is incomplete",
                expected="an end element (AA) as the last one",
                found=elements[-1].where if elements else "no element",
                hint="the file may be cut off",
            )
        package = cls(upp, tuple(elements))
        return package.check() if deep else package

    def check(self) -> ProfilePackage:
        """Decode every element; return the package itself. Raises CodecError."""
        for element in self.elements:
            element.value  # noqa: B018
        return self

    def encode(self) -> bytes:
        """Encode every element again, through its decoded value. Raises CodecError."""
        return b"".join(element.encode() for element in self.elements)

    def of_kind(self, kind: str) -> list[Element]:
        """Return the elements of a kind, in order."""
        return [element for element in self.elements if element.kind == kind]

    @property
    def digest(self) -> str:
        """The SHA-256 of the package, as hex digits."""
        return hashlib.sha256(self.raw).hexdigest()

    @property
    def header(self) -> Mapping[str, Any]:
        """The members of the header element. Raises CodecError."""
        return self.elements[0].value

    @property
    def version(self) -> tuple[int, int]:
        """Major and minor version of the format that the package needs."""
        return self.header["major-version"], self.header["minor-version"]

    @property
    def iccid(self) -> bytes:
        """The ICCID as EF.ICCID and profile metadata hold it: 10 bytes, nibbles swapped against the header's."""
        return swap_nibbles(self.header["iccid"])

    @property
    def iccid_text(self) -> str:
        """The digits of the ICCID."""
        return iccid_to_text(self.iccid)

    @cached_property
    def imsi(self) -> str | None:
        """The digits of the IMSI of the first USIM, or None without a (personalised) USIM. Raises CodecError."""
        from esim_bench.codec.saip.files import ResolveContext, resolve_files  # files knows elements

        context = ResolveContext()
        for element in self.elements:
            for file in resolve_files(element, context):
                if element.kind in ("usim", "iot") and file.name == "ef-imsi":
                    try:
                        return imsi_to_text(file.content)
                    except CodecError:
                        return None
        return None

    @property
    def profile_type(self) -> str | None:
        """The profile type of the header: free text, usually the product's name."""
        return self.header.get("profileType")

    @property
    def services(self) -> tuple[str, ...]:
        """The services that the eUICC must have, by their names in ServicesList."""
        return tuple(self.header["eUICC-Mandatory-services"])

    @property
    def templates(self) -> tuple[str, ...]:
        """The file templates that the eUICC must have, as dotted object identifiers."""
        return tuple(self.header["eUICC-Mandatory-GFSTEList"])


def _pe_header(kind: str, outer: tlv.Tlv) -> tuple[int | None, bool]:
    # Every element but the header and the reserved ones starts with PEHeader { [0] NULL OPTIONAL, [1] INTEGER }.
    if kind == "header":
        return None, True
    if kind.startswith("rfu"):
        return None, False
    first = tlv.parse_prefix(outer.value, 0, f"in {outer.tag:X}")
    if first.tag != 0xA0:
        raise CodecError("no element header", expected="A0", found=f"{first.tag:X}")
    number = first.get(0x81).value
    identification = int.from_bytes(number, "big", signed=True)
    if not 1 <= len(number) <= 3 or not 0 <= identification <= 0x7FFF:
        raise CodecError("malformed identification", expected="0 to 32767", found=number.hex().upper())
    return identification, first.find(0x80) is not None


def _check_place(element: Element, before: list[Element]) -> None:
    if (element.kind == "header") != (not before):
        raise CodecError(
            "profile element out of order",
            where=element.where,
            expected="the header first, and once",
            found=element.kind,
            hint="not a profile package?" if not before else None,
        )
    if before and before[-1].kind == "end":
        raise CodecError("profile element after the end element", where=element.where, found=element.kind)


def _where(kind: str, offset: int, index: int) -> str:
    return f"profile element {index} ({kind}) at byte {offset}"


def _placed(exc: CodecError, kind: str, offset: int, index: int) -> CodecError:
    where = _where(kind, offset, index) + (f", {exc.where}" if exc.where else "")
    return CodecError(exc.what, expected=exc.expected, found=exc.found, where=where, hint=exc.hint)
