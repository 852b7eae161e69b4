"""The files that a profile element creates: template, file control parameters and fill commands made concrete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from esim_bench.codec.saip.package import Element
from esim_bench.codec.saip.templates import TEMPLATES, FileTemplate, Fill, Template
from esim_bench.errors import CodecError

Path = tuple[int, ...]
"""File identifiers from the MF (3F00) on; an ADF stands in it with its temporary file identifier."""

MF: Path = (0x3F00,)
MAX_CONTENT = 4 * 1024 * 1024
"""Bytes of all files of a profile. A few bytes of a package can ask for much memory."""
MAX_RECORDS = 254
_MAX_SIZE_BYTES = 8

_ACTIVATED = 0x05
_EF_ARR_OF_MF, _EF_ARR_OF_DF = b"\x2f\x06", b"\x6f\x06"
_APPLICATIONS = {
    bytes.fromhex("A0000000871002"): "usim",
    bytes.fromhex("A0000000871004"): "isim",
    bytes.fromhex("A0000003431002"): "csim",
}
"""What an AID says an ADF is (TS 101 220 annex E)."""
_STRUCTURES = {0x01: "transparent", 0x02: "linear", 0x06: "cyclic"}


@dataclass(slots=True)
class FileSpec:
    """One file, ready to be created. Nobody changes it; it is not frozen because an installation makes hundreds."""

    path: Path
    """Its own file identifier is the last one."""
    kind: str
    """transparent, linear, cyclic, ber-tlv, df (also the MF) or adf."""
    fid: int
    name: str | None = None
    """The member of the template, such as ef-imsi; None for files of genericFileManagement."""
    df_name: bytes | None = None
    """The AID of an ADF."""
    size: int | None = None
    """Bytes; None for directories and link files."""
    record_length: int | None = None
    record_count: int | None = None
    sfi: int | None = None
    arr: bytes | None = None
    """The access rule: file identifier of an EF.ARR and record number, 3 bytes (TS 102 221 11.1.1.4.7)."""
    lcsi: int = _ACTIVATED
    pin_status_template: bytes | None = None
    """The value of tag C6, as the profile has it; directories only."""
    content: bytes = b""
    """All bytes of the file, records one after the other; of a BER-TLV file its objects."""
    link_path: Path | None = None
    """The file that this one is another name of."""
    update: bool = False
    """The file is there already: genericFileManagement selected it to change its content."""
    special: int = 0
    """Special file information (TS 102 222 6.3.2.2.2): 80 often updated, 40 usable while it is deactivated."""

    @property
    def is_directory(self) -> bool:
        """Tell whether this is the MF, a DF or an ADF."""
        return self.kind in ("df", "adf")

    def records(self) -> list[bytes]:
        """Return the records of a linear fixed or cyclic file; no records for others."""
        length = self.record_length
        if not length or not self.content:
            return []
        return [self.content[at : at + length] for at in range(0, len(self.content), length)]


@dataclass(slots=True)
class ResolveContext:
    """What the elements before have created; ``resolve_files`` reads it and adds to it."""

    files: dict[Path, FileSpec] = field(default_factory=dict)
    adfs: dict[str, Path] = field(default_factory=dict)
    """The last ADF of each kind of element that creates one, and under ``adf`` the last of all."""
    directory: Path = MF
    """The directory that was created or selected last."""
    content: int = 0
    """Bytes of all files."""

    def add(self, spec: FileSpec, where: str) -> FileSpec:
        """Note a file. Raises CodecError when it exists, or has no directory."""
        if spec.path in self.files and not spec.update:
            raise CodecError("file exists already", where=where, found=path_text(spec.path))
        parent = self.files.get(spec.path[:-1])
        if spec.path != MF and (parent is None or not parent.is_directory):
            raise CodecError(
                f"no directory for {path_text(spec.path)}",
                where=where,
                expected=f"{path_text(spec.path[:-1])} to be created before",
            )
        self.content += len(spec.content)
        if self.content > MAX_CONTENT:
            raise CodecError("files too large", where=where, expected=f"at most {MAX_CONTENT} bytes in all")
        self.files[spec.path] = spec
        return spec


def path_text(path: Path) -> str:
    """Return a path as people write it: 3F00/7F10/6F3A."""
    return "/".join(f"{fid:04X}" for fid in path)


def parse_path(data: bytes, where: str = "") -> Path:
    """Return a filePath or linkPath member (identifiers from below the MF on) as a full path. Raises CodecError."""
    if len(data) % 2:
        raise CodecError("malformed file path", where=where, expected="2 bytes each", found=data.hex().upper())
    path = tuple(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    return path if path[:1] == MF else MF + path


def resolve_files(element: Element, context: ResolveContext) -> list[FileSpec]:
    """Return the files that an element creates, in order; directories come before what is in them.

    Empty for elements that create no files. The elements of a package have to come one by one with the same context.
    Raises CodecError naming element and file.
    """
    if element.kind == "genericFileManagement":
        return _Management(element.where, context).run(element.value["fileManagementCMD"])
    if not element.has_files:
        return []
    oid = element.template or ""
    template = TEMPLATES.get(oid)
    if template is None or template.kind != element.kind:
        raise CodecError(
            "unknown template",
            where=element.where,
            expected=", ".join(oid for oid, known in TEMPLATES.items() if known.kind == element.kind),
            found=oid,
        )
    return _from_template(element, template, context)


# ------------------------------------------------------------------------------------------------- template elements


def _from_template(element: Element, template: Template, context: ResolveContext) -> list[FileSpec]:
    base = _base(element, template, context)
    members = {name: value for name, value in element.value.items() if isinstance(value, list)}
    paths: dict[str, Path] = {}
    specs: list[FileSpec] = []
    parent = None
    place = element.where
    for name in _order(template, members):
        commands = members.get(name)
        known = template.files.get(name)
        parent = known.parent if known is not None else parent
        if commands is None and (known is None or not _wanted_by_default(known, paths)):
            continue
        if commands and any(command == "doNotCreate" for command, _ in commands):
            continue
        where = f"{place}, {name}"
        if parent is not None and parent not in paths:
            raise CodecError("the directory of the file is missing", where=where, expected=f"{parent} before it")
        directory = paths[parent] if parent is not None else base
        spec = context.add(_file(name, known, commands or [], directory, where), where)
        specs.append(spec)
        if spec.is_directory:
            paths[name] = context.directory = spec.path
        if spec.kind == "adf":
            context.adfs[name.removeprefix("adf-")] = context.adfs["adf"] = spec.path
    return specs


def _order(template: Template, members: Mapping[str, object]) -> list[str]:
    # Members of a newer version of the template follow what the older one knows.
    return [*template.files, *(name for name in members if name not in template.files)]


def _wanted_by_default(known: FileTemplate, paths: Mapping[str, Path]) -> bool:
    return known.created_by_default and (known.parent is None or known.parent in paths)


def _base(element: Element, template: Template, context: ResolveContext) -> Path:
    if template.base == "-":
        return ()
    base = MF if template.base == "mf" else context.adfs.get(template.base)
    if base is None or base not in context.files:
        raise CodecError(
            "profile element out of order",
            where=element.where,
            expected=f"after the element that creates {template.base}",
        )
    return base


def _file(
    name: str, known: FileTemplate | None, commands: Sequence[tuple[str, Any]], directory: Path, where: str
) -> FileSpec:
    descriptors = [value for command, value in commands if command == "fileDescriptor"]
    if len(descriptors) > 1:
        raise CodecError("two file descriptors for one file", where=where, expected="at most one")
    fcp: Mapping[str, Any] = descriptors[0] if descriptors else {}
    spec, _ = _described(fcp, known, directory, where, name, commands)
    if spec.kind == "adf" and spec.df_name is None:
        raise CodecError("an ADF without its AID", where=where, expected="dfName")
    return spec


# ------------------------------------------------------------------------------------------------- descriptions


def _described(
    fcp: Mapping[str, Any],
    known: FileTemplate | None,
    directory: Path,
    where: str,
    name: str | None = None,
    commands: Sequence[tuple[str, Any]] = (),
) -> tuple[FileSpec, _Content]:
    """Merge file control parameters over a template, and fill the file; the content may be written on."""
    kind, record_length = _structure(fcp, known, where)
    fid = _fid(fcp, known, where)
    if kind == "df" and (fcp.get("dfName") or (known is not None and known.kind == "adf")):
        kind = "adf"
    path = (*directory, fid)
    proprietary = fcp.get("proprietaryEFInfo", {})
    link = fcp.get("linkPath") or b""
    size = count = None
    if kind in ("linear", "cyclic") and known is not None and record_length is None:
        record_length = known.record_length
    if kind not in ("df", "adf") and not link:
        size, count = _size(fcp, known, kind, record_length, where)
    content = _Content(kind, None if link else size, record_length if count else None, where)
    fill = _fill(proprietary, known, where)
    if content.fixed:
        content.fill(fill)
    for command, value in commands:
        content.apply(command, value)
    spec = FileSpec(
        path=path,
        kind=kind,
        fid=fid,
        name=name,
        df_name=fcp.get("dfName"),
        size=size,
        record_length=record_length if kind in ("linear", "cyclic") else None,
        record_count=count,
        sfi=None if kind in ("df", "adf") else _sfi(fcp, known, fid),
        arr=_arr(fcp, known, kind, path, where),
        lcsi=int.from_bytes(fcp["lcsi"], "big") if "lcsi" in fcp else _ACTIVATED,
        pin_status_template=fcp.get("pinStatusTemplateDO"),
        content=content.bytes(),
        link_path=parse_path(link, where) if link else None,
        special=int.from_bytes(proprietary.get("specialFileInformation", b""), "big") & 0xFF,
    )
    return spec, content


def _structure(fcp: Mapping[str, Any], known: FileTemplate | None, where: str) -> tuple[str, int | None]:
    descriptor: bytes | None = fcp.get("fileDescriptor")
    if descriptor is None:
        if known is None:
            raise CodecError("no file descriptor", where=where, expected="fileDescriptor")
        return known.kind, known.record_length
    kind, record_length = _descriptor(descriptor)
    if kind is None:
        raise CodecError(
            "malformed file descriptor",
            where=where,
            expected="4121, 4221xxxx, 4621xxxx, 7821 or 7921",
            found=descriptor.hex().upper(),
        )
    return kind, record_length


@lru_cache(maxsize=256)
def _descriptor(descriptor: bytes) -> tuple[str | None, int | None]:
    # TS 102 221 11.1.1.4.3: file type and structure, data coding, then the record length of two bytes.
    file_type = descriptor[0] & 0x3F
    if file_type == 0x38:
        return "df", None
    if file_type == 0x39:
        return "ber-tlv", None
    kind = _STRUCTURES.get(file_type & 0x07) if file_type & 0x38 in (0x00, 0x08) else None
    if kind in ("linear", "cyclic") and len(descriptor) >= 3:
        return kind, int.from_bytes(descriptor[2:], "big")
    return kind, None


def _fid(fcp: Mapping[str, Any], known: FileTemplate | None, where: str) -> int:
    if "fileID" in fcp:
        return int.from_bytes(fcp["fileID"], "big")
    if known is None or known.fid is None:
        raise CodecError("no file identifier", where=where, expected="fileID")
    return known.fid


def _size(
    fcp: Mapping[str, Any], known: FileTemplate | None, kind: str, record_length: int | None, where: str
) -> tuple[int, int | None]:
    size = known.size if known is not None else None
    given = fcp.get("efFileSize") or (
        fcp.get("proprietaryEFInfo", {}).get("maximumFileSize") if kind == "ber-tlv" else None
    )
    if given is not None:
        if len(given) > _MAX_SIZE_BYTES:
            found = f"a number of {len(given)} bytes"
            raise CodecError("file size out of range", where=where, expected=f"1 to {MAX_CONTENT}", found=found)
        size = int.from_bytes(given, "big")
    elif kind in ("linear", "cyclic") and known is not None and known.record_count and record_length:
        size = known.record_count * record_length
    if size is None:
        raise CodecError("no file size", where=where, expected="efFileSize, as the template has none")
    if not 1 <= size <= MAX_CONTENT:
        raise CodecError("file size out of range", where=where, expected=f"1 to {MAX_CONTENT}", found=size)
    if kind not in ("linear", "cyclic"):
        return size, None
    if not record_length or record_length > 255 or size % record_length or size // record_length > MAX_RECORDS:
        raise CodecError(
            "malformed record file",
            where=where,
            expected=f"1 to {MAX_RECORDS} whole records of 1 to 255 bytes",
            found=f"{size} bytes, records of {record_length}",
        )
    return size, size // record_length


def _sfi(fcp: Mapping[str, Any], known: FileTemplate | None, fid: int) -> int | None:
    if "shortEFID" in fcp:
        # Without a value the file has none.
        return (fcp["shortEFID"][0] >> 3 or None) if fcp["shortEFID"] else None
    return known.sfi if known is not None else fid & 0x1F or None


def _arr(fcp: Mapping[str, Any], known: FileTemplate | None, kind: str, path: Path, where: str) -> bytes | None:
    reference: bytes | None = fcp.get("securityAttributesReferenced")
    if reference is None:
        if known is None:
            return None
        reference = bytes((known.arr,))
    if len(reference) == 2:
        raise CodecError(
            "malformed securityAttributesReferenced",
            where=where,
            expected="1 or 3 bytes",
            found=reference.hex().upper(),
        )
    if len(reference) == 1:
        # Which EF.ARR a bare record number means follows from where the file is.
        return (_EF_ARR_OF_MF if kind == "adf" or len(path) <= 2 else _EF_ARR_OF_DF) + reference
    return reference


def _fill(proprietary: Mapping[str, Any], known: FileTemplate | None, where: str) -> Fill:
    if "fillPattern" in proprietary and "repeatPattern" in proprietary:
        raise CodecError("two patterns for one file", where=where, expected="fillPattern or repeatPattern")
    if "fillPattern" in proprietary:
        return Fill(proprietary["fillPattern"])
    if "repeatPattern" in proprietary:
        return Fill(proprietary["repeatPattern"], repeat=True)
    return known.fill if known is not None else Fill()


# ------------------------------------------------------------------------------------------------- content


class _Content:
    """Builds the content of one file: the pattern first, then what the commands write over it."""

    __slots__ = ("_at", "_data", "_grows", "_limit", "_record_length", "_where", "changed")

    def __init__(self, kind: str, size: int | None, record_length: int | None, where: str) -> None:
        """``size`` None: there is no content to write. ``record_length`` None: it is not in records."""
        self._where = where
        self._limit = size or 0
        self._record_length = record_length
        self._grows = kind == "ber-tlv"
        self._data = bytearray()
        self._at = 0
        self.changed = False
        """Content was written; what ``fill`` makes does not count."""

    @property
    def fixed(self) -> bool:
        """Tell whether the file has all its bytes from the start."""
        return bool(self._limit) and not self._grows

    def fill(self, fill: Fill) -> None:
        """Begin with a pattern, in each record anew."""
        if self._record_length:
            self._data += fill.expand(self._record_length) * (self._limit // self._record_length)
        else:
            self._data += fill.expand(self._limit)

    @classmethod
    def of(cls, spec: FileSpec, where: str) -> _Content:
        """Go on with a file that has its content."""
        content = cls(spec.kind, None if spec.link_path else spec.size, spec.record_length, where)
        content._data += spec.content
        return content

    def apply(self, command: str, value: Any) -> None:
        """Carry out fillFileOffset or fillFileContent; others leave the content alone. Raises CodecError."""
        if command == "fillFileOffset":
            # Counted from where the last content ended, not from the start of the file.
            self._at += value
            self._check(self._at)
        elif command == "fillFileContent":
            end = self._at + len(value)
            self._check(end)
            if self._grows and self._at > len(self._data):
                self._data += b"\xff" * (self._at - len(self._data))
            self._data[self._at : end] = value
            self._at = end
            self.changed = True

    def bytes(self) -> bytes:
        """Return all bytes of the file."""
        return bytes(self._data)

    def _check(self, end: int) -> None:
        if end > self._limit:
            raise CodecError(
                "content does not fit the file", where=self._where, expected=f"{self._limit} bytes", found=end
            )


# ------------------------------------------------------------------------------------------------- generic elements


class _Management:
    """Runs the commands of genericFileManagement: select a directory, create a file, fill it."""

    def __init__(self, where: str, context: ResolveContext) -> None:
        self._where = where
        self._context = context
        self._specs: dict[Path, FileSpec] = {}
        self._path: Path | None = None
        self._content: _Content | None = None

    def run(self, lists: Sequence[Sequence[tuple[str, Any]]]) -> list[FileSpec]:
        for commands in lists:
            for command, value in commands:
                if command == "filePath":
                    self._select(parse_path(value, self._where))
                elif command == "createFCP":
                    self._create(value)
                else:
                    self._write(command, value)
            self._close()
        return list(self._specs.values())

    def _select(self, path: Path) -> None:
        self._close()
        found = self._context.files.get(path)
        if found is None and path != MF:
            raise CodecError("no such file", where=self._where, expected="a path created before", found=path_text(path))
        if found is None or found.is_directory:
            self._context.directory = path
            return
        self._context.directory = path[:-1]
        where = f"{self._where}, {path_text(path)}"
        self._path, self._content = path, _Content.of(found, where)
        self._specs.setdefault(path, replace(found, update=True))

    def _create(self, fcp: Mapping[str, Any]) -> None:
        self._close()
        directory = self._context.directory
        if fcp.get("fileID") == b"\x3f\x00" and MF not in self._context.files:
            directory = ()
        fid = fcp.get("fileID", b"")
        where = f"{self._where}, {path_text(directory)}/{fid.hex().upper()}"
        spec, content = _described(fcp, None, directory, where)
        spec = self._context.add(spec, where)
        self._specs[spec.path] = spec
        if spec.is_directory:
            # As after CREATE FILE, the new directory is the current one (TS 102 222 6.3.1).
            self._context.directory = spec.path
        if spec.kind == "adf":
            self._context.adfs["adf"] = spec.path
            application = _APPLICATIONS.get((spec.df_name or b"")[:7])
            if application is not None:
                self._context.adfs[application] = spec.path
        self._path, self._content = spec.path, content

    def _write(self, command: str, value: Any) -> None:
        if self._content is None:
            raise CodecError("content without a file", where=self._where, expected="createFCP or filePath before it")
        self._content.apply(command, value)

    def _close(self) -> None:
        # What was written becomes part of the file when the commands turn to another one.
        if self._path is not None and self._content is not None and self._content.changed:
            data = self._content.bytes()
            self._specs[self._path] = replace(self._specs[self._path], content=data)
            self._context.files[self._path] = replace(self._context.files[self._path], content=data)
        self._path = self._content = None
