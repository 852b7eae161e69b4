"""GET IDENTITY of a USIM: the SUCI, calculated on the card (3GPP TS 31.102 7.5, 5.3.51).

What it takes stands in files of the application: EF.IMSI, EF.AD (length of the MNC), the routing indicator of DF.5GS,
and the protection schemes with the home network's public keys in EF.SUCI_Calc_Info_USIM of DF.SAIP.
"""

from __future__ import annotations

from collections.abc import Sequence

from esim_bench.codec import tlv
from esim_bench.codec.apdu import Command
from esim_bench.crypto.randomness import Randomness
from esim_bench.crypto.suci import (
    NULL_SCHEME,
    PRIVATE_KEY,
    PROFILE_A,
    PROFILE_B,
    HomeNetworkKey,
    conceal,
    msin_bcd,
    suci,
)
from esim_bench.errors import BenchError
from esim_drivers.sim.application import Reply
from esim_drivers.sim.channel import Channel
from esim_drivers.sim.filesystem import FileSystem, Node
from esim_drivers.sim.personality import Personality
from esim_drivers.sim.pins import Pins

GET_IDENTITY = 0x78

_USIM = bytes.fromhex("A0000000871002")
_SUCI_CONTEXT = 0x01
_IMSI, _UST, _AD = (0x6F07,), (0x6F38,), (0x6FAD,)
_ROUTING_INDICATOR, _CALC_INFO = (0x5FC0, 0x4F0A), (0x5FD0, 0x4F01)
_PRIVACY, _CALCULATED_BY_USIM = 124, 125
"""Services of EF.UST (TS 31.102 4.2.8)."""
_SUCI, _PRIORITIES, _KEYS, _KEY_ID, _KEY = 0xA1, 0xA0, 0xA1, 0x80, 0x81
_CAPABILITIES = {PROFILE_A: "profile-a-x25519", PROFILE_B: "profile-b-p256"}
_NO_ROUTING = b"\xf0\xff"


class Identity:
    """Executes GET IDENTITY for the USIM that is current on a channel."""

    def __init__(self, files: FileSystem, pins: Pins, personality: Personality, randomness: Randomness) -> None:
        self._files = files
        self._pins = pins
        self._personality = personality
        self.randomness = randomness

    def process(self, command: Command, channel: Channel) -> Reply:
        """Execute it."""
        adf = channel.adf
        if not self._personality.supports("get-identity"):
            return Reply(sw=0x6D00)
        if command.p1 or command.p2 != _SUCI_CONTEXT:
            return Reply(sw=0x6A86)
        if command.data:
            return Reply(sw=0x6700)
        if adf is None or adf not in channel.directory.up() or not adf.header.aid.startswith(_USIM):
            return Reply(sw=0x6985)
        services = self._content(adf, _UST)
        if not (_available(services, _PRIVACY) and _available(services, _CALCULATED_BY_USIM)):
            return Reply(sw=0x6985)
        if not self._pins.application_satisfied(adf):
            return Reply(sw=0x6982)
        imsi = _digits(self._content(adf, _IMSI))
        if imsi is None:
            return Reply(sw=0x6985)
        try:
            return Reply(tlv.encode(_SUCI, self._calculate(adf, imsi)))
        except BenchError:
            # Schemes or keys that the profile has wrong: nothing may be told without concealing it.
            return Reply(sw=0x6985)

    def _calculate(self, adf: Node, imsi: str) -> bytes:
        administrative = self._content(adf, _AD)
        mnc_length = administrative[3] & 0x0F if len(administrative) > 3 else 2
        mnc_length = mnc_length if mnc_length in (2, 3) else 2
        routing = self._content(adf, _ROUTING_INDICATOR)[:2] or _NO_ROUTING
        plain = msin_bcd(imsi, mnc_length)
        schemes, keys = _calc_info(self._content(adf, _CALC_INFO))
        for scheme, index in schemes:
            if scheme == NULL_SCHEME:
                break
            if scheme in _CAPABILITIES and self._personality.supports(_CAPABILITIES[scheme]):
                key = keys[index - 1] if 1 <= index <= len(keys) else None
                if key is not None:
                    output = conceal(scheme, plain, key.value, self.randomness.bytes(PRIVATE_KEY))
                    return suci(imsi, mnc_length, routing, scheme, key.identifier, output)
        # The null scheme: asked for, or nothing that is asked for can be done (TS 31.102 5.3.51).
        return suci(imsi, mnc_length, routing, NULL_SCHEME, 0, plain)

    def _content(self, adf: Node, path: tuple[int, ...]) -> bytes:
        node = self._files.by_path(path, adf, adf)
        return self._files.read(node) if node is not None and not node.header.is_df else b""


def _calc_info(content: bytes) -> tuple[Sequence[tuple[int, int]], Sequence[HomeNetworkKey]]:
    """Read EF.SUCI_Calc_Info (TS 31.102 4.4.11.8): schemes by priority with the index of their key, and the keys."""
    schemes: list[tuple[int, int]] = []
    keys: list[HomeNetworkKey] = []
    at = 0
    while at < len(content) and content[at] in (_PRIORITIES, _KEYS):
        item = tlv.parse_prefix(content, at, "of EF.SUCI_Calc_Info")
        at += len(item.raw)
        if item.tag == _PRIORITIES:
            pairs = item.value
            schemes = [(pairs[index], pairs[index + 1]) for index in range(0, len(pairs) - 1, 2)]
            continue
        identifier = 0
        for member in item.children():
            if member.tag == _KEY_ID:
                identifier = int.from_bytes(member.value, "big") & 0xFF
            elif member.tag == _KEY:
                keys.append(HomeNetworkKey(identifier, member.value))
    return schemes, keys


def _available(table: bytes, service: int) -> bool:
    index, bit = divmod(service - 1, 8)
    return index < len(table) and bool(table[index] >> bit & 1)


def _digits(content: bytes) -> str | None:
    """Return the digits of EF.IMSI (TS 31.102 4.2.2), None when there are none."""
    if not content or not 4 <= content[0] <= 8 or len(content) < 1 + content[0]:
        return None
    text = "".join(f"{byte & 0x0F:X}{byte >> 4:X}" for byte in content[1 : 1 + content[0]])[1:].rstrip("F")
    return text if text.isdecimal() and len(text) > 5 else None
