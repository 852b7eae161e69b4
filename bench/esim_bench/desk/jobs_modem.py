"""Jobs on a modem: its state, and lines by hand with what their answers mean."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from esim_bench import clock, data
from esim_bench.card.at_guard import check_at_line
from esim_bench.codec import at, at_status
from esim_bench.codec.at_status import RegistrationState
from esim_bench.desk.api import AtView, ModemView
from esim_bench.errors import BenchError, CodecError, ConfigError, DeviceError
from esim_bench.events import ApduEvent
from esim_bench.ports import AtResponse, ModemLink
from esim_bench.rack.slot import Slot
from esim_bench.trace import ApduDecoder

AWAKE_SECONDS: Final = 60.0
"""How long a modem without a row in hw/modules may take until it answers."""
SEARCH_SECONDS: Final = 30.0
"""How long a simulated modem is given to find its network."""
RESETS: Final = frozenset(("+CFUN", "+CRESET", "+CPWROFF", "+QPOWD", "^RESET", "^SHUTDOWN", "+CPOF", "+CPIN", "Z"))
"""Commands after which the card may be another one, or have forgotten its channels."""
TECHNOLOGIES: Final = {0: "GSM", 2: "UTRAN", 3: "GSM EGPRS", 4: "UTRAN HSDPA", 5: "UTRAN HSUPA", 6: "UTRAN HSPA"} | {
    7: "E-UTRAN",
    8: "EC-GSM-IoT",
    9: "E-UTRAN NB-S1",
    10: "E-UTRA to 5GCN",
    11: "NR to 5GCN",
    12: "NG-RAN",
    13: "E-UTRA-NR dual connectivity",
}
"""<AcT> of 3GPP TS 27.007 7.3."""
FUNCTIONALITY: Final = {0: "minimum functionality", 1: "full functionality", 4: "radio off"}


def modem_of(slot: Slot) -> ModemLink:
    """Return the slot's modem. Raises ConfigError where it has none."""
    if slot.modem is None:
        raise ConfigError("this slot has no modem", where=slot.name, expected="a module in the rack file")
    return slot.modem


async def answering(slot: Slot) -> ModemLink:
    """Return the modem of a slot with power once it answers. Raises ConfigError, DeviceError."""
    modem = modem_of(slot)
    deadline = clock.now() + (data.module(slot.spec.module).boot.timeout_s if slot.spec.module else AWAKE_SECONDS)
    while True:
        try:
            await modem.command("AT", 2.0)
        except DeviceError:
            if clock.now() >= deadline:
                raise
            await asyncio.sleep(0.5)
        else:
            return modem


async def modem(slot: Slot) -> ModemView:
    """Ask the modem for its state. Raises ConfigError, DeviceError."""
    link = await answering(slot)
    identity = await link.identity()
    status = await link.status()
    if slot.spec.simulated:
        # It was switched on for this very question, perhaps; nobody wants to hear that it has just begun to search.
        deadline = clock.now() + SEARCH_SECONDS
        while clock.now() < deadline and RegistrationState.SEARCHING in status.registration.values():
            await asyncio.sleep(1.0)
            status = await link.status()
    signal = status.signal
    return ModemView(
        manufacturer=identity.get("manufacturer", ""),
        model=identity.get("model", ""),
        revision=identity.get("revision", ""),
        imei=status.imei or identity.get("imei", ""),
        sim=status.sim.value,
        registration=registration_text(status.registration),
        operator=await _operator(link),
        signal_dbm=signal.rsrp_dbm if signal.rsrp_dbm is not None else signal.rssi_dbm,
    )


async def _operator(link: ModemLink) -> str:
    answer = await link.command("AT+COPS?")
    for line in answer.lines:
        if at.name_of(line) == "+COPS":
            try:
                values = at.fields(line.partition(":")[2])
            except CodecError:
                return ""
            return values[2] if len(values) > 2 else ""
    return ""


def registration_text(registration: Mapping[str, RegistrationState]) -> str:
    """Say the best of the states of registration, and where: "home (ps, eps)"."""
    best = max(registration.values(), key=_worth, default=None)
    if best is None:
        return ""
    domains = ", ".join(domain for domain, state in registration.items() if state is best)
    return f"{best.name.lower().replace('_', ' ')} ({domains})"


def _worth(state: RegistrationState) -> int:
    if state.registered:
        return 5
    order = (RegistrationState.DENIED, RegistrationState.SEARCHING, RegistrationState.EMERGENCY)
    return 2 + order.index(state) if state in order else 0 if state is RegistrationState.UNKNOWN else 1


