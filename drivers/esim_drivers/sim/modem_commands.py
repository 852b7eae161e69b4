"""The AT commands of a simulated modem (ITU-T V.250, 3GPP TS 27.007): a line in, a result out. Sans-IO."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from esim_bench.codec import at
from esim_bench.data import CmeError, Dialect
from esim_bench.errors import CodecError
from esim_drivers.sim.modem_card import Hung, ModemCard, Refused, SimState, Through
from esim_drivers.sim.modem_network import COMMANDS as REGISTRATION
from esim_drivers.sim.modem_network import Network

_BASIC = re.compile(r"(&?[A-Z])(\d*)")
_EXTENDED = re.compile(r"([+%#^$*!][A-Z][A-Z0-9]*)(=\?|\?|=)?(.*)", re.DOTALL)
_CMEE = {"plain": 0, "numeric": 1, "verbose": 2}


@dataclass(frozen=True, slots=True)
class Result:
    """What a line leads to: the answer, how long it takes, and what happens after it."""

    lines: tuple[str, ...] = ()
    final: str = "OK"
    seconds: float = 0.0
    refresh: bool = False
    """The SIM is to be reset after a REFRESH."""
    sim_power: bool | None = None
    """The SIM is to be given power, or to lose it."""
    reboot: bool = False
    down: bool = False
    """The modem powers down in order."""
    hangs: bool = False
    """Nothing is answered, now and later."""
    radio: bool | None = None
    """The modem is to look for a network, or to leave it; the SIM keeps its power."""


class Interpreter:
    """Executes command lines. Raises PowerLost when the card's power vanishes."""

    def __init__(self, dialect: Dialect, sim: ModemCard, network: Network, imei: str) -> None:
        self._dialect = dialect
        self._sim = sim
        self._network = network
        self._imei = imei
        self.cfun = 1
        self.echo = True
        self._cmee = 0
        self.defaults()

    def defaults(self) -> None:
        """Go back to the settings of a boot."""
        self.echo = self._dialect.at.echo
        self._cmee = _CMEE[self._dialect.at.errors]

    def execute(self, line: str, *, busy: bool = False) -> Result | None:
        """Execute one line, blanks around it removed; None: not a command line, nothing answers (V.250 5.2.1).

        ``busy``: the modem still boots, every command is refused with SIM busy.
        """
        if line[:2].upper() != "AT":
            return None
        if busy:
            # In words even where +CMEE is off: so it was seen.
            return Result(final=f"+CME ERROR: {at.CME_TEXTS[14] if self._cmee != 1 else 14}")
        limit = self._dialect.at.line_limit
        errors = self._dialect.errors
        try:
            if limit is not None and len(line) > limit:
                raise Refused(errors.line_too_long)
            result = self._dispatch(line)
        except Hung:
            return Result(hangs=True)
        except Refused as exc:
            result = Result(final=self._refusal(exc.error))
        except CodecError:
            result = Result(final=self._refusal(errors.parameters))
        return replace(result, seconds=result.seconds + self._sim.terminal.take_seconds())

    def _refusal(self, error: CmeError) -> str:
        quirks = self._dialect.quirks
        if error == "ERROR" or (self._cmee == 0 and not quirks.verbose):
            return "ERROR"
        if self._cmee == 1 and not quirks.verbose:
            return f"+CME ERROR: {error}"
        return f"+CME ERROR: {quirks.texts.get(error) or at.CME_TEXTS.get(error, at.CME_TEXTS[100])}"

    def _dispatch(self, line: str) -> Result:
        sim = self._dialect.sim
        upper = line.upper()
        if sim.reset == "reboot" and upper == sim.reboot_command.upper():
            return Result(reboot=True)
        if upper == sim.iccid_command.upper():
            return self._iccid(at.name_of(line))
        down = self._dialect.power.down_command
        if down is not None and upper.partition("=")[0] == down.upper().partition("=")[0]:
            return Result(down=True)
        chooses = self._dialect.quirks.select_sim
        if chooses is not None and upper == chooses.upper():
            return self._select_sim()
        found = _EXTENDED.fullmatch(line[2:].upper())
        if found is None:
            return self._basic(upper[2:].replace(" ", ""))
        name, form = found[1], found[2] or ""
        parameters = line[2 + len(name) + len(form) :].strip()
        handler = self._handler(name)
        if handler is None or (parameters and form != "="):
            raise Refused(self._dialect.errors.unknown)
        if form == "=?":
            if name in ("+CSIM", "+CCHO", "+CGLA", "+CCHC") and not self._dialect.at.test_commands:
                raise Refused("ERROR")
            return Result()
        return handler(form, parameters)

    def _handler(self, name: str) -> Callable[[str, str], Result] | None:
        sim = self._dialect.sim
        by_session = sim.access in ("ccho", "probe")
        match name:
            case "+CSIM" if sim.csim:
                return self._csim
            case "+CCHO" if by_session:
                return self._ccho
            case "+CGLA" if by_session:
                return self._cgla
            case "+CCHC" if by_session and sim.cchc != "none":
                return self._cchc
            case _ if name in REGISTRATION:
                return lambda form, text: Result(self._network.registration(name, form, text))
        network = self._network
        return {
            "+COPS": lambda form, _: Result(network.operator(form)),
            "+CSQ": lambda *_: Result(network.signal()),
            "+CESQ": lambda *_: Result(network.extended_signal()),
            "+QMBNCFG": lambda form, text: Result(network.configuration(form, text)),
            "+CMEE": self._set_cmee,
            "+CFUN": self._set_cfun,
            "+CPIN": self._cpin,
            "+CIMI": self._cimi,
            "+CGMI": lambda *_: Result((self._dialect.manufacturer,)),
            "+GMI": lambda *_: Result((self._dialect.manufacturer,)),
            "+CGMM": lambda *_: Result((self._dialect.model,)),
            "+GMM": lambda *_: Result((self._dialect.model,)),
            "+CGMR": lambda *_: Result((self._dialect.revision,)),
            "+GMR": lambda *_: Result((self._dialect.revision,)),
            "+CGSN": lambda *_: Result((self._imei,)),
            "+GSN": lambda *_: Result((self._imei,)),
        }.get(name)

    # ------------------------------------------------------------------------------------------------- basic commands

    def _basic(self, text: str) -> Result:
        lines: tuple[str, ...] = ()
        place = 0
        while place < len(text):
            found = _BASIC.match(text, place)
            if found is None:
                raise Refused("ERROR")
            place = found.end()
            match found[1], found[2]:
                case "E", "0" | "":
                    self.echo = False
                case "E", "1":
                    self.echo = True
                case "I", "" | "0":
                    dialect = self._dialect
                    lines += (dialect.manufacturer, dialect.model, f"Revision: {dialect.revision}")
                case (("Z" | "&F"), "" | "0"):
                    self.defaults()
                case (("V" | "H" | "Q" | "X" | "&C" | "&D" | "&W"), _):
                    pass
                case _:
                    raise Refused("ERROR")
        return Result(lines)

    # ------------------------------------------------------------------------------------------------- settings

    def _set_cmee(self, form: str, parameters: str) -> Result:
        if form == "?":
            return Result((f"+CMEE: {self._cmee}",))
        if form != "=" or parameters not in ("0", "1", "2"):
            raise Refused(self._dialect.errors.parameters)
        self._cmee = int(parameters)
        return Result()

    def _set_cfun(self, form: str, parameters: str) -> Result:
        if form == "?":
            return Result((f"+CFUN: {self.cfun}",))
        values = at.fields(parameters)
        if form != "=" or values[0] not in ("0", "1", "4") or values[1:] not in ([], ["0"], ["1"]):
            raise Refused(self._dialect.errors.parameters)
        if values[1:] == ["1"]:
            return Result(reboot=True)
        before, self.cfun = self.cfun, int(values[0])
        if bool(before) == bool(self.cfun):
            return Result(radio=self.cfun == 1 if before != self.cfun else None)
        return Result(seconds=0.3, sim_power=bool(self.cfun))

    def _select_sim(self) -> Result:
        if self.cfun == 1:
            raise Refused("ERROR")
        self._sim.selected = True
        # With +CFUN 4 the SIM has power already, without a card so far.
        return Result(sim_power=True if self.cfun else None)

    # ------------------------------------------------------------------------------------------------- the SIM

    def _cpin(self, form: str, _parameters: str) -> Result:
        if form != "?":
            raise Refused(self._dialect.errors.parameters)
        self._sim.require_ready()
        return Result(("+CPIN: SIM PIN" if self._sim.terminal.wants_pin else "+CPIN: READY",))

    def _cimi(self, form: str, _parameters: str) -> Result:
        self._sim.require_ready()
        if form or self._sim.terminal.imsi is None:
            raise Refused(self._dialect.errors.sim_off)
        return Result((self._sim.terminal.imsi,))

    def _iccid(self, name: str) -> Result:
        if self._sim.state is SimState.ABSENT:
            raise Refused(self._dialect.errors.no_sim)
        if self._sim.state is SimState.OFF or self._sim.terminal.iccid is None:
            raise Refused(self._dialect.errors.sim_off)
        return Result((f"{name}: {self._sim.terminal.iccid}",))

    def _csim(self, form: str, parameters: str) -> Result:
        _, command = self._apdu(form, parameters, session=False)
        return self._through("+CSIM", self._sim.raw(command))

    def _cgla(self, form: str, parameters: str) -> Result:
        handle, command = self._apdu(form, parameters, session=True)
        return self._through("+CGLA", self._sim.in_session(handle, command))

    def _ccho(self, form: str, parameters: str) -> Result:
        values = at.fields(parameters)
        if form != "=" or len(values) != 1 or not re.fullmatch(r"([0-9A-Fa-f]{2}){5,16}", values[0]):
            raise Refused(self._dialect.errors.parameters)
        handle = self._sim.open(bytes.fromhex(values[0]))
        return Result((handle if self._dialect.sim.bare_handle else f"+CCHO: {handle}",))

    def _cchc(self, form: str, parameters: str) -> Result:
        if form != "=" or not parameters:
            raise Refused(self._dialect.errors.parameters)
        if not self._sim.close(parameters.strip('"')) and self._dialect.sim.cchc_unknown == "error":
            raise Refused(self._dialect.errors.dead_session)
        return Result(("+CCHC",) if self._dialect.sim.cchc == "prefix" else ())

    def _apdu(self, form: str, parameters: str, *, session: bool) -> tuple[str, bytes]:
        if form != "=":
            raise Refused(self._dialect.errors.parameters)
        handle, command = at.apdu_parameters(parameters, session=session)
        if len(command) < 4:
            raise Refused(self._dialect.errors.parameters)
        return handle, command

    def _through(self, name: str, through: Through) -> Result:
        if through.error is not None:
            return Result(final=self._refusal(through.error), refresh=through.refresh)
        text = through.response.hex().upper()
        shown = f'"{text}"' if self._dialect.sim.quoted else text
        return Result((f"{name}: {len(text)},{shown}",), refresh=through.refresh)
