"""`python -m streams` is `fairuse`; Ctrl-C is answered even while it is still loading."""

import sys


def run() -> None:
    """The `fairuse` command."""
    try:
        from streams.cli.commands import main  # noqa: PLC0415

        main()
    except KeyboardInterrupt:
        sys.stderr.write("fairuse: stopped\n")
        sys.exit(1)


if __name__ == "__main__":
    run()
