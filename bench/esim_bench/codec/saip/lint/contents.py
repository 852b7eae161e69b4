"""What some files hold, against what the rest of the package says (TS 102 221 13, TS 31.102 4.2)."""

from __future__ import annotations

from typing import Final

from esim_bench.codec import tlv
from esim_bench.codec.identifiers import imsi_to_text
from esim_bench.codec.saip.contents import SERVICE_OF_FILE
from esim_bench.codec.saip.files import MF, FileSpec
from esim_bench.codec.saip.lint.report import Report
from esim_bench.codec.saip.lint.view import View
from esim_bench.codec.saip.package import Element
from esim_bench.errors import CodecError

_USIM_GROUP: Final = frozenset(("usim", "opt-usim", "gsm-access", "df-5gs", "df-saip", "iot", "opt-iot"))
_KINDS_IN_DIR: Final = tuple(bytes.fromhex(aid) for aid in ("A0000000871002", "A0000000871004", "A0000003431002"))
_FILES_OF_NETWORKS: Final = {"ef-plmnwact": 5, "ef-oplmnwact": 5, "ef-hplmnwact": 5, "ef-fplmn": 3, "ef-ehplmn": 3}
"""How many bytes each entry has; the first three are the network."""
_UNUSED_NETWORK: Final = b"\xff\xff\xff"
_FILES_OF_SERVICES: Final[dict[int, frozenset[str]]] = {
    number: frozenset(name for name, of in SERVICE_OF_FILE.items() if of == number)
    for number in SERVICE_OF_FILE.values()
}


def check(view: View, report: Report) -> None:
    """Check the files whose contents can be judged."""
    if view.stopped is not None:
        return
    _applications(view, report)
    for path, spec in list(view.files.items()):
        element = view.makers[path]
        if spec.link_path is not None:
            continue
        if spec.name == "ef-pl" or (spec.name == "ef-li" and element.kind in _USIM_GROUP):
            _languages(spec, element, report)
        if element.kind not in _USIM_GROUP:
            continue
        match spec.name:
            case "ef-imsi":
                _imsi(spec, element, report)
            case "ef-ad":
                _administrative(spec, element, report)
            case "ef-acc" if not any(spec.content):
                report.add("acc-empty", element, "no access class: the USIM may never access a network", where="EF.ACC")
            case "ef-ust":
                _table(spec, element, view, report)
            case name if name in _FILES_OF_NETWORKS:
                _networks(spec, element, _FILES_OF_NETWORKS[name], report)


def service_numbers(table: bytes) -> set[int]:
    """Return the services of a service table, from 1 (TS 31.102 4.2.8)."""
    return {at * 8 + bit + 1 for at, byte in enumerate(table) for bit in range(8) if byte >> bit & 1}


def _applications(view: View, report: Report) -> None:
    file = view.files.get((*MF, 0x2F00))
    if file is None:
        return
    listed: set[bytes] = set()
    for record in file.records():
        try:
            if record[:1] == b"\x61":
                listed.add(tlv.parse_prefix(record, 0, "of EF.DIR").get(0x4F).value)
        except CodecError:
            continue
    adfs = view.adfs
    for aid, path in adfs.items():
        # The entry may leave out the end of the AID (TS 102 221 13.1).
        if aid.startswith(_KINDS_IN_DIR) and not any(aid.startswith(entry) for entry in listed):
            report.add("dir-missing", view.makers[path], f"ADF {aid.hex().upper()} is not in EF.DIR")
    for entry in sorted(listed):
        if entry.startswith(_KINDS_IN_DIR) and not any(aid.startswith(entry) for aid in adfs):
            report.add("dir-unknown", view.makers[file.path], f"no ADF {entry.hex().upper()}", where="EF.DIR")


def _languages(spec: FileSpec, element: Element, report: Report) -> None:
    for at in range(0, len(spec.content) - 1, 2):
        pair = spec.content[at : at + 2]
        if pair != b"\xff\xff" and not (pair.isalpha() and pair.isascii()):
            where = "EF.PL" if spec.name == "ef-pl" else "EF.LI"
            report.add(
                "language-format", element, "language", where=where, expected="two letters", found=pair.hex().upper()
            )
            return


def _imsi(spec: FileSpec, element: Element, report: Report) -> None:
    if not spec.content.strip(b"\xff"):
        return
    try:
        imsi_to_text(spec.content)
    except CodecError as exc:
        report.add("imsi-format", element, str(exc), where="EF.IMSI")


def _administrative(spec: FileSpec, element: Element, report: Report) -> None:
    if len(spec.content) >= 4 and spec.content[3] & 0x0F not in (2, 3):
        report.add("ad-format", element, "length of the MNC", where="EF.AD", expected="2 or 3", found=spec.content[3])


def _networks(spec: FileSpec, element: Element, size: int, report: Report) -> None:
    for at in range(0, len(spec.content) - 2, size):
        network = spec.content[at : at + 3]
        if network == _UNUSED_NETWORK:
            continue
        # 21 F3 54 is 123 45, 21 63 54 is 123 456 (TS 24.008 10.5.1.13).
        text = network.hex()
        digits = text[1] + text[0] + text[3] + text[5] + text[4] + ("" if text[2] == "f" else text[2])
        if not digits.isdigit():
            report.add("plmn-format", element, "network", where=spec.name, expected="digits", found=text.upper())
            return


def _table(spec: FileSpec, element: Element, view: View, report: Report) -> None:
    numbers = service_numbers(spec.content)
    # Members of the same application; a file of genericFileManagement has no name, but its place.
    there = {file.name for file in view.below.get(spec.path[:2], ())}
    nameless = None in there
    for number, names in sorted(_FILES_OF_SERVICES.items()):
        if number in numbers and not names & there and not nameless:
            listed = " or ".join(sorted(names))
            report.add("ust-file", element, f"service {number}, but no {listed}", where="EF.UST")
        elif number not in numbers and names & there:
            listed = ", ".join(sorted(names & {name for name in there if name}))
            report.add("ust-service", element, f"{listed}, but not service {number}", where="EF.UST")
