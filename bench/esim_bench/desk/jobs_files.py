"""Jobs on the files of a UICC: the tree that the bench knows of, and one file read and decoded (TS 102 221 8, 11.1)."""

from __future__ import annotations

from typing import Final

from esim_bench.card.files import EF_DIR, MF, Fcp
from esim_bench.codec import tlv
from esim_bench.codec.apdu import Command, sw_text
from esim_bench.codec.saip.describe import rule_text
from esim_bench.desk import ef
from esim_bench.desk.api import FileEntry, FileView
from esim_bench.desk.nodes import control_nodes, structure_of
from esim_bench.errors import CardStatusError, CodecError, ConfigError, ProtocolError
from esim_bench.rack.slot import Slot
from esim_bench.trace import names
from esim_bench.trace.tree import Node

_APPLICATIONS: Final = ("ADF.USIM", "ADF.ISIM")
_GSM_ACCESS: Final = {0x4F20: "EF.Kc", 0x4F52: "EF.KcGPRS", 0x4F63: "EF.CPBCCH", 0x4F64: "EF.InvScan"}
_IN_MF: Final[dict[int, dict[int, str]]] = {0x7F10: names.FILES_TELECOM}
_IN_USIM: Final[dict[int, dict[int, str]]] = {0x5F3B: _GSM_ACCESS, 0x5FC0: names.FILES_5GS}
_FILLER: Final = "2A"


async def files(slot: Slot) -> list[FileEntry]:
    """List the tree, each folder before what is in it. Raises DeviceError."""
    entries = [FileEntry(path=f"{MF:04X}", name="MF", folder=True)]
    entries += _folder(f"{MF:04X}", names.FILES_MF, _IN_MF)
    for name in await _applications(slot):
        entries.append(FileEntry(path=name, name=name, folder=True))
        if name == "ADF.USIM":
            entries += _folder(name, names.FILES_USIM, _IN_USIM)
        elif name == "ADF.ISIM":
            entries += _folder(name, names.FILES_ISIM, {})
    return entries


def _folder(path: str, known: dict[int, str], inside: dict[int, dict[int, str]]) -> list[FileEntry]:
    entries = [FileEntry(path=f"{path}/{fid:04X}", name=name, folder=False) for fid, name in known.items()]
    for fid, found in inside.items():
        entries.append(FileEntry(path=f"{path}/{fid:04X}", name=names.DIRECTORIES[fid], folder=True))
        entries += _folder(f"{path}/{fid:04X}", found, {})
    return entries


async def _applications(slot: Slot) -> dict[str, bytes]:
    """Return the applications that EF.DIR lists, by their names; the first USIM and ISIM, others by their AIDs."""
    found: dict[str, bytes] = {}
    for aid in await slot.card.files.applications():
        name = names.application(aid)
        if name not in _APPLICATIONS or name in found:
            name = f"ADF.{aid.hex().upper()}"
        found[name] = aid
    return found


# -------------------------------------------------------------------------------------------------------------- a file


async def file(slot: Slot, path: str) -> FileView:
    """Read a file; what the card refuses stands in the view. Raises ConfigError for what is no path, DeviceError."""
    steps = path.strip("/").split("/")
    aid: bytes | None = None
    if steps[0].upper().startswith("ADF."):
        aid = await _aid(slot, steps[0])
        steps[0] = steps[0][:4].upper() + steps[0][4:]
    try:
        fids = [int(step, 16) for step in (steps[1:] if aid is not None else steps)]
    except ValueError as exc:
        raise _no_path(path) from exc
    if any(not 0 <= fid <= 0xFFFF for fid in fids) or (aid is None and (not fids or fids[0] != MF)):
        raise _no_path(path)
    name = _name(steps[0], fids)
    try:
        raw = await _select(slot, aid, fids)
    except CardStatusError as exc:
        return FileView(path=path, name=name, structure="", refused=_said(exc))
    try:
        fcp = Fcp.parse(raw)
    except CodecError as exc:
        raise ProtocolError(f"SELECT {path}: {exc.what}", expected=exc.expected, found=exc.found) from exc
    structure = structure_of(fcp.descriptor)
    if structure == "DF" and aid is not None and not fids:
        structure = "ADF"
    view = FileView(
        path=path,
        name=name,
        structure=structure,
        size=fcp.size or 0,
        record_length=fcp.record_length or 0,
        control=[*control_nodes(raw)],
    )
    view = await _with_contents(slot, view, fcp)
    rules = await _access(slot, raw, directory=structure in ("DF", "ADF"))
    return view.model_copy(update={"control": [*view.control, *rules]})


def _no_path(path: str) -> ConfigError:
    return ConfigError("not the path of a file", expected="3F00/2FE2 or ADF.USIM/6F07", found=path)


async def _aid(slot: Slot, name: str) -> bytes:
    known = {one.upper(): aid for one, aid in (await _applications(slot)).items()}
    if name.upper() not in known:
        raise ConfigError(
            "the card has no such application", where=slot.name, expected=", ".join(known) or "none", found=name
        )
    return known[name.upper()]


