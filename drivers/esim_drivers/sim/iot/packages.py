"""ES10b.LoadEuiccPackage (SGP.32 5.9.1, 3.3.1): checking, executing and answering eUICC Packages.

NVM: ``iot/package`` whose package is in progress, ``iot/package/results`` the results so far, ``iot/last`` whose
package was the last one and its results (a rollback replaces them). Accepting a package is one transaction; each
operation is one, together with its result; the last one also with the end of the package and the stored
EuiccPackageResult. So a cut leaves exactly the first operations, and the journal that says which.
"""

from __future__ import annotations

from esim_bench.codec import euicc_package
from esim_bench.codec.euicc_operations import Operation
from esim_bench.codec.euicc_package import EuiccPackageRequest
from esim_bench.codec.euicc_results import OperationResult
from esim_bench.codec.sgp32 import SEQUENCE, Version
from esim_bench.codec.tlv import Tlv, encode, parse_all
from esim_bench.errors import CodecError, CryptoError
from esim_drivers.sim.euicc import Euicc, StatusError
from esim_drivers.sim.iot.eims import Eim, Eims
from esim_drivers.sim.iot.operations import (
    INTERRUPTION,
    RESULT_SIZE_OVERFLOW,
    UNDEFINED,
    Operations,
    Progress,
    terminated,
)
from esim_drivers.sim.iot.ports import PackageSwitching
from esim_drivers.sim.iot.results import Owner, PackageResults
from esim_drivers.sim.nvm import MemoryFailure
from esim_drivers.sim.profile_manager import ProfileManager

PACKAGE_KEY = "iot/package"
RESULTS_KEY = "iot/package/results"
LAST_KEY = "iot/last"

INVALID_EID = 3
REPLAY_ERROR = 4
COUNTER_VALUE_OUT_OF_RANGE = 6
SIZE_OVERFLOW = 15
ECALL_ACTIVE = 104

_SMALL_RESULT = 48
"""Bytes of any result but the lists', with the one that would end the package after it."""
_TERMINATION = 3


class _Ended(Exception):
    """A package ends here with a result that is no success: what its operation wrote, if anything, is rolled back."""

    def __init__(self, result: OperationResult) -> None:
        super().__init__(result.name)
        self.result = result


