"""The scoring core: knows no HTTP, no Kafka and no environment; both processes use it."""
