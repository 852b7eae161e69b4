"""What was heard on the wire, as exchanges: TPDUs of T=0 and blocks of T=1 to command and response. Pure.

A TPDU of T=0 (ISO/IEC 7816-3 10.3, 12.2) has a header of five bytes, data in one direction, and the status word. Who
sent the data does not show in the bytes: the instruction tells. An exchange is given as it crossed the wire, so a
command of case 4 is two of them: the command with its data (61xx), and GET RESPONSE.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import Final

HEADER: Final = 5
_TO_TERMINAL: Final = frozenset((0x12, 0x84, 0xB0, 0xB2, 0xC0, 0xCA, 0xF2))
"""FETCH, GET CHALLENGE, READ BINARY, READ RECORD, GET RESPONSE, GET DATA, STATUS: data comes from the card (TS 102 221
10.1.2; ISO/IEC 7816-4)."""
_NULL: Final = 0x60


@dataclass(frozen=True, slots=True)
class Apdu:
    """One exchange. ``response`` is b"" where no status word was heard; ``sound``: every byte found its place."""

    command: bytes
    response: bytes
    sound: bool = True


def answers(header: bytes) -> bool:
    """Tell whether the data after a header comes from the card.

    MANAGE CHANNEL answers with the number of the channel that it opened (TS 102 221 11.1.17), RETRIEVE DATA with all
    blocks but the first, which is asked for by a tag (11.3.1).
    """
    _, ins, p1, p2, _ = header
    return ins in _TO_TERMINAL or (ins == 0x70 and not p1 & 0x80) or (ins == 0xCB and not p2 & 0x80)


class Exchanges:
    """Follows the TPDUs of one card, because what went before tells more of a command than its instruction.

    A command without data that was answered with 6Cxx is of case 2, whatever it is, and comes again with the right Le.
    """

    def __init__(self) -> None:
        self._asked_again = b""

    def feed(self, tpdu: bytes) -> Apdu:
        """Return the exchange of the next TPDU (``split``)."""
        apdu = split(tpdu, from_card=bool(self._asked_again) and tpdu.startswith(self._asked_again))
        again = apdu.sound and len(apdu.command) <= HEADER and apdu.response[:1] == b"\x6c"
        self._asked_again = tpdu[:4] + apdu.response[-1:] if again else b""
        return apdu


def split(tpdu: bytes, *, from_card: bool = False) -> Apdu:
    """Return the exchange of a TPDU, its procedure bytes left out or not. ``from_card``: its data comes from there.

    What is too short to have a header is all command. A TPDU that ends early has what was heard of its command or of
    its response, and ``sound`` False.
    """
    if len(tpdu) < HEADER + 2:
        return Apdu(tpdu, b"", sound=False)
    header, body = tpdu[:HEADER], tpdu[HEADER:]
    from_card = from_card or answers(header)
    size = header[4] or (256 if from_card else 0)
    if len(body) == 2:
        return _exchange(header, b"", body, from_card, sound=is_status_word(body))
    if len(body) == size + 2 and is_status_word(body[size:]):
        return _exchange(header, body[:size], body[size:], from_card)
    spoken = _without_procedure_bytes(header, body, size)
    if spoken is not None:
        return _exchange(header, *spoken, from_card)
    return _exchange(header, body[:size], body[size:] if len(body) > size else b"", from_card, sound=False)


def _exchange(header: bytes, data: bytes, status: bytes, from_card: bool, *, sound: bool = True) -> Apdu:
    if data and not from_card:
        return Apdu(header + data, status, sound)
    if not data and not header[4] and (not from_card or status[:1] >= b"\x90"):
        # P3 = 00, and no data although all went well: a command of case 1, which has four bytes (7816-3 12.2.2).
        return Apdu(header[:4], status, sound)
    return Apdu(header, data + status, sound)


def is_status_word(status: bytes) -> bool:
    """Tell whether two bytes can be a status word: 6x (but NULL) or 9x (ISO/IEC 7816-3 10.3.3)."""
    return len(status) == 2 and status[0] >> 4 in (6, 9) and status[0] != _NULL


def _without_procedure_bytes(header: bytes, body: bytes, size: int) -> tuple[bytes, bytes] | None:
    """Take the procedure bytes out (10.3.3): NULL waits, INS lets all bytes follow, its complement one byte.

    Returns data and status word; None when that does not come out even.
    """
    ins, data, at = header[1], bytearray(), 0
    while at < len(body):
        procedure = body[at]
        if is_status_word(body[at:]):
            return bytes(data), body[at:]
        at += 1
        if procedure == _NULL:
            continue
        if procedure == ins:
            count = size - len(data)
        elif procedure == ins ^ 0xFF:
            count = 1
        else:
            return None
        if count <= 0 or at + count > len(body):
            return None
        data += body[at : at + count]
        at += count
    return None


# ----------------------------------------------------------------------------------------------------------------- T=1


@dataclass(frozen=True, slots=True)
class Block:
    """A block of T=1 (ISO/IEC 7816-3 11.3): node address, protocol control byte, information."""

    nad: int
    pcb: int
    information: bytes

    @property
    def carries_data(self) -> bool:
        """Tell whether it is an I-block; else it only steers."""
        return not self.pcb & 0x80

    @property
    def more(self) -> bool:
        """Tell whether the next I-block goes on with the same APDU."""
        return bool(self.pcb & 0x20)


def parse_blocks(data: bytes) -> list[Block] | None:
    """Return the blocks that data is made of, with LRC as their end; None unless it is blocks from end to end."""
    found: list[Block] = []
    at = 0
    while at < len(data):
        if at + 4 > len(data):
            return None
        end = at + 4 + data[at + 2]
        block = data[at:end]
        if len(block) < 4 or end > len(data) or data[at + 2] == 0xFF or reduce(xor, block) != 0:
            return None
        found.append(Block(block[0], block[1], block[3:-1]))
        at = end
    return found or None


class BlockChains:
    """Puts I-blocks together: the terminal's to commands, the card's to responses. They speak in turn."""

    def __init__(self) -> None:
        self._command: bytes | None = None
        self._parts: dict[int, bytearray] = {}

    def feed(self, block: Block) -> Apdu | None:
        """Take a block; return the exchange that it ends."""
        if not block.carries_data:
            return None
        way = block.nad
        self._parts.setdefault(way, bytearray()).extend(block.information)
        if block.more:
            return None
        whole = bytes(self._parts.pop(way))
        if self._command is None:
            self._command = whole
            return None
        command, self._command = self._command, None
        return Apdu(command, whole, len(whole) >= 2)
