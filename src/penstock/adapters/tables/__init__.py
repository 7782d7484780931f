"""Adapters of the tables port."""
