"""Every rule of the profile package checks: a package that is right but for one thing breaks that rule, and only it."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from esim_bench.codec import tlv
from esim_bench.codec.es10 import EuiccInfo2
from esim_bench.codec.saip import ProfilePackage, encode_element
from esim_bench.codec.saip.lint import RULES, lint
from esim_bench.codec.schema import RSP

GOLDEN = Path(__file__).resolve().parents[1] / "golden"

Elements = list[tuple[str, dict[str, Any]]]
Change = Callable[["Package"], None]

APPLET = bytes.fromhex("A00000055910AA01")
OTHER_USIM = bytes.fromhex("A0000000871002FFFFFFFF8907090001")


class Package:
    """A package that is right, to be broken."""

    def __init__(self, name: str = "operational-a") -> None:
        package = ProfilePackage.parse((GOLDEN / f"{name}.der").read_bytes())
        self.parts: Elements = [(element.kind, deepcopy(element.value)) for element in package.elements]
        self.raw: dict[int, bytes] = {}

    def place(self, kind: str, which: int = 0) -> int:
        return [index for index, (name, _) in enumerate(self.parts) if name == kind][which]

    def get(self, kind: str, which: int = 0) -> dict[str, Any]:
        return self.parts[self.place(kind, which)][1]

    def move(self, kind: str, before: str) -> None:
        part = self.parts.pop(self.place(kind))
        self.parts.insert(self.place(before), part)

    def insert(self, before: str, kind: str, header: str, **members: Any) -> None:
        value = {header: {"mandated": None, "identification": 99}, **members}
        self.parts.insert(self.place(before), (kind, value))

    def remove(self, kind: str, which: int = 0) -> None:
        del self.parts[self.place(kind, which)]

    def services(self, *names: str) -> None:
        self.get("header")["eUICC-Mandatory-services"] = dict.fromkeys(names)

    @property
    def algorithm(self) -> dict[str, Any]:
        value: dict[str, Any] = self.get("akaParameter")["algoConfiguration"][1]
        return value

    def pins(self, which: int = 0) -> list[dict[str, Any]]:
        value: list[dict[str, Any]] = self.get("pinCodes", which)["pinCodes"][1]
        return value

    def file(self, name: str, kind: str = "opt-usim", **descriptor: Any) -> None:
        self.get(kind)[name] = [("fileDescriptor", descriptor)]

    def fill(self, kind: str, name: str, data: bytes) -> None:
        commands = self.get(kind)[name]
        at = next(index for index, (command, _) in enumerate(commands) if command == "fillFileContent")
        commands[at] = ("fillFileContent", data)

    def manage(self, *commands: tuple[str, Any]) -> None:
        self.insert("securityDomain", "genericFileManagement", "gfm-header", fileManagementCMD=[list(commands)])

    def encode(self) -> bytes:
        return b"".join(
            self.raw.get(index) or encode_element(kind, value) for index, (kind, value) in enumerate(self.parts)
        )


def broken(change: Change, name: str = "operational-a") -> list[str]:
    package = Package(name)
    change(package)
    return [each.rule for each in lint(ProfilePackage.parse(package.encode(), ordered=False))]


# ------------------------------------------------------------------------------------------------- order


def not_decodable(p: Package) -> None:
    # A PIN element without PINs.
    p.raw[p.place("pinCodes")] = bytes.fromhex("A207A00580008101") + b"\x03"


def second_header(p: Package) -> None:
    p.parts.insert(p.place("end"), p.parts[0])


def pins_before_the_mf(p: Package) -> None:
    p.move("pukCodes", before="mf")


def second_gsm_access(p: Package) -> None:
    files = {"templateID": "2.23.143.1.2.7", "df-gsm-access": [("doNotCreate", None)]}
    p.insert("securityDomain", "gsm-access", "gsm-access-header", **files)


def same_identification(p: Package) -> None:
    p.get("end")["end-header"]["identification"] = 5


def not_mandated(p: Package) -> None:
    del p.get("end")["end-header"]["mandated"]


def private_element(p: Package) -> None:
    p.insert("end", "nonStandard", "nonStandard-header", issuerID="1.2.3", content=b"")


# ------------------------------------------------------------------------------------------------- header


def iccid(digits: str) -> Change:
    def change(p: Package) -> None:
        p.get("header")["iccid"] = bytes.fromhex(digits)
        swapped = "".join(digits[at + 1] + digits[at] for at in range(0, 20, 2))
        p.fill("mf", "ef-iccid", bytes.fromhex(swapped))

    return change


def other_ef_iccid(p: Package) -> None:
    p.fill("mf", "ef-iccid", bytes(10))


def version(major: int, minor: int) -> Change:
    return lambda p: p.get("header").update({"major-version": major, "minor-version": minor})


def template(oid: str) -> Change:
    return lambda p: p.get("header")["eUICC-Mandatory-GFSTEList"].append(oid)


def template_gone(p: Package) -> None:
    p.get("header")["eUICC-Mandatory-GFSTEList"].remove("2.23.143.1.2.7")


def template_of_another_kind(p: Package) -> None:
    p.get("gsm-access")["templateID"] = "2.23.143.1.2.5"
    template_gone(p)


def service_of_the_future(p: Package) -> None:
    members = tlv.parse(encode_element(*p.parts[0])).children()
    body = [tlv.encode(0xA5, m.value, b"\x9e\x00") if m.tag == 0xA5 else m.raw for m in members]
    p.raw[0] = tlv.encode(0xA0, *body)


def service_68(p: Package) -> None:
    table = bytearray(p.get("usim")["ef-ust"][0][1])
    table[8] |= 1 << 3
    p.fill("usim", "ef-ust", bytes(table))


# ------------------------------------------------------------------------------------------------- codes


def pin(which: int = 0, **values: Any) -> Change:
    return lambda p: p.pins()[which].update({key.replace("_", "-"): value for key, value in values.items()})


def one_more_pin(reference: int) -> Change:
    return lambda p: p.pins().append({"keyReference": reference, "pinValue": b"0000\xff\xff\xff\xff"})


def attempts(kind: str, packed: int) -> Change:
    def change(p: Package) -> None:
        codes = p.pins() if kind == "pinCodes" else p.get(kind)["pukCodes"]
        codes[-1]["maxNumOfAttemps-retryNumLeft"] = packed

    return change


def pins_of_nobody(p: Package) -> None:
    p.insert("akaParameter", "pinCodes", "pin-Header", pinCodes=("filePath", b"\x7f\xaa"))


def one_more_puk(reference: int) -> Change:
    return lambda p: p.get("pukCodes")["pukCodes"].append({"keyReference": reference, "pukValue": b"12345678"})


def no_pin2(p: Package) -> None:
    p.remove("pinCodes", 1)
    p.get("usim")["adf-usim"][0][1]["pinStatusTemplateDO"] = b"\x01\x0a"


# ------------------------------------------------------------------------------------------------- authentication


def algorithm(**values: Any) -> Change:
    return lambda p: p.algorithm.update(values)


def unknown_algorithm(p: Package) -> None:
    p.algorithm["algorithmID"] = 9
    p.services("usim")


def tuak_without_keccak(p: Package) -> None:
    p.algorithm.update({"algorithmID": 2, "opc": bytes(32), "numberOfKeccak": 0})
    p.services("usim", "tuak128")


def borrowed_from_nobody(p: Package) -> None:
    mapping = {"mappingOptions": b"\x01", "mappingSource": OTHER_USIM}
    p.get("akaParameter")["algoConfiguration"] = ("mappingParameter", mapping)
    p.services("usim")


def no_algorithm(p: Package) -> None:
    p.remove("akaParameter")
    p.services("usim")


def one_algorithm_more(p: Package) -> None:
    p.insert("gsm-access", "akaParameter", "aka-header", algoConfiguration=("algoParameter", dict(p.algorithm)))


def same_constants(p: Package) -> None:
    c = [bytes(15) + bytes((value,)) for value in (0, 1, 1, 4, 8)]
    p.algorithm.update({"rotationConstants": bytes(5), "xoringConstants": b"".join(c)})


# ------------------------------------------------------------------------------------------------- applications


def rfm(which: int = 0, **values: Any) -> Change:
    return lambda p: p.get("rfm", which).update(values)


def key(**values: Any) -> Change:
    return lambda p: p.get("securityDomain")["keyList"][0].update(values)


def short_key(p: Package) -> None:
    p.get("securityDomain")["keyList"][0]["keyComponents"][0]["keyData"] = bytes(15)


def instance() -> dict[str, Any]:
    names = ("applicationLoadPackageAID", "classAID", "instanceAID")
    aids = dict(zip(names, (APPLET, APPLET + b"\x01", APPLET + b"\x02"), strict=True))
    return {**aids, "applicationPrivileges": b"\x00", "applicationSpecificParametersC9": b""}


def applet_without_package(p: Package) -> None:
    p.services("usim", "milenage", "javacard")
    p.insert("rfm", "application", "app-Header", instanceList=[instance()])


def applet_before_its_package(p: Package) -> None:
    applet_without_package(p)
    block = {"loadPackageAID": APPLET, "loadBlockObject": b"\x01"}
    p.insert("rfm", "application", "app-Header", loadBlock=block)
    p.get("application", 1)["app-Header"]["identification"] = 98


# ------------------------------------------------------------------------------------------------- files


def two_descriptors(p: Package) -> None:
    p.get("opt-usim")["ef-li"] = [("fileDescriptor", {})] * 2


def odd_records(p: Package) -> None:
    p.file("ef-smsr", fileDescriptor=bytes.fromhex("42210007"), efFileSize=b"\x0a")


def no_directory(p: Package) -> None:
    p.get("gsm-access")["df-gsm-access"] = [("doNotCreate", None)]


def file(name: str, **descriptor: Any) -> Change:
    return lambda p: p.file(name, **descriptor)


def path_to_nowhere(p: Package) -> None:
    p.manage(("filePath", b"\x7f\x99"))


def without_rules(p: Package) -> None:
    fcp = {"fileDescriptor": b"\x41\x21", "fileID": b"\x6f\xf0", "efFileSize": b"\x01", "shortEFID": b""}
    p.manage(("filePath", b"\x7f\xd0"), ("createFCP", fcp))


def nonsense_rule(p: Package) -> None:
    commands = p.get("usim")["ef-arr"]
    at = [index for index, (command, _) in enumerate(commands) if command == "fillFileContent"][1]
    commands[at] = ("fillFileContent", b"\x90\x00".ljust(len(commands[at][1]), b"\xff"))


# ------------------------------------------------------------------------------------------------- contents


def fill(kind: str, name: str, text: str) -> Change:
    return lambda p: p.fill(kind, name, bytes.fromhex(text))


def nothing_in_dir(p: Package) -> None:
    p.get("mf")["ef-dir"] = p.get("mf")["ef-dir"][:1]


def isim_in_dir(p: Package) -> None:
    length = len(p.get("mf")["ef-dir"][1][1])
    entry = bytes.fromhex("610E4F0CA0000000871004FF49FF0589")
    p.get("mf")["ef-dir"] += [("fillFileOffset", 38 - length), ("fillFileContent", entry)]


def service(number: int, there: bool) -> Change:
    def change(p: Package) -> None:
        table = bytearray(p.get("usim")["ef-ust"][0][1])
        bit = 1 << (number - 1) % 8
        table[(number - 1) // 8] = table[(number - 1) // 8] & ~bit | (bit if there else 0)
        p.fill("usim", "ef-ust", bytes(table))

    return change


CASES: dict[str, Change] = {
    "element-decodes": not_decodable,
    "order-header": second_header,
    "order-mf": pins_before_the_mf,
    "order-end": lambda p: p.remove("end"),
    "order-once": second_gsm_access,
    "order-after": lambda p: p.move("rfm", before="securityDomain"),
    "identification-unique": same_identification,
    "element-reserved": lambda p: p.parts.insert(p.place("end"), ("rfu1", {})),
    "element-mandated": not_mandated,
    "element-nonstandard": private_element,
    "iccid-format": iccid("89882110000000000A1F"),
    "iccid-match": other_ef_iccid,
    "iccid-luhn": iccid("8988211000000000012F"),
    "service-missing": lambda p: p.services("usim"),
    "template-missing": template_gone,
    "template-kind": template_of_another_kind,
    "version-known": version(4, 0),
    "service-unused": lambda p: p.services("usim", "milenage", "csim"),
    "service-unknown": service_of_the_future,
    "service-table": service_68,
    "template-unused": template("2.23.143.1.2.12"),
    "template-unknown": template("1.2.3"),
    "pin-reference": one_more_pin(9),
    "pin-unique": one_more_pin(1),
    "pin-puk": pin(unblockingPINReference=2),
    "pin-attempts": attempts("pinCodes", 0x34),
    "pin-path": pins_of_nobody,
    "puk-reference": one_more_puk(9),
    "puk-unique": one_more_puk(1),
    "puk-attempts": attempts("pukCodes", 0x0A),
    "pin-value": pin(pinValue=b"12ab\xff\xff\xff\xff"),
    "puk-value": lambda p: p.get("pukCodes")["pukCodes"][0].update(pukValue=b"1234\xff\xff\xff\xff"),
    "pin-blocked": attempts("pinCodes", 0x30),
    "pin-status": lambda p: p.get("mf")["mf"][0][1].update(pinStatusTemplateDO=b"\x01\x0a\x0b"),
    "aka-algorithm": unknown_algorithm,
    "aka-key": algorithm(key=bytes(15)),
    "aka-opc": algorithm(opc=b""),
    "aka-rotation": algorithm(rotationConstants=bytes.fromhex("8000204060")),
    "aka-keccak": tuak_without_keccak,
    "aka-mapping": borrowed_from_nobody,
    "aka-missing": no_algorithm,
    "aka-unneeded": one_algorithm_more,
    "aka-constants": same_constants,
    "aid-unique": lambda p: p.get("rfm", 1).update(instanceAID=p.get("rfm")["instanceAID"]),
    "tar-unique": rfm(tarList=[bytes.fromhex("B00010")]),
    "sd-privilege": lambda p: p.get("securityDomain")["instance"].update(applicationPrivileges=b"\x02\xdc\x00"),
    "sd-reference": rfm(securityDomainAID=bytes.fromhex("A000000151000001")),
    "sd-key-size": short_key,
    "sd-key-unique": key(keyIdentifier=b"\x02"),
    "sd-key-number": key(keyVersionNumber=b"\x00"),
    "sd-keys": lambda p: p.get("securityDomain").pop("keyList"),
    "load-order": applet_before_its_package,
    "load-missing": applet_without_package,
    "rfm-adf": lambda p: p.get("rfm", 1)["adfRFMAccess"].update(adfAID=OTHER_USIM),
    "rfm-security": rfm(minimumSecurityLevel=b"\x00"),
    "file-resolves": two_descriptors,
    "file-size": fill("usim", "ef-imsi", "00" * 10),
    "file-records": odd_records,
    "file-unique": file("ef-li", fileID=b"\x6f\x07"),
    "file-path": path_to_nowhere,
    "file-parent": no_directory,
    "file-identifier": file("ef-li", fileID=b"\x7f\xff"),
    "file-link": file("ef-li", linkPath=bytes.fromhex("7F106F99")),
    "sfi-unique": file("ef-gid1", shortEFID=b"\x38"),
    "sfi-range": file("ef-gid1", shortEFID=b"\xf8"),
    "file-state": file("ef-gid1", lcsi=b"\x08"),
    "file-rules": without_rules,
    "arr-file": file("ef-gid1", securityAttributesReferenced=bytes.fromhex("6FAA01")),
    "arr-record": file("ef-gid1", securityAttributesReferenced=bytes.fromhex("6F0620")),
    "arr-format": nonsense_rule,
    "arr-pin": no_pin2,
    "imsi-format": fill("usim", "ef-imsi", "00" * 9),
    "dir-missing": nothing_in_dir,
    "dir-unknown": isim_in_dir,
    "ust-file": service(46, there=True),
    "ust-service": service(45, there=False),
    "language-format": fill("mf", "ef-pl", "02FF"),
    "ad-format": fill("usim", "ef-ad", "00000009"),
    "acc-empty": fill("usim", "ef-acc", "0000"),
    "plmn-format": fill("opt-usim", "ef-hplmnwact", "00FA100000"),
}


@pytest.mark.parametrize("rule", CASES)
def test_a_package_with_one_mistake_breaks_one_rule(rule: str) -> None:
    assert set(broken(CASES[rule])) == {rule}


def test_elements_newer_than_the_version_of_the_package() -> None:
    # Our other profile has 5G files, and a service table too small for them.
    assert set(broken(version(2, 2), "operational-b")) - {"ust-service"} == {"version-elements"}


# ------------------------------------------------------------------------------------------------- eligibility

INFO = {
    "profileVersion": bytes.fromhex("020301"),
    "svn": bytes.fromhex("020500"),
    "euiccFirmwareVer": bytes.fromhex("010000"),
    "extCardResource": bytes.fromhex("8101008204000800008302FFFF"),
    # usim and akaMilenage.
    "uiccCapability": (b"\x48", 5),
    "rspCapability": (b"\x90", 4),
    "euiccCiPKIdListForVerification": [b"\x01"],
    "euiccCiPKIdListForSigning": [b"\x01"],
    "ppVersion": bytes.fromhex("010000"),
    "sasAcreditationNumber": "GI-BA-UP-0419",
}


def info(**members: Any) -> EuiccInfo2:
    return EuiccInfo2.parse(RSP.encode("EUICCInfo2", INFO | members))


ELIGIBILITY: dict[str, dict[str, Any]] = {
    "euicc-version": {"profileVersion": bytes.fromhex("020200")},
    "euicc-service": {"uiccCapability": (b"\x44", 6)},
    "euicc-memory": {"extCardResource": bytes.fromhex("81010082020400")},
}


@pytest.mark.parametrize("rule", ELIGIBILITY)
def test_an_euicc_that_cannot_take_it(rule: str) -> None:
    package = ProfilePackage.parse(Package().encode())
    assert lint(package, info()) == []
    assert [each.rule for each in lint(package, info(**ELIGIBILITY[rule]))] == [rule]


def test_services_and_capabilities_are_counted_differently() -> None:
    # CAVE is bit 5 of the capabilities, member 6 of the services; TUAK the other way round.
    (only,) = lint(ProfilePackage.parse(Package().encode()), info(uiccCapability=(b"\x44", 6)))
    assert only.message == "the eUICC lacks milenage"


def every_rule() -> Iterator[str]:
    yield from CASES
    yield from ELIGIBILITY
    yield "version-elements"


def test_no_rule_is_without_its_test() -> None:
    assert sorted(every_rule()) == sorted(RULES)
