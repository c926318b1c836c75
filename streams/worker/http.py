"""The worker's HTTP server: /metrics, /health, and /customers/ID."""

from aiohttp import web
from mode import Service
from mode.utils.logging import get_logger
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from streams.worker.status import WorkerStatus

logger = get_logger(__name__)


class HttpServer(Service):
    """Serves the metrics and the health of a worker, and the numbers of its customers.

    Parameters
    ----------
    status
        What is served.
    host, port
        The address to listen on.
    """

    def __init__(self, status: WorkerStatus, host: str, port: int) -> None:
        self.status = status
        self.host = host
        self.port = port
        self._runner: web.AppRunner | None = None
        super().__init__()

    async def on_start(self) -> None:
        """Begin to listen."""
        application = web.Application()
        application.add_routes(
            [
                web.get("/metrics", self._metrics),
                web.get("/health", self._health),
                web.get("/customers/{customer_id}", self._customer),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.host, self.port).start()

    async def on_stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        """All metrics, in Prometheus' text format."""
        self.status.measure()
        body = generate_latest(self.status.metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _health(self, request: web.Request) -> web.Response:
        """200 while the worker reads events, 503 while it recovers or stops; brakes, policies."""
        status = self.status
        body = {"ready": status.ready, "brake": status.braked, "policies": status.policies()}
        return web.json_response(body, status=200 if status.ready else 503)

    async def _customer(self, request: web.Request) -> web.Response:
        """A customer's numbers against each limit, or a redirect to the worker that has them."""
        customer_id = request.match_info["customer_id"]
        standing = self.status.standing(customer_id)
        if standing is not None:
            return web.json_response(standing)
        holder = self.status.holder_of(customer_id)
        if holder is not None and not request.query.get("from"):
            location = f"{holder}/customers/{customer_id}?from={self.port}"
            raise web.HTTPTemporaryRedirect(location)
        return web.json_response({"error": f"no use of {customer_id} is known"}, status=404)
