"""The file templates of the TCA interoperable format, annex A: what a profile need not spell out about its files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

ROOT = "2.23.143.1.2"
"""The arc of the templates' object identifiers."""

_KINDS = {"M": "df", "A": "adf", "D": "df", "T": "transparent", "L": "linear", "C": "cyclic", "B": "ber-tlv"}


@dataclass(frozen=True, slots=True)
class Fill:
    """What a file, or each record of it, holds where the profile writes nothing (TS 102 222 6.3.2.2.2)."""

    pattern: bytes = b"\xff"
    """Written once; its last byte goes on to the end. With ``repeat`` the whole pattern does."""
    repeat: bool = False
    tail: bytes = b""
    """Written at the end, over the pattern."""

    def expand(self, length: int) -> bytes:
        """Return the content of a file or record of so many bytes."""
        if length <= 0:
            return b""
        if self.repeat:
            body = self.pattern * (length // len(self.pattern) + 1)
        else:
            body = self.pattern + self.pattern[-1:] * (length - len(self.pattern))
        return (body[: max(length - len(self.tail), 0)] + self.tail)[:length]


@dataclass(frozen=True, slots=True)
class FileTemplate:
    """One file of a template."""

    name: str
    """The name of the element's member, such as ef-imsi."""
    kind: str
    """transparent, linear, cyclic, ber-tlv, df or adf."""
    fid: int | None
    """None for an ADF, whose temporary file identifier the profile chooses."""
    size: int | None
    """Bytes of the whole file; None where the profile has to tell."""
    record_count: int | None
    record_length: int | None
    arr: int
    """The access rule: its record in the EF.ARR of the annex."""
    sfi: int | None
    fill: Fill
    parent: str | None
    """The name of the directory in the same template; None: what the template's ``base`` names."""
    created_by_default: bool
    """The file comes into being even when the profile does not mention it."""

    @property
    def is_directory(self) -> bool:
        """Tell whether this is the MF, a DF or an ADF."""
        return self.kind in ("df", "adf")


@dataclass(frozen=True, slots=True)
class Template:
    """One template, in the order of the element's members."""

    oid: str
    kind: str
    """The kind of element that uses it."""
    base: str
    """Where its first directory, or its files, lie: ``-`` (it is the MF), ``mf``, or the last ADF of a kind: ``usim``,
    ``isim``, ``csim``, ``adf`` (any)."""
    created_by_default: bool
    files: Mapping[str, FileTemplate]


class _Templates(Mapping[str, Template]):
    # The table is read at first use: most commands never ask for it.
    def __getitem__(self, oid: str) -> Template:
        return _load()[oid]

    def __iter__(self) -> Iterator[str]:
        return iter(_load())

    def __len__(self) -> int:
        return len(_load())


TEMPLATES: Mapping[str, Template] = _Templates()
"""The templates by object identifier, dotted."""


def template_oid(number: str) -> str:
    """Return the object identifier of a template by its number in the annex, such as "4.2"."""
    return f"{ROOT}.{number}"


@cache
def _load() -> dict[str, Template]:
    text = (resources.files("esim_bench.codec.saip") / "templates.txt").read_text()
    groups: dict[str, list[str]] = {}
    heads: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("["):
            head = line.strip("[]").split()
            name = head[0]
            heads[name], groups[name] = head, []
        elif line.startswith("+"):
            groups[name].extend(groups["=" + line[1:]])
        elif line and not line.startswith("#"):
            groups[name].append(line)
    templates: dict[str, Template] = {}
    for name, head in heads.items():
        if not name.startswith("="):
            templates[template_oid(name)] = _template(head, groups[name], templates)
    return templates


def _template(head: list[str], lines: list[str], known: Mapping[str, Template]) -> Template:
    number, kind, base = head[:3]
    default = "default" in head
    files: dict[str, FileTemplate] = {}
    if "<" in head:
        files.update(known[template_oid(head[-1])].files)
    own = [_file(line.split(), default) for line in lines]
    # A template that starts with a directory has all its directories in that one; others extend an application.
    start = next(iter((*files.values(), *own)), None)
    first = start.name if start is not None and start.is_directory else None
    directory = first
    for file in own:
        if file.is_directory:
            files[file.name] = replace(file, parent=first if file.name != first else None)
            directory = file.name
        else:
            former = files.get(file.name)
            files[file.name] = replace(file, parent=former.parent if former is not None else directory)
    return Template(template_oid(number), kind, base, default, files)


def _file(words: list[str], default: bool) -> FileTemplate:
    name, fid, letter, size, arr, sfi, *content = words
    count = length = whole = None
    if letter in "LC":
        first, _, second = size.partition("x")
        count = int(first) if first.isdigit() else None
        length = int(second) if second.isdigit() else None
        whole = count * length if count and length else None
    elif size.isdigit():
        whole = int(size)
    return FileTemplate(
        name=name,
        kind=_KINDS[letter],
        fid=None if fid == "----" else int(fid, 16),
        size=whole,
        record_count=count,
        record_length=length,
        arr=int(arr),
        sfi=None if sfi == "-" else int(sfi, 16),
        fill=_fill(content[0]) if content else Fill(),
        parent=None,
        created_by_default=default and whole is not None,
    )


def _fill(text: str) -> Fill:
    if text.startswith("*"):
        return Fill(bytes.fromhex(text[1:]), repeat=True)
    if text.startswith(">"):
        return Fill(tail=bytes.fromhex(text[1:]))
    return Fill(bytes.fromhex(text))
