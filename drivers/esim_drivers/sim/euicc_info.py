"""What an eUICC says of itself: FCI of the ISD-R, EUICCInfo1 and EUICCInfo2 (SGP.22 5.7.1, 5.7.8, ASN.1)."""

from __future__ import annotations

from esim_bench.codec.es10 import Tag
from esim_bench.codec.iot_info import IotEuiccInfo2, IotSpecificInfo, IsdrConfiguration
from esim_bench.codec.tlv import encode
from esim_drivers.sim import der
from esim_drivers.sim.euicc import Euicc
from esim_drivers.sim.personality import LPAE_SUPPORT, STANDARD, TRE_PROPERTIES, bit_string
from esim_drivers.sim.policy import forbidden_rules
from esim_drivers.sim.registry import ENABLED_KEY, Registry

_SVN = 0x82
_LPAE_SUPPORT = 0x03


def isdr_fci(euicc: Euicc) -> bytes:
    """Return the FCI of the ISD-R: its AID, and what it is to consumer devices (E0) and IoT devices (E1).

    E0 is ISDRProprietaryApplicationTemplate with svn and lpaeSupport, E1 the one of SGP.32.
    """
    lpae = euicc.personality.lpae_support
    return encode(
        0x6F,
        encode(0x84, euicc.personality.isd_r_aid),
        encode(0xA5, bytes.fromhex("9F6501FF")),
        encode(
            0xE0,
            encode(_SVN, euicc.personality.svn),
            der.bit_string(_LPAE_SUPPORT, bit_string(lpae, LPAE_SUPPORT)) if lpae else b"",
        )
        if euicc.standards.consumer
        else b"",
        _iot_template(euicc) if euicc.standards.iot is not None else b"",
    )


def _iot_template(euicc: Euicc) -> bytes:
    enabled = euicc.nvm.get(ENABLED_KEY) is not None
    return IsdrConfiguration(euicc.personality.ipae_supported, enabled).encode()


def euicc_info1(euicc: Euicc) -> bytes:
    """Return EUICCInfo1 (BF20)."""
    return encode(Tag.GET_EUICC_INFO1, encode(_SVN, euicc.personality.svn), _issuers(euicc))


def euicc_info2(euicc: Euicc) -> bytes:
    """Return EUICCInfo2 (BF22) with all members of SGP.22 2.5, on an IoT eUICC also those of SGP.32.

    Free memory and profiles are as they are now.
    """
    who = euicc.personality
    return encode(
        Tag.GET_EUICC_INFO2,
        encode(0x81, who.profile_version),
        encode(_SVN, who.svn),
        encode(0x83, who.firmware_version),
        encode(0x84, _card_resources(euicc)),
        der.bit_string(0x85, who.uicc_capability_bits),
        encode(0x86, who.ts102241_version),
        encode(0x87, who.globalplatform_version),
        der.bit_string(0x88, who.rsp_capability_bits),
        _issuers(euicc),
        der.integer(0x8B, who.category),
        forbidden_rules(who),
        encode(0x04, who.pp_version),
        der.text(0x0C, who.sas_accreditation),
        encode(0xAC, der.text(0x80, who.platform_label), der.text(0x81, who.discovery_url)),
        der.bit_string(0x8D, bit_string(_tre_properties(euicc), TRE_PROPERTIES)),
        der.text(0x8E, who.tre_product_reference),
        _iot_members(euicc),
    )


def _iot_members(euicc: Euicc) -> bytes:
    """Return what SGP.32 adds to EUICCInfo2: the active IPA, and the functions of this eUICC."""
    version = euicc.standards.iot
    if version is None:
        return b""
    info = IotSpecificInfo((version.octets,), ecall=euicc.knows_ecall, fallback=euicc.knows_fallback)
    return IotEuiccInfo2(ipa_mode=int(euicc.ipae_active), iot=info).encode(version)


def _tre_properties(euicc: Euicc) -> tuple[str, ...]:
    """A personality that says nothing special is built the way its slot is."""
    stated = euicc.personality.tre_properties
    if stated == STANDARD.tre_properties and euicc.form_factor.integrated:
        return ("isIntegrated",)
    return stated


def _card_resources(euicc: Euicc) -> bytes:
    """Return extended card resources information (TS 102 226 8.2.1.7.2): applications, free NVM, free RAM."""
    count = len(Registry(euicc.nvm).profiles())
    return b"".join(
        (
            encode(0x81, count.to_bytes(1, "big")),
            encode(0x82, max(0, euicc.services.free_memory).to_bytes(4, "big")),
            encode(0x83, euicc.personality.ram_size.to_bytes(2, "big")),
        )
    )


def _issuers(euicc: Euicc) -> bytes:
    verification = b"".join(encode(0x04, ci.key_id) for ci in euicc.identity.trusted)
    signing = b"".join(encode(0x04, one.ci_key_id) for one in euicc.identity.signing)
    return encode(0xA9, verification) + encode(0xAA, signing)
