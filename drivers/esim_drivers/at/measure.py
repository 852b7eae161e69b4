"""Measures an unknown module: what its row in hw/modules would say, as far as it can be found out without harm.

Applications are opened, identifiers read, long read-only requests sent; nothing is written to the card. What was not
measured is left out, or taken over from the row that the slot has now and said so in ``source``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from esim_bench.codec import at, at_status
from esim_bench.codec.apdu import with_channel
from esim_bench.errors import CodecError, DeviceError, DeviceTimeout
from esim_bench.ports import AtResponse
from esim_drivers.at.access import ISD_R, OPEN_CHANNEL, Access, find_access

if TYPE_CHECKING:
    from esim_drivers.at.modem import AtModem

Tell = Callable[[str], None]

ICCID_COMMANDS: Final = (
    *("AT+CCID", "AT+ICCID", "AT+QCCID", "AT+CICCID", "AT#CCID", "AT%XICCID", "AT!ICCID?", "AT^ICCID?", "AT+SQNCCID?"),
)
_TEST_COMMANDS: Final = ("AT+CCHO=?", "AT+CGLA=?", "AT+CCHC=?", "AT+CSIM=?")
_SIZES: Final = (255, 250, 240, 200, 160, 127, 120, 100, 64, 32, 16)
_LINE_SECONDS: Final = 10.0
"""For one long line: some modules never answer what does not fit their buffer."""
_QUIET_SECONDS: Final = 6.0
"""Without a new line a boot is over."""
_POLL_SECONDS: Final = 0.25
_MOST_CAUSE: Final = 200
_NO_AID: Final = bytes.fromhex("F04553494E4F4E45")
_WRONG: Final = "AT+CMEE=9"
_STYLES: Final = {0: "plain", 1: "numeric", 2: "verbose"}
_LENGTH_REFUSED: Final = (b"\x66\x01", b"\x67\x00")


async def measure(modem: AtModem, tell: Tell, *, reboot: bool) -> dict[str, Any]:
    """Return the tables of a module file."""
    job = _Measurement(modem, tell)
    heard: dict[str, None] = {}
    end = modem.watch(lambda line: heard.setdefault(line))
    try:
        return await job.run(reboot, heard)
    finally:
        end()


class _Measurement:
    def __init__(self, modem: AtModem, tell: Tell) -> None:
        self._modem = modem
        self._tell = tell
        self._row = modem.dialect
        self._notes: list[str] = []
        self._unmeasured: list[str] = []

    async def run(self, reboot: bool, heard: dict[str, None]) -> dict[str, Any]:
        """Measure everything, in the order of growing disturbance."""
        identity = await self._modem.identity()
        self._tell(f"it is {' '.join(identity.values()) or 'a module that does not say who it is'}")
        at_table: dict[str, Any] = {}
        sim: dict[str, Any] = {}
        errors = await self._errors()
        answers = [await self._say(line) for line in _TEST_COMMANDS]
        at_table["test_commands"] = any(answer.ok for answer in answers)
        self._tell("=? of the APDU commands: " + ", ".join(answer.final for answer in answers))
        access = await find_access(lambda line: self._say(line, self._row.at.apdu_timeout_s))
        for what, came in access.said:
            self._tell(f"{what}: {came}")
        self._describe_access(sim, access)
        if access.isd_r:
            await self._longest(at_table, sim, access)
        else:
            sim["max_data"] = self._row.sim.max_data
            self._unmeasured.append("sim.max_data")
        await self._iccid_command(sim)
        if reboot:
            boot = await self._boot(at_table, sim, errors)
        else:
            boot = self._row.boot.model_dump(exclude_defaults=True)
            self._unmeasured += ["boot", "at.echo", "at.errors", "sim.restart_s"]
            at_table |= {"echo": self._row.at.echo, "errors": self._row.at.errors}
        if urcs := _heads(heard):
            at_table["urcs"] = urcs
        if self._row.at.baud is not None:
            at_table["baud"] = self._row.at.baud
        tables: dict[str, Any] = {
            "manufacturer": identity.get("manufacturer") or "unknown",
            "model": identity.get("model") or "unknown",
            "revision": identity.get("revision") or "unknown",
            "integrated": self._row.integrated,
            "source": self._source(),
            "notes": self._notes,
            "at": at_table,
            "boot": boot,
            "sim": sim,
            "errors": errors,
            "power": self._row.power.model_dump(exclude_defaults=True),
        }
        if not access.isd_r:
            tables["expect"] = {"access": "none", "cause": f"the ISD-R was not reached: {access.cause}"[:_MOST_CAUSE]}
        return {name: value for name, value in tables.items() if value not in ({}, [], None, False)}

    async def _say(self, line: str, timeout: float | None = None) -> AtResponse:
        """Send a line; silence is an answer too."""
        try:
            return await self._modem.command(line, timeout)
        except DeviceTimeout:
            return AtResponse((), "(silence)")

    def _source(self) -> str:
        rest = ", ".join(self._unmeasured)
        return "Measured by modem probe." + (f" Not measured, taken from {self._row.model}: {rest}." if rest else "")

    # ------------------------------------------------------------------------------------------------- errors

    async def _errors(self) -> dict[str, Any]:
        """Find out how refusals look: with numbers, with words, and which number for what."""
        found: dict[str, Any] = {}
        forms = {}
        for level in (2, 1):
            await self._say(f"AT+CMEE={level}")
            forms[level] = (await self._say(_WRONG)).final
        self._notes.append(f"Refusals: {forms[1]} with AT+CMEE=1, {forms[2]} with AT+CMEE=2.")
        for key, line in (
            ("unknown", "AT+ESIMBENCH"),
            ("parameters", _WRONG),
            ("no_application", at.ccho_command(_NO_AID)),
        ):
            final = (await self._say(line)).final
            code = at.cme_code(final)
            if key == "no_application" and final == "OK":
                self._notes.append("AT+CCHO of an application that is not there is OK.")
            if final == "ERROR" or code is not None:
                found[key] = "ERROR" if code is None else code
        self._tell(f"refusals: {forms[1]}; {forms[2]}")
        return found

    # ------------------------------------------------------------------------------------------------- the card

    def _describe_access(self, sim: dict[str, Any], access: Access) -> None:
        sim["access"] = {"ccho": "ccho", "csim": "csim"}.get(access.kind, "none")
        sim["csim"] = access.csim
        sim["csim_channels"] = access.csim_channels
        if access.handle is not None:
            sim["handle"] = "hex16" if len(access.handle) == 16 else "counter"
            sim["bare_handle"] = access.bare_handle
            sim["cchc"] = access.closes
            self._notes.append(f"A session handle looked like {access.handle}.")

    async def _longest(self, at_table: dict[str, Any], sim: dict[str, Any], access: Access) -> None:
        """Find the longest block that gets through, by read-only requests that name many tags."""
        way = await _Way.open(self._say, access)
        if way is None:
            self._unmeasured.append("sim.max_data")
            sim["max_data"] = self._row.sim.max_data
            return
        worked, failed, refused_line = 0, 256, False
        followed = None
        sizes = list(_SIZES)
        while sizes:
            size = sizes.pop(0)
            line = way.line(_long_request(size))
            answer = await self._say(line, _LINE_SECONDS)
            response = way.response(answer)
            if response is not None and response[-2:] not in _LENGTH_REFUSED:
                worked = size
                followed = response[-2] in (0x61, 0x6C)
                sim["quoted"] = any('"' in one for one in answer.lines)
                at_table["line_limit"] = len(line) if refused_line else None
                if failed - worked > 4 and failed <= 255:
                    sizes = [(worked + failed) // 2]
                    continue
                break
            self._tell(f"a block of {size} bytes, a line of {len(line)} characters: {answer.final}")
            failed = min(failed, size) if not worked else size
            refused_line |= response is None
            if worked:
                sizes = [(worked + failed) // 2] if failed - worked > 4 else []
            elif response is None:
                await way.close(self._say)
                way = await _Way.open(self._say, access) or way
        await way.close(self._say)
        if at_table.get("line_limit") is None:
            at_table.pop("line_limit", None)
        sim["max_data"] = max(16, worked)
        if followed:
            sim["get_response"] = "host"
        else:
            self._notes.append("No 61xx came through: the card or the module does without GET RESPONSE of the host.")
        self._tell(f"the longest block that works: {worked} bytes")
        if access.kind == "ccho" and access.closes != "none":
            answer = await self._say(at.cchc_command(way.handle))
            sim["cchc_unknown"] = "ok" if answer.ok else "error"

    async def _iccid_command(self, sim: dict[str, Any]) -> None:
        for line in dict.fromkeys((self._row.sim.iccid_command, *ICCID_COMMANDS)):
            answer = await self._say(line)
            if answer.ok and at_status.iccid(answer.lines) is not None:
                sim["iccid_command"] = line
                self._tell(f"the ICCID is told by {line}")
                return
        self._unmeasured.append("sim.iccid_command")

    # ------------------------------------------------------------------------------------------------- boot

    async def _boot(self, at_table: dict[str, Any], sim: dict[str, Any], errors: dict[str, Any]) -> dict[str, Any]:
        """Reset the module and note what it says when; then switch its SIM off and on."""
        loop = asyncio.get_running_loop()
        lines: list[tuple[float, str]] = []
        command = self._row.sim.reboot_command
        self._tell(f"it is reset by {command}")
        answer = await self._say(command)
        began = loop.time()
        if not answer.ok:
            self._notes.append(f"{command} was refused: {answer.final}.")
            self._unmeasured += ["boot", "at.echo", "at.errors"]
            return self._row.boot.model_dump(exclude_defaults=True)
        await self._modem.drop_port()
        end = self._modem.watch(lambda line: lines.append((loop.time() - began, line)))
        try:
            deadline = began + self._row.boot.timeout_s
            # A module that goes on answering for a moment is not yet booted: silence or a line of its boot must come.
            while not lines and loop.time() < began + _QUIET_SECONDS:
                try:
                    await self._modem.command("AT", 1.0)
                except DeviceError:
                    break
                await asyncio.sleep(_POLL_SECONDS)
            await self._modem.drop_port()
            port_s = await self._first_answer(began, deadline)
            at_table["echo"] = bool(self._modem.echoed_first)
            style = await self._say("AT+CMEE?")
            level = next((line.partition(":")[2].strip() for line in style.lines if "+CMEE" in line), "")
            at_table["errors"] = _STYLES.get(int(level), "plain") if level.isdigit() else "plain"
            cfun = await self._modem.functionality()
            await self._modem.wait_ready(max(1.0, deadline - loop.time()))
            ready_s = loop.time() - began
            while True:
                quiet = loop.time() - began - (lines[-1][0] if lines else 0.0)
                if quiet >= _QUIET_SECONDS:
                    break
                await asyncio.sleep(_QUIET_SECONDS - quiet)
        finally:
            end()
        sim["reset"] = "reboot"
        sim["reboot_command"] = command
        await self._restart(sim, errors)
        boot: dict[str, Any] = {
            "port_s": round(port_s, 1),
            "sim_s": round(min(port_s, ready_s), 1),
            "ready_s": round(ready_s, 1),
            "timeout_s": round(max(60.0, 3 * ready_s), 0),
            "urcs": [{"line": line, "at_s": round(at_s, 1)} for at_s, line in lines if line.isprintable()],
        }
        if cfun in (0, 4):
            boot["cfun"] = cfun
        self._tell(f"boot: answers after {port_s:.1f} s, SIM ready after {ready_s:.1f} s, {len(lines)} lines")
        return boot

    async def _first_answer(self, began: float, deadline: float) -> float:
        loop = asyncio.get_running_loop()
        while True:
            try:
                await self._modem.command("AT", 1.0)
            except DeviceError:
                if loop.time() >= deadline:
                    raise
                await asyncio.sleep(_POLL_SECONDS)
            else:
                return loop.time() - began

    async def _restart(self, sim: dict[str, Any], errors: dict[str, Any]) -> None:
        """Switch the SIM off and on by AT+CFUN, if that is possible."""
        loop = asyncio.get_running_loop()
        if not (await self._say("AT+CFUN=0", 30.0)).ok:
            return
        await self._say("AT+CMEE=1")
        final = (await self._say("AT+CPIN?")).final
        if final == "ERROR" or at.cme_code(final) is not None:
            errors["sim_off"] = "ERROR" if at.cme_code(final) is None else at.cme_code(final)
        began = loop.time()
        if (await self._say("AT+CFUN=1", 30.0)).ok:
            await self._modem.wait_ready()
            sim["reset"] = "cfun"
            sim["restart_s"] = round(loop.time() - began, 1)
            self._tell(f"AT+CFUN=0 and =1 bring the SIM back after {sim['restart_s']} s")


class _Way:
    """An open ISD-R, by session or by channel."""

    def __init__(self, handle: str, channel: int) -> None:
        self.handle = handle
        self._channel = channel

    @classmethod
    async def open(cls, say: Callable[..., Any], access: Access) -> _Way | None:
        """Open the ISD-R; None where that does not work any more."""
        try:
            if access.kind == "ccho":
                return cls(at.ccho_answer((await say(at.ccho_command(ISD_R))).lines), 0)
            opened = at.apdu_answer((await say(at.csim_command(OPEN_CHANNEL))).lines, "+CSIM")
        except CodecError:
            return None
        if len(opened) != 3:
            return None
        way = cls("", opened[0])
        await say(way.line(bytes((0x00, 0xA4, 0x04, 0x00, len(ISD_R))) + ISD_R + b"\0"))
        return way

    def line(self, command: bytes) -> str:
        """Return the line that carries an APDU to the ISD-R."""
        if self.handle:
            return at.cgla_command(self.handle, command)
        return at.csim_command(bytes((with_channel(command[0], self._channel),)) + command[1:])

    def response(self, answer: AtResponse) -> bytes | None:
        """Return the R-APDU of an answer, None where there is none."""
        try:
            return at.apdu_answer(answer.lines, "+CGLA" if self.handle else "+CSIM") if answer.ok else None
        except CodecError:
            return None

    async def close(self, say: Callable[..., Any]) -> None:
        """Close it."""
        if self.handle:
            await say(at.cchc_command(self.handle))
        else:
            await say(at.csim_command(bytes((0x00, 0x70, 0x80, self._channel))))


def _long_request(size: int) -> bytes:
    """Return STORE DATA of ``size`` bytes of data: GetProfilesInfo (SGP.22 5.7.15) with a tag list that is long."""
    # BF2D length 5C length tags; lengths from 128 on take two bytes.
    for head in (5, 6, 7):
        tags = b"\x5a" * max(0, size - head)
        listed = b"\x5c" + _length(len(tags)) + tags
        request = b"\xbf\x2d" + _length(len(listed)) + listed
        if len(request) == size:
            return bytes((0x80, 0xE2, 0x91, 0x00, size)) + request + b"\0"
    # Two sizes have no exact form: one byte less.
    return _long_request(size - 1)


def _length(number: int) -> bytes:
    return bytes((number,)) if number < 0x80 else bytes((0x81, number))


def _heads(lines: dict[str, None]) -> list[str]:
    """Return the beginnings of unsolicited lines that are not among the usual ones."""
    heads = dict.fromkeys(line.split(":", 1)[0] + ":" if ":" in line else line for line in lines)
    return [head for head in heads if head.isprintable() and head.isascii() and not at.is_unsolicited(head)]
