"""The Kafka wire protocol as pure code: bytes in, values out, and back.

Nothing here opens a socket, reads a clock or logs. Every failure on foreign bytes is a `ProtocolError`.
"""
