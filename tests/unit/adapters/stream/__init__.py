"""Tests of what the embedded stream does beyond its port."""
