"""Makes a profile package, and its metadata, from a readable document: the tables of profiles/*.toml.

The package leans on the file templates: what a template creates by itself is not spelled out.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from esim_bench.codec.identifiers import iccid_to_bytes, imsi_to_bytes, swap_nibbles
from esim_bench.codec.metadata import Metadata
from esim_bench.codec.saip import contents
from esim_bench.codec.saip.document import Document, ProfileError
from esim_bench.codec.saip.package import ProfilePackage, encode_element
from esim_bench.codec.saip.templates import TEMPLATES, FileTemplate, Template, template_oid
from esim_bench.codec.tlv import encode

Commands = list[tuple[str, Any]]

USED_TEMPLATES: Final = {"mf": "1", "telecom": "3", "usim": "4", "opt-usim": "5", "gsm-access": "7", "df-5gs": "13"}
"""The templates of our profiles: their first versions, which every eUICC has."""
_USIM_FID: Final = b"\x7f\xd0"
_ALGORITHMS: Final = {"milenage": (1, "milenage"), "usim-test": (3, "usim-test-algorithm")}
_MADE_HERE: Final = ("ef-iccid", "ef-dir", "ef-arr", "ef-imsi", "ef-ust", "ef-spn", "ef-est", "ef-acc", "ef-ad")
"""Files that follow from the other tables; ``[files]`` does not name them."""
_CURRENT_DOMAIN: Final = bytes.fromhex("A000000151000000")
_RFM_INSTANCE: Final = bytes.fromhex("A0000005591010")
_MAX_PASSED: Final = 15


@dataclass(frozen=True, slots=True)
class BuiltProfile:
    """A profile, ready to be released at an SM-DP+ or to be put into a simulated eUICC."""

    upp: bytes
    """The unprotected profile package."""
    metadata: bytes
    """StoreMetadata, BF25."""


def build_profile(document: Mapping[str, Any]) -> BuiltProfile:
    """Build a profile from the tables of a profile file (see profiles/README.md).

    The same document always gives the same bytes. Raises ProfileError (a CodecError) naming the key.
    """
    if not isinstance(document, Mapping):
        raise ProfileError((), "not a profile", expected="tables", found=type(document).__name__)
    builder = _Builder(document)
    upp = builder.package()
    ProfilePackage.parse(upp, deep=True)
    return BuiltProfile(upp=upp, metadata=builder.metadata())


@dataclass(frozen=True, slots=True)
class _Pin:
    reference: int
    value: bytes
    attempts: int
    enabled: bool
    puk: int | None


class _Builder:
    def __init__(self, document: Mapping[str, Any]) -> None:
        self._doc = Document(document)
        self._identification = 0
        self._elements: list[bytes] = []
        doc = self._doc
        self.name = doc.text("profile", "name", pattern=r".{1,64}", expected="1 to 64 characters")
        self.provider = doc.text("profile", "provider", pattern=r".{1,32}", expected="1 to 32 characters")
        self.iccid = self._iccid()
        self.mcc = doc.text("profile", "mcc", pattern=r"\d{3}", expected="3 digits")
        self.mnc = doc.text("profile", "mnc", pattern=r"\d{2,3}", expected="2 or 3 digits")
        self.imsi = doc.text("profile", "imsi", pattern=r"\d{6,15}", expected="6 to 15 digits")
        if not self.imsi.startswith(self.mcc + self.mnc):
            raise ProfileError(
                ("profile", "imsi"), "not of this network", expected=f"{self.mcc}{self.mnc}...", found=repr(self.imsi)
            )
        self._puks = self._read_puks()
        self._pins = self._read_pins()
        self._members = self._files()

    # ------------------------------------------------------------------------------------------------- package

    def package(self) -> bytes:
        members = self._members
        self._elements.append(self._header())
        self._add("mf", "mf-header", members["mf"])
        if self._puks:
            self._add("pukCodes", "puk-Header", {"pukCodes": self._puks})
        # The PINs of the UICC belong to the MF, the others to the application.
        self._add_pins([pin for pin in self._pins if pin.reference < 0x80])
        self._add("telecom", "telecom-header", members["telecom"])
        self._add("usim", "usim-header", members["usim"])
        self._add("opt-usim", "optusim-header", members["opt-usim"])
        self._add_pins([pin for pin in self._pins if pin.reference >= 0x80])
        self._add("akaParameter", "aka-header", self._aka())
        self._add("gsm-access", "gsm-access-header", members["gsm-access"])
        if members["df-5gs"]:
            self._add("df-5gs", "df-5gs-header", members["df-5gs"])
        self._add("securityDomain", "sd-Header", self._security_domain())
        self._add("rfm", "rfm-header", self._rfm(1, "B00000", None))
        self._add("rfm", "rfm-header", self._rfm(2, "B00010", contents.USIM_AID))
        self._add("end", "end-header", {})
        return b"".join(self._elements)

    def metadata(self) -> bytes:
        doc = self._doc
        events = []
        for index in range(len(doc.items("notification"))):
            address = doc.text("notification", index, "address", pattern=r"[\w.:-]{1,255}", expected="a host name")
            events.append((tuple(doc.items("notification", index, "events")), address))
        metadata = Metadata(
            iccid=self.iccid,
            service_provider=self.provider,
            profile_name=self.name,
            profile_class=doc.text("profile", "class", default="operational"),
            notifications=tuple(events),
            owner=(contents.plmn(self.mcc, self.mnc), self._group("ef-gid1"), self._group("ef-gid2")),
            ecall=doc.flag("profile", "ecall", default=False) or None,
            fallback_allowed=doc.flag("profile", "fallback_allowed", default=False) or None,
        )
        return doc.made(metadata.encode, "notification" if events else "profile")

    def _add(self, kind: str, header: str, members: Mapping[str, Any]) -> None:
        self._identification += 1
        head = {"mandated": None, "identification": self._identification}
        self._elements.append(encode_element(kind, {header: head, **members}))

    def _header(self) -> bytes:
        doc = self._doc
        version = doc.text("profile", "version", pattern=r"\d{1,2}\.\d{1,2}", expected='like "2.3"', default="2.3")
        major, minor = version.split(".")
        services = {"usim": None, self._algorithm()[1]: None}
        value: dict[str, Any] = {
            "major-version": int(major),
            "minor-version": int(minor),
            "profileType": self.name,
            "iccid": swap_nibbles(self.iccid),
            "eUICC-Mandatory-services": services,
            "eUICC-Mandatory-GFSTEList": [
                template_oid(number) for kind, number in USED_TEMPLATES.items() if self._members[kind]
            ],
        }
        if doc.has("connectivity"):
            value["connectivityParameters"] = self._connectivity()
        return encode_element("header", value)

    # ------------------------------------------------------------------------------------------------- values

    def _iccid(self) -> bytes:
        key = ("profile", "iccid")
        text = self._doc.text(*key, pattern=r"\d{19,20}", expected="19 digits, the last one a check digit")
        digit = contents.luhn_digit(text[:-1])
        if digit != text[-1]:
            raise ProfileError(key, "wrong check digit", expected=f"{text[:-1]}{digit}", found=text)
        return iccid_to_bytes(text)

    def _algorithm(self) -> tuple[int, str]:
        name = self._doc.text(
            *("aka", "algorithm"), pattern="|".join(_ALGORITHMS), expected=f"one of {', '.join(_ALGORITHMS)}"
        )
        return _ALGORITHMS[name]

    def _aka(self) -> dict[str, Any]:
        doc = self._doc
        number, name = self._algorithm()
        milenage = name == "milenage"
        parameters = {
            "algorithmID": number,
            # Milenage has no options; the test algorithm is to give RES of 128 bits, as the GSMA test profiles want it.
            "algorithmOptions": b"\x01" if milenage else b"\x02",
            "key": doc.hex("aka", "k", size=16),
            "opc": doc.hex("aka", "opc", size=16) if milenage or doc.has("aka", "opc") else bytes(16),
        }
        return {"algoConfiguration": ("algoParameter", parameters)}

    def _connectivity(self) -> bytes:
        # The parameters of HTTPS (SGP.02 3.15.1): a bearer of the terminal's choice, the access point, user, password.
        doc = self._doc
        apn = doc.text("connectivity", "apn", pattern=r"[\w.-]+", expected="an APN")
        name = doc.made(lambda: contents.network_access_name(apn), "connectivity", "apn")
        body = [encode(0x35, b"\x03"), encode(0x47, name)]
        for key in ("user", "password"):
            if doc.has("connectivity", key):
                body.append(encode(0x0D, b"\x04" + doc.text("connectivity", key, pattern=r".{1,100}").encode()))
        return encode(0xA1, *body)

    def _read_puks(self) -> list[dict[str, Any]]:
        doc = self._doc
        puks: list[dict[str, Any]] = []
        for index in range(len(doc.items("puk"))):
            name = doc.text("puk", index, "name", pattern="PUK[12]", expected="PUK1 or PUK2")
            value = doc.text("puk", index, "value", pattern=r"\d{8}", expected="8 digits").encode()
            attempts = doc.number("puk", index, "attempts", low=1, high=_MAX_PASSED, default=10)
            reference = contents.PIN1 if name == "PUK1" else contents.PIN2
            if any(puk["keyReference"] == reference for puk in puks):
                raise ProfileError(("puk", index, "name"), "given twice", found=name)
            puks.append(
                {"keyReference": reference, "pukValue": value, "maxNumOfAttemps-retryNumLeft": attempts << 4 | attempts}
            )
        return puks

    def _read_pins(self) -> list[_Pin]:
        doc = self._doc
        pins: list[_Pin] = []
        for index in range(len(doc.items("pin"))):
            name = doc.text("pin", index, "name", pattern="PIN[12]|ADM([1-9]|10)", expected="PIN1, PIN2, ADM1 to ADM10")
            number = int(name[3:])
            if name.startswith("PIN"):
                reference = contents.PIN1 if number == 1 else contents.PIN2
            else:
                # Five administrative codes of the UICC, five of the application (TS 102 221 table 9.3).
                reference = 0x09 + number if number <= 5 else 0x84 + number
            if any(pin.reference == reference for pin in pins):
                raise ProfileError(("pin", index, "name"), "given twice", found=name)
            digits = doc.text("pin", index, "value", pattern=r"\d{4,8}", expected="4 to 8 digits")
            attempts = doc.number(
                "pin", index, "attempts", low=1, high=_MAX_PASSED, default=3 if name[0] == "P" else 10
            )
            puk = next((puk["keyReference"] for puk in self._puks if puk["keyReference"] == reference), None)
            enabled = doc.flag("pin", index, "enabled", default=True)
            if not enabled and name != "PIN1":
                raise ProfileError(("pin", index, "enabled"), f"{name} can't be disabled", expected="true")
            pins.append(_Pin(reference, digits.encode().ljust(8, b"\xff"), attempts, enabled, puk))
        for name, reference in (("PIN1", contents.PIN1), ("ADM1", contents.ADM1)):
            if all(pin.reference != reference for pin in pins):
                raise ProfileError(("pin",), f"no {name}", expected=f"it, as the access rules refer to {name}")
        return pins

    def _add_pins(self, pins: Sequence[_Pin]) -> None:
        if not pins:
            return
        values = []
        for pin in pins:
            # Bit 1: enabled; bit 2: it can be changed; bit 3: it can be disabled (PIN1 only).
            attributes = pin.enabled | 0x02 | (0x04 if pin.reference == contents.PIN1 else 0)
            value = {"keyReference": pin.reference, "pinValue": pin.value, "pinAttributes": attributes}
            if pin.puk is not None:
                value["unblockingPINReference"] = pin.puk
            value["maxNumOfAttemps-retryNumLeft"] = pin.attempts << 4 | pin.attempts
            values.append(value)
        self._add("pinCodes", "pin-Header", {"pinCodes": ("pinconfig", values)})

    def _security_domain(self) -> dict[str, Any]:
        doc = self._doc
        # Priority 1; no timers, text, menu or channels; minimum security level; its TARs; no services (TS 102 226 8.2).
        toolkit = bytes.fromhex("0100000000") + b"\x02\x01\x02" + b"\x06" + bytes.fromhex("B20100000000") + b"\x00"
        value: dict[str, Any] = {
            "instance": {
                "applicationLoadPackageAID": bytes.fromhex("A0000001515350"),
                "classAID": bytes.fromhex("A000000151535041"),
                "instanceAID": _CURRENT_DOMAIN,
                "applicationPrivileges": bytes.fromhex("82DC00"),
                "lifeCycleState": b"\x0f",
                # SCP80, and an open limit on what may be installed below it.
                "applicationSpecificParametersC9": bytes.fromhex("810280008201F08301F08701F0"),
                "applicationParameters": {"uiccToolkitApplicationSpecificParametersField": toolkit},
            }
        }
        if doc.has("ota"):
            version = bytes((doc.number("ota", "version", low=1, high=15, default=1),))
            # Encryption, authentication and key encryption key, of AES (GP 11.1.8 and 11.1.9).
            value["keyList"] = [
                {
                    "keyUsageQualifier": usage,
                    "keyIdentifier": bytes((number,)),
                    "keyVersionNumber": version,
                    "keyComponents": [{"keyType": b"\x88", "keyData": doc.hex("ota", name, size=16)}],
                }
                for number, name, usage in ((1, "kic", b"\x18"), (2, "kid", b"\x14"), (3, "kik", b"\x48"))
            ]
        return value

    def _rfm(self, number: int, tar: str, adf: bytes | None) -> dict[str, Any]:
        everything = b"\x00"
        value: dict[str, Any] = {
            "instanceAID": _RFM_INSTANCE + number.to_bytes(2, "big"),
            "tarList": [bytes.fromhex(tar)],
            # A cryptographic checksum.
            "minimumSecurityLevel": b"\x02",
            "uiccAccessDomain": everything,
            "uiccAdminAccessDomain": everything,
        }
        if adf is not None:
            value["adfRFMAccess"] = {
                "adfAID": adf,
                "adfAccessDomain": everything,
                "adfAdminAccessDomain": everything,
            }
        return value

    # ------------------------------------------------------------------------------------------------- files

    def _files(self) -> dict[str, dict[str, Any]]:
        """Return the members of the elements that create files, by their kind."""
        doc = self._doc
        own: dict[str, dict[str, Commands]] = {kind: {} for kind in USED_TEMPLATES}
        listed = doc.get("files") or {}
        if not isinstance(listed, Mapping):
            raise ProfileError(("files",), "wrong kind of value", expected="a table", found=repr(listed))
        for name in listed:
            kind, file = self._find(name)
            own[kind][name] = self._filled(file, name)
        global_pins = bytes(pin.reference for pin in self._pins if pin.reference < 0x80)
        all_pins = b"\x81" + global_pins if any(pin.reference == 0x81 for pin in self._pins) else global_pins
        language = doc.text("profile", "language", pattern="[a-z]{2}", expected="two letters", default="en").encode()
        spn = doc.text("profile", "spn")
        made: dict[str, dict[str, Commands]] = {kind: {} for kind in USED_TEMPLATES}
        made["mf"] = {
            "mf": [_described({"pinStatusTemplateDO": global_pins})],
            "ef-pl": [_content(language)],
            "ef-iccid": [_content(self.iccid)],
            "ef-dir": _records([contents.directory(contents.USIM_AID, "USIM")], 38, 2),
            "ef-arr": _rules(),
        }
        made["telecom"] = {"df-telecom": [_described({"pinStatusTemplateDO": global_pins})], "ef-arr": _rules()}
        application = {"fileID": _USIM_FID, "dfName": contents.USIM_AID, "pinStatusTemplateDO": all_pins}
        emergency = doc.items("profile", "emergency") or ["112"]
        calls = [doc.made(partial(contents.ecc, str(number)), "profile", "emergency") for number in emergency]
        made["usim"] = {
            "adf-usim": [_described(application)],
            "ef-imsi": [_content(imsi_to_bytes(self.imsi))],
            "ef-arr": _rules(),
            "ef-spn": [_content(doc.made(lambda: contents.spn(spn), "profile", "spn"))],
            "ef-est": [_content(b"\x00")],
            "ef-acc": [_content(contents.acc(self.imsi))],
            "ef-ad": [_content(contents.ad(self.mnc))],
            "ef-ecc": _records(calls, 4, len(calls)),
        }
        made["opt-usim"] = self._optional(language)
        made["gsm-access"] = {"df-gsm-access": [], "ef-kc": [], "ef-kcgprs": []}
        members = {kind: {**made[kind], **own[kind]} for kind in USED_TEMPLATES}
        for kind, files in members.items():
            for name in list(files):
                _add_parents(files, _template(kind), name)
        table = _template("usim").files
        there = [name for name, file in table.items() if file.created_by_default]
        there += [name for files in members.values() for name in files]
        usual = table["ef-ust"].size or 0
        services = contents.ust(there, usual)
        # The services of 5G stand behind what the template has room for.
        longer = [_described({"efFileSize": bytes((len(services),))})] if len(services) > usual else []
        members["usim"]["ef-ust"] = [*longer, _content(services)]
        return {
            kind: {"templateID": template_oid(USED_TEMPLATES[kind]), **files} if files else {}
            for kind, files in members.items()
        }

    def _optional(self, language: bytes) -> dict[str, Commands]:
        """Return the files of opt-usim that every profile has; those without content are as the template has them."""
        doc = self._doc
        # Home network with E-UTRAN, UTRAN and GSM (TS 31.102 4.2.5).
        home = contents.plmn(self.mcc, self.mnc)
        files: dict[str, Commands] = {
            "ef-li": [_content(language)],
            "ef-plmnwact": [],
            "ef-oplmnwact": [],
            "ef-hplmnwact": [_content(home + b"\xc0\x80")],
            "ef-ehplmn": [_content(home)],
            "ef-smsr": [],
        }
        number = doc.get("profile", "msisdn")
        if number is not None:
            digits = doc.text("profile", "msisdn", pattern=r"\+?\d{3,20}", expected="a telephone number")
            files["ef-msisdn"] = [_content(contents.msisdn(digits, 24))]
        return files

    def _find(self, name: str) -> tuple[str, FileTemplate]:
        """Find a file of ``[files]`` in the templates."""
        key = ("files", name)
        if name in _MADE_HERE:
            raise ProfileError(key, "file can't be given", expected="the tables [profile], [aka] to say what it holds")
        for kind in ("usim", "opt-usim", "gsm-access", "df-5gs", "telecom", "mf"):
            file = _template(kind).files.get(name)
            if file is not None and not file.is_directory:
                return kind, file
        close = difflib.get_close_matches(name, [n for kind in USED_TEMPLATES for n in _template(kind).files], 3)
        raise ProfileError(
            key,
            "no such file in the templates",
            expected=f"a name like {', '.join(dict.fromkeys(close))}" if close else "a name like ef-gid1",
            found=repr(name),
        )

    def _filled(self, file: FileTemplate, name: str) -> Commands:
        """Return the commands for one file of ``[files]``: as the template has it, with content, with its own size."""
        doc, key = self._doc, ("files", name)
        entry = doc.get(*key)
        given = [way for way in ("hex", "text", "records") if doc.has(*key, way)]
        if not isinstance(entry, Mapping) or len(given) > 1:
            raise ProfileError(key, "wrong content", expected="a table with one of hex, text, records, or an empty one")
        if file.kind in ("linear", "cyclic"):
            if given not in ([], ["records"]):
                raise ProfileError((*key, given[0]), f"{name} is a file of records", expected="records = [...]")
            return self._record_file(file, name)
        if given == ["records"]:
            raise ProfileError((*key, "records"), f"{name} has no records", expected="hex or text")
        content = doc.text(*key, "text").encode() if "text" in given else b""
        content = doc.hex(*key, "hex") if "hex" in given else content
        size = doc.number(*key, "size", low=1, high=_MAX_FILE, default=max(file.size or 0, len(content)) or None)
        if len(content) > size:
            raise ProfileError(key, "content does not fit", expected=f"at most {size} bytes", found=len(content))
        commands: Commands = []
        if file.kind == "ber-tlv":
            commands.append(_described({"proprietaryEFInfo": {"maximumFileSize": _number(size)}}))
        elif size != file.size:
            commands.append(_described({"efFileSize": _number(size)}))
        return [*commands, _content(content)] if content else commands

    def _record_file(self, file: FileTemplate, name: str) -> Commands:
        doc, key = self._doc, ("files", name)
        records = [doc.hex(*key, "records", index) for index in range(len(doc.items(*key, "records")))]
        longest = max((len(record) for record in records), default=0)
        length = doc.number(
            *(*key, "record_length"), low=1, high=255, default=max(file.record_length or 0, longest) or None
        )
        count = doc.number(*(*key, "size"), low=1, high=254, default=max(file.record_count or 0, len(records)) or None)
        if longest > length or len(records) > count:
            raise ProfileError(
                (*key, "records"),
                "records do not fit",
                expected=f"at most {count} of at most {length} bytes",
                found=f"{len(records)} of up to {longest}",
            )
        commands = _written(records, length)
        if (length, count) == (file.record_length, file.record_count):
            return commands
        structure = (b"\x42" if file.kind == "linear" else b"\x46") + b"\x21" + length.to_bytes(2, "big")
        return [_described({"fileDescriptor": structure, "efFileSize": _number(length * count)}), *commands]

    def _group(self, name: str) -> bytes | None:
        """Return the group identifier for the metadata: what the file of that name begins with."""
        if not self._doc.has("files", name, "hex"):
            return None
        return self._doc.hex("files", name, "hex").rstrip(b"\xff") or None


_MAX_FILE: Final = 32767


def _template(kind: str) -> Template:
    return TEMPLATES[template_oid(USED_TEMPLATES[kind])]


def _add_parents(files: dict[str, Commands], template: Template, name: str) -> None:
    file = template.files.get(name)
    while file is not None and file.parent is not None and file.parent not in files:
        files[file.parent] = []
        file = template.files.get(file.parent)


def _described(fcp: Mapping[str, Any]) -> tuple[str, Any]:
    return "fileDescriptor", dict(fcp)


def _content(data: bytes) -> tuple[str, Any]:
    return "fillFileContent", data


def _number(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8 or 1, "big")


def _written(records: Sequence[bytes], length: int) -> Commands:
    # What the records leave open stays as the template fills it: the offset goes from the end of one to the next.
    commands: Commands = []
    skipped = 0
    for record in records:
        if skipped:
            commands.append(("fillFileOffset", skipped))
        commands.append(_content(record))
        skipped = length - len(record)
    return commands


def _records(records: Sequence[bytes], length: int, count: int) -> Commands:
    fcp = {"fileDescriptor": b"\x42\x21" + length.to_bytes(2, "big"), "efFileSize": _number(length * count)}
    return [_described(fcp), *_written(records, length)]


def _rules() -> Commands:
    return _records(contents.ACCESS_RULES, contents.record_length(contents.ACCESS_RULES), len(contents.ACCESS_RULES))
