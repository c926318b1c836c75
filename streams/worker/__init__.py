"""The Faust worker: its app, agents, clocks, feeds and HTTP server."""
