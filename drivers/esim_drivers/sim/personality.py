"""What differs from one simulated eUICC to another: capabilities, versions, manners and speed.

A personality is data. Behaviour that all makes of eUICC share stands in the code; what some do and others don't is a
field here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from esim_bench.codec.es10 import ISD_R_AID
from esim_bench.errors import ConfigError

UICC_CAPABILITIES = (
    "contactlessSupport",
    "usimSupport",
    "isimSupport",
    "csimSupport",
    "akaMilenage",
    "akaCave",
    "akaTuak128",
    "akaTuak256",
    "usimTestAlgorithm",
    "rfu2",
    "gbaAuthenUsim",
    "gbaAuthenISim",
    "mbmsAuthenUsim",
    "eapClient",
    "javacard",
    "multos",
    "multipleUsimSupport",
    "multipleIsimSupport",
    "multipleCsimSupport",
    "berTlvFileSupport",
    "dfLinkSupport",
    "catTp",
    "getIdentity",
    "profile-a-x25519",
    "profile-b-p256",
    "suciCalculatorApi",
    "dns-resolution",
    "scp11ac",
    "scp11c-authorization-mechanism",
    "s16mode",
    "eaka",
    "iotminimal",
)
"""Bit names of UICCCapability (SAIP), in bit order: what EUICCInfo2 reports."""

SERVICE_CAPABILITY: Mapping[str, str] = {
    "contactless": "contactlessSupport",
    "usim": "usimSupport",
    "isim": "isimSupport",
    "csim": "csimSupport",
    "milenage": "akaMilenage",
    "tuak128": "akaTuak128",
    "cave": "akaCave",
    "gba-usim": "gbaAuthenUsim",
    "gba-isim": "gbaAuthenISim",
    "mbms": "mbmsAuthenUsim",
    "eap": "eapClient",
    "javacard": "javacard",
    "multos": "multos",
    "multiple-usim": "multipleUsimSupport",
    "multiple-isim": "multipleIsimSupport",
    "multiple-csim": "multipleCsimSupport",
    "tuak256": "akaTuak256",
    "usim-test-algorithm": "usimTestAlgorithm",
    "ber-tlv": "berTlvFileSupport",
    "dfLink": "dfLinkSupport",
    "cat-tp": "catTp",
    "get-identity": "getIdentity",
    "profile-a-x25519": "profile-a-x25519",
    "profile-b-p256": "profile-b-p256",
    "suciCalculatorApi": "suciCalculatorApi",
    "dns-resolution": "dns-resolution",
    "scp11ac": "scp11ac",
    "scp11c-authorization-mechanism": "scp11c-authorization-mechanism",
    "s16mode": "s16mode",
    "eaka": "eaka",
}
"""Member names of ServicesList (the profile header's mandatory services) and the capability that each one needs."""

TRE_PROPERTIES = ("isDiscrete", "isIntegrated", "usesRemoteMemory")
LPAE_SUPPORT = ("lpaeUsingCat", "lpaeUsingScws")
"""Bit names of lpaeSupport (ISDRProprietaryApplicationTemplate) and of lpaeOption (LpaeActivation), in bit order."""
RSP_CAPABILITIES = (
    "additionalProfile",
    "crlSupport",
    "rpmSupport",
    "testProfileSupport",
    "deviceInfoExtensibility",
    "serviceSpecificDataSupport",
)

_TEMPLATE_ROOT = "2.23.143.1.2"
_TEMPLATES = (
    *(str(number) for number in range(1, 16)),
    *("3.2", "4.2", "5.2", "5.3", "9.2", "10.2", "11.2", "13.2", "13.3", "13.4"),
)
_CAPABILITIES = (
    *("usimSupport", "isimSupport", "csimSupport", "akaMilenage", "akaTuak128", "akaTuak256"),
    *("usimTestAlgorithm", "javacard", "multipleUsimSupport", "multipleIsimSupport", "berTlvFileSupport"),
    *("dfLinkSupport", "getIdentity", "profile-a-x25519", "profile-b-p256"),
)


def bit_string(names: Iterable[str], order: tuple[str, ...]) -> tuple[bytes, int]:
    """Return a named-bit BIT STRING as DER has it (trailing zero bits dropped): (bytes, number of bits)."""
    bits = [order.index(name) for name in names]
    if not bits:
        return b"", 0
    count = max(bits) + 1
    value = 0
    for bit in bits:
        value |= 1 << (count - 1 - bit)
    size = (count + 7) // 8
    return (value << (size * 8 - count)).to_bytes(size, "big"), count


POLICY_RULES = ("pprUpdateControl", "ppr1", "ppr2")
"""Bit names of PprIds (SGP.22), in bit order: ppr1 forbids to disable the profile, ppr2 to delete it."""
ANY_OPERATOR = bytes.fromhex("EEEEEE")
"""mccMnc in which each digit is the wildcard E."""


@dataclass(frozen=True, slots=True)
class Operator:
    """OperatorId as it stands in the Rules Authorisation Table; an empty group identifier stands for any."""

    mcc_mnc: bytes = ANY_OPERATOR
    """3 bytes as in EF.IMSI's coding of a PLMN; a digit E stands for any."""
    gid1: bytes = b""
    gid2: bytes = b""


@dataclass(frozen=True, slots=True)
class AuthorisationRule:
    """ProfilePolicyAuthorisationRule (SGP.22 2.9.2): which policy rules profiles of which operators may carry."""

    rules: tuple[str, ...]
    """Names of POLICY_RULES."""
    operators: tuple[Operator, ...] = (Operator(),)
    consent_required: bool = True


EVERY_ORDER = (("iccid", True), ("iccid", False), ("aid", True), ("aid", False))
"""How a switch can be ordered: by ICCID or ISD-P AID, with refreshFlag or without."""


@dataclass(frozen=True, slots=True)
class Odd:
    """Manners that are not the standard's."""

    switch_orders: tuple[tuple[str, bool], ...] = EVERY_ORDER
    """Orders of EnableProfile and DisableProfile that work; others end in undefinedError."""
    false_cat_busy: bool = False
    """Whether a switch that took place is answered by catBusy."""
    list_refused: int = 0
    """Status word of ListNotification from a switch until the next reset; 0: it works."""
    ignores_memory_reset: bool = False
    """Whether eUICCMemoryReset says ok and does nothing."""
    reverts_at_power_up: bool = False
    """Whether a loss of power takes the last switch back."""


@dataclass(frozen=True, slots=True)
class Personality:
    """One make of eUICC. Times in seconds, sizes in bytes, versions as their bytes on the wire."""

    name: str
    summary: str

    # ------------------------------------------------------------------------------------------------- interface
    protocol: int = 1
    """The transmission protocol whose manners the card has: 0 (61xx, 6Cxx, GET RESPONSE) or 1 (data at once)."""
    channels: int = 4
    """Logical channels in all, the basic one included (TS 102 221 8.7: at most 20)."""
    historical: bytes = bytes.fromhex("8031A073BE21134553494D42")
    """Historical bytes of the ATR (ISO 7816-4 8.1.1): card service data, capabilities, and the maker's own."""

    # ------------------------------------------------------------------------------------------------- EUICCInfo2
    svn: bytes = bytes.fromhex("020500")
    profile_version: bytes = bytes.fromhex("020301")
    """Highest profile package version: a package of the same major and at most this minor version is accepted."""
    firmware_version: bytes = bytes.fromhex("010000")
    ts102241_version: bytes = bytes.fromhex("090200")
    globalplatform_version: bytes = bytes.fromhex("020300")
    pp_version: bytes = bytes.fromhex("010000")
    uicc_capability: tuple[str, ...] = _CAPABILITIES
    rsp_capability: tuple[str, ...] = (
        "additionalProfile",
        "crlSupport",
        "testProfileSupport",
        "deviceInfoExtensibility",
    )
    """Without crlSupport every LoadCRL ends in undefinedError, without testProfileSupport no test profile comes in."""
    category: int = 2
    """euiccCategory: other 0, basic 1, medium 2, contactless 3."""
    sas_accreditation: str = "GI-BA-UP-0419"
    platform_label: str = "1.2.840.1234567/esim-bench-simulated"
    discovery_url: str = "https://esim-bench.example.com/dlo"
    tre_properties: tuple[str, ...] = ("isDiscrete",)
    tre_product_reference: str = "esim-bench simulated TRE"
    removable: bool = True
    lpae_support: tuple[str, ...] = ()
    """Names of LPAE_SUPPORT: the LPAs of its own. They can be activated; their user interface is not simulated."""
    templates: tuple[str, ...] = tuple(f"{_TEMPLATE_ROOT}.{number}" for number in _TEMPLATES)
    """Object identifiers of the profile element templates that it can create files from."""

    # ------------------------------------------------------------------------------------------------- memory
    nvm_size: int = 512 * 1024
    ram_size: int = 12 * 1024
    max_profiles: int = 16
    worn_memory: tuple[str, ...] = ()
    """Beginnings of NVM keys that take no more writes: an old card with a memory failure."""

    # ------------------------------------------------------------------------------------------------- policy
    rules_authorisation_table: tuple[AuthorisationRule, ...] = (AuthorisationRule(("ppr1", "ppr2")),)
    """The RAT (SGP.22 2.9.2): as it stands, any operator may set PPR1 and PPR2, with the end user's consent."""
    forbidden_policy_rules: tuple[str, ...] = ()
    """forbiddenProfilePolicyRules of EUICCInfo2: rules that no profile may carry, whatever the RAT says."""
    provisioning_downloads: bool = True
    """Whether profiles of class provisioning may be downloaded; some makes have only those of the factory."""

    # ------------------------------------------------------------------------------------------------- SGP.32
    max_eims: int = 8
    """eIMs that can be associated at a time."""
    eim_counter_limit: int = 0x7FFFFF
    """The highest counterValue of an eIM; eUICCs must support at least this one, and careful eIMs rely on no more."""
    max_package_size: int = 4096
    """Bytes of the largest EuiccPackageRequest that is executed; a larger one ends in sizeOverflow."""
    max_package_result_size: int = 4096
    """Bytes of all results of one package; beyond them it ends in resultSizeOverflow."""
    max_package_results: int = 10
    """EuiccPackageResults that wait for their delivery at a time; one more drops the oldest."""
    ipae_supported: bool = False
    """Whether it has an IPA of its own (IPAe), which IpaeActivation can start. What that one does is not simulated."""
    ecall_supported: bool = True
    """Whether it has the Emergency Profile functions; if not, ecallIndication means nothing to it."""
    fallback_supported: bool = True
    """Whether it has the fallback mechanism."""
    immediate_enable_supported: bool = True
    """Whether immediate enabling can be configured."""
    eim_reset_supported: bool = True
    """Whether eUICCMemoryReset can forget the associated eIMs."""
    connectivity_parameters: bytes = b""
    """httpParams of GetConnectivityParameters, while a profile is enabled; empty: parametersNotAvailable."""

    # ------------------------------------------------------------------------------------------------- manners
    raises_refresh: bool = True
    """Whether a switch with refreshFlag raises REFRESH at all; some makes never do."""
    refresh_mode: int = 0x04
    """The REFRESH mode after a switch (TS 102 223 6.4.7): 04 UICC Reset, 09 eUICC Profile State Change."""
    needs_terminal_profile: bool = True
    """Whether proactive commands are kept back until the terminal has sent TERMINAL PROFILE."""
    poll_seconds: int = 0
    """The interval that it asks for by POLL INTERVAL after TERMINAL PROFILE; 0: the terminal polls as it likes."""
    requires_reset_after_switch: bool = False
    """Whether ES10 answers 6985 from a switch until the next reset."""
    empty_list_is_error: bool = False
    """Whether RetrieveNotificationsList without a hit ends in noResultAvailable 1, as in early versions of SGP.22."""
    isd_r_aid: bytes = ISD_R_AID
    """Some makes have their ISD-R under an AID of their own."""
    odd: Odd = Odd()

    # ------------------------------------------------------------------------------------------------- speed
    reset_seconds: float = 0.040
    default_seconds: float = 0.004
    ins_seconds: tuple[tuple[int, float], ...] = (
        (0xA4, 0.006),
        (0xB0, 0.003),
        (0xB2, 0.003),
        (0xC0, 0.001),
        (0x20, 0.030),
        (0x70, 0.005),
        (0xE2, 0.006),
    )
    byte_seconds: float = 0.00009
    """Time on the contacts of one byte of command or response."""
    write_seconds: float = 0.003
    """Time of one write to the persistent memory."""
    sign_seconds: float = 0.060
    verify_seconds: float = 0.045
    key_seconds: float = 0.080
    """Generation of a key pair, or a key agreement."""
    switch_seconds: float = 0.110
    """Enable or disable of a profile, besides its writes."""

    def __post_init__(self) -> None:
        """Refuse values that no card can have."""
        if self.protocol not in (0, 1):
            raise ConfigError("wrong protocol", where=self.name, expected="0 or 1", found=self.protocol)
        if not 1 <= self.channels <= 20:
            raise ConfigError("wrong number of channels", where=self.name, expected="1 to 20", found=self.channels)
        if not 0 <= self.poll_seconds <= 255 * 60:
            raise ConfigError("wrong polling interval", where=self.name, expected="0 to 15300", found=self.poll_seconds)
        for names, order in (
            (self.uicc_capability, UICC_CAPABILITIES),
            (self.tre_properties, TRE_PROPERTIES),
            (self.rsp_capability, RSP_CAPABILITIES),
            (self.forbidden_policy_rules, POLICY_RULES),
            (self.lpae_support, LPAE_SUPPORT),
            *((entry.rules, POLICY_RULES) for entry in self.rules_authorisation_table),
        ):
            for name in names:
                if name not in order:
                    raise ConfigError("unknown capability", where=self.name, expected=", ".join(order), found=name)

    def seconds(self, ins: int) -> float:
        """Return the time that an instruction takes besides its bytes and writes."""
        for known, seconds in self.ins_seconds:
            if known == ins:
                return seconds
        return self.default_seconds

    def supports(self, service: str) -> bool:
        """Tell whether a mandatory service of a profile header (member name of ServicesList) is supported."""
        return SERVICE_CAPABILITY.get(service) in self.uicc_capability

    @property
    def uicc_capability_bits(self) -> tuple[bytes, int]:
        """Return uiccCapability of EUICCInfo2 as (bytes, number of bits)."""
        return bit_string(self.uicc_capability, UICC_CAPABILITIES)

    @property
    def rsp_capability_bits(self) -> tuple[bytes, int]:
        """Return rspCapability of EUICCInfo2 as (bytes, number of bits)."""
        return bit_string(self.rsp_capability, RSP_CAPABILITIES)

    @property
    def tre_properties_bits(self) -> tuple[bytes, int]:
        """Return treProperties of EUICCInfo2 as (bytes, number of bits)."""
        return bit_string(self.tre_properties, TRE_PROPERTIES)


STANDARD = Personality("standard", "an unremarkable eUICC: T=1, four channels, REFRESH after a switch")

PERSONALITIES: Mapping[str, Personality] = {
    made.name: made
    for made in (
        STANDARD,
        replace(
            STANDARD,
            name="4ff",
            summary="a removable card with T=0 manners",
            protocol=0,
            tre_product_reference="esim-bench simulated 4FF",
        ),
        replace(
            STANDARD,
            name="mff2",
            summary="a soldered eUICC behind a modem: T=0, profile state change instead of a UICC reset",
            protocol=0,
            refresh_mode=0x09,
            removable=False,
            nvm_size=1024 * 1024,
            tre_product_reference="esim-bench simulated MFF2",
        ),
        replace(
            STANDARD,
            name="isim",
            summary="an eUICC inside a SoC: T=1, fast contacts, twenty channels",
            channels=20,
            historical=bytes.fromhex("8031A073BE21174553494D42"),
            removable=False,
            tre_properties=("isIntegrated",),
            nvm_size=768 * 1024,
            byte_seconds=0.00001,
            write_seconds=0.0008,
            sign_seconds=0.012,
            verify_seconds=0.015,
            key_seconds=0.015,
            tre_product_reference="esim-bench simulated iSIM",
        ),
        replace(STANDARD, name="no-refresh", summary="switches profiles without any REFRESH", raises_refresh=False),
        replace(
            STANDARD,
            name="reset-needed",
            summary="answers 6985 to ES10 from a switch until the next reset",
            requires_reset_after_switch=True,
        ),
        replace(STANDARD, name="polling", summary="asks the terminal to poll every ten seconds", poll_seconds=10),
        replace(
            STANDARD,
            name="sparse",
            summary="what it must and no more: no CRLs, no test or provisioning downloads, no policy rules",
            rsp_capability=("additionalProfile",),
            rules_authorisation_table=(),
            provisioning_downloads=False,
            empty_list_is_error=True,
            ecall_supported=False,
            fallback_supported=False,
            immediate_enable_supported=False,
            eim_reset_supported=False,
        ),
        replace(
            STANDARD,
            name="ipae",
            summary="has an IPA of its own: ES10b is refused to devices that name none in TERMINAL CAPABILITY",
            ipae_supported=True,
        ),
        replace(
            STANDARD,
            name="no-flag",
            summary="switches profiles only without refreshFlag, and refuses ListNotification until the next reset",
            odd=Odd(switch_orders=(("iccid", False), ("aid", False)), list_refused=0x6E00),
        ),
        replace(
            STANDARD,
            name="aid-only",
            summary="switches profiles only by ISD-P AID with refreshFlag",
            odd=Odd(switch_orders=(("aid", True),)),
        ),
        replace(
            STANDARD,
            name="false-busy",
            summary="answers catBusy although it switched; eUICCMemoryReset says ok and does nothing",
            odd=Odd(false_cat_busy=True, ignores_memory_reset=True),
        ),
        replace(
            STANDARD,
            name="reverting",
            summary="takes the last switch back when its power goes",
            odd=Odd(reverts_at_power_up=True),
        ),
        replace(
            STANDARD,
            name="own-isd-r",
            summary="has its ISD-R under an AID of its own",
            isd_r_aid=bytes.fromhex("A0000005591010FFFFFFFF8900000177"),
        ),
        replace(STANDARD, name="small", summary="runs out of memory: 48 KiB, T=0", protocol=0, nvm_size=48 * 1024),
    )
}


def personality(name: str) -> Personality:
    """Return a personality by its name (case does not matter). Raises ConfigError, listing the names."""
    found = PERSONALITIES.get(name.lower())
    if found is None:
        raise ConfigError("unknown personality", expected=f"one of {', '.join(PERSONALITIES)}", found=repr(name))
    return found
