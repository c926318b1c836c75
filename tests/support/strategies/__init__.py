"""What random tests draw."""
