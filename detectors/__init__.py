"""What the contracts call non-normal use, and what follows from it.

Nothing here knows Kafka, a clock or a file.
"""
