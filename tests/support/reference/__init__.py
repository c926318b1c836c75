"""Slow, obvious implementations that the rules are compared with."""
