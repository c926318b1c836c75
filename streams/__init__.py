"""Kafka and Faust around the rules: the worker, the replay, the console and the command line."""
