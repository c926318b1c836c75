"""The worker's HTTP server: /metrics, /health, and where one customer stands."""

from typing import Any

from aiohttp import web
from mode import Service
from mode.utils.logging import get_logger
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from streams.worker.status import WorkerStatus

logger = get_logger(__name__)


class HttpServer(Service):
    """Serves one worker's figures and its customers' current statistics."""

    def __init__(self, state: WorkerStatus, host: str, port: int, **kwargs: Any) -> None:
        self.worker_state = state
        self.host = host
        self.port = port
        self._runner: web.AppRunner | None = None
        super().__init__(**kwargs)

    async def on_start(self) -> None:
        """Begin to listen."""
        application = web.Application()
        application.add_routes(
            [
                web.get("/metrics", self.metrics),
                web.get("/health", self.health),
                web.get("/customers/{customer_id}", self.customer),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.host, self.port).start()

    async def on_stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def metrics(self, request: web.Request) -> web.Response:
        """Every figure, in Prometheus' text format."""
        self.worker_state.measure()
        body = generate_latest(self.worker_state.metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def health(self, request: web.Request) -> web.Response:
        """200 once the worker takes in events, 503 while it recovers or stops; what holds."""
        state = self.worker_state
        body = {"ready": state.ready, "brake": state.braked, "policies": state.policies()}
        return web.json_response(body, status=200 if state.ready else 503)

    async def customer(self, request: web.Request) -> web.Response:
        """Current statistics against each limit, or the way to the worker that holds them."""
        customer_id = request.match_info["customer_id"]
        standing = self.worker_state.standing(customer_id)
        if standing is not None:
            return web.json_response(standing)
        holder = self.worker_state.holder_of(customer_id)
        if holder is not None and not request.query.get("from"):
            location = f"{holder}/customers/{customer_id}?from={self.port}"
            raise web.HTTPTemporaryRedirect(location)
        return web.json_response({"error": f"no use of {customer_id} is known"}, status=404)
