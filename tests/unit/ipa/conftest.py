"""An IoT eUICC of a few dicts, a device's flash, and a power that can be cut anywhere."""

from types import SimpleNamespace

import pytest

from esim_bench.agents.ipa import MemoryState
from esim_bench.card.guard import Guard
from esim_bench.codec import es10_iot_answers, euicc_package, tlv
from esim_bench.codec.eim_configuration import EimIdInfo
from esim_bench.codec.es10_iot import initial_eims, searched_notifications
from esim_bench.codec.euicc_operations import AddEim, Delete, DeleteEim, Disable, Enable, ListEim, ListProfileInfo
from esim_bench.codec.euicc_results import OperationResult
from esim_bench.codec.sgp32 import Version, integer
from esim_bench.crypto import ecdsa
from esim_bench.errors import CardStatusError, TransportError

EID = bytes.fromhex("89049032123451234512345678901235")
FIRST = bytes.fromhex("98001032547698103214")
SECOND = bytes.fromhex("98001032547698103224")
NEW = bytes.fromhex("98001032547698103234")
SMDP = "dp.example.com"
SIGNATURE = bytes(range(64))
CERTIFICATE = bytes.fromhex("300A" + "3003020101" + "3000" + "030100")
CI = bytes(range(20))


def t(tag, *values):
    return tlv.encode(tag, *values)


class Cut(BaseException):
    """The device's power is gone: nothing of the process goes on."""


class Power:
    """Counts steps, and cuts after a number of them."""

    def __init__(self):
        self.steps = 0
        self.left = None

    def step(self):
        self.steps += 1
        if self.left is not None:
            if self.left == 0:
                raise Cut
            self.left -= 1


class Flash(MemoryState):
    """The device's flash: power may go before a write and after it."""

    def __init__(self, power):
        super().__init__()
        self.power = power
        self.puts = 0

    def put(self, key, value):
        self.power.step()
        super().put(key, value)
        self.puts += 1
        self.power.step()

    def delete(self, key):
        self.power.step()
        super().delete(key)
        self.power.step()


