"""The IoT side of a simulated eUICC: associated eIMs, eUICC Packages, fallback and rollback (SGP.32)."""
