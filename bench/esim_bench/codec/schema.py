"""ASN.1 messages: DER through asn1tools on the modules in ``asn1/``, compiled once and cached.

Values are asn1tools': SEQUENCE is a dict, CHOICE a (name, value) pair, BIT STRING (bytes, number of bits), OCTET
STRING and opaque parts bytes, OBJECT IDENTIFIER dotted text. Members that carry signed or foreign objects
(certificates, signed parts) are opaque in our modules, so their exact bytes survive.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import sys
import tempfile
from functools import cached_property
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

import asn1tools
from asn1tools.codecs import DecodeError, ErrorWithLocation, ber, der
from platformdirs import user_cache_dir

from esim_bench.codec import tlv
from esim_bench.errors import CodecError

MAX_MESSAGE = 4 * 1024 * 1024
"""Bytes; nothing in RSP comes near."""


_MAX_OBJECT_IDENTIFIER = 128
"""Bytes."""


def _decode_object_identifier(data: bytes, offset: int, end: int) -> str:
    arcs: list[int] = []
    value = 0
    if end - offset > _MAX_OBJECT_IDENTIFIER:
        # An arc of many bytes takes time by the square of them.
        raise DecodeError("Object identifier too long.", offset=offset)
    while offset < end:
        byte = data[offset]
        value = value << 7 | byte & 0x7F
        offset += 1
        if not byte & 0x80:
            arcs.append(value)
            value = 0
    if not arcs or data[end - 1] & 0x80:
        raise DecodeError("Truncated object identifier.", offset=offset)
    # X.690 8.19.4: the first two arcs share a subidentifier; under arc 2 the second may be 40 and more.
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, [first, arcs[0] - 40 * first, *arcs[1:]]))


# asn1tools splits 2.999 as 26.39; the fix is a replacement, because the library offers no hook.
ber.decode_object_identifier = _decode_object_identifier


def _decode_array(array: Any, data: bytes, offset: int, length: int) -> tuple[list[Any], int]:
    decoded: list[Any] = []
    end = offset + length
    while offset < end:
        start = offset
        element, offset = array.element_type.decode(data, offset)
        if offset <= start:
            raise DecodeError(f"Unexpected tag {data[start : start + 1].hex()} in a list.", offset=start)
        decoded.append(element)
    if offset != end:
        raise DecodeError("An element is longer than its list.", offset=end)
    return decoded, offset


# asn1tools does not move on from an element of another tag: its own loop would fill the memory on malformed input.
der.ArrayType.decode_content = _decode_array


def _decode_choice(choice: Any, data: bytes, offset: int, values: Any = None) -> tuple[Any, int]:
    member = choice.tag_to_member.get(bytes(ber.read_tag(data, offset)))
    if member is None:
        return ber.TAG_MISMATCH, offset
    try:
        decoded, offset = member.decode(data, offset)
    except ErrorWithLocation as exc:
        exc.add_location(member)
        raise
    return (member.name, decoded), offset


# asn1tools makes (None, None) of an alternative of a later version: nobody can go on from that.
ber.Choice.decode = _decode_choice


def _decode_integer(integer: Any, data: bytes, offset: int, length: int) -> tuple[int, int]:
    if not 1 <= length <= tlv.MAX_INTEGER:
        raise DecodeError(f"Expected a number of 1 to {tlv.MAX_INTEGER} bytes, but got {length}.", offset=offset)
    return int.from_bytes(data[offset : offset + length], "big", signed=True), offset + length


der.Integer.decode_content = _decode_integer


class Schema:
    """The types of one set of ASN.1 modules; loaded at first use."""

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def _compiled(self) -> Any:
        folder = resources.files("esim_bench.codec") / "asn1"
        texts = sorted((item.name, item.read_text()) for item in folder.iterdir() if item.name.startswith(self.name))
        if not texts:
            raise CodecError("no ASN.1 module", expected=f"{self.name}*.asn in esim_bench/codec/asn1")
        return _cached(self.name, "\n".join(text for _, text in texts))

    def encode(self, type_name: str, value: Any) -> bytes:
        """Encode a value of a type as DER. Raises CodecError naming the member."""
        try:
            encoded: bytes = self._specification(type_name).encode(type_name, value, check_constraints=True)
        except CodecError:
            raise
        except Exception as exc:
            raise CodecError(f"cannot be encoded: {_reason(exc)}", where=type_name) from exc
        return bytes(encoded)

    def decode(self, type_name: str, data: bytes) -> Any:
        """Decode exactly one object of a type. Raises CodecError naming the member."""
        if len(data) > MAX_MESSAGE:
            raise CodecError("too long", where=type_name, expected=f"at most {MAX_MESSAGE} bytes", found=len(data))
        # asn1tools does not look at what follows the object, nor mind one that is longer than the one it lies in.
        tlv.parse(bytes(data), type_name)
        try:
            tlv.check_nesting(data, f"in {type_name}")
            return self._specification(type_name).decode(type_name, bytes(data), check_constraints=True)
        except CodecError:
            raise
        except RecursionError as exc:
            raise CodecError("nested too deeply", where=type_name) from exc
        except Exception as exc:
            raise CodecError(f"malformed: {_reason(exc)}", where=type_name) from exc

    def _specification(self, type_name: str) -> Any:
        if type_name not in self._compiled.types:
            raise CodecError("no such ASN.1 type", where=self.name, found=repr(type_name))
        return self._compiled


def _reason(exc: Exception) -> str:
    text = str(exc) or type(exc).__name__
    return text[:200]


def _cached(name: str, source: str) -> Any:
    # Compiling takes a second, loading the pickle a millisecond. The key holds all that the result depends on.
    key = hashlib.sha256(f"{version('asn1tools')}:{sys.version}:{source}".encode()).hexdigest()[:24]
    folder = Path(user_cache_dir("esim-bench")) / "asn1"
    path = folder / f"{name}-{key}.pickle"
    with contextlib.suppress(Exception):
        return pickle.loads(path.read_bytes())
    compiled = asn1tools.compile_string(source, "der")
    # A cache that cannot be written costs time, nothing else.
    with contextlib.suppress(Exception):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, new = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "wb") as file:
            pickle.dump(compiled, file)
        Path(new).replace(path)
    return compiled


RSP = Schema("rsp")
SAIP = Schema("saip")
