"""The few facts of a certificate that a start needs, read without a crypto library.

Importing one costs more than the rest of the start together, and a validity period is three DER fields away:

    Certificate ::= SEQUENCE { tbsCertificate SEQUENCE {
        [0] version OPTIONAL, serialNumber, signature, issuer, validity SEQUENCE { notBefore, notAfter }, ...

(RFC 5280, 4.1). It must not judge trust: that is the TLS library's.
"""

from __future__ import annotations

from base64 import b64decode
from datetime import UTC, datetime

_SEQUENCE = 0x30
_OBJECT_IDENTIFIER = 0x06
_EXPLICIT_0 = 0xA0
_UTC_TIME = 0x17
_GENERALIZED_TIME = 0x18
_BEGIN = "-----BEGIN CERTIFICATE-----"
_END = "-----END CERTIFICATE-----"

CHAIN_MAX = 20
"""Certificates of one chain; real ones have two to four."""

BUNDLE_MAX = 4096
"""Authorities of one bundle: more than a file of 1 MiB can hold, so that none is left out."""


class MalformedCertificate(ValueError):
    """Bytes that are not an X.509 certificate."""


def certificates_in(pem: str, most: int = CHAIN_MAX) -> list[bytes]:
    """The DER bytes of the first `most` certificates of a PEM file, in order. Raises MalformedCertificate."""
    found: list[bytes] = []
    position = pem.find(_BEGIN)
    while position >= 0 and len(found) < most:
        end = pem.find(_END, position)
        if end < 0:
            raise MalformedCertificate("a certificate has no END line")
        body = "".join(pem[position + len(_BEGIN) : end].split())
        try:
            found.append(b64decode(body, validate=True))
        except ValueError:
            raise MalformedCertificate("a certificate is not valid base64") from None
        position = pem.find(_BEGIN, end)
    return found


def validity(der: bytes) -> tuple[datetime, datetime]:
    """(not before, not after), in UTC. Raises MalformedCertificate."""
    tbs = _content(_content(der, 0, _SEQUENCE), 0, _SEQUENCE)
    position = 0
    if tbs[:1] == bytes([_EXPLICIT_0]):
        position = _skip(tbs, position)
    for _ in ("serialNumber", "signature", "issuer"):
        position = _skip(tbs, position)
    period = _content(tbs, position, _SEQUENCE)
    return _time(period, 0), _time(period, _skip(period, 0))


def key_algorithm(der: bytes) -> bytes:
    """The object identifier (DER) of the certificate's kind of key; equal for certificates that a TLS context
    cannot hold at the same time. Raises MalformedCertificate."""
    tbs = _content(_content(der, 0, _SEQUENCE), 0, _SEQUENCE)
    position = _skip(tbs, 0) if tbs[:1] == bytes([_EXPLICIT_0]) else 0
    for _ in ("serialNumber", "signature", "issuer", "validity", "subject"):
        position = _skip(tbs, position)
    algorithm = _content(_content(tbs, position, _SEQUENCE), 0, _SEQUENCE)
    return _content(algorithm, 0, _OBJECT_IDENTIFIER)


def _field(data: bytes, position: int) -> tuple[int, int, int]:
    """(tag, start, end) of the field at `position`."""
    try:
        tag, length = data[position], data[position + 1]
    except IndexError:
        raise MalformedCertificate("a field is cut off") from None
    start = position + 2
    if length & 0x80:
        size = length & 0x7F
        if not 1 <= size <= 4:
            raise MalformedCertificate("a field has no definite length")
        length = int.from_bytes(data[start : start + size], "big")
        start += size
    if start + length > len(data):
        raise MalformedCertificate("a field is cut off")
    return tag, start, start + length


def _content(data: bytes, position: int, tag: int) -> bytes:
    found, start, end = _field(data, position)
    if found != tag:
        raise MalformedCertificate(f"tag {found:#x} where {tag:#x} belongs")
    return data[start:end]


def _skip(data: bytes, position: int) -> int:
    return _field(data, position)[2]


def _time(data: bytes, position: int) -> datetime:
    tag, start, end = _field(data, position)
    try:
        text = data[start:end].decode("ascii")
        if tag == _UTC_TIME:  # RFC 5280 4.1.2.5.1: years 50-99 are 19xx
            century = "19" if int(text[:2]) >= 50 else "20"
            text = century + text
        elif tag != _GENERALIZED_TIME:
            raise MalformedCertificate(f"tag {tag:#x} where a time belongs")
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except (UnicodeDecodeError, ValueError) as error:
        raise MalformedCertificate("a time that is no time") from error
