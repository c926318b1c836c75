"""Calendar periods: where they begin and end, rings of them, and when they are closed."""