class Euicc:
    """An IoT eUICC behind ``Card.es10``. ``profiles``: ICCID -> state (1: enabled); ``shown``: what a terminal sees."""

    def __init__(self, power=None, version=Version.V1_2, key=None):
        self.power = power or Power()
        self.version = version
        self.key = key
        self.eid = EID
        self.guard = Guard(False)
        self.profiles = {FIRST: 1, SECOND: 0}
        self.shown = FIRST
        self.eims = {}
        self.counters = {}
        self.tokens = {}
        self.seq = 0
        self.results = {}
        self.notifications = {}
        self.executed = []
        self.requests = []
        self.rollback_to = None
        self.rolled_back = None
        self.fallback = None
        self.return_to = None
        self.emergency_profile = None
        self.emergency_return = None
        self.immediate = False
        self.session = None
        self.installed = None
        self.downloads = 0
        self.segments = 0
        self.refuse = {}
        self.break_after = []
        self.install_error = None
        self.default_address = SMDP

    async def es10(self, request):
        self.power.step()
        tag = tlv.parse_header(request)[0] if request[:2] != b"\xbf\x36" else 0xBF36
        self.requests.append(tag)
        if tag in self.refuse:
            raise CardStatusError("refused", sw=self.refuse[tag])
        answer = self._answer(tag, request)
        self.power.step()
        if tag in self.break_after:
            self.break_after.remove(tag)
            raise TransportError("the card vanished")
        return answer

    def reset(self):
        """What the terminal sees after a start."""
        self.session = None
        self.installed = None
        self.shown = next((iccid for iccid, state in self.profiles.items() if state), None)

    def enable(self, iccid):
        self.profiles = dict.fromkeys(self.profiles, 0) | ({iccid: 1} if iccid else {})

    @property
    def enabled(self):
        return next((iccid for iccid, state in self.profiles.items() if state), None)

    def _answer(self, tag, request):
        item = tlv.parse(request) if tag > 0xFF and tag != 0xBF36 else None
        match tag:
            case 0xBF3E:
                return t(0xBF3E, t(0x5A, self.eid))
            case 0xBF3C:
                address = t(0x80, self.default_address.encode()) if self.default_address else b""
                return t(0xBF3C, address, t(0x81, b"ds.example.com"))
            case 0xBF20:
                return t(0xBF20, t(0x82, b"\x02\x05\x00"), t(0xA9, t(0x04, CI)), t(0xAA, t(0x04, CI)))
            case 0xBF22:
                return t(0xBF22, t(0x81, b"\x02\x03\x01"), t(0x84, b"\x81\x01\x05"))
            case 0xBF56:
                wanted = item.find(0x80)
                if wanted is not None and wanted.value != CI:
                    return es10_iot_answers.failure(tag, 1)
                return es10_iot_answers.certificates(CERTIFICATE, CERTIFICATE)
            case 0xBF55:
                shown = [self._shown(one) for one in self.eims.values()]
                return es10_iot_answers.eim_configurations(shown, Version.V1_3)
            case 0xBF57:
                if self.eims:
                    return es10_iot_answers.failure(tag, 2)
                return es10_iot_answers.added_eims([self._add(one) for one in initial_eims(request)])
            case 0xBF51:
                return self._load(request)
            case 0xBF2B:
                return self._retrieve(request)
            case 0xBF28:
                return t(0xBF28, t(0xA0, *(self._metadata(raw) for raw in self.notifications.values())))
            case 0xBF30:
                seq = item.get(0x80).integer()
                known = self.results.pop(seq, None) or self.notifications.pop(seq, None)
                return t(0xBF30, integer(0x80, 0 if known else 1))
            case 0xBF2D:
                return t(0xBF2D, t(0xA0, *(self._info(iccid) for iccid in self.profiles)))
            case 0xBF43:
                return t(0xBF43, t(0xA0))
        if tag in (0xBF58, 0xBF5A, 0xBF5B, 0xBF5C, 0xBF5D, 0xBF5E, 0xBF59):
            return self._switch(tag)
        return self._download(tag, request)

    def _shown(self, one):
        from dataclasses import replace

        return replace(one, association_token=self.tokens.get(one.eim_id))

    def _info(self, iccid):
        mark = t(0x9F7B, b"\xff") if iccid == self.emergency_profile else b""
        return t(0xE3, t(0x5A, iccid), t(0x9F70, bytes((self.profiles[iccid],))), mark)

    def _add(self, one):
        self.eims[one.eim_id] = one
        self.counters[one.eim_id] = one.counter or 0
        if one.association_token == -1:
            self.tokens[one.eim_id] = 100 + len(self.tokens)
        return self.tokens.get(one.eim_id)

    # ---------------------------------------------------------------------------------------------- packages

    def _load(self, request):
        package = euicc_package.EuiccPackageRequest.parse(request, Version.V1_3)
        if package.eim_id not in self.eims:
            transaction = package.transaction_id if self.version >= Version.V1_2 else None
            return euicc_package.unsigned_error(package.eim_id, transaction, version=self.version)
        code = 3 if package.eid != EID else 4 if package.counter <= self.counters[package.eim_id] else None
        if self.profiles.get(self.emergency_profile):
            code = 104
        if code is not None:
            signed = euicc_package.error_signed(package.eim_id, package.counter, code, package.transaction_id)
            return euicc_package.signed_error(signed, self._sign(package.eim_id, signed))
        self.counters[package.eim_id] = package.counter
        self.rollback_to = None
        results = []
        for operation in package.operations:
            results.append(self._execute(operation))
            if not results[-1].done:
                break
        self.executed.append((package.eim_id, package.counter))
        raw = self._result(package.eim_id, package.counter, package.transaction_id, results)
        self.rolled_back = (self.seq, package) if self.rollback_to else None
        return raw

    def _sign(self, eim_id, signed):
        if self.key is None:
            return SIGNATURE
        return ecdsa.sign(self.key, euicc_package.to_be_signed(signed, self.tokens.get(eim_id)), deterministic=True)

    def _result(self, eim_id, counter, transaction, results):
        self.seq += 1
        signed = euicc_package.result_signed(eim_id, counter, self.seq, results, transaction, self.version)
        raw = self.results[self.seq] = euicc_package.signed_result(signed, self._sign(eim_id, signed))
        return raw

    def _execute(self, operation):
        match operation:
            case Enable():
                if operation.iccid not in self.profiles:
                    return OperationResult("enable", 1)
                if self.profiles[operation.iccid]:
                    return OperationResult("enable", 2)
                self.rollback_to = self.enabled if operation.rollback else None
                self.enable(operation.iccid)
                self.notify(0x40, operation.iccid)
            case Disable():
                self.profiles[operation.iccid] = 0
            case Delete():
                if self.profiles.pop(operation.iccid, None) is None:
                    return OperationResult("delete", 1)
            case ListProfileInfo():
                return OperationResult("listProfileInfo", content=b"".join(map(self._info, self.profiles)))
            case ListEim():
                return OperationResult("listEim", eims=tuple(EimIdInfo(name, 2) for name in self.eims))
            case AddEim():
                return OperationResult("addEim", association_token=self._add(operation.configuration))
            case DeleteEim():
                self.eims.pop(operation.eim_id)
                return OperationResult("deleteEim", 0 if self.eims else 2)
        return OperationResult(operation.NAME)

    def _switch(self, tag):
        answer = lambda code: t(tag, integer(0x80, code))  # noqa: E731
        match tag:
            case 0xBF58:
                if self.rollback_to is None:
                    return t(tag, integer(0x02, 1))
                seq, package = self.rolled_back
                self.results.pop(seq, None)
                self.enable(self.rollback_to)
                self.rollback_to = None
                back = [OperationResult("rollback", 0)]
                raw = self._result(package.eim_id, package.counter, package.transaction_id, back)
                return t(tag, integer(0x02, 0), raw)
            case 0xBF59:
                self.immediate = True
                return answer(0)
            case 0xBF5A:
                if not self.immediate:
                    return answer(1)
                if self.installed is None:
                    return answer(4)
                self.enable(self.installed)
                return answer(0)
            case 0xBF5B:
                if self.emergency_profile is None:
                    return answer(8)
                self.emergency_return = self.enabled
                self.enable(self.emergency_profile)
                return answer(0)
            case 0xBF5C:
                self.enable(self.emergency_return)
                return answer(0)
            case 0xBF5D:
                if self.fallback is None:
                    return answer(6)
                if self.profiles[self.fallback]:
                    return answer(2)
                self.return_to = self.enabled
                self.enable(self.fallback)
                self.rollback_to = None
                return answer(0)
            case _:
                if self.return_to is None:
                    return answer(6)
                self.enable(self.return_to)
                self.return_to = None
                return answer(0)

    # ---------------------------------------------------------------------------------------------- notifications

    def notify(self, bit, iccid, address=SMDP):
        self.seq += 1
        metadata = t(
            0xBF2F,
            integer(0x80, self.seq),
            t(0x81, b"\x04", bytes((bit,))),
            t(0x0C, address.encode()),
            t(0x5A, iccid),
        )
        self.notifications[self.seq] = t(0x30, metadata, t(0x5F37, SIGNATURE), CERTIFICATE, CERTIFICATE)

    @staticmethod
    def _metadata(raw):
        item = tlv.parse(raw)
        return (item.get(0xBF27, 0xBF2F) if item.tag == 0xBF37 else item.get(0xBF2F)).raw

    def _retrieve(self, request):
        search = searched_notifications(request)
        if search.package_results:
            return es10_iot_answers.retrieved_package_results(list(self.results.values()))
        if search.seq in self.results:
            return es10_iot_answers.retrieved_package_results([self.results[search.seq]])
        if search.seq is not None:
            found = [self.notifications[search.seq]] if search.seq in self.notifications else []
            return es10_iot_answers.retrieved_notifications(found)
        return es10_iot_answers.retrieved_notifications(list(self.notifications.values()))

    # ---------------------------------------------------------------------------------------------- downloads

    def _download(self, tag, request):
        match tag:
            case 0xBF2E:
                self.segments = 0
                return t(0xBF2E, t(0x80, bytes(16)))
            case 0xBF38:
                items = tlv.parse(request).children()
                self.session = items[0].get(0x80).value
                self.context = items[4].raw
                signed = t(0x30, t(0x80, self.session), t(0xBF22, t(0x84, b"\x81\x01\x05")), self.context)
                return t(0xBF38, t(0xA0, signed, t(0x5F37, SIGNATURE), CERTIFICATE, CERTIFICATE))
            case 0xBF21:
                item = tlv.parse(request)
                self.hash_cc = item.find(0x04)
                signed = t(0x30, t(0x80, self.session), t(0x5F49, bytes(65)))
                return t(0xBF21, t(0xA0, signed, t(0x5F37, SIGNATURE)))
            case 0xBF41:
                self.cancelled = tlv.parse(request).get(0x81).integer()
                signed = t(0x30, t(0x80, self.session), t(0x81, bytes.fromhex("88370A")), t(0x82, b"\x00"))
                return t(0xBF41, t(0xA0, signed, t(0x5F37, SIGNATURE)))
        # A segment of a bound profile package: the third 86 is the last.
        if tag == 0xBF36:
            self.segments = 0
            if self.session is None:
                raise CardStatusError("no session", sw=0x6985)
        if tag != 0x86:
            return b""
        self.segments += 1
        if self.segments < 2:
            return b""
        self.segments = 0
        self.downloads += 1
        self.seq += 1
        metadata = t(
            0xBF2F, integer(0x80, self.seq), b"\x81\x02\x07\x80", t(0x0C, SMDP.encode()), t(0x5A, NEW)
        )  # fmt: skip
        if self.install_error is None:
            self.profiles[NEW] = 0
            self.installed = NEW
            aid = t(0x4F, bytes.fromhex("A0000005591010FFFFFFFF8900001000"))
            final = t(0xA0, aid, t(0x04, bytes.fromhex("3007A0053003800100")))
        else:
            final = t(0xA1, t(0x80, b"\x05"), t(0x81, bytes((self.install_error,))))
        data = t(0xBF27, t(0x80, self.session), metadata, t(0x06, bytes.fromhex("88370A")), t(0xA2, final))
        self.session = None
        raw = self.notifications[self.seq] = t(0xBF37, data, t(0x5F37, SIGNATURE))
        return raw


@pytest.fixture
def ipa_card():
    """The eUICC and what else of a device outlives its processes."""
    return SimpleNamespace(
        Cut=Cut,
        Power=Power,
        Flash=Flash,
        Euicc=Euicc,
        EID=EID,
        FIRST=FIRST,
        SECOND=SECOND,
        NEW=NEW,
        SMDP=SMDP,
        CI=CI,
        CERTIFICATE=CERTIFICATE,
        SIGNATURE=SIGNATURE,
        t=t,
    )
