"""Secrets: `embedded` (files and a snapshot of the environment)."""
