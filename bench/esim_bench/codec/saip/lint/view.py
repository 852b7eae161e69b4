"""A package as the rules look at it: its services, its files and who made them, its applications."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from esim_bench.codec.saip.files import MF, FileSpec, Path, ResolveContext, resolve_files
from esim_bench.codec.saip.package import Element, ProfilePackage
from esim_bench.errors import CodecError

_PARENTS = {
    **dict.fromkeys(("opt-usim", "gsm-access", "phonebook", "df-5gs", "df-saip", "df-snpn", "df-5gprose"), "usim"),
    "opt-isim": "isim",
    "opt-csim": "csim",
    "opt-iot": "iot",
}
_GROUPS = ("usim", "isim", "csim", "iot")


@dataclass
class View:
    """All that can be told of a package whose elements can be decoded."""

    package: ProfilePackage
    services: tuple[str, ...]
    kinds: frozenset[str]
    files: dict[Path, FileSpec] = field(default_factory=dict)
    """The files as they are in the end."""
    makers: dict[Path, Element] = field(default_factory=dict)
    """The element that created a file."""
    directories: dict[int, Path] = field(default_factory=dict)
    """The MF, DF or ADF that was current after an element, by its index: what pinCodes behind it apply to."""
    stopped: tuple[Element, CodecError] | None = None
    """The element whose files cannot be made, and why; what comes after it was not looked at."""

    @classmethod
    def of(cls, package: ProfilePackage) -> View:
        """Make the files of a package, as far as that goes. Raises CodecError when an element can't be decoded."""
        header = package.elements[0]
        services = package.services if header.kind == "header" else ()
        view = cls(package, services, frozenset(element.kind for element in package.elements))
        context = ResolveContext()
        current: Path = MF
        for element in package.elements:
            makes = element.has_files or element.kind == "genericFileManagement"
            if makes:
                try:
                    specs = resolve_files(element, context)
                except CodecError as exc:
                    view.stopped = (element, exc)
                    # Some of its files may have been made before that.
                    for path in context.files:
                        view.makers.setdefault(path, element)
                    break
                for spec in specs:
                    view.makers.setdefault(spec.path, element)
                current = _current(element, specs, context, current)
            view.directories[element.index] = current
        view.files = context.files
        return view

    def of_kind(self, kind: str) -> list[Element]:
        """Return the elements of a kind, in order."""
        return self.package.of_kind(kind)

    def named(self, name: str) -> Iterator[tuple[FileSpec, Element]]:
        """Yield the files that a template calls by a name."""
        for path, spec in self.files.items():
            if spec.name == name:
                yield spec, self.makers[path]

    @cached_property
    def adfs(self) -> dict[bytes, Path]:
        """The ADFs by their AIDs."""
        return {spec.df_name: path for path, spec in self.files.items() if spec.df_name is not None}

    @cached_property
    def below(self) -> dict[Path, list[FileSpec]]:
        """The files in and below each directory of the MF, by its path; files of the MF itself by their own."""
        groups: dict[Path, list[FileSpec]] = {}
        for path, spec in self.files.items():
            groups.setdefault(path[:2], []).append(spec)
        return groups

    def nearest(self, directory: Path, fid: int) -> FileSpec | None:
        """Return the file with an identifier in a directory or the next one above that has it (TS 102 221 9.2.7)."""
        for depth in range(len(directory), 0, -1):
            found = self.files.get((*directory[:depth], fid))
            if found is not None:
                return found
        return None


def _current(element: Element, specs: list[FileSpec], context: ResolveContext, before: Path) -> Path:
    group = _PARENTS.get(element.kind, element.kind)
    if group in _GROUPS:
        return context.adfs.get(group, before)
    if element.kind == "genericFileManagement":
        return context.directory
    # Of telecom and its like: the directory that all others are in.
    return next((spec.path for spec in specs if spec.is_directory), before) if element.kind != "eap" else before


def algorithms(package: ProfilePackage) -> Iterator[tuple[Element, dict[str, Any]]]:
    """Yield the algorithm parameters of a package, each with its element. Raises CodecError."""
    for element in package.of_kind("akaParameter"):
        choice, value = element.value["algoConfiguration"]
        if choice == "algoParameter":
            yield element, value
