"""The one exception family of the protocol layer.

Foreign bytes may raise nothing else. Each message is one line, fit for a log, and never repeats the bytes of
a peer (they may hold secrets); it must not carry Kafka error codes, those belong to the layers above.
"""

from __future__ import annotations


class ProtocolError(Exception):
    """The peer sent (or we were asked to write) bytes that the Kafka protocol does not allow."""


class UnsupportedApi(ProtocolError):
    """An API key or version we do not offer; Kafka has no error frame for it, the connection is closed."""


class FrameTooLarge(ProtocolError):
    """A frame announces more bytes than this connection may send."""


class MalformedFrameSize(ProtocolError):
    """The first four bytes are not a Kafka frame size (negative, or too small for a request header)."""


class TlsOnPlaintext(ProtocolError):
    """The first bytes are a TLS ClientHello, and this listener speaks plaintext."""


class HttpOnKafkaPort(ProtocolError):
    """The first bytes are an HTTP request line."""


class ScramError(ProtocolError):
    """A SCRAM message that RFC 5802 does not allow, or one whose proof or nonce is wrong."""
