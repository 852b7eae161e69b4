"""Installs a profile package, element by element, as files and records in NVM (SAIP 8, SGP.22 5.5.5).

Each file is created by one write and filled by another; every PIN, key and parameter set is a write of its own. The
caller holds the transaction: an element that fails leaves nothing once that is rolled back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from esim_bench.codec import tlv
from esim_bench.codec.saip import Element, FileSpec, ResolveContext, resolve_files
from esim_bench.errors import BenchError, CodecError
from esim_drivers.sim import pe_data
from esim_drivers.sim.fcp import MF, FileHeader
from esim_drivers.sim.filesystem import Path, file_key, isdp_prefix, path_text
from esim_drivers.sim.nvm import Nvm
from esim_drivers.sim.pe_data import Context, PeStatus, Refused, Writes
from esim_drivers.sim.personality import Personality

_ONCE = ("header", "mf", "telecom", "cd", "end")
_NAA_SERVICES = {"usim": "multiple-usim", "isim": "multiple-isim", "csim": "multiple-csim"}
_NEEDS = {
    "opt-usim": "usim",
    "gsm-access": "usim",
    "df-5gs": "usim",
    "df-saip": "usim",
    "df-snpn": "usim",
    "df-5gprose": "usim",
    "opt-isim": "isim",
    "opt-csim": "csim",
    "cdmaParameter": "csim",
    "opt-iot": "iot",
}
"""Elements that come after another one (SAIP 8.1)."""
_CAPABILITY = {
    "usim": "usimSupport",
    "isim": "isimSupport",
    "csim": "csimSupport",
    "cdmaParameter": "csimSupport",
    "eap": "eapClient",
    "application": "javacard",
    "iot": "iotminimal",
    "opt-iot": "iotminimal",
}
"""Elements that not every eUICC takes."""
_WITHOUT_FILES = (
    *("pukCodes", "pinCodes", "akaParameter", "cdmaParameter", "securityDomain", "rfm", "application", "end"),
)
_UNSUPPORTED = ("nonStandard", "rfu1", "rfu2", "rfu3", "rfu4", "rfu5")


class PeError(BenchError):
    """A profile element is refused: the members of PEStatus (SAIP 8.11)."""

    def __init__(
        self, status: int, identification: int | None = None, offset: int | None = None, info: int | None = None
    ) -> None:
        self.status = int(status)
        self.identification = identification
        self.offset = offset
        """Position in the profile element of what is at fault, bytes from its tag."""
        self.info = info
        name = next((known.name for known in PeStatus if known == status), f"status {status}")
        super().__init__(
            f"profile element refused: {name.lower().replace('_', '-')}",
            where=f"element {identification}" if identification is not None else None,
        )


class ProfileInstaller:
    """One installation, from the header element to the end element."""

    def __init__(self, nvm: Nvm, isdp_aid: bytes, personality: Personality) -> None:
        self._nvm = nvm
        self._isdp_aid = isdp_aid
        self._prefix = isdp_prefix(isdp_aid)
        self._personality = personality
        self._context = Context(personality, adfs={}, pinned={})
        self._resolve = ResolveContext()
        self._seen: dict[str, int] = {}
        self._identifications: dict[int, bool] = {}
        self._files: dict[Path, FileHeader] = {}
        self._free = personality.nvm_size - nvm.used
        self._sizes: dict[str, int] = {}
        self.skipped: list[tuple[PeStatus, int | None]] = []
        """Elements that are not supported and not mandated: why, and their identification (SAIP 8.11)."""
        self.header_iccid: bytes | None = None
        """The ICCID of the header element: 10 bytes as printed, nibbles not swapped."""

    # ------------------------------------------------------------------------------------------------- elements

    def element(self, raw: bytes) -> None:
        """Install one profile element, exactly one TLV. Raises PeError, PowerLost."""
        element = self._decode(raw)
        identification = element.identification
        try:
            self._install(element)
        except Refused as exc:
            raise PeError(exc.status, identification, _offset(raw, exc.at), exc.info) from exc
        except CodecError as exc:
            raise PeError(PeStatus.BAD_VALUES, identification, malformed_at(raw)) from exc
        except (KeyError, IndexError, TypeError, ValueError, OverflowError) as exc:
            # A member that the decoder let through although this element can't do without it or with such a value.
            raise PeError(PeStatus.BAD_VALUES, identification) from exc

    def finish(self) -> None:
        """Make sure that the profile is complete. Raises PeError."""
        if "end" not in self._seen or (MF,) not in self._files:
            raise PeError(PeStatus.INVALID_REQUEST_FORMAT)

    def _decode(self, raw: bytes) -> Element:
        try:
            element = Element.parse(raw)
        except CodecError as exc:
            raise PeError(PeStatus.INVALID_REQUEST_FORMAT, None, malformed_at(raw)) from exc
        return element

    def _install(self, element: Element) -> None:
        kind = element.kind
        if not self._expected(element):
            return
        self._seen[kind] = self._seen.get(kind, 0) + 1
        if kind == "header":
            self._header(element.value, element.raw)
        elif kind in _WITHOUT_FILES:
            for key, value in self._data(element):
                self._put(self._prefix + key, value)
        else:
            self._create_files(element)

    def _expected(self, element: Element) -> bool:
        """Judge order and support. False: the element is not supported and not mandated, and is skipped."""
        kind = element.kind
        if ("header" in self._seen) == (kind == "header") or "end" in self._seen:
            raise Refused(PeStatus.INVALID_REQUEST_FORMAT)
        if kind == "header":
            return True
        supported = self._supports(element)
        if supported is not None:
            if element.mandated:
                raise Refused(supported)
            self.skipped.append((supported, element.identification))
            return False
        if element.identification is not None:
            if element.identification in self._identifications:
                raise Refused(PeStatus.INVALID_REQUEST_FORMAT)
            self._identifications[element.identification] = True
        need = _NEEDS.get(kind)
        in_order = need is None or need in self._seen
        if kind == "pinCodes" or kind == "akaParameter":
            in_order = (MF,) in self._files
        once = kind in _ONCE or (kind in _NAA_SERVICES and not self._personality.supports(_NAA_SERVICES[kind]))
        if not in_order or (once and kind in self._seen):
            raise Refused(PeStatus.INVALID_REQUEST_FORMAT)
        return True

    def _supports(self, element: Element) -> PeStatus | None:
        kind = element.kind
        if kind in _UNSUPPORTED:
            return PeStatus.PE_NOT_SUPPORTED
        capability = _CAPABILITY.get(kind)
        if capability is not None and capability not in self._personality.uicc_capability:
            return PeStatus.RUNTIME_NOT_SUPPORTED if kind == "application" else PeStatus.PE_NOT_SUPPORTED
        if kind not in _WITHOUT_FILES and kind != "genericFileManagement":
            template = element.value["templateID"]
            if template not in self._personality.templates:
                return PeStatus.TEMPLATE_NOT_SUPPORTED
        return None

    # ------------------------------------------------------------------------------------------------- header

    def _header(self, value: Mapping[str, Any], raw: bytes) -> None:
        """SAIP 8.2: version, services, templates, libraries. In this order, as an eUICC without them must refuse."""
        own = self._personality.profile_version
        if value["major-version"] != own[0] or value["minor-version"] > own[1]:
            raise Refused(PeStatus.UNSUPPORTED_PROFILE_VERSION)
        for service in value["eUICC-Mandatory-services"]:
            if not self._personality.supports(service):
                raise Refused(PeStatus.FEATURE_NOT_SUPPORTED)
        if "iotOptions" in value and "iotminimal" not in self._personality.uicc_capability:
            raise Refused(PeStatus.FEATURE_NOT_SUPPORTED)
        for template in value["eUICC-Mandatory-GFSTEList"]:
            if template not in self._personality.templates:
                raise Refused(PeStatus.TEMPLATE_NOT_SUPPORTED)
        for library in value.get("eUICC-Mandatory-AIDs", ()):
            raise Refused(PeStatus.LIB_NOT_SUPPORTED, library["aid"])
        self.header_iccid = value["iccid"]
        self._put(f"{self._prefix}header", raw)

    # ------------------------------------------------------------------------------------------------- data

    def _data(self, element: Element) -> Writes:
        value, context = element.value, self._context
        match element.kind:
            case "pukCodes":
                return pe_data.puk_codes(value, context)
            case "pinCodes":
                return pe_data.pin_codes(value, context)
            case "akaParameter":
                return pe_data.aka_parameter(value, context)
            case "cdmaParameter":
                return pe_data.cdma_parameter(value, context)
            case "securityDomain":
                return pe_data.security_domain(value, element.raw)
            case "rfm":
                return pe_data.rfm(value, element.raw)
            case "application":
                return pe_data.application(value, context)
            case _:
                return []

    # ------------------------------------------------------------------------------------------------- files

    def _create_files(self, element: Element) -> None:
        specs = resolve_files(element, self._resolve)
        for spec in specs:
            if spec.update:
                self._update(spec)
            else:
                self._create(spec)
        if element.kind != "genericFileManagement" and specs:
            # PINs belong to the MF, to a directory right below it or to an application, whatever is inside these.
            self._context.directory = specs[0].path[:2]

    def _update(self, spec: FileSpec) -> None:
        header = self._files.get(spec.path)
        name = spec.fid.to_bytes(2, "big")
        if header is None or header.is_df or header.link:
            raise Refused(PeStatus.INVALID_PARAMETER, name)
        if header.kind != "ber-tlv" and len(spec.content) != header.size:
            raise Refused(PeStatus.BAD_VALUES, name)
        self._put(file_key(self._isdp_aid, spec.path), header.encode() + spec.content)

    def _create(self, spec: FileSpec) -> None:
        path = spec.path
        name = spec.fid.to_bytes(2, "big")
        parent = self._files.get(path[:-1])
        if path != (MF,) and (parent is None or not parent.is_df):
            raise Refused(PeStatus.INVALID_PARAMETER, name)
        if path in self._files:
            raise Refused(PeStatus.BAD_VALUES, name)
        header = self._header_of(spec, name)
        if header.kind == "adf":
            adfs = self._context.adfs if self._context.adfs is not None else {}
            if not 5 <= len(header.aid) <= 16 or header.aid in adfs:
                raise Refused(PeStatus.BAD_VALUES, header.aid or name)
            adfs[header.aid] = path
            self._context.adfs, self._context.adf = adfs, path
        self._files[path] = header
        key = f"{self._prefix}f/{path_text(path)}"
        kept = header.encode()
        own = not header.is_df and not header.link
        if own and header.size > self._free:
            raise Refused(PeStatus.NOT_ENOUGH_MEMORY, name)
        blank = b"\xff" * header.size if own else b""
        self._put(key, kept + blank)
        if own and spec.content != blank:
            self._put(key, kept + spec.content)

    def _header_of(self, spec: FileSpec, name: bytes) -> FileHeader:
        """Build the header of a file, with the values of the file that it is linked to."""
        kind, size, record_length = spec.kind, spec.size or 0, spec.record_length or 0
        link = spec.link_path or ()
        if link:
            target = self._files.get(link)
            if target is None:
                raise Refused(PeStatus.INVALID_PARAMETER, name)
            if target.is_df and not self._personality.supports("dfLink"):
                raise Refused(PeStatus.FEATURE_NOT_SUPPORTED, name)
            kind, size, record_length = target.kind, target.size, target.record_length
        elif kind not in ("df", "adf"):
            if kind == "ber-tlv" and not self._personality.supports("ber-tlv"):
                raise Refused(PeStatus.FEATURE_NOT_SUPPORTED, name)
            records = kind in ("linear", "cyclic")
            if records and (not 1 <= record_length <= 255 or size % record_length or size // record_length > 254):
                raise Refused(PeStatus.BAD_VALUES, name)
            if size < 1 or (kind != "ber-tlv" and len(spec.content) != size):
                raise Refused(PeStatus.BAD_VALUES, name)
        return FileHeader(
            kind=kind,
            fid=spec.fid,
            size=size,
            record_length=record_length,
            sfi=spec.sfi or None,
            arr=spec.arr or b"",
            life_cycle=spec.lcsi,
            aid=spec.df_name or b"",
            pins=spec.pin_status_template or b"",
            link=link,
            special=spec.special,
        )

    # ------------------------------------------------------------------------------------------------- memory

    def _put(self, key: str, value: bytes) -> None:
        size = len(key) + len(value)
        self._free -= size - self._sizes.get(key, 0)
        self._sizes[key] = size
        if self._free < 0:
            raise Refused(PeStatus.NOT_ENOUGH_MEMORY)
        self._nvm.put(key, value)


def remove_profile(nvm: Nvm, isdp_aid: bytes) -> None:
    """Delete all that an installation left: one write for each key, joining the caller's transaction."""
    for key in nvm.keys(isdp_prefix(isdp_aid)):
        nvm.delete(key)


def malformed_at(raw: bytes) -> int | None:
    """Return where in an element its TLV structure breaks, or None when it does not."""
    at = 0
    end = len(raw)
    while at < end:
        try:
            tag, length, body = tlv.parse_header(raw, at)
        except CodecError:
            return at
        if body + length > end:
            return at
        constructed = tlv.tag_bytes(tag)[0] & 0x20
        if constructed:
            inner = malformed_at(raw[body : body + length])
            if inner is not None:
                return body + inner
        at = body + length
    return None


def _offset(raw: bytes, part: bytes) -> int | None:
    at = raw.find(part) if part else -1
    return at if at >= 0 else None
