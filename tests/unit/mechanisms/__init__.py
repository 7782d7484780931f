"""Tests of policy over ports."""
