"""Harness code of the tests."""
