"""Names for humans: instructions, files, applications, proactive commands."""

from __future__ import annotations

from typing import Final

# ETSI TS 102 221 10.1.2, ISO/IEC 7816-4, GlobalPlatform 2.3 11.1; what an INS means where the CLA does not matter.
INSTRUCTIONS: Final = {
    0x04: "DEACTIVATE FILE",
    0x10: "TERMINAL PROFILE",
    0x12: "FETCH",
    0x14: "TERMINAL RESPONSE",
    0x20: "VERIFY PIN",
    0x24: "CHANGE PIN",
    0x26: "DISABLE PIN",
    0x28: "ENABLE PIN",
    0x2C: "UNBLOCK PIN",
    0x32: "INCREASE",
    0x44: "ACTIVATE FILE",
    0x50: "INITIALIZE UPDATE",
    0x70: "MANAGE CHANNEL",
    0x73: "MANAGE SECURE CHANNEL",
    0x75: "TRANSACT DATA",
    0x76: "SUSPEND UICC",
    0x78: "GET IDENTITY",
    0x7A: "EXCHANGE CAPABILITIES",
    0x82: "EXTERNAL AUTHENTICATE",
    0x84: "GET CHALLENGE",
    0x88: "AUTHENTICATE",
    0x89: "AUTHENTICATE",
    0xA2: "SEARCH RECORD",
    0xA4: "SELECT",
    0xAA: "TERMINAL CAPABILITY",
    0xB0: "READ BINARY",
    0xB2: "READ RECORD",
    0xC0: "GET RESPONSE",
    0xC2: "ENVELOPE",
    0xCA: "GET DATA",
    0xCB: "RETRIEVE DATA",
    0xD4: "RESIZE FILE",
    0xD6: "UPDATE BINARY",
    0xD8: "PUT KEY",
    0xDB: "SET DATA",
    0xDC: "UPDATE RECORD",
    0xE0: "CREATE FILE",
    0xE2: "STORE DATA",
    0xE4: "DELETE FILE",
    0xE6: "INSTALL",
    0xE8: "LOAD",
    0xF0: "SET STATUS",
    0xF2: "STATUS",
}

# By the longest prefix that fits. TS 101 220 annex E and L; SGP.02 for the ISD-R, ECASD and ISD-P.
APPLICATIONS: Final = (
    ("A0000005591010FFFFFFFF8900000100", "ISD-R"),
    ("A0000005591010FFFFFFFF8900000200", "ECASD"),
    ("A0000005591010FFFFFFFF8900", "ISD-P"),
    ("A0000000871002", "ADF.USIM"),
    ("A0000000871004", "ADF.ISIM"),
    ("A0000003431002", "ADF.CSIM"),
    ("A0000000090001", "SIM"),
    ("A00000015141434C00", "ARA-M"),
    ("A000000151000000", "ISD"),
    ("A000000063504B43532D3135", "PKCS#15"),
)

# TS 102 221 13, TS 31.102 4.2; dedicated files first.
DIRECTORIES: Final = {
    0x3F00: "MF",
    0x7FFF: "ADF",
    0x7F10: "DF.TELECOM",
    0x7F20: "DF.GSM",
    0x7F25: "DF.CDMA",
    0x5F3A: "DF.PHONEBOOK",
    0x5F3B: "DF.GSM-ACCESS",
    0x5F3C: "DF.MExE",
    0x5F50: "DF.HNB",
    0x5F70: "DF.SoLSA",
    0x5F40: "DF.WLAN",
    0x5FC0: "DF.5GS",
    0x5FD0: "DF.SAIP",
    0x5FE0: "DF.SNPN",
}

FILES_MF: Final = {
    0x2F00: "EF.DIR",
    0x2F05: "EF.PL",
    0x2F06: "EF.ARR",
    0x2F08: "EF.UMPC",
    0x2FE2: "EF.ICCID",
}

