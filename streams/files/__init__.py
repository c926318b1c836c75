"""Usage and results in files: NDJSON and Parquet."""
