"""Records the calls of crypto primitives during a piece of work, and replays exactly those: the floor below it.

Recorded are signing, verifying, making a key pair, reading a point, key agreement, key derivation, and every AES and
CMAC operation of the BPP's protection, in their order and with their very arguments. Not recorded, so not part of the
floor: reading certificates, ASN.1, hashing of seeds, everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from esim_bench.crypto import agreement, bsp, ecdsa, keys

Call = Callable[[list[Any]], Any]
"""One primitive call; the list holds the cipher objects of the replay, by their numbers."""


class Recording:
    """The primitive calls of one run, in order."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.objects = 0

    def replay(self) -> None:
        """Make all calls again, with objects of their own."""
        objects: list[Any] = [None] * self.objects
        for call in self.calls:
            call(objects)

    def count(self) -> int:
        return len(self.calls)

    def function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def recorded(*args: Any, **named: Any) -> Any:
            self.calls.append(lambda objects: function(*args, **named))
            return function(*args, **named)

        return recorded

    def made(self, make: Callable[[list[Any]], Any]) -> int:
        """Record the making of an object; return its number."""
        number = self.objects
        self.objects += 1

        def call(objects: list[Any]) -> None:
            objects[number] = make(objects)

        self.calls.append(call)
        return number


class _Cipher:
    """Stands for ``cryptography``'s Cipher, whose contexts record their updates."""

    def __init__(self, recording: Recording, algorithm: Any, mode: Any) -> None:
        self._recording = recording
        self._algorithm, self._mode = algorithm, mode
        self._real = _REAL_CIPHER(algorithm, mode)

    def encryptor(self) -> _Context:
        algorithm, mode = self._algorithm, self._mode
        number = self._recording.made(lambda objects: _REAL_CIPHER(algorithm, mode).encryptor())
        return _Context(self._recording, number, self._real.encryptor())

    def decryptor(self) -> _Context:
        algorithm, mode = self._algorithm, self._mode
        number = self._recording.made(lambda objects: _REAL_CIPHER(algorithm, mode).decryptor())
        return _Context(self._recording, number, self._real.decryptor())


class _Context:
    def __init__(self, recording: Recording, number: int, real: Any) -> None:
        self._recording, self._number, self._real = recording, number, real

    def update(self, data: bytes) -> bytes:
        number = self._number
        self._recording.calls.append(lambda objects: objects[number].update(data))
        return bytes(self._real.update(data))


class _Cmac:
    def __init__(self, recording: Recording, number: int, real: Any) -> None:
        self._recording, self._number, self._real = recording, number, real

    def copy(self) -> _Cmac:
        number = self._number
        new = self._recording.made(lambda objects: objects[number].copy())
        return _Cmac(self._recording, new, self._real.copy())

    def update(self, data: bytes) -> None:
        number = self._number
        self._recording.calls.append(lambda objects: objects[number].update(data))
        self._real.update(data)

    def finalize(self) -> bytes:
        number = self._number
        self._recording.calls.append(lambda objects: objects[number].finalize())
        return bytes(self._real.finalize())


_REAL_CIPHER: Any = bsp.Cipher
_REAL_CMAC: Any = bsp.CMAC


@contextmanager
def recorded() -> Iterator[Recording]:
    """Record all primitive calls that are made meanwhile, whoever makes them."""
    recording = Recording()

    def cmac(algorithm: Any) -> _Cmac:
        number = recording.made(lambda objects: _REAL_CMAC(algorithm))
        return _Cmac(recording, number, _REAL_CMAC(algorithm))

    with ExitStack() as stack:
        for module, name in (
            (ecdsa, "sign"),
            (ecdsa, "verify_der"),
            (keys, "generate"),
            (keys, "from_point"),
            (agreement, "shared_secret"),
            (agreement, "x963_kdf"),
        ):
            real = getattr(module, name)
            wrapped = recording.function(real)
            # Who imported the function by its name has it under that name: replace it wherever it is.
            for holder in _holders(name, real):
                stack.enter_context(mock.patch.object(holder, name, wrapped))
        stack.enter_context(mock.patch.object(bsp, "Cipher", lambda *args: _Cipher(recording, *args)))
        stack.enter_context(mock.patch.object(bsp, "CMAC", cmac))
        yield recording


def _holders(name: str, real: Any) -> list[Any]:
    import sys

    return [
        module
        for path, module in list(sys.modules.items())
        if path.startswith(("esim_bench", "esim_drivers")) and getattr(module, name, None) is real
    ]
