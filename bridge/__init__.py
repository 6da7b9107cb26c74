"""Neighborwatch's bridge: scores card transactions while they stream through Apache Kafka."""
