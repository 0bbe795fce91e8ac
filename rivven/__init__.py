"""Rivven: a log broker that speaks the Apache Kafka protocol and is secure from its first second."""

__version__ = "0.1.0"