FILES_USIM: Final = {
    0x6F05: "EF.LI",
    0x6F06: "EF.ARR",
    0x6F07: "EF.IMSI",
    0x6F08: "EF.Keys",
    0x6F09: "EF.KeysPS",
    0x6F2C: "EF.DCK",
    0x6F31: "EF.HPPLMN",
    0x6F32: "EF.CNL",
    0x6F37: "EF.ACMmax",
    0x6F38: "EF.UST",
    0x6F39: "EF.ACM",
    0x6F3B: "EF.FDN",
    0x6F3C: "EF.SMS",
    0x6F3E: "EF.GID1",
    0x6F3F: "EF.GID2",
    0x6F40: "EF.MSISDN",
    0x6F41: "EF.PUCT",
    0x6F42: "EF.SMSP",
    0x6F43: "EF.SMSS",
    0x6F45: "EF.CBMI",
    0x6F46: "EF.SPN",
    0x6F47: "EF.SMSR",
    0x6F48: "EF.CBMID",
    0x6F49: "EF.SDN",
    0x6F4B: "EF.EXT2",
    0x6F4C: "EF.EXT3",
    0x6F4D: "EF.BDN",
    0x6F4E: "EF.EXT5",
    0x6F50: "EF.CBMIR",
    0x6F55: "EF.EXT4",
    0x6F56: "EF.EST",
    0x6F57: "EF.ACL",
    0x6F5B: "EF.START-HFN",
    0x6F5C: "EF.THRESHOLD",
    0x6F60: "EF.PLMNwAcT",
    0x6F61: "EF.OPLMNwAcT",
    0x6F62: "EF.HPLMNwAcT",
    0x6F73: "EF.PSLOCI",
    0x6F78: "EF.ACC",
    0x6F7B: "EF.FPLMN",
    0x6F7E: "EF.LOCI",
    0x6F80: "EF.ICI",
    0x6F81: "EF.OCI",
    0x6F82: "EF.ICT",
    0x6F83: "EF.OCT",
    0x6FAD: "EF.AD",
    0x6FB7: "EF.ECC",
    0x6FC4: "EF.NETPAR",
    0x6FC5: "EF.PNN",
    0x6FC6: "EF.OPL",
    0x6FC7: "EF.MBDN",
    0x6FC8: "EF.EXT6",
    0x6FC9: "EF.MBI",
    0x6FCA: "EF.MWIS",
    0x6FCB: "EF.CFIS",
    0x6FCD: "EF.SPDI",
    0x6FD9: "EF.EHPLMN",
    0x6FDB: "EF.EHPLMNPI",
    0x6FDC: "EF.LRPLMNSI",
    0x6FE3: "EF.EPSLOCI",
    0x6FE4: "EF.EPSNSC",
    0x6FE6: "EF.UFC",
    0x6FE8: "EF.NASCONFIG",
    0x6FEF: "EF.PWS",
}

FILES_ISIM: Final = {
    0x6F02: "EF.IMPI",
    0x6F03: "EF.DOMAIN",
    0x6F04: "EF.IMPU",
    0x6F06: "EF.ARR",
    0x6F07: "EF.IST",
    0x6F09: "EF.P-CSCF",
    0x6FAD: "EF.AD",
}

FILES_5GS: Final = {
    0x4F01: "EF.5GS3GPPLOCI",
    0x4F02: "EF.5GSN3GPPLOCI",
    0x4F03: "EF.5GS3GPPNSC",
    0x4F04: "EF.5GSN3GPPNSC",
    0x4F05: "EF.5GAUTHKEYS",
    0x4F06: "EF.UAC_AIC",
    0x4F07: "EF.SUCI_Calc_Info",
    0x4F08: "EF.OPL5G",
    0x4F09: "EF.SUPI_NAI",
    0x4F0A: "EF.Routing_Indicator",
}

FILES_TELECOM: Final = {
    0x6F06: "EF.ARR",
    0x6F3A: "EF.ADN",
    0x6F3B: "EF.FDN",
    0x6F3C: "EF.SMS",
    0x6F40: "EF.MSISDN",
    0x6F42: "EF.SMSP",
    0x6F54: "EF.SUME",
    0x6FE0: "EF.ICE_DN",
}

BY_DIRECTORY: Final = {
    "MF": FILES_MF,
    "ADF": FILES_USIM,
    "ADF.USIM": FILES_USIM,
    "ADF.ISIM": FILES_ISIM,
    "DF.TELECOM": FILES_TELECOM,
    "DF.GSM": FILES_USIM,
    "DF.5GS": FILES_5GS,
}

