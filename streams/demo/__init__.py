"""Everything on one machine: an embedded broker, a worker and a generated operator."""
