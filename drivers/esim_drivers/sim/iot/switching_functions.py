"""ES10b of an IoT eUICC: what changes profiles without a package, memory reset, default address (SGP.32 5.9)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from esim_bench.codec import es10_iot, es10_iot_answers
from esim_bench.codec.es10_iot import MEMORY_RESET_1_0, IotTag
from esim_bench.codec.es10_iot_answers import MemoryResetResult, RollbackResult
from esim_bench.codec.sgp32 import integer
from esim_bench.codec.tlv import Tlv, encode
from esim_drivers.sim.euicc import StatusError
from esim_drivers.sim.iot.eims import Eims
from esim_drivers.sim.iot.packages import PackageProcessor
from esim_drivers.sim.iot.switching import COMMAND_ERROR, ECALL_ACTIVE, Switching
from esim_drivers.sim.profile_manager import NOTHING_TO_DELETE, OK, UNDEFINED, EraseOption

_ASSOCIATED_EIM_EXISTS = 2
_EIM_RESET_NOT_SUPPORTED = 2
_RESET_IMMEDIATE_NOT_SUPPORTED = 1
_RESET_EIM, _RESET_IMMEDIATE = "resetEimConfigData", "resetImmediateEnableConfig"

Function = Callable[[Tlv], bytes]


class _Refused(Exception):
    """A memory reset does nothing at all: its code. What it wrote is rolled back."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class SwitchingFunctions:
    """The functions of this side, by tag, for the ISD-R's tables; all of them write."""

    def __init__(self, switching: Switching, eims: Eims, packages: PackageProcessor) -> None:
        self._switching = switching
        self._eims = eims
        self._packages = packages
        self._version = switching.version
        self._consumer = switching.consumer
        functions: dict[int, Function] = {
            IotTag.PROFILE_ROLLBACK: self._rollback,
            IotTag.CONFIGURE_IMMEDIATE_PROFILE_ENABLING: self._configure_immediate,
            IotTag.IMMEDIATE_ENABLE: self._switch(switching.immediate_enable),
            IotTag.ENABLE_EMERGENCY_PROFILE: self._switch(switching.enable_emergency),
            IotTag.DISABLE_EMERGENCY_PROFILE: self._switch(switching.disable_emergency),
            IotTag.EXECUTE_FALLBACK_MECHANISM: self._switch(switching.execute_fallback),
            IotTag.RETURN_FROM_FALLBACK: self._switch(switching.return_from_fallback),
            IotTag.EUICC_MEMORY_RESET: self._memory_reset,
            MEMORY_RESET_1_0: self._memory_reset,
            IotTag.SET_DEFAULT_DP_ADDRESS: self._set_default_address,
        }
        self.reading: dict[int, Function] = {}
        self.writing: dict[int, Function] = {
            tag: function for tag, function in functions.items() if es10_iot.supported(tag, self._version)
        }
        self.undefined_errors: dict[int, bytes] = {
            tag: self._answer(tag, UNDEFINED) for tag in self.writing if tag in es10_iot_answers.WITH_CODE_ALONE
        }
        """Answers of functions that can't make sense of their request, or whose effect the memory did not take."""
        self.undefined_errors[IotTag.PROFILE_ROLLBACK] = RollbackResult(UNDEFINED).encode()
        for tag in (IotTag.EUICC_MEMORY_RESET, MEMORY_RESET_1_0):
            if tag in self.writing:
                self.undefined_errors[tag] = self._encoded(MemoryResetResult(UNDEFINED))

    def _answer(self, tag: int, code: int) -> bytes:
        """Return an answer of a code alone; one that the card's version does not have is undefinedError there."""
        known = code in es10_iot.codes(tag, self._version)
        return es10_iot_answers.answer(tag, code if known else UNDEFINED, self._version)

    # ------------------------------------------------------------------------------------------------ switches

    def _switch(self, change: Callable[[bool], int]) -> Function:
        """Return the function of a request that has a refreshFlag and no more, and is answered by a code."""

        def function(request: Tlv) -> bytes:
            return self._answer(request.tag, change(es10_iot.refresh_flag(request.raw)))

        return function

    def _rollback(self, request: Tlv) -> bytes:
        """ES10b.ProfileRollback (5.9.16): with the result that replaces the one of the package. Raises CodecError."""
        refresh = es10_iot.refresh_flag(request.raw)
        result: bytes | None = None
        with self._switching.transaction():
            code = self._switching.rollback(refresh)
            if code == OK:
                # A package whose result the memory did not take leaves nothing to replace.
                with suppress(StatusError):
                    result = self._packages.rolled_back(OK)
        if code == OK:
            self._switching.show(refresh)
        return RollbackResult(code, result).encode()

    # ------------------------------------------------------------------------------------------------ configuration

    def _configure_immediate(self, request: Tlv) -> bytes:
        """ES10b.ConfigureImmediateProfileEnabling (5.9.17): only while no eIM is associated. Raises CodecError."""
        configuration = es10_iot.immediate_enabling(request.raw)
        if self._eims.count:
            code = _ASSOCIATED_EIM_EXISTS
        else:
            code = self._switching.configure_immediate(configuration)
        return self._answer(request.tag, UNDEFINED if code == COMMAND_ERROR else code)

    def _set_default_address(self, request: Tlv) -> bytes:
        """ES10b.SetDefaultDpAddress: an empty address removes it. Raises CodecError."""
        self._switching.set_default_address(es10_iot.default_dp_address(request.raw))
        return self._answer(request.tag, OK)

    # ------------------------------------------------------------------------------------------------ memory reset

    def _memory_reset(self, request: Tlv) -> bytes:
        """ES10b.eUICCMemoryReset (5.9.5): all that is asked for in one transaction, or nothing. Raises CodecError."""
        names = es10_iot.reset_options(request.raw)
        try:
            with self._switching.transaction():
                result = self._reset(names)
        except _Refused as refusal:
            result = MemoryResetResult(refusal.code)
        self._switching.show_erased()
        return self._encoded(result)

    def _reset(self, names: tuple[str, ...]) -> MemoryResetResult:
        if self._switching.ecall_active:
            raise _Refused(ECALL_ACTIVE)
        eim: int | None = None
        immediate: int | None = None
        if _RESET_EIM in names:
            eim = self._eims.reset() if self._switching.eim_reset_supported else _EIM_RESET_NOT_SUPPORTED
        if _RESET_IMMEDIATE in names:
            immediate = OK if self._switching.reset_immediate() else _RESET_IMMEDIATE_NOT_SUPPORTED
        options = [option for option in EraseOption if option.value in names]
        code = self._switching.erase(options)
        if code == NOTHING_TO_DELETE and not options and names:
            # Of profiles and address nothing was asked for.
            code = OK
        if code not in (OK, NOTHING_TO_DELETE):
            raise _Refused(code)
        return MemoryResetResult(code, eim, immediate)

    def _encoded(self, result: MemoryResetResult) -> bytes:
        """Return BF64 or v1.0's BF34; on a card that is also a consumer eUICC BF34 begins as SGP.22's answer does."""
        raw = result.encode(self._version)
        if not (es10_iot.supported(MEMORY_RESET_1_0, self._version) and self._consumer):
            return raw
        further = ((0x81, result.eim_code), (0x82, result.immediate_enable_code))
        members = (integer(tag, code) for tag, code in further if code is not None)
        return encode(MEMORY_RESET_1_0, integer(0x80, result.code), *members)
