"""The operations of eUICC Packages, one by one: PSMOs and eCOs (SGP.32 2.11.1.1, 3.3, 3.4)."""

from __future__ import annotations

from dataclasses import dataclass

from esim_bench.codec import euicc_operations as orders
from esim_bench.codec.es10 import Tag
from esim_bench.codec.euicc_results import OperationResult, profile_list_result, result_names, rules_result
from esim_bench.codec.sgp32 import Version
from esim_bench.codec.tlv import encode, parse
from esim_drivers.sim.euicc import Euicc
from esim_drivers.sim.iot.eims import ALREADY_EXISTS, COMMAND_ERROR, Eims, Refused
from esim_drivers.sim.iot.ports import PackageSwitching
from esim_drivers.sim.policy import get_rat
from esim_drivers.sim.profile_manager import DEFAULT_ADDRESS_KEY, ProfileManager

OK = 0
UNDEFINED = 127
RESULT_SIZE_OVERFLOW = 1
UNKNOWN_OR_DAMAGED_COMMAND = 2
INTERRUPTION = 3

_PROFILE_CHANGE_ONGOING = 11
_SEARCH, _TAG_LIST = 0xA0, 0x5C
_LISTED = bytes.fromhex("5A4F9F709192959F7B9F269F67")
"""What listProfileInfo gives without a tag list: neither nickname nor icon."""


@dataclass(slots=True)
class Progress:
    """What the operations of one package know of each other."""

    change_ongoing: bool
    """Whether an earlier switch was not seen yet when the package came."""
    enabled: bool = False
    disabled: bool = False


def terminated(code: int) -> OperationResult:
    """Return the result that ends a list in place of an operation's own."""
    return OperationResult("processingTerminated", code)


class Operations:
    """Executes single operations; their writes join the caller's transaction."""

    def __init__(
        self, euicc: Euicc, manager: ProfileManager, eims: Eims, switching: PackageSwitching, version: Version
    ) -> None:
        self._euicc = euicc
        self._manager = manager
        self._eims = eims
        self._switching = switching
        self._version = version

    def execute(self, operation: orders.Operation, progress: Progress) -> OperationResult:
        """Do one operation and return its result. Raises MemoryFailure, and CodecError for a request without sense."""
        match operation:
            case orders.UnknownOperation():
                return terminated(UNKNOWN_OR_DAMAGED_COMMAND)
            case orders.ListProfileInfo():
                return self._list_profiles(operation, progress)
            case orders.GetRat():
                return rules_result(get_rat(self._euicc.personality))
            case orders.AddEim():
                return self._add_eim(operation)
            case orders.ListEim():
                return OperationResult(operation.NAME, eims=self._eims.listed())
        return self._fitting(operation.NAME, self._code(operation, progress))

    def failed(self, operation: orders.Operation) -> OperationResult:
        """Return the result of an operation whose effect the memory did not take: undefinedError, its own or not."""
        names = result_names(operation.NAME, self._version)
        return OperationResult(operation.NAME, UNDEFINED) if UNDEFINED in names else terminated(UNDEFINED)

    def _code(self, operation: orders.Psmo | orders.Eco, progress: Progress) -> int:
        switching = self._switching
        match operation:
            case orders.Enable():
                return self._enable(operation, progress)
            case orders.Disable():
                return self._disable(operation, progress)
            case orders.Delete():
                return switching.psmo_delete(operation.iccid)
            case orders.ConfigureImmediateEnable():
                return switching.configure_immediate(operation)
            case orders.SetFallbackAttribute():
                return switching.set_fallback(operation.iccid)
            case orders.UnsetFallbackAttribute():
                return switching.unset_fallback()
            case orders.SetDefaultDpAddress():
                return self._set_default_address(operation.address)
            case orders.DeleteEim():
                return self._eims.delete(operation.eim_id)
            case orders.UpdateEim():
                return self._update_eim(operation)
        return UNDEFINED

    def _fitting(self, function: str, code: int) -> OperationResult:
        """Return a result; a code that the card's version does not have yet is undefinedError there."""
        return OperationResult(function, code if code in result_names(function, self._version) else UNDEFINED)

    # ------------------------------------------------------------------------------------------------ PSMO

    def _enable(self, order: orders.Enable, progress: Progress) -> int:
        if progress.enabled:
            return UNDEFINED
        code = self._switching.psmo_enable(order.iccid, order.rollback)
        progress.enabled = code == OK
        return code

    def _disable(self, order: orders.Disable, progress: Progress) -> int:
        # Whoever disables first and then enables means a switch; the other way round nothing would be left enabled.
        if progress.disabled or progress.enabled:
            return UNDEFINED
        code = self._switching.psmo_disable(order.iccid)
        progress.disabled = code == OK
        return code

    def _list_profiles(self, order: orders.ListProfileInfo, progress: Progress) -> OperationResult:
        if progress.change_ongoing:
            return OperationResult(order.NAME, _PROFILE_CHANGE_ONGOING)
        request = parse(order.request)
        if request.find(_TAG_LIST) is None:
            search = request.find(_SEARCH)
            wanted = encode(_TAG_LIST, _LISTED)
            request = parse(encode(Tag.GET_PROFILES_INFO, search.raw if search is not None else b"", wanted))
        return profile_list_result(self._manager.get_profiles_info(request))

    def _set_default_address(self, address: str) -> int:
        if address:
            self._euicc.nvm.put(DEFAULT_ADDRESS_KEY, address.encode())
        else:
            self._euicc.nvm.delete(DEFAULT_ADDRESS_KEY)
        return OK

    # ------------------------------------------------------------------------------------------------ eCO

    def _add_eim(self, order: orders.AddEim) -> OperationResult:
        try:
            return OperationResult(order.NAME, association_token=self._eims.add(order.configuration))
        except Refused as refusal:
            code = refusal.code
        if code == ALREADY_EXISTS and code not in result_names(order.NAME, self._version):
            code = COMMAND_ERROR
        return self._fitting(order.NAME, code)

    def _update_eim(self, order: orders.UpdateEim) -> int:
        try:
            self._eims.update(order.configuration)
        except Refused as refusal:
            return refusal.code
        return OK
