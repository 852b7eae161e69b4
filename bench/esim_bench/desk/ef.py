"""What stands in the files of a UICC, in words (TS 102 221 13, TS 31.102 4.2 to 4.4, TS 31.103 4.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from esim_bench.codec import tlv
from esim_bench.codec.identifiers import iccid_to_text, imsi_to_text
from esim_bench.codec.saip.describe import rule_text
from esim_bench.desk.nodes import tlv_nodes
from esim_bench.desk.usim_services import service_name
from esim_bench.errors import CodecError
from esim_bench.trace import names
from esim_bench.trace.tree import Node

SECRET: Final = frozenset(
    ("EF.Keys", "EF.KeysPS", "EF.Kc", "EF.KcGPRS", "EF.EPSNSC", "EF.5GS3GPPNSC", "EF.5GSN3GPPNSC", "EF.5GAUTHKEYS")
)
"""Files that hold keys: nobody reads them here, so that they come into no trace."""

_GSM: Final = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
"""The GSM default alphabet (TS 23.038 6.2.1)."""
_DIGITS: Final = "0123456789*#pwe"
_UPDATE: Final = {0: "updated", 1: "not updated", 2: "PLMN not allowed", 3: "location area not allowed"}
_EPS_UPDATE: Final = {0: "updated", 1: "not updated", 2: "roaming not allowed"}
_ACCESS: Final = (
    (0x8000, "UTRAN"),
    (0x4000, "E-UTRAN"),
    (0x0800, "NG-RAN"),
    (0x0080, "GSM"),
    (0x0040, "GSM COMPACT"),
    (0x0020, "cdma2000 HRPD"),
    (0x0010, "cdma2000 1xRTT"),
)
"""Access technology identifiers (TS 31.102 4.2.5)."""
_MODES: Final = {
    0x00: "normal operation",
    0x80: "type approval",
    0x01: "normal operation, specific facilities",
    0x81: "type approval, specific facilities",
    0x02: "maintenance (off line)",
    0x04: "cell test",
}


def decode(name: str, content: bytes) -> list[Node]:
    """Return what a transparent file holds; [] where it is empty, or not known, or not as it should be."""
    return _read(_TRANSPARENT.get(name), content)


def decode_record(name: str, record: bytes) -> list[Node]:
    """Return what a record holds; [] as above."""
    return _read(_RECORDS.get(name), record)


def _read(reader: Callable[[bytes], list[Node]] | None, content: bytes) -> list[Node]:
    if not content.strip(b"\xff"):
        return []
    if reader is None:
        return tlv_nodes(content.rstrip(b"\xff")) if content[0] in (0x61, 0x62, 0x80, 0xA0) else []
    try:
        nodes = reader(content)
    except (CodecError, ValueError, IndexError):
        return []
    # Too short for what it should be: then nothing of it is what it looks like.
    return nodes if all(0 <= (one.start or 0) <= (one.end or 0) <= len(content) for one in nodes) else []


# --------------------------------------------------------------------------------------------------------------- values


def text_of(data: bytes) -> str:
    """Return an alpha identifier (TS 102 221 annex A): the GSM alphabet, or UCS2 in one of its three codings."""
    if data[:1] == b"\x80":
        even = data[1 : 1 + (len(data) - 1) // 2 * 2]
        return even.decode("utf-16-be", "replace").rstrip("\uffff")
    if data[:1] in (b"\x81", b"\x82") and len(data) > 3:
        base, body = (data[2] << 7, data[3:]) if data[0] == 0x81 else (data[2] << 8 | data[3], data[4:])
        return "".join(chr(base + (one & 0x7F)) if one & 0x80 else _GSM[one] for one in body[: data[1]])
    return "".join(_GSM[one] for one in data.rstrip(b"\xff") if one < 0x80)


def digits_of(data: bytes) -> str:
    """Return swapped BCD digits up to the filler."""
    found = ""
    for byte in data:
        for nibble in (byte & 0x0F, byte >> 4):
            if nibble == 0x0F:
                return found
            found += _DIGITS[nibble]
    return found


def network_of(data: bytes) -> str:
    """Return MCC-MNC of 3 bytes; "" for none."""
    if len(data) < 3 or data[:3] == b"\xff\xff\xff":
        return ""
    digits = data[:3].hex()
    return f"{digits[1]}{digits[0]}{digits[3]}-{digits[5]}{digits[4]}{digits[2].replace('f', '')}"


def _number(data: bytes) -> str:
    """Return a dialling number: length, type of number, digits."""
    length = data[0]
    if not 1 < length <= 11:
        return ""
    return ("+" if data[1] & 0x70 == 0x10 else "") + digits_of(data[2 : 1 + length])


def _node(name: str, value: object, start: int, end: int, note: str = "") -> Node:
    return Node(name=name, value=str(value), start=start, end=end, note=note)


# ------------------------------------------------------------------------------------------------------- transparent


def _whole(name: str, read: Callable[[bytes], str]) -> Callable[[bytes], list[Node]]:
    return lambda content: [_node(name, read(content), 0, len(content))]


def _languages(content: bytes) -> list[Node]:
    pairs = [(at, content[at : at + 2]) for at in range(0, len(content) - 1, 2)]
    return [_node("language", pair.decode("ascii"), at, at + 2) for at, pair in pairs if pair != b"\xff\xff"]


def _networks(content: bytes) -> list[Node]:
    places = range(0, len(content) - 2, 3)
    return [_node("PLMN", text, at, at + 3) for at in places if (text := network_of(content[at : at + 3]))]


def _networks_act(content: bytes) -> list[Node]:
    found = []
    for at in range(0, len(content) - 4, 5):
        text = network_of(content[at : at + 3])
        if text:
            bits = int.from_bytes(content[at + 3 : at + 5], "big")
            access = ", ".join(name for bit, name in _ACCESS if bits & bit)
            found.append(_node("PLMN", text, at, at + 5, access or f"{bits:04X}"))
    return found


def _services(table: str) -> Callable[[bytes], list[Node]]:
    def read(content: bytes) -> list[Node]:
        return [
            _node(f"service {at * 8 + bit + 1}", service_name(table, at * 8 + bit + 1) or "available", at, at + 1)
            for at, byte in enumerate(content)
            for bit in range(8)
            if byte >> bit & 1
        ]

    return read


def _spn(content: bytes) -> list[Node]:
    shown = "shown beside" if content[0] & 0x01 else "not shown beside"
    return [
        _node("display condition", f"{content[0]:02X}", 0, 1, f"the registered PLMN is {shown} it"),
        _node("service provider name", text_of(content[1:]), 1, len(content)),
    ]


def _ad(content: bytes) -> list[Node]:
    nodes = [
        _node("UE operation mode", _MODES.get(content[0], f"{content[0]:02X}"), 0, 1),
        _node("additional information", content[1:3].hex().upper(), 1, 3),
    ]
    if len(content) > 3:
        nodes.append(_node("length of MNC", content[3] & 0x0F, 3, 4))
    return nodes


def _acc(content: bytes) -> list[Node]:
    bits = int.from_bytes(content[:2], "big")
    classes = ", ".join(str(bit) for bit in range(16) if bits >> bit & 1)
    return [_node("access control classes", classes or "none", 0, 2)]


def _loci(content: bytes) -> list[Node]:
    return [
        _node("TMSI", content[:4].hex().upper(), 0, 4),
        _node("LAI: PLMN", network_of(content[4:7]) or "none", 4, 7),
        _node("LAI: LAC", content[7:9].hex().upper(), 7, 9),
        _node("location update status", _UPDATE.get(content[10] & 0x07, "reserved"), 10, 11),
    ]


def _psloci(content: bytes) -> list[Node]:
    return [
        _node("P-TMSI", content[:4].hex().upper(), 0, 4),
        _node("P-TMSI signature", content[4:7].hex().upper(), 4, 7),
        _node("RAI: PLMN", network_of(content[7:10]) or "none", 7, 10),
        _node("RAI: LAC", content[10:12].hex().upper(), 10, 12),
        _node("RAI: RAC", content[12:13].hex().upper(), 12, 13),
        _node("routing area update status", _UPDATE.get(content[13] & 0x07, "reserved"), 13, 14),
    ]


def _epsloci(content: bytes) -> list[Node]:
    return [
        _node("GUTI", content[:12].hex().upper(), 0, 12),
        _node("last visited TAI: PLMN", network_of(content[12:15]) or "none", 12, 15),
        _node("last visited TAI: TAC", content[15:17].hex().upper(), 15, 17),
        _node("EPS update status", _EPS_UPDATE.get(content[17] & 0x07, "reserved"), 17, 18),
    ]


def _loci_5gs(content: bytes) -> list[Node]:
    return [
        _node("5G-GUTI", content[:13].hex().upper(), 0, 13),
        _node("last visited TAI: PLMN", network_of(content[13:16]) or "none", 13, 16),
        _node("last visited TAI: TAC", content[16:19].hex().upper(), 16, 19),
        _node("5GS update status", f"5U{(content[19] & 0x03) + 1}", 19, 20),
    ]


def _cell_broadcast(content: bytes) -> list[Node]:
    places = range(0, len(content) - 1, 2)
    return [
        _node("message identifier", int.from_bytes(content[at : at + 2], "big"), at, at + 2)
        for at in places
        if content[at : at + 2] != b"\xff\xff"
    ]


def _umpc(content: bytes) -> list[Node]:
    return [
        _node("maximum power consumption", f"{content[0]} mA", 0, 1),
        _node("operator defined timeout", f"{content[1]} s", 1, 2),
        _node("additional information", content[2:].hex().upper(), 2, len(content)),
    ]


def _routing(content: bytes) -> list[Node]:
    return [_node("routing indicator", digits_of(content[:2]), 0, 2)]


def _tlv_text(name: str) -> Callable[[bytes], list[Node]]:
    def read(content: bytes) -> list[Node]:
        item = tlv.parse_prefix(content)
        value = item.value[1:] if name == "P-CSCF" and item.value[:1] == b"\x00" else item.value
        return [_node(name, value.decode("utf-8"), 0, len(item.raw))]

    return read


def _spdi(content: bytes) -> list[Node]:
    outer = tlv.parse_prefix(content)
    item = outer.get(0x80)
    base = outer.header_length + item.offset + item.header_length
    return [
        one.model_copy(update={"start": base + (one.start or 0), "end": base + (one.end or 0)})
        for one in _networks(item.value)
    ]


def _minutes(content: bytes) -> str:
    if not content[0]:
        return "no search"
    short = content[0] * 6 if content[0] <= 80 else 480
    return f"{short} minutes"


# ------------------------------------------------------------------------------------------------------------ records


def _directory(record: bytes) -> list[Node]:
    item = tlv.parse_prefix(record)
    aid, label = item.get(0x4F).value, item.find(0x50)
    nodes = [_node("AID", aid.hex().upper(), 0, len(item.raw), names.application(aid) or "")]
    if label is not None:
        at = item.header_length + label.offset
        nodes.append(_node("label", label.value.decode("utf-8", "replace"), at, at + len(label.raw)))
    return nodes


def _rule(record: bytes) -> list[Node]:
    return [_node("access rule", rule_text(record), 0, len(record.rstrip(b"\xff")))]


def _dialling(record: bytes) -> list[Node]:
    alpha = len(record) - 14
    return [
        _node("name", text_of(record[:alpha]), 0, alpha),
        _node("number", _number(record[alpha : alpha + 12]), alpha, alpha + 12),
    ]


def _sms_parameters(record: bytes) -> list[Node]:
    at = len(record) - 28
    present = record[at]
    nodes = [
        _node("name", text_of(record[:at]), 0, at),
        _node("parameter indicators", f"{present:02X}", at, at + 1),
    ]
    if not present & 0x01:
        nodes.append(_node("TP-Destination Address", digits_of(record[at + 3 : at + 13]), at + 1, at + 13))
    if not present & 0x02:
        nodes.append(_node("TS-Service Centre Address", _number(record[at + 13 : at + 25]), at + 13, at + 25))
    for bit, offset, name in ((4, 25, "protocol identifier"), (8, 26, "data coding scheme"), (16, 27, "validity")):
        if not present & bit:
            nodes.append(_node(name, f"{record[at + offset]:02X}", at + offset, at + offset + 1))
    return nodes


def _emergency(record: bytes) -> list[Node]:
    names_of = ("police", "ambulance", "fire brigade", "marine guard", "mountain rescue")
    service = ", ".join(name for bit, name in enumerate(names_of) if record[-1] >> bit & 1)
    nodes = [_node("emergency number", digits_of(record[:3]), 0, 3, service)]
    return [*nodes, _node("name", text_of(record[3:-1]), 3, len(record) - 1)] if len(record) > 4 else nodes


def _network_name(record: bytes) -> list[Node]:
    nodes = []
    for item in tlv.iterate(record.rstrip(b"\xff"), "EF.PNN"):
        kind = {0x43: "full name", 0x45: "short name"}.get(item.tag, f"{item.tag:02X}")
        coding = item.value[0] >> 4 & 0x07
        body = item.value[1:]
        text = body.decode("utf-16-be", "replace") if coding == 1 else _unpacked(body, item.value[0] & 0x07)
        nodes.append(_node(kind, text, item.offset, item.offset + len(item.raw)))
    return nodes


def _unpacked(data: bytes, spare: int) -> str:
    """Return packed characters of 7 bits (TS 23.038 6.1.2)."""
    bits = int.from_bytes(data, "little")
    count = (len(data) * 8 - spare) // 7
    return "".join(_GSM[bits >> 7 * place & 0x7F] for place in range(count))


def _operator_list(record: bytes) -> list[Node]:
    return [
        _node("PLMN", network_of(record[:3]), 0, 3),
        _node("area codes", f"{record[3:5].hex().upper()} to {record[5:7].hex().upper()}", 3, 7),
        _node("record of EF.PNN", record[7] or "other sources", 7, 8),
    ]


_TRANSPARENT: Final[dict[str, Callable[[bytes], list[Node]]]] = {
    "EF.ICCID": _whole("ICCID", iccid_to_text),
    "EF.IMSI": _whole("IMSI", imsi_to_text),
    "EF.PL": _languages,
    "EF.LI": _languages,
    "EF.UMPC": _umpc,
    "EF.AD": _ad,
    "EF.SPN": _spn,
    "EF.UST": _services("EF.UST"),
    "EF.IST": _services("EF.IST"),
    "EF.EST": lambda content: [
        _node(("FDN", "BDN", "ACL")[bit], "enabled" if content[0] >> bit & 1 else "disabled", 0, 1) for bit in range(3)
    ],
    "EF.ACC": _acc,
    "EF.HPPLMN": _whole("search for the home PLMN every", _minutes),
    "EF.PLMNwAcT": _networks_act,
    "EF.OPLMNwAcT": _networks_act,
    "EF.HPLMNwAcT": _networks_act,
    "EF.FPLMN": _networks,
    "EF.EHPLMN": _networks,
    "EF.SPDI": _spdi,
    "EF.LOCI": _loci,
    "EF.PSLOCI": _psloci,
    "EF.EPSLOCI": _epsloci,
    "EF.5GS3GPPLOCI": _loci_5gs,
    "EF.5GSN3GPPLOCI": _loci_5gs,
    "EF.CBMI": _cell_broadcast,
    "EF.CBMID": _cell_broadcast,
    "EF.Routing_Indicator": _routing,
    "EF.IMPI": _tlv_text("IMPI"),
    "EF.DOMAIN": _tlv_text("home network domain"),
}
_RECORDS: Final[dict[str, Callable[[bytes], list[Node]]]] = {
    "EF.DIR": _directory,
    "EF.ARR": _rule,
    "EF.ADN": _dialling,
    "EF.FDN": _dialling,
    "EF.SDN": _dialling,
    "EF.BDN": _dialling,
    "EF.MSISDN": _dialling,
    "EF.MBDN": _dialling,
    "EF.EPSLOCI": _epsloci,
    "EF.SMSP": _sms_parameters,
    "EF.ECC": _emergency,
    "EF.PNN": _network_name,
    "EF.OPL": _operator_list,
    "EF.IMPU": _tlv_text("IMPU"),
    "EF.P-CSCF": _tlv_text("P-CSCF"),
}
