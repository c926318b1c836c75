"""The process of a worker: Faust's own, but a start that fails ends in a sentence."""

import asyncio

import faust

from streams.errors import StartError


class Worker(faust.Worker):
    """Keeps what its start failed with, instead of a traceback among its logs."""

    failure: Exception | None = None

    async def start(self) -> None:
        """Start everything, and run until it is stopped."""
        try:
            await super().start()
        except Exception as error:
            self.failure = error
            self.log.debug("the start failed", exc_info=error)
            # Faust takes this for a stop: it lets go of what it holds and says nothing of it.
            raise asyncio.CancelledError from error

    def run(self) -> int:
        """Run until it is stopped; the exit code, or `StartError`."""
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
