"""Methods over columns: one method in each file, each with a naive twin in the tests."""
