"""Jobs of the APDU console: commands as hex or by name, answers with their meaning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from esim_bench.codec import es10, es10_iot
from esim_bench.codec.aids import ECASD_AID, ISD_R_AID
from esim_bench.codec.apdu import Command, sw_text
from esim_bench.codec.identifiers import iccid_to_bytes
from esim_bench.desk import ef
from esim_bench.desk.api import ApduView
from esim_bench.desk.jobs_files import file_ids
from esim_bench.desk.nodes import FCP_TAGS, tlv_nodes
from esim_bench.desk.recorder import Heard, Recorder
from esim_bench.errors import CardStatusError, CodecError, ConfigError
from esim_bench.events import ApduEvent
from esim_bench.rack.slot import Slot
from esim_bench.trace import names as known
from esim_bench.trace.dissect import named
from esim_bench.trace.tree import Node

FETCH: Final = 0x12


@dataclass(frozen=True, slots=True)
class _Named:
    """A command by name. ``make``: of its arguments, an APDU or (``es10``) a request to the ISD-R."""

    pattern: str
    make: Callable[[Sequence[str]], bytes]
    es10: bool = False


def names() -> list[str]:
    """Return the patterns of all commands that have a name."""
    return [one.pattern for one in _COMMANDS.values()]


async def send(slot: Slot, text: str, recorder: Recorder) -> ApduView:
    """Send one command. A status word is an answer. Raises ConfigError, CodecError, ProtectedError, DeviceError."""
    text = text.strip()
    raw, es10_request = await _parsed(slot, text)
    with recorder.tapped() as heard:
        if es10_request:
            try:
                data, sw = await slot.card.es10(raw), 0x9000
            except CardStatusError as exc:
                data, sw = b"", exc.sw
        else:
            response = await slot.card.transmit(raw)
            data, sw = response.data, response.sw
    apdus = [one for one in heard if isinstance(one.event, ApduEvent)]
    took = sum(one.event.duration_ns for one in apdus if isinstance(one.event, ApduEvent))
    return ApduView(
        command=raw.hex().upper(),
        response=data.hex().upper(),
        sw=f"{sw:04X}",
        meaning=_meaning(apdus) or sw_text(sw),
        milliseconds=round(took / 1e6, 1),
        decoded=_decoded(raw, data, es10_request=es10_request),
    )


def _meaning(heard: Sequence[Heard]) -> str:
    """Return what the last of the exchanges means that the caller asked for; proactive commands are the terminal's."""
    own = []
    for one in heard:
        if isinstance(one.event, ApduEvent) and one.event.command[1:2] == bytes((FETCH,)):
            break
        own.append(one)
    return own[-1].meaning.removeprefix("GET RESPONSE of ") if own else ""


def _decoded(command: bytes, data: bytes, *, es10_request: bool) -> list[Node]:
    if not data:
        return []
    if es10_request:
        return named(data, request=False)
    if command[1] == 0xA4:
        return tlv_nodes(data, FCP_TAGS)
    if command[1] == 0xB0 and command[2:4] == b"\x00\x00" and len(data) == 10 and data[:1] in (b"\x89", b"\x98"):
        return ef.decode("EF.ICCID", data)
    return tlv_nodes(data) if data[0] & 0x20 else []


async def _parsed(slot: Slot, text: str) -> tuple[bytes, bool]:
    """Return the bytes of a command, and whether they are a request to the ISD-R. Raises ConfigError, CodecError."""
    packed = "".join(text.split())
    try:
        raw = bytes.fromhex(packed)
    except ValueError:
        pass
    else:
        Command.parse(raw)
        return raw, False
    for name in sorted(_COMMANDS, key=len, reverse=True):
        if text.upper() == name.upper() or text.upper().startswith(name.upper() + " "):
            arguments = text[len(name) :].split()
            named = _COMMANDS[name]
            if name == "SELECT" and arguments and arguments[0].upper().startswith("ADF."):
                return await _select_application(slot, arguments[0]), False
            try:
                return named.make(arguments), named.es10
            except (ValueError, IndexError, CodecError) as exc:
                raise ConfigError("not this command's arguments", expected=named.pattern, found=text) from exc
    raise ConfigError(
        "not a command", expected="hexadecimal digits, or a command by its name (SELECT ADF.USIM)", found=repr(text)
    )


async def _select_application(slot: Slot, name: str) -> bytes:
    """Select an application by the AID that the card's EF.DIR has. Raises ConfigError."""
    if name.upper() in ("ADF.ISD-R", "ADF.ECASD"):
        return _select([name[4:]])
    for aid in await slot.card.files.applications():
        if (known.application(aid) or "").upper() == name.upper():
            return bytes(Command(0x00, 0xA4, 0x04, 0x04, aid, le=256))
    raise ConfigError("EF.DIR of the card lists no such application", where=slot.name, found=name)


# ------------------------------------------------------------------------------------------------------------- by name


