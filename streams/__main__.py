"""`python -m streams` is `fairuse`; Ctrl-C ends it with a sentence even while modules load."""

import sys


def run() -> None:
    """Run the command `fairuse`."""
    try:
        from streams.cli.commands import main  # noqa: PLC0415

        main()
    except KeyboardInterrupt:
        sys.stderr.write("fairuse: stopped\n")
        sys.exit(1)


if __name__ == "__main__":
    run()