# Short file identifiers: TS 102 221 13, TS 31.102 annex H.
SHORT_IDS: Final = {
    "MF": {0x1E: 0x2F00, 0x02: 0x2FE2, 0x05: 0x2F05, 0x06: 0x2F06},
    "ADF.USIM": {
        0x01: 0x6FB7,
        0x02: 0x6F05,
        0x03: 0x6FAD,
        0x04: 0x6F38,
        0x05: 0x6F56,
        0x06: 0x6F78,
        0x07: 0x6F07,
        0x08: 0x6F08,
        0x09: 0x6F09,
        0x0A: 0x6F60,
        0x0B: 0x6F7E,
        0x0C: 0x6F73,
        0x0D: 0x6F7B,
        0x0E: 0x6F48,
        0x0F: 0x6F5B,
        0x10: 0x6F5C,
        0x11: 0x6F61,
        0x12: 0x6F31,
        0x13: 0x6F62,
        0x14: 0x6F80,
        0x15: 0x6F81,
        0x16: 0x6F82,
        0x17: 0x6F06,
        0x18: 0x6FE4,
        0x19: 0x6FC5,
        0x1A: 0x6FC6,
        0x1D: 0x6FD9,
        0x1E: 0x6FE3,
    },
}

# TS 102 223 9.4.
PROACTIVE: Final = {
    0x01: "REFRESH",
    0x02: "MORE TIME",
    0x03: "POLL INTERVAL",
    0x04: "POLLING OFF",
    0x05: "SET UP EVENT LIST",
    0x10: "SET UP CALL",
    0x11: "SEND SS",
    0x12: "SEND USSD",
    0x13: "SEND SHORT MESSAGE",
    0x14: "SEND DTMF",
    0x15: "LAUNCH BROWSER",
    0x20: "PLAY TONE",
    0x21: "DISPLAY TEXT",
    0x22: "GET INKEY",
    0x23: "GET INPUT",
    0x24: "SELECT ITEM",
    0x25: "SET UP MENU",
    0x26: "PROVIDE LOCAL INFORMATION",
    0x27: "TIMER MANAGEMENT",
    0x28: "SET UP IDLE MODE TEXT",
    0x40: "OPEN CHANNEL",
    0x41: "CLOSE CHANNEL",
    0x42: "RECEIVE DATA",
    0x43: "SEND DATA",
    0x44: "GET CHANNEL STATUS",
}

# TS 102 223 8.6, qualifier of REFRESH.
REFRESH_MODES: Final = {
    0x00: "NAA Initialization and Full File Change Notification",
    0x01: "File Change Notification",
    0x02: "NAA Initialization and File Change Notification",
    0x03: "NAA Initialization",
    0x04: "UICC Reset",
    0x05: "NAA Application Reset",
    0x06: "NAA Session Reset",
    0x07: "Steering of Roaming",
    0x08: "Steering of Roaming for I-WLAN",
    0x09: "eUICC Profile State Change",
    0x0A: "Application Update",
}

# TS 102 223 8.12, general result.
TERMINAL_RESULTS: Final = {
    0x00: "performed",
    0x01: "performed with partial comprehension",
    0x02: "performed with missing information",
    0x03: "REFRESH performed with additional EFs read",
    0x10: "session terminated by the user",
    0x20: "terminal currently unable",
    0x30: "beyond the terminal's capabilities",
    0x31: "type not understood",
    0x32: "data not understood",
    0x33: "number not known",
    0x36: "required values missing",
    0x3A: "Bearer Independent Protocol error",
}

# TS 102 223 9.1, tags of ENVELOPE contents.
ENVELOPES: Final = {
    0xD1: "SMS-PP Download",
    0xD2: "Cell Broadcast Download",
    0xD3: "Menu Selection",
    0xD4: "Call Control",
    0xD5: "MO Short Message Control",
    0xD6: "Event Download",
    0xD7: "Timer Expiration",
}

PIN_REFERENCES: Final = {
    0x01: "PIN1",
    0x0A: "ADM1",
    0x0B: "ADM2",
    0x11: "universal PIN",
    0x81: "PIN2",
}


def application(aid: bytes) -> str | None:
    """Return the name of an application by its AID, whole or in part; None when it is not known."""
    text = aid.hex().upper()
    for prefix, name in APPLICATIONS:
        if text.startswith(prefix):
            if name == "ISD-P" and len(aid) == 16:
                return f"ISD-P {text[26:30]}"
            return name
    # A terminal may select by the beginning of the AID alone (right-truncated, TS 102 221 8.5.1.1).
    if len(aid) >= 5:
        return next((name for prefix, name in APPLICATIONS if prefix.startswith(text)), None)
    return None


def file_name(directory: str, fid: int) -> str:
    """Return the name of a file by its identifier within a directory, else the identifier in hex."""
    if fid in DIRECTORIES:
        return DIRECTORIES[fid]
    known = BY_DIRECTORY.get(directory, {})
    return known.get(fid) or FILES_MF.get(fid) or f"{fid:04X}"