# -------------------------------------------------------------------------------------------------------------- by hand


async def at_line(slot: Slot, line: str) -> AtView:
    """Send one AT line. An ERROR is an answer. Raises ConfigError, ProtectedError, DeviceError."""
    line = line.strip()
    if not line or not line.isprintable():
        raise ConfigError("not an AT line", expected="printable characters", found=repr(line))
    check_at_line(line, slot.card.guard)
    link = await answering(slot)
    began = clock.now()
    answer = await link.command(line)
    return AtView(
        line=line,
        answer=[*answer.lines, answer.final],
        ok=answer.ok,
        meaning=meaning(line, answer),
        milliseconds=round((clock.now() - began) * 1000, 1),
    )


def resets(line: str) -> bool:
    """Tell whether the card may be another one after a line."""
    return any(at.name_of(part) in RESETS and not part.strip().endswith("?") for part in line.split(";"))


def meaning(line: str, answer: AtResponse) -> list[str]:
    """Say in words what an answer means, as far as it is known."""
    name, words = at.name_of(line), list[str]()
    try:
        if name in ("+CSIM", "+CGLA") and "=" in line:
            _, command = at.apdu_parameters(line.partition("=")[2], session=name == "+CGLA")
            words.append(ApduDecoder().feed(ApduEvent(0, command, at.apdu_answer(answer.lines, name), 0, 0)))
        elif name == "+CPIN" and line.rstrip().endswith("?"):
            words.append(f"SIM: {at_status.sim_status(answer.lines, answer.final).value}")
        elif name in _READERS and answer.ok:
            words += _READERS[name](answer)
    except (BenchError, ValueError, IndexError):
        pass  # what cannot be read is shown as it is
    error = at.error_text(answer.final)
    return [*words, error] if error else words


def _registration(name: str) -> Callable[[AtResponse], list[str]]:
    def read(answer: AtResponse) -> list[str]:
        state = at_status.registration(answer.lines, name)
        return [] if state is None else [f"registration: {state.name.lower().replace('_', ' ')}"]

    return read


def _signal(answer: AtResponse) -> list[str]:
    signal = at_status.signal(answer.lines, answer.lines)
    units = {"rssi_dbm": "dBm", "rscp_dbm": "dBm", "rsrp_dbm": "dBm", "rsrq_db": "dB", "ecno_db": "dB", "ber": ""}
    told = [
        f"{name.partition('_')[0].upper()} {value:g} {unit}".rstrip()
        for name, unit in units.items()
        if (value := getattr(signal, name)) is not None
    ]
    return told or ["no signal known"]


def _functionality(answer: AtResponse) -> list[str]:
    level = at_status.functionality(answer.lines)
    return [] if level is None else [FUNCTIONALITY.get(level, f"level {level} of the maker's own")]


def _operators(answer: AtResponse) -> list[str]:
    words = []
    for line in answer.lines:
        values = at.fields(line.partition(":")[2]) if at.name_of(line) == "+COPS" and "(" not in line else []
        if len(values) > 2:
            technology = TECHNOLOGIES.get(int(values[3]), values[3]) if len(values) > 3 else ""
            words.append(f"operator {values[2]}{', ' + technology if technology else ''}")
        elif values:
            words.append("no operator")
    return words


def _iccid(answer: AtResponse) -> list[str]:
    found = at_status.iccid(answer.lines)
    return [f"ICCID {found}"] if found else []


def _imsi(answer: AtResponse) -> list[str]:
    found = at_status.digits(answer.lines)
    return [f"IMSI {found}: MCC {found[:3]}"] if found else []


def _imei(answer: AtResponse) -> list[str]:
    found = at_status.digits(answer.lines)
    return [f"IMEI {found}"] if found else []


_READERS: Final[dict[str, Callable[[AtResponse], list[str]]]] = {
    **{name: _registration(name) for name in at_status.REGISTRATION_COMMANDS.values()},
    "+CSQ": _signal,
    "+CESQ": _signal,
    "+CFUN": _functionality,
    "+COPS": _operators,
    "+CIMI": _imsi,
    "+CGSN": _imei,
    "+CCID": _iccid,
    "+ICCID": _iccid,
    "+QCCID": _iccid,
    "#CCID": _iccid,
    "+SQNCCID": _iccid,
}
