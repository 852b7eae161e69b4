"""Signatures, key agreement, BSP, certificates and their roles. Pure; randomness comes in through a port."""
