"""Caches: `embedded` (bytes-capped, in process)."""
