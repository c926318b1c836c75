"""What follows from a finding: notices, restrictions, releases, and what people decide."""
