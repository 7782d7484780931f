"""Tests of the values everything else is made of."""
