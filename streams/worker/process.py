"""The process of a worker: Faust's own, but a failed start ends in a sentence."""

import asyncio
from typing import Any

import faust

from streams.errors import StartError


class Worker(faust.Worker):
    """Faust's worker, without its debugging console; it reports a failed start as `StartError`.

    Parameters
    ----------
    app
        The app to run.
    options
        Other parameters of the base class.
    """

    def __init__(self, app: faust.App, **options: Any) -> None:
        # None is allowed, although Faust declares a number.
        no_console: Any = None
        super().__init__(app, console_port=no_console, **options)
        self.failure: Exception | None = None

    async def start(self) -> None:
        """Start all services, and run until the process is stopped."""
        try:
            await super().start()
        except Exception as error:
            self.failure = error
            self.log.debug("the start failed", exc_info=error)
            # For Faust this is a regular stop: it stops all services and prints no traceback.
            raise asyncio.CancelledError from error

    def run(self) -> int:
        """Run until the process is stopped.

        Returns
        -------
        Exit code of the process.

        Raises
        ------
        StartError
            The worker could not start.
        """
        code = 0
        try:
            self.execute_from_commandline()
        except SystemExit as ended:
            code = int(ended.code or 0)
        if isinstance(self.failure, StartError):
            raise self.failure
        if self.failure is not None:
            why = str(self.failure) or repr(self.failure)
            raise StartError(
                f"The worker could not start ({why}): remove the cause; "
                "--log-level debug shows where it comes from."
            ) from self.failure
        return code
