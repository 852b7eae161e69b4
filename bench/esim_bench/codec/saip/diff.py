"""What two profile packages do not share: header, elements, files, PINs, keys. Secrets are only said to differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from esim_bench.codec.identifiers import iccid_to_text, swap_nibbles
from esim_bench.codec.saip.describe import content_text, pin_name, record_text, rule_text, services_text
from esim_bench.codec.saip.files import FileSpec, Path, path_text
from esim_bench.codec.saip.lint.view import View
from esim_bench.codec.saip.package import Element, ProfilePackage

_SECRETS: Final = frozenset(
    ("pinValue", "pukValue", "key", "opc", "rotationConstants", "xoringConstants", "keyData", "authenticationKey")
) | {
    *("ssd", "hrpdAccessAuthenticationData", "simpleIPAuthenticationData", "mobileIPAuthenticationData"),
    *("connectivityParameters", "sdPersoData", "processData"),
}
"""Members that are keys, codes, or may hold some."""
_DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "pinCodes": {"pinAttributes": 7, "maxNumOfAttemps-retryNumLeft": 0x33},
    "pukCodes": {"maxNumOfAttemps-retryNumLeft": 0xAA},
}
"""What a member left out of a list's items means."""
_LONG = 40


@dataclass(frozen=True, slots=True)
class Change:
    """One difference."""

    where: str
    """header, the element, or the file."""
    what: str
    change: Literal["added", "removed", "changed"]
    before: str | None = None
    """In the first package; None where it has none, and of secrets."""
    after: str | None = None
    secret: bool = False
    """The values are not shown."""


def diff(first: ProfilePackage, second: ProfilePackage, *, secrets: bool = False) -> list[Change]:
    """Compare two packages: header, then elements, then files. Empty when they are the same.

    Elements are matched by what they are for (the AID of an application, the directory of PINs), files by their paths.
    Identifications do not count, nor how something is spelled out, unless nothing else differs. Raises CodecError when
    an element can't be decoded or a file can't be created.
    """
    if first.raw == second.raw:
        return []
    views = _View(first), _View(second)
    found = [
        *_members("header", _header(first), _header(second), secrets),
        *_elements(*views, secrets),
        *_files(*views, secrets),
    ]
    return found or [Change("package", "encoding", "changed", _size(first), _size(second))]


def _size(package: ProfilePackage) -> str:
    return f"{len(package.raw)} bytes, SHA-256 {package.digest[:16]}..."


class _View:
    def __init__(self, package: ProfilePackage) -> None:
        self.view = View.of(package.check())
        if self.view.stopped is not None:
            raise self.view.stopped[1]
        self.package = package
        self.names = {path: _place(path, self.view.files) for path in self.view.files}
        self.files = {self.names[path]: spec for path, spec in self.view.files.items()}
        self.elements = dict(self._keyed())

    def _keyed(self) -> Iterator[tuple[str, Element]]:
        counts: dict[str, int] = {}
        for element in self.package.elements[1:]:
            key = self._key(element)
            counts[key] = counts.get(key, 0) + 1
            yield (key if counts[key] == 1 else f"{key} #{counts[key]}"), element

    def _key(self, element: Element) -> str:
        match element.kind:
            case "pinCodes" | "akaParameter" | "cdmaParameter":
                directory = self.view.directories.get(element.index)
                return f"{element.kind} of {self.names.get(directory or (), 'the MF')}"
            case "securityDomain":
                return f"securityDomain {element.value['instance']['instanceAID'].hex().upper()}"
            case "rfm":
                return f"rfm {element.value['instanceAID'].hex().upper()}"
            case "application":
                load = element.value.get("loadBlock")
                instances = element.value.get("instanceList", ())
                aid = load["loadPackageAID"] if load else instances[0]["instanceAID"] if instances else b""
                return f"application {aid.hex().upper()}".rstrip()
        return element.kind


