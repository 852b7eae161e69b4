"""Files of the UICC, as far as a look at the enabled profile needs them (TS 102 221 11.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from esim_bench.codec import tlv
from esim_bench.codec.apdu import Command, sw_text
from esim_bench.codec.es10 import iccid_to_text, imsi_to_text
from esim_bench.errors import CardStatusError, CodecError, ProtocolError

if TYPE_CHECKING:
    from esim_bench.card.card import Card

MF: Final = 0x3F00
EF_DIR: Final = 0x2F00
EF_ICCID: Final = 0x2FE2
EF_IMSI: Final = 0x6F07
USIM_AID_PREFIX: Final = bytes.fromhex("A0000000871002")
"""RID of 3GPP and application code of a USIM (TS 101 220)."""
CHUNK: Final = 255
MAX_RECORDS: Final = 254
MAX_RECORD: Final = 255
MAX_BINARY: Final = 0x7FFF
"""Bytes that READ BINARY reaches: bit 8 of P1 means a short file identifier (TS 102 221 11.1.3)."""


@dataclass(frozen=True, slots=True)
class Fcp:
    """File control parameters, as far as reading needs them (TS 102 221 11.1.1.3)."""

    descriptor: bytes
    size: int | None
    record_length: int | None
    record_count: int | None

    @classmethod
    def parse(cls, data: bytes) -> Fcp:
        """Read the answer of SELECT. Raises CodecError."""
        template = tlv.parse(data, "FCP")
        if template.tag != 0x62:
            raise CodecError("not an FCP", expected="62", found=f"{template.tag:X}")
        descriptor = template.get(0x82).value
        size = template.find(0x80)
        records = len(descriptor) >= 5
        return cls(
            descriptor,
            int.from_bytes(size.value, "big") if size else None,
            int.from_bytes(descriptor[2:4], "big") if records else None,
            descriptor[4] if records else None,
        )


class Files:
    """The file system of the profile that is enabled, on the basic channel."""

    def __init__(self, card: Card) -> None:
        self._card = card

    async def select(self, path: Sequence[int]) -> Fcp:
        """Select a file by its path of file identifiers from the MF, step by step. Raises CardStatusError (6A82)."""
        await self._select(Command(0x00, 0xA4, 0x00, 0x0C, MF.to_bytes(2, "big")), "SELECT MF")
        for fid in path[:-1]:
            await self._select(Command(0x00, 0xA4, 0x00, 0x0C, fid.to_bytes(2, "big")), f"SELECT {fid:04X}")
        return await self._select_last(path[-1])

    async def select_application(self, aid: bytes) -> None:
        """Select an ADF by its AID. Raises CardStatusError."""
        await self._select(Command(0x00, 0xA4, 0x04, 0x0C, aid), f"SELECT {aid.hex().upper()}")

    async def _select(self, command: Command, what: str) -> None:
        await self._card.expect(command, what)

    async def _select_last(self, fid: int) -> Fcp:
        command = Command(0x00, 0xA4, 0x00, 0x04, fid.to_bytes(2, "big"), le=256)
        data = await self._card.expect(command, f"SELECT {fid:04X}")
        try:
            return Fcp.parse(data)
        except CodecError as exc:
            raise ProtocolError(f"SELECT {fid:04X}: {exc.what}", expected=exc.expected, found=exc.found) from exc

    async def read_binary(self, path: Sequence[int]) -> bytes:
        """Read a whole transparent EF by its path from the MF."""
        return await self._binary(await self.select(path))

    async def _binary(self, fcp: Fcp) -> bytes:
        size = fcp.size if fcp.size is not None else CHUNK
        if size > MAX_BINARY:
            raise ProtocolError("size of a transparent file", expected=f"at most {MAX_BINARY} bytes", found=size)
        chunk = min(CHUNK, self._card.link.capabilities.max_data)
        data = b""
        while len(data) < size:
            offset = len(data)
            command = Command(0x00, 0xB0, offset >> 8, offset & 0xFF, le=min(chunk, size - offset))
            part = await self._card.expect(command, "READ BINARY")
            if not part:
                raise ProtocolError("READ BINARY", expected=f"{size - offset} more bytes", found="none")
            data += part
        return data

    async def read_records(self, path: Sequence[int]) -> list[bytes]:
        """Read all records of a linear fixed or cyclic EF by its path from the MF."""
        fcp = await self.select(path)
        if fcp.record_length is None or fcp.record_count is None:
            raise ProtocolError(
                "not a file of records", expected="record length and number", found=fcp.descriptor.hex()
            )
        if not 1 <= fcp.record_length <= MAX_RECORD:
            raise ProtocolError("record length", expected=f"1..{MAX_RECORD}", found=fcp.record_length)
        return [
            await self._record(number, fcp.record_length) for number in range(1, min(fcp.record_count, MAX_RECORDS) + 1)
        ]

    async def _record(self, number: int, length: int) -> bytes:
        return await self._card.expect(Command(0x00, 0xB2, number, 0x04, le=length), f"READ RECORD {number}")

    async def applications(self) -> list[bytes]:
        """Return the AIDs that EF.DIR lists; none where there is no EF.DIR."""
        try:
            records = await self.read_records([EF_DIR])
        except CardStatusError as exc:
            if exc.sw in (0x6A82, 0x6985, 0x6283):
                return []
            raise
        found = []
        for record in records:
            if record[:1] != b"\x61":
                continue
            try:
                aid = tlv.parse_prefix(record).find(0x4F)
            except CodecError as exc:
                raise ProtocolError("malformed record of EF.DIR", expected="61 { 4F AID }", found=record.hex()) from exc
            if aid is not None:
                found.append(aid.value)
        return found

    async def iccid(self) -> str | None:
        """Return the digits of EF.ICCID; None where the card shows no such file."""
        try:
            return iccid_to_text(await self.read_binary([EF_ICCID])) or None
        except CardStatusError as exc:
            if exc.sw == 0x6A82:
                return None
            raise

    async def imsi(self) -> str | None:
        """Return the digits of EF.IMSI of the first USIM in EF.DIR; None where there is no USIM or no IMSI in it.

        Raises CardStatusError where it may not be read (6982: a PIN is asked for).
        """
        usim = next((aid for aid in await self.applications() if aid.startswith(USIM_AID_PREFIX)), None)
        if usim is None:
            return None
        await self.select_application(usim)
        command = Command(0x00, 0xA4, 0x00, 0x04, EF_IMSI.to_bytes(2, "big"), le=256)
        response = await self._card.command(command)
        if response.sw == 0x6A82:
            return None
        if response.sw != 0x9000:
            raise CardStatusError(f"SELECT EF.IMSI: {sw_text(response.sw)}", sw=response.sw)
        content = await self._card.expect(Command(0x00, 0xB0, 0, 0, le=9), "READ EF.IMSI")
        if content == b"\xff" * 9:
            return None
        try:
            return imsi_to_text(content)
        except CodecError as exc:
            raise ProtocolError("malformed EF.IMSI", expected=exc.expected, found=exc.found) from exc
