"""Compact forms from whole ones: without what the eIM knows or can find out (minimizeEsipaBytes, SGP.32 5.14).

Signatures stay as they are, over the whole forms. All functions raise CodecError for what has no compact form.
"""

from __future__ import annotations

from esim_bench.codec import compact, tlv
from esim_bench.codec.sgp32 import EID_LENGTH, OCTET_STRING, SEQUENCE, SIGNATURE, choice, open_object
from esim_bench.errors import CodecError

_EXT_CARD_RESOURCE = 0x84
_OTPK = 0x5F49
_AID = 0x4F


def authenticate(whole: bytes, *, context_by_eim: bool) -> bytes:
    """Shorten an AuthenticateServerResponse (BF38); ctxParams1 are left out where the eIM made them."""
    items = _full(whole, compact.AUTHENTICATE_SERVER).children()
    if [item.tag for item in items[:2]] != [SEQUENCE, SIGNATURE]:
        raise CodecError("AuthenticateServerResponse", expected="euiccSigned1 and its signature")
    signed = items[0]
    context = signed.get(0xA0).raw
    resource = signed.get(0xBF22, _EXT_CARD_RESOURCE).value
    return compact.AuthenticateResponse(
        items[1].value, ext_card_resource=resource, ctx_params1=None if context_by_eim else context
    ).encode()


def prepare_download(whole: bytes) -> bytes:
    """Shorten a PrepareDownloadResponse (BF21)."""
    full = _full(whole, compact.PREPARE_DOWNLOAD)
    signed = full.get(SEQUENCE)
    hash_cc = signed.find(OCTET_STRING)
    return compact.DownloadResponse(
        full.get(SIGNATURE).value, signed.get(_OTPK).value, hash_cc.value if hash_cc else None
    ).encode()


def cancel_session(whole: bytes) -> bytes:
    """Shorten a CancelSessionResponse (BF41)."""
    full = _full(whole, compact.CANCEL_SESSION)
    return compact.CancelResponse(full.get(SIGNATURE).value, full.get(SEQUENCE, 0x82).integer()).encode()


def notification(whole: bytes, eid: bytes) -> bytes:
    """Shorten a notification: BF37 or 30."""
    item = tlv.parse(whole, "notification")
    if item.tag == 0xBF37:
        return _install_result(item)
    if item.tag != SEQUENCE:
        raise CodecError("notification", expected="BF37 or 30", found=f"{item.tag:X}")
    metadata = item.get(0xBF2F).raw
    return compact.OtherNotification(
        item.get(SIGNATURE).value, metadata, eid if len(eid) == EID_LENGTH else None
    ).encode()  # fmt: skip


def _install_result(item: tlv.Tlv) -> bytes:
    data, signature = item.get(0xBF27), item.get(SIGNATURE).value
    metadata = data.get(0xBF2F)
    final = choice(data.get(0xA2), "finalResult", 0xA0, 0xA1)
    transaction, seq = data.get(0x80).value, metadata.get(0x80).integer()
    present = metadata.find(0x5A) is not None
    if final.tag == 0xA1:
        return compact.InstallResult(signature, transaction, seq, present, error=final.value).encode()
    sima = final.get(OCTET_STRING).value
    shown = None if sima == compact.SIMA_SUCCESS else sima
    aid = final.get(_AID).value
    return compact.InstallResult(signature, transaction, seq, present, aid[13:15], shown).encode()


def _full(whole: bytes, tag: int) -> tlv.Tlv:
    full = choice(open_object(whole, tag, "answer of ES10b"), "answer of ES10b")
    if full.tag != 0xA0:
        raise CodecError("answer of ES10b", expected="A0", found=f"{full.tag:X}")
    return full
