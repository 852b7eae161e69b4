"""What a front asks of the desk, and what it gets: values without behaviour, which cross a process border as JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from esim_bench.errors import BenchError
from esim_bench.trace.tree import Node


class View(BaseModel):
    """A value that is shown."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Trouble(View):
    """What went wrong, as ``BenchError`` has it, ready to be shown: a sentence, and what to do next."""

    kind: str
    """Name of the class in the error tree: "TransportError"; "crash" for what no one foresaw."""
    what: str
    expected: str = ""
    found: str = ""
    where: str = ""
    hint: str = ""

    @classmethod
    def of(cls, exc: BaseException) -> Trouble:
        """Describe an exception; one that is none of ours says its class too."""
        if isinstance(exc, BenchError):
            texts = {name: "" if (value := getattr(exc, name)) is None else str(value) for name in _PARTS}
            if not any(texts.values()):
                texts["what"] = str(exc)
            return cls(kind=type(exc).__name__, **texts)
        if isinstance(exc, OSError) and exc.strerror:
            return cls(kind="OSError", what=exc.strerror, where=str(exc.filename or ""))
        return cls(kind="crash", what=f"unexpected {type(exc).__name__}: {exc}")

    @property
    def sentence(self) -> str:
        """Return all of it but the hint, in one line."""
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.expected:
            text += f": expected {self.expected}" + (f", found {self.found}" if self.found else "")
        elif self.found:
            text += f": found {self.found}"
        return text


_PARTS = ("what", "expected", "found", "where", "hint")


class DeskError(Exception):
    """A job of the desk that failed; ``trouble`` says how."""

    def __init__(self, trouble: Trouble) -> None:
        self.trouble = trouble
        super().__init__(trouble.sentence)


class ProfileView(View):
    """One profile of an eUICC."""

    iccid: str
    state: Literal["enabled", "disabled"]
    name: str = ""
    provider: str = ""
    nickname: str = ""
    profile_class: str = ""
    """operational, provisioning, test."""
    roles: list[str] = Field(default_factory=list)
    """fallback, emergency."""
    rules: list[str] = Field(default_factory=list)
    """Profile policy rules, as SGP.22 names them."""
    plmn: str = ""
    """MCC and MNC of the profile owner."""

    @property
    def label(self) -> str:
        """Return the name that a person gave it, or the best there is."""
        return self.nickname or self.name or self.provider or self.iccid


class ModemView(View):
    """What a modem says of itself just now; "" for what it does not say."""

    manufacturer: str = ""
    model: str = ""
    revision: str = ""
    imei: str = ""
    sim: str = ""
    registration: str = ""
    operator: str = ""
    signal_dbm: int | None = None


class SlotReading(View):
    """What was read from a slot in one visit."""

    eid: str = ""
    atr: str = ""
    profiles: list[ProfileView] = Field(default_factory=list)
    modem: ModemView | None = None
    powered: bool = False


class EuiccView(View):
    """What an eUICC says of itself, decoded: EUICCInfo1, EUICCInfo2, configured addresses, authorisation table."""

    eid: str
    sections: list[Node]


class NotificationView(View):
    """One notification that waits in an eUICC."""

    seq: int
    operation: str
    iccid: str = ""
    address: str = ""


class EimView(View):
    """One eIM that an eUICC is associated with (SGP.32 5.9.18)."""

    eim_id: str
    fqdn: str = ""
    counter: int | None = None
    token: int | None = None
    protocol: str = ""
    details: list[Node] = Field(default_factory=list)


class OrderView(View):
    """One order of the bench's eIM for the slot's eUICC."""

    number: str
    what: str
    state: str
    result: str = ""


class ApduView(View):
    """One exchange by hand: hex texts, and what they mean."""

    command: str
    response: str
    """Data without status word."""
    sw: str
    meaning: str
    milliseconds: float
    decoded: list[Node] = Field(default_factory=list)
    """Of the response's data; positions are in it."""