def _place(path: Path, files: Mapping[Path, FileSpec]) -> str:
    # The identifier of an ADF is the profile's own business: its name or AID tells what it is.
    parts = []
    for depth in range(1, len(path) + 1):
        spec = files[path[:depth]]
        aid = spec.df_name.hex().upper() if spec.df_name else ""
        name = (spec.name or "").removeprefix("adf-").upper() or aid
        parts.append(f"ADF.{name}" if spec.kind == "adf" else f"{spec.fid:04X}")
    return "/".join(parts)


# ------------------------------------------------------------------------------------------------- members


def _header(package: ProfilePackage) -> dict[str, Any]:
    header = package.header
    members: dict[str, Any] = {
        "version": ".".join(map(str, package.version)),
        "profileType": header.get("profileType"),
        "iccid": iccid_to_text(swap_nibbles(header["iccid"])),
        **{f"mandatory service {name}": "yes" for name in package.services},
        **{f"mandatory template {oid}": "yes" for oid in package.templates},
    }
    for name in ("pol", "connectivityParameters", "iotOptions"):
        members.update(_flat(name, header.get(name)))
    for item in header.get("eUICC-Mandatory-AIDs", ()):
        members[f"mandatory AID {item['aid'].hex().upper()}"] = item["version"].hex().upper()
    return {name: value for name, value in members.items() if value is not None}


def _members(where: str, before: Mapping[str, Any], after: Mapping[str, Any], secrets: bool) -> Iterator[Change]:
    for name in [*before, *(name for name in after if name not in before)]:
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        change: Literal["added", "removed", "changed"] = (
            "added" if old is None else "removed" if new is None else "changed"
        )
        hidden = not secrets and any(part in _SECRETS for part in name.replace("[", ".").split("."))
        if hidden:
            yield Change(where, name, change, secret=True)
        else:
            yield Change(where, name, change, _text(old), _text(new))


