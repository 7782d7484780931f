"""Reconciliation: what vendors bill, line by line, against what was settled."""