class AtView(View):
    """The answer to an AT line, and what it means where that is known."""

    line: str
    answer: list[str]
    ok: bool
    meaning: list[str] = Field(default_factory=list)
    milliseconds: float = 0.0


class FileEntry(View):
    """A file that the bench knows of, in the tree of a UICC; whether it is there shows when it is read."""

    path: str
    """"3F00/7FFF/6F07"; ADFs by their names: "ADF.USIM/6F07"."""
    name: str
    """"EF.IMSI"."""
    folder: bool


class FileView(View):
    """One file as it was read: its control parameters, its bytes, and what they mean."""

    path: str
    name: str
    structure: str
    """"DF", "ADF", "transparent", "linear fixed", "cyclic", "BER-TLV"."""
    size: int = 0
    record_length: int = 0
    contents: list[str] = Field(default_factory=list)
    """Hex: one text of a transparent file, one for each record."""
    decoded: list[Node] = Field(default_factory=list)
    control: list[Node] = Field(default_factory=list)
    """FCP, decoded."""
    refused: str = ""
    """Why the contents could not be read: "6982 security status not satisfied"."""


class PowerView(View):
    """A slot's power as it is now, and what proves it."""

    powered: bool
    how: str = ""
    """The switch: "usb-hub 1-1 port 2", "simulated", "none"."""
    proof: str = ""
    """What showed the last change; "" where nothing was asked to."""
    minimum_off_s: float = 0.0


class Source(View):
    """Where a profile comes from: exactly one of the three."""

    activation_code: str | None = None
    profile: str | None = None
    package: str | None = None


class RunRequest(View):
    """A scenario to run on slots."""

    scenario: str
    slots: list[str]
    params: dict[str, str] = Field(default_factory=dict)
    seed: int = 0
    repeat: int = 1
    allow_destructive: bool = False
    rate: float | None = None
    """Seconds of simulated devices in a real one, so that a person can look on; None: as fast as it goes."""


# -------------------------------------------------------------------------------------------------------------- notices


class Busy(View):
    """A slot is being worked with by hand; ``what`` None: no more."""

    notice: Literal["busy"] = "busy"
    slot: str
    what: str | None


class Progress(View):
    """How far a job by hand is."""

    notice: Literal["progress"] = "progress"
    slot: str
    what: str
    done: int
    total: int


class SlotTrouble(View):
    """Something is wrong with a slot that nobody asked about just now; None: no more."""

    notice: Literal["trouble"] = "trouble"
    slot: str
    trouble: Trouble | None


class JournalOpened(View):
    """From now on what happens at a slot by hand is in this journal."""

    notice: Literal["journal"] = "journal"
    slot: str
    path: str


class RunBegan(View):
    """A run that was asked for has begun; ``run`` is its id in the history."""

    notice: Literal["run-began"] = "run-began"
    key: str
    run: str


class RunStep(View):
    """A step of a run began (``outcome`` None) or ended."""

    notice: Literal["run-step"] = "run-step"
    key: str
    slot: str
    step: str
    outcome: str | None


class RunQuestion(View):
    """A run asks its operator; ``text`` None: no answer is needed any more."""

    notice: Literal["run-question"] = "run-question"
    key: str
    slot: str
    text: str | None
    action: str = "other"


class RunEnded(View):
    """A run is over. ``outcome`` None: it came to nothing, ``trouble`` says why."""

    notice: Literal["run-ended"] = "run-ended"
    key: str
    run: str | None
    outcome: str | None
    trouble: Trouble | None = None


class DeskLost(View):
    """The desk's process has gone; the next call starts another one."""

    notice: Literal["desk-lost"] = "desk-lost"
    trouble: Trouble


Notice = Annotated[
    Busy | Progress | SlotTrouble | JournalOpened | RunBegan | RunStep | RunQuestion | RunEnded | DeskLost,
    Field(discriminator="notice"),
]

Listener = Callable[[Any], None]
"""Told of each notice, on the front's loop; must not block."""


