"""How the load of a BPP ended: ProfileInstallationResult (SGP.22 2.5.6) and EUICCResponse (SAIP 8.11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from esim_bench.codec.tlv import encode, parse
from esim_bench.crypto.identity import SigningIdentity
from esim_drivers.sim import der
from esim_drivers.sim.euicc import Euicc
from esim_drivers.sim.notifications import Notifications, notification_metadata
from esim_drivers.sim.pe_data import PeStatus
from esim_drivers.sim.profile_metadata import Event

INSTALLING_KEY = "euicc/installing"

_RESULT = 0xBF37
_RESULT_DATA = 0xBF27


class Command(IntEnum):
    """BppCommandId (SGP.22, ASN.1)."""

    INITIALISE_SECURE_CHANNEL = 0
    CONFIGURE_ISDP = 1
    STORE_METADATA = 2
    STORE_METADATA2 = 3
    """A further segment of metadata that are too long for one."""
    REPLACE_SESSION_KEYS = 4
    LOAD_PROFILE_ELEMENTS = 5


class Reason(IntEnum):
    """ErrorReason (SGP.22, ASN.1)."""

    INCORRECT_INPUT_VALUES = 1
    INVALID_SIGNATURE = 2
    INVALID_TRANSACTION_ID = 3
    UNSUPPORTED_CRT_VALUES = 4
    UNSUPPORTED_REMOTE_OPERATION_TYPE = 5
    UNSUPPORTED_PROFILE_CLASS = 6
    SCP03T_STRUCTURE_ERROR = 7
    SCP03T_SECURITY_ERROR = 8
    ICCID_ALREADY_EXISTS = 9
    INSUFFICIENT_MEMORY = 10
    INTERRUPTION = 11
    PE_PROCESSING_ERROR = 12
    DATA_MISMATCH = 13
    INVALID_NAA_KEY = 14
    PPR_NOT_ALLOWED = 15
    UNKNOWN_ERROR = 127


class LoadError(Exception):
    """The load fails: reason, and PEStatus where a profile element is at fault."""

    def __init__(self, reason: Reason, sima_response: bytes | None = None) -> None:
        super().__init__(reason.name)
        self.reason = reason
        self.sima_response = sima_response


@dataclass(frozen=True, slots=True)
class Order:
    """Who is told how the installation ended; kept in the NVM while it runs."""

    transaction_id: bytes
    smdp_oid: bytes
    """The whole TLV 06."""
    address: str
    issuer: bytes

    def encode(self) -> bytes:
        """Return it as it is kept."""
        return encode(
            0x30,
            encode(0x80, self.transaction_id),
            self.smdp_oid,
            der.text(0x0C, self.address),
            encode(0x04, self.issuer),
        )

    @classmethod
    def parse(cls, data: bytes) -> Order:
        """Read what was kept. Raises CodecError."""
        record = parse(data, INSTALLING_KEY)
        return cls(
            record.get(0x80).value, record.get(0x06).raw, der.read_text(record.get(0x0C), 255), record.get(0x04).value
        )


def recover(euicc: Euicc, notifications: Notifications) -> None:
    """Store the result of an installation that a reset or a loss of power interrupted, once (SGP.22 3.1.3.3)."""
    record = euicc.nvm.get(INSTALLING_KEY)
    if record is not None:
        order = Order.parse(record)
        store_failure(euicc, notifications, order, Command.LOAD_PROFILE_ELEMENTS, Reason.INTERRUPTION, None, None)


def store_failure(
    euicc: Euicc,
    notifications: Notifications,
    order: Order,
    command: Command,
    reason: Reason,
    sima_response: bytes | None,
    iccid: bytes | None,
) -> bytes:
    """Store the result of an installation that failed, and that none is running any more; return it."""
    final = encode(
        0xA1,
        der.integer(0x80, command),
        der.integer(0x81, reason),
        encode(0x82, sima_response) if sima_response is not None else b"",
    )
    signing = euicc.signing(order.issuer)
    with euicc.nvm.transaction():
        result = notifications.add(lambda number: signed_result(euicc, signing, order, number, iccid, final))
        euicc.nvm.delete(INSTALLING_KEY)
    return result


def signed_result(
    euicc: Euicc, signing: SigningIdentity, order: Order, number: int, iccid: bytes | None, final: bytes
) -> bytes:
    """Build a signed ProfileInstallationResult (SGP.22 2.5.6)."""
    data = encode(
        _RESULT_DATA,
        encode(0x80, order.transaction_id),
        notification_metadata(number, Event.INSTALL, order.address, iccid),
        order.smdp_oid,
        encode(0xA2, final),
    )
    return encode(_RESULT, data, euicc.sign(signing, data))


def euicc_response(
    status: int, identification: int | None = None, info: int | None = None, offset: int | None = None
) -> bytes:
    """Return an EUICCResponse (SAIP) with one PEStatus; a status other than ok also says that the rest was aborted."""
    aborted = encode(0x81, b"") if status else b""
    return encode(0x30, encode(0xA0, _pe_status(status, identification, info, offset)), aborted)


def success_response(skipped: Sequence[tuple[int, int | None]] = ()) -> bytes:
    """Return the EUICCResponse of an installation: ok, and the elements (status, identification) that were skipped."""
    return encode(
        0x30, encode(0xA0, _pe_status(PeStatus.OK), *(_pe_status(status, number) for status, number in skipped))
    )


def bad_element(
    status: int, identification: int | None = None, info: int | None = None, offset: int | None = None
) -> LoadError:
    """Return the error of a refused profile element, to be raised."""
    full = status in (PeStatus.MEMORY_FAILURE, PeStatus.NOT_ENOUGH_MEMORY)
    reason = Reason.INSUFFICIENT_MEMORY if full else Reason.PE_PROCESSING_ERROR
    return LoadError(reason, euicc_response(status, identification, info, offset))


def _pe_status(
    status: int, identification: int | None = None, info: int | None = None, offset: int | None = None
) -> bytes:
    optional = ((0x81, identification), (0x82, info), (0x83, offset))
    members = b"".join(der.integer(tag, value) for tag, value in optional if value is not None)
    return encode(0x30, der.integer(0x80, status), members)
