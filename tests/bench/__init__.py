"""What the worker, the replay and the state cost, beside what they are built on."""
