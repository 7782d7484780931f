"""Alerts: rules, what became of them, and who is told."""
