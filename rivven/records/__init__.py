"""Kafka record batches (format v2) as bytes: header view, CRC, codecs, validation, time lookup. Pure."""
