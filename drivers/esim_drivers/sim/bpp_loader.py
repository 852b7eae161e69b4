"""ES10b.LoadBoundProfilePackage (SGP.22 5.7.6, 5.5, 2.5.3): one load, from InitialiseSecureChannel to the result.

The BPP is taken as a stream of TLVs, in whatever grouping the segments come, as long as none is cut: the chains of
SGP.22 2.5.5, whole sequences in one chain, or all of it. Everything that an installation writes belongs to one
transaction, which commits together with the ProfileInstallationResult. Before it opens, ``euicc/installing`` is
written: a card that finds this record after a reset knows that it was interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass

from esim_bench.codec.es10 import Tag
from esim_bench.codec.identifiers import swap_nibbles
from esim_bench.codec.tlv import Tlv, encode, parse, parse_header
from esim_bench.crypto.agreement import shared_secret
from esim_bench.crypto.bsp import KEY_LENGTH, KEY_TYPE_AES, Bsp, BspSecurityError, SessionKeys, session_keys
from esim_bench.crypto.keys import curve_of, from_point, point
from esim_bench.errors import CodecError, CryptoError
from esim_drivers.sim import der
from esim_drivers.sim.euicc import SIGNATURE, Euicc
from esim_drivers.sim.installer import PeError, ProfileInstaller
from esim_drivers.sim.load_result import (
    INSTALLING_KEY,
    Command,
    LoadError,
    Order,
    Reason,
    bad_element,
    euicc_response,
    recover,
    signed_result,
    store_failure,
    success_response,
)
from esim_drivers.sim.notifications import Notifications
from esim_drivers.sim.nvm import LongTransaction, MemoryFailure
from esim_drivers.sim.pe_data import PeStatus
from esim_drivers.sim.policy import may_install, unknown_naa_key
from esim_drivers.sim.profile_metadata import ProfileClass, ProfileMetadata
from esim_drivers.sim.registry import Registry
from esim_drivers.sim.rsp_session import Prepared, one_time_key_slot

__all__ = ["INSTALLING_KEY", "SEGMENT_TAGS", "BppLoader", "Command", "LoadError", "Reason", "euicc_response", "recover"]

EVENT_ROOM = 4096
"""Bytes that an installation leaves free: its result and the notifications of a first switch must find room."""
MAX_PROTECTED = 16 * 1024
"""Bytes of the largest protected TLV that is taken; the standard's senders keep to 1020."""
MAX_COMMAND = 16 * 1024
"""Bytes of the longest ConfigureISDP, StoreMetadata or ReplaceSessionKeys: all of it waits in RAM for its last byte."""

_INITIALISE = 0xBF23
_CONFIGURE = 0xBF24
_REPLACE_KEYS = 0xBF26
_ONE_TIME_KEY = 0x5F49
_DP_DATA = 0xB8
_MAX_DP_DATA = 128
_HEADER_ELEMENT = 0xA0
_END_ELEMENT = 0xAA
_LONGEST_TLV_HEADER = 9


@dataclass(frozen=True, slots=True)
class _Sequence:
    """One container of the BPP: its tag, the tag of its members, the command that its content is."""

    tag: int
    member: int
    command: Command
    optional: bool = False


_SEQUENCES = (
    _Sequence(0xA0, 0x87, Command.CONFIGURE_ISDP),
    _Sequence(0xA1, 0x88, Command.STORE_METADATA),
    _Sequence(0xA2, 0x87, Command.REPLACE_SESSION_KEYS, optional=True),
    _Sequence(0xA3, 0x86, Command.LOAD_PROFILE_ELEMENTS),
)
SEGMENT_TAGS = frozenset((Tag.LOAD_BOUND_PROFILE_PACKAGE, 0xA0, 0xA1, 0xA2, 0xA3, 0x86, 0x87, 0x88))
"""First tags of a segment of a BPP."""


