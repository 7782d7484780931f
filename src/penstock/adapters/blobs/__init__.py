"""Blobs: `embedded` (files)."""
