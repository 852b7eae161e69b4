"""Who else uses the PC/SC service. It does not say itself; the kernel knows which processes are at its socket."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SOCKET: Final = "/run/pcscd/pcscd.comm"
"""Of the system's service; PCSCLITE_CSOCK_NAME names another one."""
_SOCK_DIAG_BY_FAMILY: Final = 20
_NETLINK_SOCK_DIAG: Final = 4
_REQUEST_AND_DUMP: Final = 0x301
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_SHOW_NAME_AND_PEER: Final = 0x1 | 0x4
_ATTRIBUTE_NAME, _ATTRIBUTE_PEER = 0, 2
_ALL_STATES: Final = 0xFFFFFFFF


def clients() -> list[tuple[int, str]]:
    """Return the other processes at the service: number and name, sorted. Empty where the kernel does not tell.

    Without the right to look at a process of somebody else it is not found.
    """
    path = os.environ.get("PCSCLITE_CSOCK_NAME") or SOCKET
    try:
        peers = set(_peers(path))
    except (OSError, struct.error):
        return []
    return sorted((pid, _name(pid)) for pid in _owners(peers) if pid != os.getpid()) if peers else []


def holders() -> str:
    """Say who may hold a reader, for messages; "" where nobody knows."""
    return " or ".join(f"{name} (process {pid})" for pid, name in clients())


def _peers(path: str) -> Iterator[int]:
    """Yield the inodes of the sockets that are connected to a listening socket's path."""
    # The service may know the same place by its other name.
    names = {path, path.replace("/run/", "/var/run/", 1), path.replace("/var/run/", "/run/", 1)}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(1.0)
        query = struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, _ALL_STATES, 0, _SHOW_NAME_AND_PEER, 0, 0)
        header = struct.pack("=IHHII", 16 + len(query), _SOCK_DIAG_BY_FAMILY, _REQUEST_AND_DUMP, 1, 0)
        netlink.sendto(header + query, (0, 0))
        while True:
            data = netlink.recv(1 << 16)
            while len(data) >= 16:
                length, kind = struct.unpack_from("=IH", data)
                if kind in (_NLMSG_DONE, _NLMSG_ERROR) or length < 16:
                    return
                attributes = _attributes(data[32:length])
                name = attributes.get(_ATTRIBUTE_NAME, b"").rstrip(b"\0")
                peer = attributes.get(_ATTRIBUTE_PEER)
                if peer is not None and os.fsdecode(name) in names:
                    yield struct.unpack("=I", peer)[0]
                data = data[(length + 3) & ~3 :]


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            break
        found[kind] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found


def _owners(inodes: set[int]) -> Iterator[int]:
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            with contextlib.suppress(OSError), os.scandir(process / "fd") as links:
                if any(_target(link) in wanted for link in links):
                    yield int(process.name)


def _target(link: os.DirEntry[str]) -> str:
    try:
        return os.readlink(link.path)
    except OSError:
        return ""


def _name(pid: int) -> str:
    name = ""
    with contextlib.suppress(OSError):
        name = Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        # An interpreter is no answer; of what it runs no more than the name, the rest may be secret.
        if name.startswith("python") and len(words) > 1 and words[1] and not words[1].startswith(b"-"):
            name = Path(os.fsdecode(words[1])).name
    return name or "a program"
