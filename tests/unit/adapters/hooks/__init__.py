"""Tests of what posts to webhooks."""
