"""Arithmetic over columns: one method a file, each with a naive twin in the tests."""