def _name(top: str, fids: list[int]) -> str:
    """Return the name of a file by its path."""
    if top.upper().startswith("ADF."):
        folder, below = top, fids
    else:
        folder, below = "MF", fids[1:]
    name = folder
    for fid in below:
        name = _GSM_ACCESS[fid] if folder == "DF.GSM-ACCESS" and fid in _GSM_ACCESS else names.file_name(folder, fid)
        folder = name
    return name


async def _select(slot: Slot, aid: bytes | None, fids: list[int]) -> bytes:
    """Select step by step, and return the FCP of the last. Raises CardStatusError."""
    steps = [(0x04, aid)] if aid is not None else []
    steps += [(0x00, fid.to_bytes(2, "big")) for fid in fids]
    answer = b""
    for number, (p1, data) in enumerate(steps):
        last = number == len(steps) - 1
        command = Command(0x00, 0xA4, p1, 0x04 if last else 0x0C, data, le=256 if last else None)
        answer = await slot.card.expect(command, f"SELECT {data.hex().upper()}")
    return answer


async def _with_contents(slot: Slot, view: FileView, fcp: Fcp) -> FileView:
    """Read what a file holds, unless it is keys."""
    if view.name in ef.SECRET:
        size, records = (view.record_length, fcp.record_count or 0) if view.record_length else (view.size, 1)
        note = "it holds keys: not read, so that they come into no trace"
        nodes = [Node(name=view.name, value="*" * 8, note=note)]
        return view.model_copy(update={"contents": [_FILLER * size] * records, "decoded": nodes})
    try:
        if view.structure == "transparent":
            return _transparent(view, await _binary(slot, view.size))
        if view.structure in ("linear fixed", "cyclic"):
            return _records(view, [await _record(slot, number + 1, view) for number in range(fcp.record_count or 0)])
    except CardStatusError as exc:
        return view.model_copy(update={"refused": _said(exc)})
    return view


async def _binary(slot: Slot, size: int) -> bytes:
    chunk, data = min(255, slot.link.capabilities.max_data), b""
    while len(data) < min(size, 0x7FFF):
        at = len(data)
        part = await slot.card.expect(Command(0x00, 0xB0, at >> 8, at & 0xFF, le=min(chunk, size - at)), "READ BINARY")
        if not part:
            break
        data += part
    return data


async def _record(slot: Slot, number: int, view: FileView) -> bytes:
    return await slot.card.expect(
        Command(0x00, 0xB2, number, 0x04, le=max(1, min(view.record_length, 256))), f"READ RECORD {number}"
    )


def _transparent(view: FileView, data: bytes) -> FileView:
    return view.model_copy(update={"contents": [data.hex().upper()], "decoded": ef.decode(view.name, data)})


def _records(view: FileView, records: list[bytes]) -> FileView:
    nodes = []
    for number, record in enumerate(records, 1):
        inner = ef.decode_record(view.name, record)
        if inner or record.strip(b"\xff"):
            value = "" if inner else record.rstrip(b"\xff").hex().upper()
            nodes.append(Node(name=f"record {number}", value=value, start=0, end=len(record), children=inner))
    return view.model_copy(update={"contents": [record.hex().upper() for record in records], "decoded": nodes})


async def _access(slot: Slot, fcp: bytes, *, directory: bool) -> list[Node]:
    """Read the access rule that an FCP refers to, beside the file or above it; [] where that does not come about."""
    try:
        found = tlv.parse(fcp).find(0x8B)
        if found is None or len(found.value) < 3:
            return []
        for parent in (None, 0x7FFF, MF):
            if parent is not None:
                up = Command(0x00, 0xA4, 0x00, 0x0C, parent.to_bytes(2, "big"))
                if (await slot.card.command(up)).sw != 0x9000:
                    continue
            select = Command(0x00, 0xA4, 0x00, 0x04, found.value[:2], le=256)
            response = await slot.card.command(select)
            if response.sw != 0x9000:
                continue
            length = Fcp.parse(response.data).record_length or 0
            number = found.value[-1]
            record = await slot.card.expect(Command(0x00, 0xB2, number, 0x04, le=length or 256), "READ RECORD")
            return [Node(name="access rule", value=rule_text(record, directory), note=f"EF.ARR, record {number}")]
    except (CardStatusError, CodecError, ValueError):
        return []
    return []


def _said(exc: CardStatusError) -> str:
    return f"{exc.sw:04X} {sw_text(exc.sw)}"


def file_ids() -> dict[str, bytes]:
    """Return the files and folders that have a name, and their identifiers; EFs of several folders count once."""
    known: dict[str, bytes] = {name: fid.to_bytes(2, "big") for fid, name in names.DIRECTORIES.items()}
    for folder in (names.FILES_MF, names.FILES_TELECOM, names.FILES_USIM, names.FILES_ISIM, names.FILES_5GS):
        for fid, name in folder.items():
            known.setdefault(name, fid.to_bytes(2, "big"))
    known["EF.DIR"] = EF_DIR.to_bytes(2, "big")
    return known
