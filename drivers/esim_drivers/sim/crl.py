"""ES10b.LoadCRL (SGP.22 5.7.12, 4.6): revocation lists of the CIs that an eUICC trusts, kept in its NVM.

Keys, for each CI: ``euicc/crl/<key identifier>/base`` and ``/delta``. Below each: ``state``, the list's number and how
many parts it has; and one key for each loaded part with its serial numbers. A newer list waits under ``next-base`` or
``next-delta`` until all its parts are there: what the older one revokes stays revoked until then.
"""

from __future__ import annotations

import datetime
from enum import IntEnum

from esim_bench.codec.es10 import Tag
from esim_bench.codec.tlv import Tlv, encode, parse_all
from esim_bench.crypto.crl import RevocationList
from esim_bench.crypto.x509 import Certificate
from esim_bench.errors import CodecError, CryptoError
from esim_drivers.sim import der
from esim_drivers.sim.euicc import Euicc

_ROOT = "euicc/crl/"
_CERTIFICATE_LIST = 0x30
_TAGGED_LIST = 0xA0
_REVOKED, _REMOVED = 0x80, 0x81
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class CrlError(IntEnum):
    """LoadCRLResponseError (SGP.22, ASN.1)."""

    INVALID_SIGNATURE = 1
    INVALID_FORMAT = 2
    NOT_ENOUGH_MEMORY = 3
    VERIFICATION_KEY_NOT_FOUND = 4
    FRESHER_LOADED = 5
    BASE_MISSING = 6
    UNDEFINED = 127


class _Refused(Exception):
    def __init__(self, code: CrlError) -> None:
        super().__init__(code.name)
        self.code = code


