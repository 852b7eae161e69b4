"""PINs, their counters and who is verified (TS 102 221 9.4, 9.5, 11.1.9 to 11.1.13).

Values and counters live in NVM below ``isdp/<AID>/``, one key each: ``pin/<directory>/<reference>`` and
``puk/<reference>``.
What is verified lives in RAM, for the whole card, until the next reset or another profile.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from esim_bench.errors import CodecError
from esim_drivers.sim.fcp import MF, PinState
from esim_drivers.sim.filesystem import Node, Path, isdp_prefix, path_text
from esim_drivers.sim.nvm import Nvm

PIN_LENGTH = 8
ENABLED, CHANGEABLE, SWITCHABLE = 0x01, 0x02, 0x04
"""Bits of pinAttributes: the PIN is enabled; it may be changed; it may be disabled and enabled (SAIP 8.4)."""
REPLACED = 0x80
"""Bit that only the card sets: the PIN is disabled, and the universal PIN stands in for it (TS 102 221 9.5.1)."""
UNIVERSAL_PIN = 0x11
_LOCAL = 0x80
_APPLICATION_PINS = range(0x01, 0x09)

OK = 0x9000
WRONG_LENGTH = 0x6700
BLOCKED = 0x6983
DISABLED = 0x6984
NOT_FOUND = 0x6A88
NOT_SATISFIED = 0x6982
NOT_NOW = 0x6985


@dataclass(frozen=True, slots=True)
class Pin:
    """A PIN or (with ``puk`` 0) a PUK, as it is kept."""

    value: bytes
    """8 bytes, padded with FF."""
    attributes: int
    puk: int
    """Key reference of the PUK that unblocks it; 0: none."""
    attempts: int
    left: int

    def encode(self) -> bytes:
        """Return it as it is kept."""
        return self.value + bytes((self.attributes, self.puk, self.attempts, self.left))

    @classmethod
    def parse(cls, stored: bytes) -> Pin:
        """Read what ``encode`` wrote. Raises CodecError."""
        if len(stored) != PIN_LENGTH + 4:
            raise CodecError("a kept PIN of the wrong length", expected=PIN_LENGTH + 4, found=len(stored))
        return cls(stored[:PIN_LENGTH], *stored[PIN_LENGTH:])

    @property
    def enabled(self) -> bool:
        """Tell whether the PIN must be verified at all."""
        return bool(self.attributes & ENABLED)


def pin_key(isdp_aid: bytes, directory: Path, reference: int) -> str:
    """Return the NVM key of a PIN that is defined in a directory."""
    return f"{isdp_prefix(isdp_aid)}pin/{path_text(directory)}/{reference:02X}"


def shared_key(isdp_aid: bytes, directory: Path) -> str:
    """Return the NVM key that says of a directory whose PINs it shares; its value is that directory's path as text."""
    return f"{isdp_prefix(isdp_aid)}pin/{path_text(directory)}/shared"


def puk_key(isdp_aid: bytes, reference: int) -> str:
    """Return the NVM key of a PUK."""
    return f"{isdp_prefix(isdp_aid)}puk/{reference:02X}"