class BppLoader:
    """One load. ``feed`` takes segment after segment and returns the ProfileInstallationResult when it is over."""

    def __init__(self, euicc: Euicc, notifications: Notifications, prepared: Prepared) -> None:
        self._euicc = euicc
        self._notifications = notifications
        self._registry = Registry(euicc.nvm)
        self._prepared = prepared
        server = prepared.server
        self._order = Order(
            server.transaction_id, der.oid(0x06, server.smdp_oid), server.address, server.signing.ci_key_id
        )
        self._transaction: LongTransaction | None = None
        self._command = Command.INITIALISE_SECURE_CHANNEL
        self._left = -1
        """Bytes of the BPP still to come; -1 before its header."""
        self._next = 0
        """Index of the sequence that is open or comes next."""
        self._sequence_left: int | None = None
        self._plain = bytearray()
        """Decrypted bytes that no whole object has been made of."""
        self._bsp: Bsp | None = None
        self._aid = b""
        self._dp_data: bytes | None = None
        self._metadata: ProfileMetadata | None = None
        self._installer: ProfileInstaller | None = None
        self._first_element = True
        self._ended = False
        self.installed: bytes | None = None
        """The AID of the profile, once it is installed."""

    # ------------------------------------------------------------------------------------------------ life

    def feed(self, segment: bytes) -> bytes | None:
        """Take one STORE DATA chain; return BF37 when the load is over, well or not.

        Raises MemoryFailure when even the result finds no cells that hold it.
        """
        try:
            self._take(segment)
            # After its last sequence nothing may follow, whatever the header of the BPP said.
            if self._left == 0 or self._next == len(_SEQUENCES):
                return self._succeed()
        except LoadError as error:
            return self._fail(error.reason, error.sima_response)
        except MemoryFailure:
            return self._fail(Reason.UNKNOWN_ERROR, None)
        return None

    def interrupt(self) -> None:
        """End an unfinished load because the eUICC has to do something else: nothing of it stays but its result."""
        self._fail(Reason.INTERRUPTION, None)

    def discard(self) -> None:
        """End an unfinished load without a result: the session was cancelled, and the SM-DP+ is told by that."""
        self._roll_back()
        self._euicc.nvm.delete(INSTALLING_KEY)

    def _roll_back(self) -> None:
        if self._transaction is not None:
            self._transaction.rollback()
            self._transaction = None

    def _fail(self, reason: Reason, sima_response: bytes | None) -> bytes:
        self._roll_back()
        iccid = self._metadata.iccid if self._metadata is not None else None
        return store_failure(self._euicc, self._notifications, self._order, self._command, reason, sima_response, iccid)

    def _succeed(self) -> bytes:
        if self._left or self._next != len(_SEQUENCES) or self._transaction is None or self._metadata is None:
            raise LoadError(Reason.SCP03T_STRUCTURE_ERROR)
        nvm = self._euicc.nvm
        signing = self._prepared.server.signing
        iccid = self._metadata.iccid
        final = encode(0xA0, encode(0x4F, self._aid), encode(0x04, success_response(self._skipped())))
        with nvm.within(self._transaction):
            self._registry.add(self._aid, self._metadata, issuer=self._order.issuer, dp_data=self._dp_data)
            result = self._notifications.add(
                lambda number: signed_result(self._euicc, signing, self._order, number, iccid, final)
            )
            nvm.delete(INSTALLING_KEY)
        self._transaction.commit()
        self.installed = self._aid
        return result

    def _skipped(self) -> list[tuple[int, int | None]]:
        return list(self._installer.skipped) if self._installer is not None else []

    # ------------------------------------------------------------------------------------------------ stream

    def _take(self, segment: bytes) -> None:
        offset = 0
        while offset < len(segment):
            try:
                tag, length, body = parse_header(segment, offset)
            except CodecError as exc:
                if self._bsp is not None and self._sequence_left is None:
                    self._await_sequence(segment[offset])
                raise LoadError(self._malformed()) from exc
            if self._left < 0:
                self._open_package(tag, length)
                offset = body
                continue
            if self._bsp is not None and self._sequence_left is None:
                self._open_sequence(tag, length, body - offset)
                offset = body
                continue
            end = body + length
            if end > len(segment) or end - offset > self._left:
                raise LoadError(self._malformed())
            self._left -= end - offset
            whole = Tlv(tag, segment[body:end], segment[offset:end])
            if self._bsp is None:
                self._initialise(whole)
            else:
                self._member(whole)
            offset = end

    def _malformed(self) -> Reason:
        return Reason.INCORRECT_INPUT_VALUES if self._bsp is None else Reason.SCP03T_STRUCTURE_ERROR

    def _open_package(self, tag: int, length: int) -> None:
        if tag != Tag.LOAD_BOUND_PROFILE_PACKAGE or length == 0:
            raise LoadError(Reason.INCORRECT_INPUT_VALUES)
        self._left = length

    def _await_sequence(self, tag: int) -> None:
        """Note which sequence, and with it which command, a header that comes now belongs to."""
        while self._next < len(_SEQUENCES) and _SEQUENCES[self._next].optional and _SEQUENCES[self._next].tag != tag:
            self._next += 1
        if self._next == len(_SEQUENCES):
            raise LoadError(Reason.SCP03T_STRUCTURE_ERROR)
        self._command = _SEQUENCES[self._next].command

    def _open_sequence(self, tag: int, length: int, header: int) -> None:
        self._await_sequence(tag)
        if _SEQUENCES[self._next].tag != tag or header + length > self._left or length == 0:
            raise LoadError(Reason.SCP03T_STRUCTURE_ERROR)
        self._left -= header
        self._sequence_left = length

    def _member(self, member: Tlv) -> None:
        sequence = _SEQUENCES[self._next]
        if self._bsp is None or self._sequence_left is None:
            raise LoadError(Reason.SCP03T_STRUCTURE_ERROR)
        size = len(member.raw)
        if member.tag != sequence.member or size > self._sequence_left or size > MAX_PROTECTED:
            raise LoadError(Reason.SCP03T_STRUCTURE_ERROR)
        try:
            self._plain += self._bsp.unprotect(member.raw)
        except BspSecurityError as exc:
            raise LoadError(Reason.SCP03T_SECURITY_ERROR) from exc
        except CodecError as exc:
            raise LoadError(Reason.SCP03T_STRUCTURE_ERROR) from exc
        self._sequence_left -= size
        if sequence.command is Command.LOAD_PROFILE_ELEMENTS:
            self._install()
        elif len(self._plain) > MAX_COMMAND:
            raise LoadError(Reason.INCORRECT_INPUT_VALUES)
        elif sequence.command is Command.STORE_METADATA:
            # Whatever is wrong with a further segment, from its tag on, is the fault of that one.
            self._command = Command.STORE_METADATA2
        if self._sequence_left == 0:
            self._close_sequence(sequence.command)
            self._sequence_left = None
            self._next += 1

    def _close_sequence(self, command: Command) -> None:
        if command is Command.LOAD_PROFILE_ELEMENTS:
            self._finish_elements()
            return
        data = bytes(self._plain)
        self._plain.clear()
        self._command = command
        try:
            if command is Command.CONFIGURE_ISDP:
                self._configure(parse(data, "ConfigureISDP"))
            elif command is Command.STORE_METADATA:
                self._store_metadata(data)
            else:
                self._replace_keys(parse(data, "ReplaceSessionKeys"))
        except CodecError as exc:
            raise LoadError(Reason.INCORRECT_INPUT_VALUES) from exc

    # ------------------------------------------------------------------------------------------------ ES8+

    def _initialise(self, request: Tlv) -> None:
        """ES8+.InitialiseSecureChannel (SGP.22 5.5.1): check, agree on keys, and remember that an installation runs."""
        try:
            if request.tag != _INITIALISE:
                raise CodecError("segment", expected="BF23", found=f"{request.tag:X}")
            operation, transaction = request.get(0x82), request.get(0x80)
            template, otpk = request.get(0xA6), request.get(_ONE_TIME_KEY)
            signature = request.get(SIGNATURE)
            host_id = template.get(0x84).value
            key_type, key_length = template.get(0x80).value, template.get(0x81).value
            remote_operation = der.read_integer(operation)
        except CodecError as exc:
            raise LoadError(Reason.INCORRECT_INPUT_VALUES) from exc
        if remote_operation != 1:
            raise LoadError(Reason.UNSUPPORTED_REMOTE_OPERATION_TYPE)
        if transaction.value != self._order.transaction_id:
            raise LoadError(Reason.INVALID_TRANSACTION_ID)
        if key_type != bytes((KEY_TYPE_AES,)) or key_length != bytes((KEY_LENGTH,)) or not 1 <= len(host_id) <= 16:
            raise LoadError(Reason.UNSUPPORTED_CRT_VALUES)
        own_key = self._prepared.one_time_key
        signed = operation.raw + transaction.raw + template.raw + otpk.raw + encode(_ONE_TIME_KEY, point(own_key))
        try:
            self._euicc.verify(self._prepared.pb_certificate.public_key, signature.value, signed)
        except CryptoError as exc:
            raise LoadError(Reason.INVALID_SIGNATURE) from exc
        try:
            secret = shared_secret(own_key, from_point(curve_of(own_key), otpk.value))
        except CodecError as exc:
            raise LoadError(Reason.INCORRECT_INPUT_VALUES) from exc
        self._euicc.seconds += self._euicc.personality.key_seconds
        nvm = self._euicc.nvm
        with nvm.transaction():
            nvm.put(INSTALLING_KEY, self._order.encode())
            nvm.delete(one_time_key_slot(self._prepared.server.smdp_oid))
        self._transaction = nvm.begin()
        self._bsp = Bsp(session_keys(secret, host_id, self._euicc.identity.eid))
        self._command = Command.CONFIGURE_ISDP

    def _configure(self, request: Tlv) -> None:
        """ES8+.ConfigureISDP (SGP.22 5.5.2)."""
        if request.tag != _CONFIGURE:
            raise CodecError("ConfigureISDP", expected="BF24", found=f"{request.tag:X}")
        data = request.find(_DP_DATA)
        if data is not None:
            if len(data.raw) > _MAX_DP_DATA:
                raise CodecError("dpProprietaryData", expected=f"at most {_MAX_DP_DATA} bytes", found=len(data.raw))
            self._dp_data = data.raw
        if len(self._registry.profiles()) >= self._euicc.personality.max_profiles:
            raise LoadError(Reason.INSUFFICIENT_MEMORY)
        self._aid = self._registry.free_aid()

    def _store_metadata(self, data: bytes) -> None:
        """ES8+.StoreMetadata (SGP.22 5.5.3)."""
        metadata = ProfileMetadata.parse(data)
        self._metadata = metadata
        installed = self._registry.profiles()
        if not self._takes(metadata.profile_class):
            raise LoadError(Reason.UNSUPPORTED_PROFILE_CLASS)
        if any(profile.metadata.iccid == metadata.iccid for profile in installed):
            raise LoadError(Reason.ICCID_ALREADY_EXISTS)
        if not may_install(metadata, installed, self._euicc.personality):
            raise LoadError(Reason.PPR_NOT_ALLOWED)
        if not self._has_room(0):
            raise LoadError(Reason.INSUFFICIENT_MEMORY)

    def _has_room(self, elements: int) -> bool:
        """Tell whether the memory takes this many bytes of files besides all else that a profile needs."""
        metadata = len(self._metadata.raw) if self._metadata is not None else 0
        return elements + metadata + EVENT_ROOM <= self._euicc.services.free_memory

    def _takes(self, profile_class: ProfileClass) -> bool:
        who = self._euicc.personality
        if profile_class is ProfileClass.TEST:
            return "testProfileSupport" in who.rsp_capability
        return profile_class is not ProfileClass.PROVISIONING or who.provisioning_downloads

    def _replace_keys(self, request: Tlv) -> None:
        """ES8+.ReplaceSessionKeys (SGP.22 5.5.4)."""
        if request.tag != _REPLACE_KEYS or self._bsp is None:
            raise CodecError("ReplaceSessionKeys", expected="BF26", found=f"{request.tag:X}")
        self._bsp.replace_keys(SessionKeys(*(request.get(tag).value for tag in (0x80, 0x81, 0x82))))

    # ------------------------------------------------------------------------------------------------ elements

    def _install(self) -> None:
        """Install the profile elements that are whole by now (ES8+.LoadProfileElements, SGP.22 5.5.5)."""
        done = 0
        plain = bytes(self._plain)
        while done < len(plain):
            try:
                tag, length, body = parse_header(plain, done)
            except CodecError as exc:
                if len(plain) - done < _LONGEST_TLV_HEADER:
                    break
                raise bad_element(PeStatus.INVALID_REQUEST_FORMAT) from exc
            if length > self._euicc.services.free_memory:
                raise bad_element(PeStatus.NOT_ENOUGH_MEMORY)
            end = body + length
            if end > len(plain):
                break
            self._element(tag, plain[done:end])
            done = end
        del self._plain[:done]

    def _element(self, tag: int, raw: bytes) -> None:
        if self._ended or self._transaction is None:
            raise bad_element(PeStatus.INVALID_REQUEST_FORMAT)
        try:
            with self._euicc.nvm.within(self._transaction):
                if self._installer is None:
                    self._installer = ProfileInstaller(self._euicc.nvm, self._aid, self._euicc.personality)
                self._installer.element(raw)
        except PeError as exc:
            raise bad_element(exc.status, exc.identification, exc.info, exc.offset) from exc
        except CodecError as exc:
            raise bad_element(PeStatus.INVALID_REQUEST_FORMAT) from exc
        except MemoryFailure as exc:
            raise bad_element(PeStatus.MEMORY_FAILURE) from exc
        if self._is_test and unknown_naa_key(raw):
            raise LoadError(Reason.INVALID_NAA_KEY)
        if not self._has_room(self._transaction.size):
            raise bad_element(PeStatus.NOT_ENOUGH_MEMORY)
        if self._first_element:
            self._first_element = False
            self._check_iccid(tag, raw)
        self._ended = tag == _END_ELEMENT

    @property
    def _is_test(self) -> bool:
        return self._metadata is not None and self._metadata.profile_class is ProfileClass.TEST

    def _check_iccid(self, tag: int, raw: bytes) -> None:
        """The profile header has the ICCID as printed, the metadata as in EF.ICCID: nibbles swapped."""
        if tag != _HEADER_ELEMENT:
            raise bad_element(PeStatus.INVALID_REQUEST_FORMAT)
        try:
            iccid = parse(raw).find(0x83)
        except CodecError as exc:
            raise bad_element(PeStatus.INVALID_REQUEST_FORMAT) from exc
        swapped = swap_nibbles(iccid.value) if iccid is not None else b""
        if self._metadata is None or swapped != self._metadata.iccid:
            raise LoadError(Reason.DATA_MISMATCH)

    def _finish_elements(self) -> None:
        if self._plain or not self._ended or self._installer is None or self._transaction is None:
            raise bad_element(PeStatus.INVALID_REQUEST_FORMAT)
        try:
            with self._euicc.nvm.within(self._transaction):
                self._installer.finish()
        except PeError as exc:
            raise bad_element(exc.status, exc.identification, exc.info, exc.offset) from exc
