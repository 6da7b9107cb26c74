"""Chaos: real bridges on a real Apache Kafka, and everything that can go wrong with them; `python -m chaos`."""
