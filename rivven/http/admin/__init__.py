"""The Admin API: over HTTP what Kafka has no API for. Every route is a row of one table, and nothing here
decides about security by hand: rows state their permission, the guard applies it."""
