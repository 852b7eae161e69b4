"""The rules of a profile package: each with its name, how bad it is to break it, and what it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

Severity = Literal["error", "warning", "note"]


class Rule(NamedTuple):
    """One rule."""

    severity: Severity
    """error: a strict eUICC refuses the package, or part of it can never work; warning: it works, but surely nobody
    meant it; note: worth knowing."""
    text: str
    """What the rule asks for."""


def _errors(**texts: str) -> dict[str, Rule]:
    return _rules("error", texts)


def _warnings(**texts: str) -> dict[str, Rule]:
    return _rules("warning", texts)


def _notes(**texts: str) -> dict[str, Rule]:
    return _rules("note", texts)


def _rules(severity: Severity, texts: Mapping[str, str]) -> dict[str, Rule]:
    return {name.replace("_", "-"): Rule(severity, text) for name, text in texts.items()}


RULES: Final[Mapping[str, Rule]] = {
    # Order
    **_errors(
        element_decodes="every element can be decoded",
        order_header="the header is the first element, and there is one",
        order_mf="the MF is created right after the header, by mf or genericFileManagement",
        order_end="end is the last element, and there is one",
        order_once="what belongs there once is there once; a second application needs its multiple-... service",
        order_after="elements come after what they belong to: opt-usim after usim, akaParameter after its application, "
        "rfm after a security domain",
        identification_unique="no two elements have the same identification",
    ),
    **_warnings(element_reserved="no element is one of the reserved ones (rfu1 to rfu5)"),
    **_notes(
        element_mandated="every element is mandated: others are skipped silently where they are not supported",
        element_nonstandard="no element is of a private kind (nonStandard)",
    ),
    # Header
    **_errors(
        iccid_format="the ICCID is 18 to 20 decimal digits, padded with F",
        service_missing="eUICC-Mandatory-services names what the package cannot do without",
        template_missing="eUICC-Mandatory-GFSTEList names every template in use",
        template_kind="the template of an element is one that exists for its kind",
    ),
    **_warnings(
        iccid_match="EF.ICCID is the header's ICCID, nibbles swapped",
        version_known="the version is 2.x or 3.x",
        version_elements="the version knows the elements in use: df-5gs and df-saip since 2.3, df-snpn and df-5gprose "
        "since 3.0, iot since 3.3",
        service_unused="eUICC-Mandatory-services names nothing that the package does not use",
        service_unknown="eUICC-Mandatory-services names known services only",
        service_table="what EF.UST promises and the eUICC must calculate (SUCI, GBA) is among the mandatory services",
        template_unused="eUICC-Mandatory-GFSTEList names no template without an element",
        template_unknown="eUICC-Mandatory-GFSTEList names known templates only",
    ),
    **_notes(iccid_luhn="the ICCID ends with its check digit (ITU-T E.118)"),
    # PIN and PUK
    **_errors(
        pin_reference="key references: in the MF 1 to 8 and 10 to 14, below it 129 to 136 and 138 to 142",
        pin_unique="a PIN is defined once for a directory",
        pin_puk="the PUK that unblocks a PIN is defined, and before the PIN",
        pin_attempts="no more attempts are left than there are, and there is at least one",
        pin_path="PINs are shared with a directory that exists",
        puk_reference="key references of PUKs: 1 to 8 and 129 to 136",
        puk_unique="a PUK is defined once",
        puk_attempts="no more attempts are left than there are, and there is at least one",
    ),
    **_warnings(
        pin_value="a PIN is 4 to 8 digits, padded with FF; administrative codes may be anything",
        puk_value="a PUK is 8 digits",
        pin_blocked="no enabled PIN is blocked from the start",
        pin_status="a directory's PIN status template names PINs that are defined",
    ),
    # Authentication
    **_errors(
        aka_algorithm="the algorithm is Milenage (1), TUAK (2) or the USIM test algorithm (3)",
        aka_key="K is 16 bytes; of TUAK 16 or 32",
        aka_opc="OPc is 16 bytes, TOPc of TUAK 32",
        aka_rotation="rotation constants are less than 128",
        aka_keccak="TUAK does at least one Keccak iteration",
        aka_mapping="an application that borrows another's key names one that has its own",
    ),
    **_warnings(
        aka_missing="every USIM and ISIM has an akaParameter",
        aka_unneeded="every akaParameter has an application of its own",
        aka_constants="Milenage: no two pairs of rotation and xor constants are the same; c1 has even parity, the "
        "others odd (TS 35.206 5.3)",
    ),
    # Applications
    **_errors(
        aid_unique="no two applications, ADFs included, have the same AID",
        tar_unique="no two applications have the same TAR",
        sd_privilege="a security domain has the privilege of one",
        sd_reference="a security domain that something belongs to is created before it",
        sd_key_size="keys have the sizes of their type: AES 16, 24 or 32 bytes, DES 8, 16 or 24",
        sd_key_unique="no two keys of a security domain have the same version and identifier",
        load_order="a load package is loaded before something is made of it",
        rfm_adf="the ADF of remote file management is created before",
    ),
    **_warnings(
        sd_key_number="keys have versions 1 to 127 and identifiers 1 to 127",
        load_missing="a load package is in the package, is GlobalPlatform's own, or is in eUICC-Mandatory-AIDs",
        rfm_security="remote file management asks for some security",
    ),
    **_notes(
        sd_keys="the operator's security domain has keys: without them the profile cannot be managed over the air",
    ),
    # Files
    **_errors(
        file_resolves="every file can be created as it is described",
        file_size="content fits its file",
        file_records="record files are 1 to 254 whole records of 1 to 255 bytes",
        file_unique="no two files of a directory have the same file identifier",
        file_path="a path of genericFileManagement leads to a file created before",
        file_parent="the directory of a file is created before it",
        file_identifier="no file has a reserved identifier (3F00, 3FFF, 7FFF, FFFF) or the one of its directory",
        file_link="a link leads to a file that exists and is no link itself",
        arr_file="the EF.ARR that an access rule is taken from exists",
        arr_record="the record of EF.ARR that an access rule is taken from exists",
        sfi_unique="no two files of a directory have the same short file identifier",
    ),
    **_warnings(
        sfi_range="short file identifiers are 1 to 30",
        file_state="the life cycle state is one that ISO/IEC 7816-4 knows",
        file_rules="every file has access rules",
        arr_format="access rules in use are well-formed (TS 102 221 9.2)",
    ),
    # The rules of the templates name PIN2 even where a profile has none.
    **_notes(arr_pin="access rules in use name PINs that are defined"),
    # Contents
    **_errors(
        imsi_format="EF.IMSI is an IMSI of 6 to 15 digits, or empty (TS 31.102 4.2.2)",
    ),
    **_warnings(
        dir_missing="every ADF of a USIM, ISIM or CSIM is in EF.DIR",
        dir_unknown="every application of EF.DIR has its ADF",
        ust_file="a service of EF.UST has its file",
        language_format="EF.PL and EF.LI are pairs of letters (ISO 639)",
        ad_format="EF.AD tells the length of the MNC: 2 or 3",
        acc_empty="EF.ACC has an access class",
        plmn_format="networks are three decimal digits and two or three",
    ),
    **_notes(
        ust_service="a file that a service of EF.UST stands for has that service",
    ),
    # Eligibility
    **_errors(
        euicc_version="the eUICC supports the version: the same major, at most its minor version",
        euicc_service="the eUICC has all mandatory services",
        euicc_memory="the eUICC has room for the package",
    ),
}
"""All rules by name, in the order in which they are checked."""
