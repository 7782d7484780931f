"""Tests of penstock.net."""
