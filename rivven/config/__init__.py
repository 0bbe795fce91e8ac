"""Configuration: tables of Kafka-named settings and the strict model of the configuration file.

Importing this package imports nothing else: the tables are needed by worker processes that must not pay for
pydantic.
"""