def _text(value: object) -> str | None:
    if value is None:
        return None
    return value.hex().upper() if isinstance(value, bytes) else str(value)


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the leaves of a decoded value by their paths; items of lists go by what identifies them."""
    if isinstance(value, dict):
        for key, member in value.items():
            yield from _flat(f"{name}.{key}" if name else key, member)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _flat(f"{name}[{_identity(item, index)}]", item)
    elif isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
        # The alternative of a choice.
        yield from _flat(f"{name}.{value[0]}" if name else value[0], value[1])
    elif isinstance(value, bytes) and len(value) > _LONG:
        yield name, _Blob(value)
    elif value is not None:
        yield name, value


@dataclass(frozen=True, slots=True)
class _Blob:
    """Bytes too many for a table."""

    data: bytes

    def __str__(self) -> str:
        return f"{len(self.data)} bytes {self.data[:12].hex().upper()}..."


def _identity(item: Any, index: int) -> str:
    if isinstance(item, dict):
        if "keyReference" in item:
            return pin_name(item["keyReference"])
        if "keyVersionNumber" in item:
            return f"{item['keyVersionNumber'][0]}/{item['keyIdentifier'][0]}"
        if "instanceAID" in item:
            return str(item["instanceAID"].hex().upper())
    return str(index)


# ------------------------------------------------------------------------------------------------- elements


def _elements(first: _View, second: _View, secrets: bool) -> Iterator[Change]:
    for key in [*first.elements, *(key for key in second.elements if key not in first.elements)]:
        old, new = first.elements.get(key), second.elements.get(key)
        if old is None or new is None:
            made = old or new
            size = f"{len(made.raw)} bytes" if made is not None else None
            if old is None:
                yield Change(key, "element", "added", after=size)
            else:
                yield Change(key, "element", "removed", before=size)
            continue
        yield from _members(key, _element(old), _element(new), secrets)
    common = [key for key in first.elements if key in second.elements]
    other = [key for key in second.elements if key in first.elements]
    if common != other:
        yield Change("package", "order of the elements", "changed", ", ".join(common), ", ".join(other))


def _element(element: Element) -> dict[str, Any]:
    members: dict[str, Any] = {"mandated": element.mandated}
    if element.template is not None:
        members["template"] = element.template
    if element.has_files or element.kind == "genericFileManagement":
        return members
    defaults = _DEFAULTS.get(element.kind, {})
    for name, value in element.value.items():
        if name.lower().endswith("-header"):
            continue
        if isinstance(value, list) and defaults:
            value = [{**defaults, **item} for item in value]
        elif isinstance(value, tuple) and isinstance(value[1], list) and defaults:
            value = (value[0], [{**defaults, **item} for item in value[1]])
        members.update(_flat(name, value))
    return members


# ------------------------------------------------------------------------------------------------- files


def _files(first: _View, second: _View, secrets: bool) -> Iterator[Change]:
    for place in [*first.files, *(place for place in second.files if place not in first.files)]:
        old, new = first.files.get(place), second.files.get(place)
        name = (old.name if old is not None else None) or (new.name if new is not None else None)
        where = f"{place} ({name})" if name else place
        if old is None and new is not None:
            yield Change(where, "file", "added", after=_what(new))
        elif new is None and old is not None:
            yield Change(where, "file", "removed", before=_what(old))
        elif old is not None and new is not None:
            yield from _members(where, _properties(old, first), _properties(new, second), secrets)
            yield from _contents(where, old, new, secrets)


def _what(spec: FileSpec) -> str:
    if spec.is_directory:
        return spec.kind.upper()
    if spec.link_path is not None:
        return f"link to {path_text(spec.link_path)}"
    if spec.record_count:
        return f"{spec.kind}, {spec.record_count} records of {spec.record_length} bytes"
    return f"{spec.kind}, {spec.size} bytes"


def _properties(spec: FileSpec, view: _View) -> dict[str, Any]:
    members: dict[str, Any] = {
        "kind": spec.kind,
        "size": spec.size,
        "record length": spec.record_length,
        "SFI": spec.sfi,
        "life cycle state": f"{spec.lcsi:02X}",
        "AID": spec.df_name,
        "PIN status template": spec.pin_status_template,
        "link": path_text(spec.link_path) if spec.link_path else None,
        "access rule": _rule(spec, view),
    }
    return {name: value for name, value in members.items() if value is not None}


def _rule(spec: FileSpec, view: _View) -> str | None:
    # What the rule says counts, not the record that it stands in.
    if spec.arr is None or spec.link_path is not None:
        return None
    fid, number = int.from_bytes(spec.arr[:2], "big"), spec.arr[2]
    rules = view.view.nearest(spec.path if spec.is_directory else spec.path[:-1], fid)
    records = rules.records() if rules is not None else []
    if not 1 <= number <= len(records):
        return f"{fid:04X} record {number}, which is not there"
    return rule_text(records[number - 1], spec.is_directory)


def _contents(where: str, old: FileSpec, new: FileSpec, secrets: bool) -> Iterator[Change]:
    if old.content == new.content:
        return
    if "key" in (old.name or "") and not secrets:
        yield Change(where, "content", "changed", secret=True)
    elif old.record_length and new.record_length:
        before, after = old.records(), new.records()
        for index in range(max(len(before), len(after))):
            left = before[index].rstrip(b"\xff") if index < len(before) else b""
            right = after[index].rstrip(b"\xff") if index < len(after) else b""
            if left != right:
                yield Change(
                    where,
                    f"record {index + 1}",
                    "changed" if left and right else "added" if right else "removed",
                    record_text(before[index]) if left else None,
                    record_text(after[index]) if right else None,
                )
    elif old.name in ("ef-ust", "ef-ist", "ef-est"):
        yield from _services(where, old.content, new.content)
    elif old.content.rstrip(b"\xff") != new.content.rstrip(b"\xff"):
        yield Change(where, "content", "changed", content_text(old), content_text(new))


def _services(where: str, old: bytes, new: bytes) -> Iterator[Change]:
    size = max(len(old), len(new))
    left, right = int.from_bytes(old.ljust(size, b"\0"), "little"), int.from_bytes(new.ljust(size, b"\0"), "little")
    for value, change in ((right & ~left, "added"), (left & ~right, "removed")):
        if value:
            text = services_text(value.to_bytes(size, "little"))
            if change == "added":
                yield Change(where, "service table", "added", after=text)
            else:
                yield Change(where, "service table", "removed", before=text)