class Pins:
    """The PINs of the mounted profile and what is verified of them."""

    def __init__(self, nvm: Nvm) -> None:
        self._nvm = nvm
        self._isdp_aid: bytes | None = None
        self._verified: dict[str, bool] = {}

    def mount(self, isdp_aid: bytes | None) -> None:
        """Take the PINs of another profile; nothing is verified."""
        self._isdp_aid = isdp_aid
        self._verified.clear()

    # ------------------------------------------------------------------------------------------------- looking

    def satisfied(self, reference: int, directory: Node) -> bool:
        """Tell whether a key reference is verified, or is a disabled PIN, seen from a directory."""
        key = self._find(reference, directory)
        if key is None:
            return False
        if key in self._verified:
            return True
        pin = self._load(key)
        if not pin.enabled and pin.attributes & REPLACED and reference != UNIVERSAL_PIN:
            return self.satisfied(UNIVERSAL_PIN, directory)
        return not pin.enabled

    def application_satisfied(self, adf: Node) -> bool:
        """Tell whether the user of an application is verified: by the PIN that its PIN status names (TS 31.102 6.4).

        An application without a PIN needs no verification.
        """
        reference = next((one for one in adf.header.pins if one in _APPLICATION_PINS), _APPLICATION_PINS[0])
        return self._find(reference, adf) is None or self.satisfied(reference, adf)

    def forget(self, references: bytes, directory: Node) -> None:
        """End the verification of an application's PINs, but not of the universal one (TS 102 221 8.5.1.4)."""
        for reference in references:
            key = self._find(reference, directory) if reference != UNIVERSAL_PIN else None
            if key is not None:
                self._verified.pop(key, None)

    def states(self, references: bytes, directory: Node) -> list[PinState]:
        """Return the state of a directory's key references, for its FCP. A reference without PIN shows as disabled."""
        found = []
        replaced = False
        for reference in references:
            key = self._find(reference, directory)
            pin = self._load(key) if key is not None else None
            replaced = replaced or (pin is not None and bool(pin.attributes & REPLACED))
            found.append(PinState(reference, pin is not None and pin.enabled))
        usage = 0x08 if replaced else 0x00
        return [replace(one, usage=usage) if one.reference == UNIVERSAL_PIN else one for one in found]

    # ------------------------------------------------------------------------------------------------- commands

    def verify(self, reference: int, directory: Node, data: bytes) -> int:
        """VERIFY PIN: return the status word. Without data: how many attempts are left."""
        key = self._find(reference, directory)
        if key is None:
            return NOT_FOUND
        pin = self._load(key)
        if data and len(data) != PIN_LENGTH:
            return WRONG_LENGTH
        if pin.left == 0:
            return BLOCKED
        if not pin.enabled:
            return DISABLED
        if not data:
            return 0x63C0 | pin.left
        return self._try(key, pin, data)

    def change(self, reference: int, directory: Node, data: bytes) -> int:
        """CHANGE PIN: the old value, then the new one."""
        key = self._find(reference, directory)
        if key is None:
            return NOT_FOUND
        if len(data) != 2 * PIN_LENGTH:
            return WRONG_LENGTH
        pin = self._load(key)
        if pin.left == 0:
            return BLOCKED
        if not pin.enabled:
            return DISABLED
        if not pin.attributes & CHANGEABLE:
            return NOT_NOW
        sw = self._try(key, pin, data[:PIN_LENGTH])
        if sw == OK:
            self._nvm.put(key, replace(self._load(key), value=data[PIN_LENGTH:]).encode())
        return sw

    def set_enabled(
        self, reference: int, directory: Node, data: bytes, enabled: bool, replacement: int | None = None
    ) -> int:
        """ENABLE or DISABLE PIN; ``replacement``: the key reference that stands in for a disabled one."""
        key = self._find(reference, directory)
        if key is None:
            return NOT_FOUND
        if len(data) != PIN_LENGTH:
            return WRONG_LENGTH
        pin = self._load(key)
        if pin.left == 0:
            return BLOCKED
        if pin.enabled == enabled or not pin.attributes & SWITCHABLE:
            return NOT_NOW
        if replacement is not None:
            # Only the universal PIN stands in, and only while it is itself enabled (TS 102 221 9.5.1).
            other = self._find(replacement, directory) if replacement == UNIVERSAL_PIN != reference else None
            if other is None:
                return NOT_FOUND
            if not self._load(other).enabled:
                return NOT_NOW
        sw = self._try(key, pin, data)
        if sw == OK:
            attributes = pin.attributes & ~(ENABLED | REPLACED)
            attributes |= ENABLED if enabled else REPLACED if replacement is not None else 0
            self._nvm.put(key, replace(self._load(key), attributes=attributes).encode())
        return sw

    def unblock(self, reference: int, directory: Node, data: bytes) -> int:
        """UNBLOCK PIN: the PUK, then the new PIN. Without data: how many attempts the PUK has left."""
        key = self._find(reference, directory)
        if key is None or self._isdp_aid is None:
            return NOT_FOUND
        pin = self._load(key)
        stored = self._nvm.get(puk_key(self._isdp_aid, pin.puk)) if pin.puk else None
        if stored is None:
            return NOT_FOUND
        puk = Pin.parse(stored)
        if data and len(data) != 2 * PIN_LENGTH:
            return WRONG_LENGTH
        if puk.left == 0:
            return BLOCKED
        if not data:
            return 0x63C0 | puk.left
        sw = self._try(puk_key(self._isdp_aid, pin.puk), puk, data[:PIN_LENGTH])
        if sw == OK:
            attributes = pin.attributes & ~REPLACED | ENABLED
            fresh = replace(pin, value=data[PIN_LENGTH:], left=pin.attempts, attributes=attributes)
            self._nvm.put(key, fresh.encode())
            self._verified[key] = True
        return sw

    # ------------------------------------------------------------------------------------------------- inside

    def _find(self, reference: int, directory: Node) -> str | None:
        """Global references are the MF's, local ones of the nearest directory above that has them or shares them."""
        if self._isdp_aid is None:
            return None
        if reference < _LOCAL:
            key = pin_key(self._isdp_aid, (MF,), reference)
            return key if self._nvm.get(key) is not None else None
        for node in directory.up():
            path = node.path
            shared = self._nvm.get(shared_key(self._isdp_aid, path))
            if shared is not None:
                path = tuple(int(part, 16) for part in shared.decode().split("/"))
            key = pin_key(self._isdp_aid, path, reference)
            if self._nvm.get(key) is not None:
                return key
        return None

    def _load(self, key: str) -> Pin:
        return Pin.parse(self._nvm.get(key) or b"")

    def _try(self, key: str, pin: Pin, value: bytes) -> int:
        """Compare, with the attempt counted before the comparison: a power cut in between never gives one for free."""
        self._nvm.put(key, replace(pin, left=pin.left - 1).encode())
        if value != pin.value:
            self._verified.pop(key, None)
            return 0x63C0 | (pin.left - 1)
        self._nvm.put(key, replace(pin, left=pin.attempts).encode())
        self._verified[key] = True
        return OK
