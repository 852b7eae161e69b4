"""What a PC/SC function's return code means: the typed error, and what to do."""

from __future__ import annotations

from typing import Final

from esim_bench.errors import BenchError, ConfigError, DeviceTimeout, InUseError, TransportError
from esim_drivers.pcsc.library import Failure

NO_SERVICE: Final = 0x8010001D
NO_READERS: Final = 0x8010002E
NO_SMARTCARD: Final = 0x8010000C
REMOVED_CARD: Final = 0x80100069
UNRESPONSIVE_CARD: Final = 0x80100066
UNPOWERED_CARD: Final = 0x80100067
RESET_CARD: Final = 0x80100068
SECURITY_VIOLATION: Final = 0x8010006A
NOT_TRANSACTED: Final = 0x80100016
SHARING_VIOLATION: Final = 0x8010000B
UNKNOWN_READER: Final = 0x80100009
READER_UNAVAILABLE: Final = 0x80100017
TIMEOUT: Final = 0x8010000A
CANCELLED: Final = 0x80100002
SERVICE_STOPPED: Final = 0x8010001E
NOT_READY: Final = 0x80100010
INVALID_HANDLE: Final = 0x80100003
COMM_ERROR: Final = 0x80100013
COMM_DATA_LOST: Final = 0x8010002F
PROTO_MISMATCH: Final = 0x8010000F

WITHOUT_SERVICE: Final = frozenset((NO_SERVICE, SERVICE_STOPPED, INVALID_HANDLE, COMM_ERROR))
"""The service is not there, or has become another one."""
WITHOUT_READER: Final = frozenset((NO_READERS, UNKNOWN_READER, READER_UNAVAILABLE, NOT_READY))
WITHOUT_CARD: Final = frozenset((NO_SMARTCARD, REMOVED_CARD, UNPOWERED_CARD, UNRESPONSIVE_CARD, NOT_TRANSACTED))

_CONNECT: Final = "connect again"
_MEANING: Final[dict[int, tuple[type[BenchError], str, str]]] = {
    NO_SERVICE: (TransportError, "the PC/SC service is not running", "systemctl start pcscd.socket"),
    SERVICE_STOPPED: (TransportError, "the PC/SC service has stopped", "systemctl start pcscd.socket"),
    NO_READERS: (
        TransportError,
        "no reader",
        "plug it in; if lsusb shows it, its driver is missing: apt install libccid",
    ),
    UNKNOWN_READER: (TransportError, "the reader is gone", "plug it in again"),
    READER_UNAVAILABLE: (TransportError, "the reader is gone", "plug it in again"),
    NO_SMARTCARD: (TransportError, "no card in the reader", "insert the card"),
    REMOVED_CARD: (TransportError, "the card was pulled out", "insert the card and connect again"),
    UNRESPONSIVE_CARD: (
        DeviceTimeout,
        "the card does not answer a reset",
        "is it the right way round, in its adapter, clean?",
    ),
    UNPOWERED_CARD: (TransportError, "the card has lost its power", _CONNECT),
    RESET_CARD: (TransportError, "somebody else has reset the card", "use exclusive = true, or connect again"),
    SECURITY_VIOLATION: (
        ConfigError,
        "access to the PC/SC service was denied",
        "polkit decides: allow org.debian.pcsc-lite.access_pcsc and access_card for this user",
    ),
    NOT_TRANSACTED: (TransportError, "the command did not get through to the card", _CONNECT),
    SHARING_VIOLATION: (InUseError, "the reader is used by somebody else", "end that program, or wait for it"),
    TIMEOUT: (DeviceTimeout, "the reader did not answer in time", _CONNECT),
    CANCELLED: (TransportError, "the call was cancelled", _CONNECT),
    NOT_READY: (TransportError, "the reader is not ready", _CONNECT),
    INVALID_HANDLE: (TransportError, "the PC/SC service has forgotten the card: it was restarted", _CONNECT),
    COMM_ERROR: (TransportError, "the PC/SC service broke off", _CONNECT),
    COMM_DATA_LOST: (TransportError, "the PC/SC service lost data", _CONNECT),
    PROTO_MISMATCH: (ConfigError, "the card does not know this protocol", 'protocol = "auto" takes it from the ATR'),
    0x8010000D: (TransportError, "the PC/SC service does not know the card", _CONNECT),
    0x80100065: (TransportError, "the reader does not support this card", "its voltage class may be another one"),
    0x8010001F: (TransportError, "the reader does not support this", "is its firmware current?"),
    0x8010001A: (TransportError, "the PC/SC service does not support this reader", "is its driver current?"),
    0x8010001C: (TransportError, "the reader does not support this card", "its voltage class may be another one"),
}


def explain(failure: Failure, *, reader: str = "", holder: str = "", found: object = None) -> BenchError:
    """Return the typed error for a failure. ``holder``: who has the reader, where somebody else has it."""
    kind, what, hint = _MEANING.get(
        failure.code, (TransportError, "the PC/SC service failed", "pcscd --foreground --debug shows why")
    )
    if failure.code == PROTO_MISMATCH and failure.call != "SCardConnect":
        # Of a card that was connected: the service that knew its protocol has gone.
        kind, what, hint = _MEANING[INVALID_HANDLE]
    if found is None and failure.code == SHARING_VIOLATION and holder:
        found = holder
    if found is not None:
        text = str(found)
    else:
        text = f"{failure.code:08X} from {failure.call}"
    return kind(what, found=text, where=reader or None, hint=hint)
