"""The rules: one file for each, named after the rule."""