class RevocationLists:
    """The loaded lists. It keeps nothing in RAM."""

    def __init__(self, euicc: Euicc) -> None:
        self._euicc = euicc

    def revoked(self, certificate: Certificate) -> bool:
        """Tell whether a loaded list of the certificate's issuer names it."""
        if certificate.authority_key_id is None:
            return False
        root = _root(certificate.authority_key_id)
        found = self._entries(root)
        serial = _serial(certificate.parsed.serial_number)
        added = any(entry.tag == _REVOKED and entry.value == serial for entry in found)
        return added and not any(entry.tag == _REMOVED and entry.value == serial for entry in found)

    def load(self, request: Tlv) -> bytes:
        """ES10b.LoadCRL: nothing changes where it fails; else which parts of the list are still missing."""
        if "crlSupport" not in self._euicc.personality.rsp_capability:
            return _error(CrlError.UNDEFINED)
        try:
            missing = self._load(request)
        except _Refused as refusal:
            return _error(refusal.code)
        parts = encode(0xA0, *(der.integer(0x02, part) for part in missing)) if missing else b""
        return encode(Tag.LOAD_CRL, encode(0xA0, parts))

    # ------------------------------------------------------------------------------------------------ loading

    def _load(self, request: Tlv) -> list[int]:
        crl = self._checked(request)
        root = _root(crl.authority_key_id)
        kind = "base" if crl.base_number is None else "delta"
        place = self._place(crl, root, kind)
        data = self._serials(crl)
        nvm = self._euicc.nvm
        key = f"{place}{crl.part:05d}"
        if len(data) + len(key) > self._euicc.services.free_memory:
            raise _Refused(CrlError.NOT_ENOUGH_MEMORY)
        with nvm.transaction():
            if self._number(place) != crl.number:
                self._forget(place)
            nvm.put(f"{place}state", encode(0x30, der.integer(0x80, crl.number), der.integer(0x81, crl.parts)))
            nvm.put(key, data)
            missing = [part for part in range(1, crl.parts + 1) if nvm.get(f"{place}{part:05d}") is None]
            if not missing and place != f"{root}{kind}/":
                self._replace(root, kind)
        return missing

    def _checked(self, request: Tlv) -> RevocationList:
        """Return the list of a request, whose signature holds."""
        try:
            (member,) = request.children()
            if member.tag not in (_CERTIFICATE_LIST, _TAGGED_LIST):
                raise _Refused(CrlError.INVALID_FORMAT)
            # The ASN.1 has AUTOMATIC TAGS, so that its only member is A0; what LPAs send is the list as it is.
            crl = RevocationList.load(encode(_CERTIFICATE_LIST, member.value))
        except (CodecError, ValueError) as exc:
            raise _Refused(CrlError.INVALID_FORMAT) from exc
        issuer = self._euicc.trusted(crl.authority_key_id)
        if issuer is None:
            raise _Refused(CrlError.VERIFICATION_KEY_NOT_FOUND)
        self._euicc.seconds += self._euicc.personality.verify_seconds
        try:
            crl.verify(issuer.public_key)
        except CryptoError as exc:
            raise _Refused(CrlError.INVALID_SIGNATURE) from exc
        return crl

    def _place(self, crl: RevocationList, root: str, kind: str) -> str:
        """Return where a list belongs, if it is none that the eUICC is beyond already."""
        base = self._number(f"{root}base/")
        if crl.base_number is not None:
            if base is None or base < crl.base_number:
                raise _Refused(CrlError.BASE_MISSING)
            if crl.number <= base:
                raise _Refused(CrlError.FRESHER_LOADED)
        loaded, waiting = self._number(f"{root}{kind}/"), self._number(f"{root}next-{kind}/")
        if crl.number == loaded:
            return f"{root}{kind}/"
        if crl.number < max(loaded or 0, waiting or 0):
            raise _Refused(CrlError.FRESHER_LOADED)
        return f"{root}next-{kind}/"

    def _serials(self, crl: RevocationList) -> bytes:
        """Return the entries as they are kept; a certificate that has expired by a known date needs none."""
        now_ns = self._euicc.identity.now_ns
        now = _EPOCH + datetime.timedelta(microseconds=now_ns // 1000) if now_ns is not None else None
        return b"".join(
            encode(_REMOVED if entry.removed and crl.base_number is not None else _REVOKED, _serial(entry.serial))
            for entry in crl.entries
            if now is None or entry.expires is None or entry.expires >= now
        )

    def _replace(self, root: str, kind: str) -> None:
        """The next list is whole: it takes the place of the old one, a base also that of a delta that it includes."""
        nvm = self._euicc.nvm
        number = self._number(f"{root}next-{kind}/") or 0
        if kind == "base":
            for delta in (f"{root}delta/", f"{root}next-delta/"):
                if (self._number(delta) or 0) <= number:
                    self._forget(delta)
        self._forget(f"{root}{kind}/")
        for key in nvm.keys(f"{root}next-{kind}/"):
            nvm.put(key.replace(f"/next-{kind}/", f"/{kind}/"), nvm.get(key) or b"")
        self._forget(f"{root}next-{kind}/")

    # ------------------------------------------------------------------------------------------------ memory

    def _number(self, place: str) -> int | None:
        state = self._euicc.nvm.get(f"{place}state")
        return der.read_integer(parse_all(state)[0].get(0x80)) if state is not None else None

    def _entries(self, root: str) -> list[Tlv]:
        nvm = self._euicc.nvm
        keys = [key for key in nvm.keys(root) if not key.endswith("/state")]
        return [entry for key in keys for entry in parse_all(nvm.get(key) or b"")]

    def _forget(self, place: str) -> None:
        nvm = self._euicc.nvm
        for key in nvm.keys(place):
            nvm.delete(key)


def _error(code: CrlError) -> bytes:
    return encode(Tag.LOAD_CRL, der.integer(0x81, code))


def _root(key_id: bytes) -> str:
    return f"{_ROOT}{key_id.hex().upper()}/"


def _serial(number: int) -> bytes:
    # Signed, as in DER: no list and no certificate should have a negative one, but whoever reads one must not break.
    return number.to_bytes((number.bit_length() + 8) // 8, "big", signed=True)
