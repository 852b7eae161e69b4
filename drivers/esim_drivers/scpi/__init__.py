"""Supplies and meters by SCPI."""
