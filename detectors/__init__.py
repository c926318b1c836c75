"""Detects what the contracts call non-normal use, and decides what follows from it.

Nothing here knows Kafka, a clock or a file.
"""