def _select(arguments: Sequence[str]) -> bytes:
    (what,) = arguments
    aids = {"ISD-R": ISD_R_AID, "ECASD": ECASD_AID}
    if what.upper() in aids:
        return bytes(Command(0x00, 0xA4, 0x04, 0x00, aids[what.upper()], le=256))
    by_name = {name.upper(): fid for name, fid in file_ids().items()}
    target = by_name.get(what.upper()) or bytes.fromhex(what)
    if len(target) > 2:
        return bytes(Command(0x00, 0xA4, 0x04, 0x04, target, le=256))
    if len(target) != 2:
        raise ValueError("neither a file identifier nor an AID")
    return bytes(Command(0x00, 0xA4, 0x00, 0x04, target, le=256))


def _read_binary(arguments: Sequence[str]) -> bytes:
    offset, length = (*map(int, arguments), *(0, 256)[len(arguments) :])
    return bytes(Command(0x00, 0xB0, offset >> 8, offset & 0xFF, le=length))


def _read_record(arguments: Sequence[str]) -> bytes:
    number, length = (*map(int, arguments), *(1, 256)[len(arguments) :])
    return bytes(Command(0x00, 0xB2, number, 0x04, le=length))


def _manage_channel(arguments: Sequence[str]) -> bytes:
    if [one.lower() for one in arguments] == ["open"]:
        return bytes(Command(0x00, 0x70, 0x00, 0x00, le=1))
    what, number = arguments
    if what.lower() != "close":
        raise ValueError("open or close")
    return bytes(Command(0x00, 0x70, 0x80, int(number)))


def _plain(command: Command) -> Callable[[Sequence[str]], bytes]:
    return lambda arguments: bytes(command) if not arguments else _too_many()


def _too_many() -> bytes:
    raise ValueError("no arguments")


def _request(make: Callable[[], bytes]) -> Callable[[Sequence[str]], bytes]:
    return lambda arguments: make() if not arguments else _too_many()


def _profile(make: Callable[[bytes], bytes]) -> Callable[[Sequence[str]], bytes]:
    def of(arguments: Sequence[str]) -> bytes:
        (iccid,) = arguments
        return make(iccid_to_bytes(iccid))

    return of


def _one(make: Callable[[str], bytes]) -> Callable[[Sequence[str]], bytes]:
    def of(arguments: Sequence[str]) -> bytes:
        (argument,) = arguments
        return make(argument)

    return of


_COMMANDS: Final[dict[str, _Named]] = {
    "SELECT": _Named("SELECT <file, ADF.USIM, ADF.ISIM, ISD-R, file identifier or AID>", _select),
    "STATUS": _Named("STATUS", _plain(Command(0x80, 0xF2, 0x00, 0x00, le=256))),
    "READ BINARY": _Named("READ BINARY [offset] [length]", _read_binary),
    "READ RECORD": _Named("READ RECORD [number] [length]", _read_record),
    "MANAGE CHANNEL": _Named("MANAGE CHANNEL open | close <number>", _manage_channel),
    "GET CHALLENGE": _Named("GET CHALLENGE [length]", lambda a: bytes(Command(0x00, 0x84, 0, 0, le=int(*a or "8")))),
    "GetEID": _Named("GetEID", _request(es10.get_eid), es10=True),
    "GetEuiccInfo1": _Named("GetEuiccInfo1", _request(es10.get_euicc_info1), es10=True),
    "GetEuiccInfo2": _Named("GetEuiccInfo2", _request(es10.get_euicc_info2), es10=True),
    "GetEuiccChallenge": _Named("GetEuiccChallenge", _request(es10.get_euicc_challenge), es10=True),
    "GetEuiccConfiguredAddresses": _Named(
        "GetEuiccConfiguredAddresses", _request(es10.get_euicc_configured_addresses), es10=True
    ),
    "SetDefaultDpAddress": _Named("SetDefaultDpAddress <host>", _one(es10.set_default_dp_address), es10=True),
    "GetProfilesInfo": _Named("GetProfilesInfo", _request(es10.get_profiles_info), es10=True),
    "EnableProfile": _Named("EnableProfile <ICCID>", _profile(lambda one: es10.enable_profile(one, True)), es10=True),
    "DisableProfile": _Named(
        "DisableProfile <ICCID>", _profile(lambda one: es10.disable_profile(one, True)), es10=True
    ),
    "DeleteProfile": _Named("DeleteProfile <ICCID>", _profile(es10.delete_profile), es10=True),
    "SetNickname": _Named(
        "SetNickname <ICCID> [nickname]",
        lambda a: es10.set_nickname(iccid_to_bytes(a[0]), " ".join(a[1:])),
        es10=True,
    ),
    "GetRAT": _Named("GetRAT", _request(es10.get_rat), es10=True),
    "ListNotification": _Named("ListNotification", _request(es10.list_notifications), es10=True),
    "RetrieveNotificationsList": _Named(
        "RetrieveNotificationsList [number]",
        lambda a: es10.retrieve_notifications(int(*a) if a else None),
        es10=True,
    ),
    "RemoveNotificationFromList": _Named(
        "RemoveNotificationFromList <number>", _one(lambda one: es10.remove_notification(int(one))), es10=True
    ),
    "GetEimConfigurationData": _Named(
        "GetEimConfigurationData", _request(es10_iot.get_eim_configuration_data), es10=True
    ),
    "GetCerts": _Named("GetCerts", _request(es10_iot.get_certs), es10=True),
}
