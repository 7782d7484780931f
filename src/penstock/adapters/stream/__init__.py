"""Streams: `embedded` (segment files)."""
