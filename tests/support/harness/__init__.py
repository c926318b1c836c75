"""Brokers, servers and workers for tests."""