class Desk(Protocol):
    """Works on one rack. Each method raises DeskError; one job at a time per slot, others wait, but for the power.

    A slot is opened by the first job that needs it and stays open (its devices locked) until it is idle for a while, a
    run wants it, or ``release``.
    """

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have notices told; return what ends that."""

    async def read(self, slot: str) -> SlotReading:
        """Read EID, ATR, profiles and the modem's state."""

    async def info(self, slot: str) -> EuiccView:
        """Read what the eUICC says of itself."""

    async def profiles(self, slot: str) -> list[ProfileView]:
        """List the profiles in the eUICC's order."""

    async def enable(self, slot: str, iccid: str) -> list[ProfileView]:
        """Enable a profile, recover the device, verify; return the profiles as they are then."""

    async def disable(self, slot: str, iccid: str) -> list[ProfileView]:
        """Disable a profile."""

    async def delete(self, slot: str, iccid: str, allow_destructive: bool = False) -> list[ProfileView]:
        """Delete a disabled profile; on a protected slot only one of the bench's own, unless allowed."""

    async def nickname(self, slot: str, iccid: str, text: str) -> list[ProfileView]:
        """Set a profile's nickname; "" takes it away."""

    async def download(
        self,
        slot: str,
        source: Source,
        confirmation_code: str | None = None,
        enable: bool = False,
        cut_after: int | None = None,
    ) -> list[ProfileView]:
        """Download a profile, with ``Progress`` notices; cut the power once so many segments are in the eUICC."""

    async def notifications(self, slot: str) -> list[NotificationView]:
        """List the notifications that wait."""

    async def send_notification(self, slot: str, seq: int) -> list[NotificationView]:
        """Deliver one to its SM-DP+ and remove it."""

    async def remove_notification(self, slot: str, seq: int) -> list[NotificationView]:
        """Remove one without delivering it."""

    async def eims(self, slot: str) -> list[EimView]:
        """List the associated eIMs; empty for an eUICC without SGP.32."""

    async def orders(self, slot: str) -> list[OrderView]:
        """List the orders that the bench's own eIM has for the slot's eUICC."""

    async def order(self, slot: str, operation: str, iccid: str | None = None) -> list[OrderView]:
        """Order enable, disable, delete or list-profiles at the bench's eIM, and have the IPA poll."""

    async def modem(self, slot: str) -> ModemView:
        """Ask the modem for its state."""

    async def at(self, slot: str, line: str) -> AtView:
        """Send one AT line."""

    async def apdu(self, slot: str, text: str) -> ApduView:
        """Send one command: hex, or a name of ``apdu_names`` with its arguments ("SELECT ADF.USIM")."""

    async def apdu_names(self) -> list[str]:
        """Return what can be sent by name, with a pattern of arguments each."""

    async def files(self, slot: str) -> list[FileEntry]:
        """List the files that the bench knows of and that the card has applications for."""

    async def file(self, slot: str, path: str) -> FileView:
        """Read one file."""

    async def power(self, slot: str) -> PowerView:
        """Tell the state of the power; opens nothing."""

    async def power_off(self, slot: str) -> PowerView:
        """Cut the power, cold, at once: also in the middle of another job."""

    async def power_on(self, slot: str) -> PowerView:
        """Give the power back and start the card."""

    async def power_cycle(self, slot: str, seconds: float) -> PowerView:
        """Cut the power, wait, start again."""

    async def release(self, slot: str) -> None:
        """Leave a slot in its safe state and let its devices go; no error when it is not open."""

    async def start_run(self, request: RunRequest) -> str:
        """Begin a run in a process of its own; return the key that its notices carry. Open slots are released first."""

    async def abort_run(self, key: str) -> None:
        """Have a run leave its devices in their safe state and end: ABORTED."""

    async def answer(self, key: str, slot: str, answer: Literal["done", "skip", "abort"]) -> None:
        """Answer a run's question."""

    async def close(self) -> None:
        """End runs and jobs, release everything; never raises."""
