"""The generated operator: customers with habits, and abusers planted among them."""
