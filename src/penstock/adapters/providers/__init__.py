"""Providers of models: vendors over the wire, and the two that live in this process."""
