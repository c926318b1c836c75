"""Policy documents: editions of them, and which one holds at an event time."""
