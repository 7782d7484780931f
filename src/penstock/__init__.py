"""Penstock: the self-hosted platform that keeps language models honest, fast and billed correctly."""
