"""One partition of the input: usage in, findings out."""
