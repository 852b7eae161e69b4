"""The error tree. A message says what was expected, what came, and what to try.

::

    BenchError
    ├── ConfigError             the operator's mistake: a file, an option, a name
    │   └── ProtectedError      refused because the slot is protected
    ├── CodecError              bytes or text that are not what their format says
    ├── CryptoError             a signature, key or certificate that does not hold
    ├── DeviceError             the device's fault
    │   ├── TransportError      the way to the device broke, or the device vanished
    │   │   └── ApduRefusedError    a modem did not pass an APDU on, or says so
    │   ├── DeviceTimeout       the device did not answer in time
    │   ├── ProtocolError       the device answered something its standard does not allow
    │   ├── CardStatusError     a status word other than the expected one
    │   └── NoAccessError       the module lets nobody at the eUICC
    ├── RspError                the server's answer: subject and reason code
    ├── AgentError              an LPA or IPA flow ended without success (result codes of the eUICC, aborted sessions)
    └── RigError                the bench itself is wrong: a deadlock, a broken journal, a missing part
        ├── PowerError          power was not switched as it was asked to, or nothing proves that it was
        └── InUseError          a device of the slot is held by somebody else
"""

from __future__ import annotations


class BenchError(Exception):
    """Root of all errors that the bench raises on purpose."""

    def __init__(
        self,
        what: str,
        *,
        expected: object = None,
        found: object = None,
        where: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.what = what
        self.expected = expected
        self.found = found
        self.where = where
        self.hint = hint
        text = f"{where}: {what}" if where else what
        if expected is not None:
            text += f": expected {shown(expected)}"
            if found is not None:
                text += f", found {shown(found)}"
        elif found is not None:
            text += f": found {shown(found)}"
        if hint:
            text += f" ({hint})"
        super().__init__(text)


def shown(value: object) -> object:
    """Return a value as messages may print it."""
    # Malformed input can hold a number of a million digits, which Python refuses to print.
    if isinstance(value, int) and value.bit_length() > 256:
        return f"a number of {value.bit_length()} bits"
    return value


class ConfigError(BenchError):
    """The operator's mistake: a file, an option, a name."""


class ProtectedError(ConfigError):
    """Refused because the slot is protected against destruction."""


class CodecError(BenchError):
    """Bytes or text that are not what their format says."""


class CryptoError(BenchError):
    """A signature, key or certificate that does not hold."""


class DeviceError(BenchError):
    """The device's fault."""


class TransportError(DeviceError):
    """The way to the device broke, or the device vanished."""


class ApduRefusedError(TransportError):
    """A modem answered the line with an APDU by an error; the card may have executed the command nevertheless."""

    def __init__(self, what: str, *, command: bytes, expected: object = None, found: object = None, hint: str | None):
        self.command = command
        super().__init__(what, expected=expected, found=found, hint=hint)


class DeviceTimeout(DeviceError):
    """The device did not answer in time."""


class ProtocolError(DeviceError):
    """The device answered something that its standard does not allow."""


class CardStatusError(DeviceError):
    """A status word other than the expected one."""

    def __init__(self, what: str, *, sw: int, expected: object = "9000", hint: str | None = None) -> None:
        self.sw = sw
        super().__init__(what, expected=expected, found=f"{sw:04X}", hint=hint)


class NoAccessError(DeviceError):
    """The module lets nobody at the eUICC: ``cause`` says why, as far as its row in hw/modules or a probe knows."""

    def __init__(self, cause: str, *, found: object = None, where: str | None = None) -> None:
        self.cause = cause
        super().__init__(
            f"the module gives no access to the eUICC: {cause}",
            found=found,
            where=where,
            hint="esim-bench modem probe SLOT tries again; other firmware, or the card in a reader, may give it",
        )


class RspError(BenchError):
    """The server's answer: subject and reason code (SGP.22 5.2.6)."""

    def __init__(self, subject: str, reason: str, message: str = "", *, identifier: str | None = None) -> None:
        self.subject = subject
        self.reason = reason
        self.message = message
        self.identifier = identifier
        super().__init__(f"{subject}/{reason} {message}".strip())


class AgentError(BenchError):
    """An LPA or IPA flow ended without success; ``code`` is the standard's name of the result, where there is one."""

    def __init__(self, what: str, *, code: str | None = None, hint: str | None = None) -> None:
        self.code = code
        super().__init__(what, found=code, hint=hint)


class RigError(BenchError):
    """The bench itself is wrong: a deadlock, a broken journal, a missing part."""


class PowerError(RigError):
    """Power was not switched as it was asked to, or nothing proves that it was: no verdict on the device."""


class InUseError(RigError):
    """A device of the slot is held by somebody else, or was taken from us."""
