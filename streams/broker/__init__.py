"""Kafka: reading batches, sending, partitions and topics."""
