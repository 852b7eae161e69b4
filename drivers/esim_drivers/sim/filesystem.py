"""The files of the mounted profile: a tree over the NVM keys ``isdp/<AID>/f/<path>``, one key per file.

Without a mounted profile only an empty MF is there: every other file answers 6A82, as on eUICCs that were looked at.
The tree (headers, links) is read once at the mount; contents are read from and written to NVM at each access.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from esim_drivers.sim.fcp import CURRENT_ADF, MF, FileHeader
from esim_drivers.sim.nvm import Nvm

Path = tuple[int, ...]
"""File identifiers from the MF on; an ADF stands in it by its temporary identifier."""

_MAX_LINKS = 4
_ACTIVATED, _DEACTIVATED = 0x05, 0x04


def isdp_prefix(isdp_aid: bytes) -> str:
    """Return what the NVM keys of one profile start with."""
    return f"isdp/{isdp_aid.hex().upper()}/"


def path_text(path: Path) -> str:
    """Return a path as it stands in a key: ``3F00/7FD0/6F07``."""
    return "/".join(["%04X" % fid for fid in path])  # noqa: UP031 - twice as fast as a format, on a hot path


def file_key(isdp_aid: bytes, path: Path) -> str:
    """Return the NVM key of a file."""
    return f"{isdp_prefix(isdp_aid)}f/{path_text(path)}"


@dataclass(eq=False, slots=True)
class Node:
    """One file of the tree."""

    path: Path
    header: FileHeader
    key: str | None
    """Where it is kept; None: nowhere (the MF of a card without profile)."""
    parent: Node | None = None
    children: list[Node] = field(default_factory=list)
    target: Node | None = None
    """The file whose content a link shows. Below a linked directory stand links to all files of the other one."""

    @property
    def content_node(self) -> Node:
        """Return the file at the end of its links."""
        return self.target or self

    def child(self, fid: int) -> Node | None:
        """Return a file directly below; ADFs are not found by identifier (TS 102 221 8.2: selected by AID)."""
        return next((c for c in self.children if c.header.fid == fid and c.header.kind != "adf"), None)

    def by_sfi(self, sfi: int) -> Node | None:
        """Return the EF directly below that has a short file identifier."""
        return next((c for c in self.children if not c.header.is_df and c.header.sfi == sfi), None)

    def up(self) -> Iterator[Node]:
        """Yield the file itself and all directories above it."""
        node: Node | None = self
        while node is not None:
            yield node
            node = node.parent


class FileSystem:
    """The tree of one profile, or of none."""

    def __init__(self, nvm: Nvm) -> None:
        self._nvm = nvm
        self.isdp_aid: bytes | None = None
        self.mf = _empty_mf()
        self.adfs: list[Node] = []

    # ------------------------------------------------------------------------------------------------- mounting

    def mount(self, isdp_aid: bytes | None) -> None:
        """Show the files of a profile, or of none."""
        self.isdp_aid = isdp_aid
        self.mf = _empty_mf()
        self.adfs = []
        if isdp_aid is None:
            return
        prefix = f"{isdp_prefix(isdp_aid)}f/"
        nodes: dict[Path, Node] = {self.mf.path: self.mf}
        # Sorted keys: a directory comes before what is in it.
        for key in self._nvm.keys(prefix):
            path = tuple(int(part, 16) for part in key[len(prefix) :].split("/"))
            header, _ = FileHeader.parse(self._nvm.get(key) or b"")
            if path == self.mf.path:
                self.mf.header, self.mf.key = header, key
                continue
            parent = nodes.get(path[:-1])
            node = Node(path, header, key, parent)
            nodes[path] = node
            if parent is not None:
                parent.children.append(node)
            if header.kind == "adf":
                self.adfs.append(node)
        for node in list(nodes.values()):
            node.target = _follow(node, nodes)
            if node.target is not None and node.header.is_df:
                _mirror(node.target, node, 0)

    # ------------------------------------------------------------------------------------------------- finding

    def by_fid(self, fid: int, directory: Node, adf: Node | None) -> Node | None:
        """Find a file by identifier in the order of TS 102 221 8.4.1, seen from a current directory and ADF."""
        if fid == MF:
            return self.mf
        if fid == CURRENT_ADF:
            return adf
        found = directory.child(fid)
        if found is None and directory.header.kind != "adf" and directory.header.fid == fid:
            found = directory
        parent = directory.parent
        if found is None and parent is not None:
            if parent.header.kind != "adf" and parent.header.fid == fid:
                found = parent
            else:
                sibling = parent.child(fid)
                found = sibling if sibling is not None and sibling.header.is_df else None
        return found

    def by_path(self, path: Path, start: Node, adf: Node | None) -> Node | None:
        """Walk down identifiers from a directory; 7FFF at the start is the current ADF."""
        node: Node | None = start
        for index, fid in enumerate(path):
            if node is None or not node.header.is_df:
                return None
            node = adf if index == 0 and fid == CURRENT_ADF else node.child(fid)
        return node

    # ------------------------------------------------------------------------------------------------- contents

    def read(self, node: Node) -> bytes:
        """Return the content of an EF."""
        source = node.content_node
        stored = self._nvm.get(source.key) if source.key is not None else None
        return FileHeader.parse(stored)[1] if stored is not None else b""

    def write(self, node: Node, offset: int, data: bytes) -> None:
        """Replace bytes of an EF's content: one write. Raises PowerLost."""
        source = node.content_node
        if source.key is None:
            return
        header, content = FileHeader.parse(self._nvm.get(source.key) or b"")
        self._nvm.put(source.key, header.encode() + content[:offset] + data + content[offset + len(data) :])

    def set_active(self, node: Node, active: bool) -> None:
        """Activate or deactivate an EF: one write, none when it is so already. Raises PowerLost."""
        source = node.content_node
        life_cycle = _ACTIVATED if active else _DEACTIVATED
        if source.key is None or source.header.life_cycle == life_cycle:
            return
        header = replace(source.header, life_cycle=life_cycle)
        self._nvm.put(source.key, header.encode() + self.read(source))
        source.header = header

    def resize(self, node: Node, content: bytes) -> None:
        """Replace all that a BER-TLV file holds: one write. Raises PowerLost."""
        source = node.content_node
        if source.key is not None:
            self._nvm.put(source.key, source.header.encode() + content)

    def record(self, node: Node, number: int) -> bytes | None:
        """Return a record (the first is 1), or None."""
        length = node.content_node.header.record_length
        content = self.read(node)
        if not length or not 1 <= number <= len(content) // length:
            return None
        return content[(number - 1) * length : number * length]


def _empty_mf() -> Node:
    return Node((MF,), FileHeader("df", MF), None)


def _follow(node: Node, nodes: dict[Path, Node]) -> Node | None:
    """Return the file at the end of a chain of links; None for a file of its own, and for a link that leads nowhere."""
    at, steps = node, 0
    while at.header.link and steps < _MAX_LINKS:
        found = nodes.get(at.header.link)
        if found is None:
            return None
        at, steps = found, steps + 1
    return at if at is not node else None


def _mirror(source: Node, into: Node, depth: int) -> None:
    """Put links to all that is below a directory into another one."""
    if depth > _MAX_LINKS:
        return
    for child in list(source.children):
        if into.child(child.header.fid) is None:
            link = Node((*into.path, child.header.fid), child.header, child.key, into, target=child.content_node)
            into.children.append(link)
            _mirror(child, link, depth + 1)
