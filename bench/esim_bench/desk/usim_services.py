"""Names of the services in EF.UST and EF.IST (3GPP TS 31.102 4.2.8, TS 31.103 4.2.7)."""

from __future__ import annotations

from typing import Final

_UST: Final = (
    "Local Phone Book|Fixed Dialling Numbers|Extension 2|Service Dialling Numbers|Extension 3|Barred Dialling Numbers|"
    "Extension 4|Outgoing Call Information|Incoming Call Information|Short Message Storage|"
    "Short Message Status Reports|Short Message Service Parameters|Advice of Charge|Capability Configuration 2|"
    "CB Message Identifier|CB Message Identifier Ranges|Group Identifier Level 1|Group Identifier Level 2|"
    "Service Provider Name|User controlled PLMN selector with AcT|MSISDN|Image|SoLSA|eMLPP|Automatic Answer for eMLPP|"
    "RFU|GSM Access|Data download via SMS-PP|Data download via SMS-CB|Call Control by USIM|MO-SMS Control by USIM|"
    "RUN AT COMMAND|always set|Enabled Services Table|APN Control List|Depersonalisation Control Keys|"
    "Co-operative Network List|GSM security context|CPBCCH Information|Investigation Scan|MExE|"
    "Operator controlled PLMN selector with AcT|HPLMN selector with AcT|Extension 5|PLMN Network Name|"
    "Operator PLMN List|Mailbox Dialling Numbers|Message Waiting Indication Status|Call Forwarding Indication Status|"
    "reserved|Service Provider Display Information|Multimedia Messaging Service|Extension 8|"
    "Call control on GPRS by USIM|MMS User Connectivity Parameters|Network's indication of alerting|"
    "VGCS Group Identifier List|VBS Group Identifier List|Pseudonym|User PLMN selector for I-WLAN|"
    "Operator PLMN selector for I-WLAN|User WSID list|Operator WSID list|VGCS security|VBS security|"
    "WLAN Reauthentication Identity|Multimedia Messages Storage|Generic Bootstrapping Architecture|MBMS security|"
    "Data download via USSD|Equivalent HPLMN|Additional TERMINAL PROFILE after UICC activation|"
    "Equivalent HPLMN Presentation Indication|Last RPLMN Selection Indication|OMA BCAST Smart Card Profile|"
    "GBA-based Local Key Establishment|Terminal Applications|Service Provider Name Icon|PLMN Network Name Icon|"
    "Connectivity Parameters for USIM IP connections|Home I-WLAN Specific Identifier List|"
    "I-WLAN Equivalent HPLMN Presentation Indication|I-WLAN HPLMN Priority Indication|I-WLAN Last Registered PLMN|"
    "EPS Mobility Management Information|Allowed CSG Lists|Call control on EPS PDN connection by USIM|"
    "HPLMN Direct Access|eCall Data|Operator CSG Lists|SM-over-IP|CSG Display Control|"
    "Communication Control for IMS by USIM|Extended Terminal Applications|UICC access to IMS|"
    "NAS configuration by USIM|PWS configuration by USIM|RFU|URI support by UICC|Extended EARFCN|ProSe|"
    "USAT Application Pairing|Media Type|IMS call disconnection cause|URI support for MO short message control|"
    "ePDG configuration information|ePDG configuration information configured|ACDC|Mission Critical Services|"
    "ePDG configuration for Emergency Services|ePDG configuration for Emergency Services configured|"
    "eCall Data over IMS|URI support for SMS-PP Download|From Preferred|IMS configuration data|TV configuration|"
    "3GPP PS Data Off|3GPP PS Data Off Service List|V2X|XCAP Configuration Data|EARFCN list for MTC/NB-IoT|"
    "5GS Mobility Management Information|5G Security Parameters|Subscription identifier privacy|"
    "SUCI calculation by the USIM|UAC Access Identities|Steering of UE in VPLMN|Call control on PDU session by USIM|"
    "5GS Operator PLMN List|SUPI of type NSI or GLI or GCI"
)
_IST: Final = (
    "P-CSCF address|Generic Bootstrapping Architecture|HTTP Digest|GBA-based Local Key Establishment|"
    "P-CSCF discovery for IMS Local Break Out|Short Message Storage|Short Message Status Reports|SM-over-IP|"
    "Communication Control for IMS by ISIM|UICC access to IMS|URI support by UICC|Media Type|"
    "IMS call disconnection cause|URI support for MO short message control|MCPTT|URI support for SMS-PP Download|"
    "From Preferred|IMS configuration data|XCAP Configuration Data|WebRTC URI"
)


def service_name(table: str, number: int) -> str:
    """Return the name of a service of "EF.UST" or "EF.IST", counted from 1; "" where none is known."""
    names = (_IST if table == "EF.IST" else _UST).split("|")
    return names[number - 1] if 1 <= number <= len(names) else ""
