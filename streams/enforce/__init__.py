"""The enforcement side: a reference consumer of `actions`, and adapters that carry them out."""
