"""Tests of the tools the other tests stand on."""
