"""The trace: a pcapng journal that Wireshark opens, its reader, the meaning of APDUs, masking, export, statistics."""

from esim_bench.trace.decode import ApduDecoder, Meaning
from esim_bench.trace.journal import Journal
from esim_bench.trace.mask import Mask, SecretMask
from esim_bench.trace.reader import Reader, Record

__all__ = ["ApduDecoder", "Journal", "Mask", "Meaning", "Reader", "Record", "SecretMask"]