class PackageProcessor:
    """At most one package at a time. It keeps nothing in RAM."""

    def __init__(
        self,
        euicc: Euicc,
        eims: Eims,
        results: PackageResults,
        manager: ProfileManager,
        switching: PackageSwitching,
        version: Version,
    ) -> None:
        self._euicc = euicc
        self._eims = eims
        self._results = results
        self._manager = manager
        self._switching = switching
        self._version = version
        self._operations = Operations(euicc, manager, eims, switching, version)

    # ------------------------------------------------------------------------------------------------ ES10b

    def load(self, request: Tlv) -> bytes:
        """Answer an EuiccPackageRequest with its EuiccPackageResult (BF51).

        Raises CodecError for bytes that do not even tell an eimId, MemoryFailure when nothing can be written at all.
        """
        self.recover()
        try:
            package = EuiccPackageRequest.parse(request.raw, self._version)
        except CodecError:
            return self._not_parsable(request.raw)
        eim = self._eims.find(package.eim_id)
        if eim is None or not self._is_from(eim, package):
            return self._unsigned(package.eim_id, package.transaction_id, eim)
        owner = Owner(eim.eim_id, package.counter, package.transaction_id, eim.token, eim.configuration.ci_pk_id)
        code = self._refusal(package, eim)
        if code is not None:
            return self._results.error(owner, code)
        try:
            self._accept(owner)
        except MemoryFailure:
            return self._results.error(owner, UNDEFINED)
        return self._execute(owner, package.operations)

    def recover(self) -> None:
        """End a package that a loss of power interrupted: its result is stored, with what had been done.

        Raises MemoryFailure when that can't be written.
        """
        raw = self._euicc.nvm.get(PACKAGE_KEY)
        if raw is None:
            return
        done = _results_of(self._euicc.nvm.get(RESULTS_KEY) or b"")
        self._end(Owner.parse(raw), [*done, terminated(INTERRUPTION)])

    def rolled_back(self, code: int) -> bytes:
        """Return the result that replaces the last one after ES10b.ProfileRollback (SGP.32 5.9.16).

        It has the earlier results and rollbackResult, the package's counter and transaction, and a number of its own.
        Joins the caller's transaction. Raises StatusError 6985 when there was no package.
        """
        nvm = self._euicc.nvm
        raw = nvm.get(LAST_KEY)
        if raw is None:
            raise StatusError(0x6985)
        owner_part, results_part = parse_all(raw)
        owner = Owner.parse(owner_part.raw)
        with nvm.transaction():
            if owner.seq is not None:
                self._results.remove(owner.seq)
            return self._finish(owner, [*_results_of(results_part.value), OperationResult("rollback", code)])

    # ------------------------------------------------------------------------------------------------ checks

    def _not_parsable(self, raw: bytes) -> bytes:
        name, transaction = euicc_package.identity(raw)
        if name is None:
            raise CodecError("eUICC package", expected="an eimId in it", found=raw[:16].hex())
        return self._unsigned(name, transaction, self._eims.find(name))

    def _unsigned(self, eim_id: str, transaction: bytes | None, eim: Eim | None) -> bytes:
        shown = transaction if self._version >= Version.V1_2 else None
        token = eim.token if eim is not None else None
        return euicc_package.unsigned_error(eim_id, shown, token, version=self._version)

    def _is_from(self, eim: Eim, package: EuiccPackageRequest) -> bool:
        key = eim.public_key()
        if key is None:
            return False
        try:
            self._euicc.verify(key, package.signature, euicc_package.to_be_signed(package.signed_raw, eim.token))
        except CryptoError:
            return False
        return True

    def _refusal(self, package: EuiccPackageRequest, eim: Eim) -> int | None:
        """Return why a package of a known eIM is not executed. Nothing changes: its counter can be used again."""
        if package.eid != self._euicc.identity.eid:
            return INVALID_EID
        if package.counter <= eim.counter:
            return REPLAY_ERROR
        if package.counter > self._euicc.personality.eim_counter_limit:
            return COUNTER_VALUE_OUT_OF_RANGE
        if len(package.raw) > self._euicc.personality.max_package_size:
            return SIZE_OVERFLOW
        if self._switching.ecall_active:
            return ECALL_ACTIVE
        return None

    # ------------------------------------------------------------------------------------------------ execution

    def _accept(self, owner: Owner) -> None:
        nvm = self._euicc.nvm
        with nvm.transaction():
            self._eims.set_counter(owner.eim_id, owner.counter)
            self._switching.package_accepted()
            nvm.put(PACKAGE_KEY, owner.encode())

    def _execute(self, owner: Owner, operations: tuple[Operation, ...]) -> bytes:
        progress = Progress(self._manager.change_pending)
        self._switching.begin_package()
        results: list[OperationResult] = []
        answer: bytes | None = None if operations else self._end(owner, results)
        remaining = len(operations)
        for operation in operations:
            remaining -= 1
            answer = self._step(owner, results, operation, progress, last=not remaining)
            if answer is not None:
                break
        self._switching.show(refresh=True)
        return answer or b""

    def _step(
        self, owner: Owner, results: list[OperationResult], operation: Operation, progress: Progress, *, last: bool
    ) -> bytes | None:
        """Execute one operation; return the package's result when it was the last one, or failed."""
        executed = False
        try:
            with self._euicc.nvm.transaction():
                self._check_size(results, _SMALL_RESULT)
                result = self._operations.execute(operation, progress)
                executed = True
                self._check_size([*results, result], _TERMINATION)
                if not result.done:
                    raise _Ended(result)
                if last:
                    return self._finish(owner, [*results, result])
                self._euicc.nvm.put(RESULTS_KEY, self._encoded([*results, result]))
            results.append(result)
            return None
        except _Ended as end:
            final = end.result
        except (MemoryFailure, CodecError):
            # Its own code when its effect was not taken; otherwise it is the journal that takes nothing any more.
            final = terminated(UNDEFINED) if executed else self._operations.failed(operation)
        return self._end(owner, [*results, final])

    def _check_size(self, results: list[OperationResult], more: int) -> None:
        if len(self._encoded(results)) + more > self._euicc.personality.max_package_result_size:
            raise _Ended(terminated(RESULT_SIZE_OVERFLOW))

    def _end(self, owner: Owner, results: list[OperationResult]) -> bytes:
        """End a package; where the memory does not take its result, the answer to this command is the only one."""
        try:
            return self._finish(owner, results)
        except MemoryFailure:
            return self._finish(owner, results, stored=False)

    def _finish(self, owner: Owner, results: list[OperationResult], *, stored: bool = True) -> bytes:
        nvm = self._euicc.nvm
        with nvm.transaction():
            owner, answer = self._results.make(owner, results, stored=stored)
            if stored:
                nvm.put(LAST_KEY, owner.encode() + encode(SEQUENCE, self._encoded(results)))
            else:
                nvm.delete(LAST_KEY)
            nvm.delete(PACKAGE_KEY)
            nvm.delete(RESULTS_KEY)
        return answer

    def _encoded(self, results: list[OperationResult]) -> bytes:
        return b"".join(result.encode(self._version) for result in results)

    def violations(self) -> list[str]:
        """Return what is inconsistent after a reset, as sentences."""
        keys = self._euicc.nvm.keys(PACKAGE_KEY)
        return [f"{key} is left over" for key in keys]


def _results_of(raw: bytes) -> list[OperationResult]:
    return [OperationResult.parse(item) for item in parse_all(raw)]
