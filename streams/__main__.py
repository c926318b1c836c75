"""`python -m streams` is `fairuse`."""

from streams.cli import main

main()
