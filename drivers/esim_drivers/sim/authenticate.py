"""AUTHENTICATE of a USIM or ISIM (3GPP TS 31.102 7.1, TS 31.103 7.1), with the parameters of PE-AKAParameter.

In NVM below ``isdp/<AID>/aka/<ADF>/``: ``algorithm`` and ``rules`` as the installer left them, ``sqn`` (32 accepted SEQ
of 6 bytes, by index), ``count`` (how often it was executed, where a limit is set); or ``mapping`` to another ADF, which
then shares keys and sequence numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

from esim_bench.codec import tlv
from esim_bench.codec.apdu import Command
from esim_bench.crypto.aka import IND_BITS, AkaFunctions, gsm_kc, gsm_sres, make_auts, open_autn
from esim_bench.crypto.milenage import Milenage
from esim_bench.crypto.tuak import Tuak
from esim_bench.crypto.usim_test_algorithm import AMF_RESYNCH, UsimTestAlgorithm
from esim_bench.errors import CryptoError
from esim_drivers.sim.application import Reply
from esim_drivers.sim.channel import Channel
from esim_drivers.sim.filesystem import FileSystem, Node, isdp_prefix, path_text
from esim_drivers.sim.nvm import Nvm
from esim_drivers.sim.pins import Pins

AUTHENTICATE = 0x88

_USIM, _ISIM = bytes.fromhex("A0000000871002"), bytes.fromhex("A0000000871004")
_GSM, _AKA = 0x80, 0x81
_OTHER_CONTEXTS = (0x82, 0x84, 0x86)
"""VGCS/VBS or HTTP Digest, GBA, Local Key Establishment: none of them is here."""
_SUCCESS, _SYNCHRONISATION_FAILURE = b"\xdb", b"\xdc"
_UST = 0x6F38
_GSM_ACCESS, _GSM_CONTEXT = 27, 38
"""Services of EF.UST (TS 31.102 4.2.8): Kc in the answer, the GSM security context."""

_WRONG_MAC, _NO_CONTEXT = Reply(sw=0x9862), Reply(sw=0x9864)
_TEST_ALGORITHM = 3
_RES_LENGTHS = (4, 8, 16, 32)
_MOST_MAPPINGS = 4

_FRESHNESS, _WRAP_AROUND, _AGE = 0x02, 0x04, 0x08
"""Bits of sqnOptions: judge SEQ by its array, by sqnDelta, by sqnAgeLimit."""


class Authenticator:
    """Executes AUTHENTICATE for the application that is current on a channel."""

    def __init__(self, nvm: Nvm, files: FileSystem, pins: Pins) -> None:
        self._nvm = nvm
        self._files = files
        self._pins = pins

    def process(self, command: Command, channel: Channel) -> Reply:
        """Execute it. Raises CodecError for a memory that does not hold what it should, PowerLost."""
        adf = channel.adf
        if adf is None or adf not in channel.directory.up():
            return Reply(sw=0x6985)
        usim, isim = adf.header.aid.startswith(_USIM), adf.header.aid.startswith(_ISIM)
        if not usim and not isim:
            return Reply(sw=0x6D00)
        if command.p1 or command.p2 not in (_GSM, _AKA, *_OTHER_CONTEXTS):
            return Reply(sw=0x6A86)
        if command.p2 != _AKA and not (command.p2 == _GSM and usim and self._service(adf, _GSM_CONTEXT)):
            return _NO_CONTEXT
        if not self._pins.application_satisfied(adf):
            return Reply(sw=0x6982)
        subscription = self._subscription(adf)
        if subscription is None:
            return Reply(sw=0x6A88)
        parts = _length_values(command.data)
        wanted = 1 if command.p2 == _GSM else 2
        if parts is None or len(parts) != wanted:
            return Reply(sw=0x6700)
        if len(parts[0]) != 16 or (wanted == 2 and len(parts[1]) != 16):
            return Reply(sw=0x6A80)
        if not subscription.count():
            return Reply(sw=0x6984)
        if wanted == 1:
            return _gsm(subscription.functions, parts[0])
        return self._aka(subscription, parts[0], parts[1], with_kc=usim and self._service(adf, _GSM_ACCESS))

    def _aka(self, subscription: _Subscription, rand: bytes, autn: bytes, *, with_kc: bool) -> Reply:
        functions = subscription.functions
        try:
            sqn, amf = open_autn(functions, rand, autn)
        except CryptoError:
            return _WRONG_MAC
        if not subscription.accept(sqn, amf):
            auts = make_auts(functions, rand, subscription.sqn_ms)
            return Reply(_SYNCHRONISATION_FAILURE + bytes((len(auts),)) + auts)
        ck, ik = functions.f3(rand), functions.f4(rand)
        answer = [functions.f2(rand), ck, ik] + ([gsm_kc(ck, ik)] if with_kc else [])
        return Reply(_SUCCESS + b"".join(bytes((len(part),)) + part for part in answer))

    def _service(self, adf: Node, number: int) -> bool:
        """Tell whether EF.UST says that a service is available."""
        table = adf.child(_UST)
        content = self._files.read(table) if table is not None else b""
        index, bit = divmod(number - 1, 8)
        return index < len(content) and bool(content[index] >> bit & 1)

    def _subscription(self, adf: Node) -> _Subscription | None:
        """Find the parameters of an application, through its mappings."""
        isdp_aid = self._files.isdp_aid
        if isdp_aid is None:
            return None
        node: Node | None = adf
        for _ in range(_MOST_MAPPINGS):
            if node is None:
                return None
            place = f"{isdp_prefix(isdp_aid)}aka/{path_text(node.path)}"
            mapping = self._nvm.get(f"{place}/mapping")
            if mapping is None:
                return _Subscription.load(self._nvm, place)
            source = {item.tag: item.value for item in tlv.iterate(mapping, "of an AKA mapping")}.get(0x81)
            node = next((one for one in self._files.adfs if one.header.aid == source), None)
        return None


@dataclass(slots=True)
class _Subscription:
    """Keys and sequence numbers of an application, as they stand in NVM at ``place``."""

    nvm: Nvm
    place: str
    algorithm: int
    functions: AkaFunctions
    limit: int | None
    options: int
    delta: int
    age_limit: int

    @classmethod
    def load(cls, nvm: Nvm, place: str) -> _Subscription | None:
        kept = nvm.get(f"{place}/algorithm")
        if kept is None:
            return None
        members = {item.tag: item.value for item in tlv.parse(kept, "of AKA parameters").children()}
        rules = {item.tag: item.value for item in tlv.iterate(nvm.get(f"{place}/rules") or b"", "of SQN rules")}
        limit = members.get(0x86)
        return cls(
            nvm,
            place,
            members[0x80][0],
            _functions(members),
            int.from_bytes(limit, "big") if limit else None,
            options=rules.get(0x82, b"\x02")[0],
            delta=int.from_bytes(rules.get(0x83, b""), "big"),
            age_limit=int.from_bytes(rules.get(0x84, b""), "big"),
        )

    def count(self) -> bool:
        """Count one execution where there is a limit; False: it is reached. It is written before anything is told."""
        if self.limit is None:
            return True
        done = int.from_bytes(self.nvm.get(f"{self.place}/count") or b"", "big")
        if done >= self.limit:
            return False
        self.nvm.put(f"{self.place}/count", (done + 1).to_bytes(3, "big"))
        return True

    @property
    def _accepted(self) -> list[int]:
        kept = self.nvm.get(f"{self.place}/sqn") or b""
        return [int.from_bytes(kept[at : at + 6], "big") for at in range(0, len(kept), 6)]

    @property
    def sqn_ms(self) -> bytes:
        """Return the highest SQN that was accepted: SEQ and its index."""
        accepted = self._accepted
        highest = max(accepted)
        return (highest << IND_BITS | accepted.index(highest)).to_bytes(6, "big")

    def accept(self, sqn: bytes, amf: bytes) -> bool:
        """Judge a sequence number (TS 33.102 C.2.1 to C.2.3) and remember it when it is accepted."""
        number = int.from_bytes(sqn, "big")
        seq, index = number >> IND_BITS, number & (1 << IND_BITS) - 1
        accepted = self._accepted
        if self.algorithm == _TEST_ALGORITHM:
            # A test USIM takes any SQN, but for the AMF that asks for a resynchronisation (TS 34.108 8.1.2.2).
            if amf == AMF_RESYNCH:
                return False
        else:
            highest = max(accepted)
            if self.options & _WRAP_AROUND and seq - highest > self.delta:
                return False
            if self.options & _AGE and highest - seq > self.age_limit:
                return False
            if self.options & _FRESHNESS and seq <= accepted[index]:
                return False
        if seq != accepted[index]:
            accepted[index] = seq
            self.nvm.put(f"{self.place}/sqn", b"".join(one.to_bytes(6, "big") for one in accepted))
        return True


def _functions(members: dict[int, bytes]) -> AkaFunctions:
    """Make the algorithm of kept parameters. The low bits of algorithmOptions are the length of RES."""
    key, res_length = members[0x82], _RES_LENGTHS[members[0x81][0] & 0x03]
    match members[0x80][0]:
        case 1:
            return Milenage(key, members[0x83], members[0x84], members[0x85], min(res_length, 8))
        case 2:
            return Tuak(key, members[0x83], res_length=res_length, iterations=members[0x87][0])
        case _:
            return UsimTestAlgorithm(key, min(res_length, 16))


def _gsm(functions: AkaFunctions, rand: bytes) -> Reply:
    """GSM security context (TS 31.102 7.1.1.2): SRES and Kc out of RES, CK and IK."""
    sres, kc = gsm_sres(functions.f2(rand)), gsm_kc(functions.f3(rand), functions.f4(rand))
    return Reply(b"\x04" + sres + b"\x08" + kc)


def _length_values(data: bytes) -> list[bytes] | None:
    """Split values that each follow one byte of length; None: they don't fit."""
    parts, at = [], 0
    while at < len(data):
        parts.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    return parts if at == len(data) and parts else None
