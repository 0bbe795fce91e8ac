"""Bytes to messages and back, for every API and version in `api.APIS`.

A parse or write function is compiled the first time its (message, version) is used, and kept. Whatever the
bytes, parsing raises nothing but ProtocolError; so does writing a message that the version cannot hold.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from struct import Struct
from typing import Any, Final, NamedTuple

from rivven.protocol.api import APIS, ApiKey, is_flexible, response_header_version
from rivven.protocol.exceptions import FrameTooLarge, ProtocolError, UnsupportedApi
from rivven.protocol.layout import Layout
from rivven.protocol.messages import DATA, REQUESTS, RESPONSES, Message
from rivven.protocol.parse_compiler import Parse, compile_parse
from rivven.protocol.primitives import FOREIGN_BYTES_ERRORS, malformed, read_uvarint
from rivven.protocol.write_compiler import WRONG_VALUE_ERRORS, Write, compile_write

MAX_STRUCTURED_BYTES: Final = 16 * 1024 * 1024
"""Largest request parsed into structs. Produce is exempt (record batches stay bytes); any other request is
names and numbers, and one byte of those can become 100 bytes of objects. 100,000 topic names are 5 MB."""

_PREFIX: Final = Struct(">hhi")
_HEADER: Final = Struct(">hhih")
_CORRELATION: Final = Struct(">i")


class RequestHeader(NamedTuple):
    """Request header v1 or v2; `client_id` is None when the client sent null."""

    api_key: int
    api_version: int
    correlation_id: int
    client_id: str | None


def parse_request_header(frame: bytes | memoryview) -> tuple[RequestHeader, int]:
    """The header of a frame (without its size prefix) and the position of the body.

    An unknown API or version raises UnsupportedApi, except ApiVersions above our maximum: of that only the
    first eight bytes are read and the position is the end of the frame, as the layout is unknown (KIP-511).
    """
    try:
        api_key, version, correlation_id = peek_request_header(frame)
        api = APIS.get(api_key)  # type: ignore[call-overload]
        if api_key == ApiKey.API_VERSIONS and not 0 <= version <= APIS[ApiKey.API_VERSIONS].max:
            return RequestHeader(api_key, version, correlation_id, None), len(frame)
        if api is None or not api.decodable_from <= version <= api.max:
            raise UnsupportedApi(f"API key {api_key} version {version} is not offered")
        *_, length = _HEADER.unpack_from(frame)
        pos = 10 + max(length, 0)
        if length < -1 or pos > len(frame):
            raise ProtocolError("client id is longer than the bytes that remain")
        client_id = str(frame[10:pos], "utf-8") if length >= 0 else None
        if api.flexible_from is not None and version >= api.flexible_from:
            pos = _skip_tags(frame, pos)
    except FOREIGN_BYTES_ERRORS as error:
        raise ProtocolError(f"request header: {malformed(error)}") from None
    return RequestHeader(api_key, version, correlation_id, client_id), pos


def peek_request_header(frame: bytes | memoryview) -> tuple[int, int, int]:
    """(api key, version, correlation id): the eight bytes that have never changed."""
    if len(frame) < 8:
        raise ProtocolError("frame is shorter than a request header")
    api_key, version, correlation_id = _PREFIX.unpack_from(frame)
    return api_key, version, correlation_id


def request_header_bytes(header: RequestHeader) -> bytes:
    """Write a request header; the client id keeps its int16 length in every version."""
    raw = b"" if header.client_id is None else header.client_id.encode()
    length = -1 if header.client_id is None else len(raw)
    tags = b"\0" if is_flexible(header.api_key, header.api_version) else b""
    return _HEADER.pack(header.api_key, header.api_version, header.correlation_id, length) + raw + tags


def response_header_bytes(api_key: int, version: int, correlation_id: int) -> bytes:
    """Response header v0 (correlation id) or v1 (and no tagged fields)."""
    tags = b"\0" if response_header_version(api_key, version) else b""
    return _CORRELATION.pack(correlation_id) + tags


def parse_response_header(api_key: int, version: int, frame: bytes | memoryview) -> tuple[int, int]:
    """(correlation id, position of the body) of a response frame without its size prefix."""
    try:
        (correlation_id,) = _CORRELATION.unpack_from(frame)
        pos = _skip_tags(frame, 4) if response_header_version(api_key, version) else 4
    except FOREIGN_BYTES_ERRORS as error:
        raise ProtocolError(f"response header: {malformed(error)}") from None
    return correlation_id, pos


def _skip_tags(frame: bytes | memoryview, pos: int) -> int:
    count, pos = read_uvarint(frame, pos)
    end = len(frame)
    if count > (end - pos) // 2:
        raise ProtocolError("tagged fields are longer than the bytes that remain")
    for _ in range(count):
        _, pos = read_uvarint(frame, pos)
        size, pos = read_uvarint(frame, pos)
        pos += size
        if pos > end:
            raise ProtocolError("tagged field is longer than the bytes that remain")
    return pos


class _Codec:
    """The compiled functions of one family of messages, filled on first use; bounded by what is offered."""

    def __init__(self, layout: Callable[[int | str, int], Layout]) -> None:
        self._layout = layout
        self._parsers: dict[tuple[int | str, int], Parse] = {}
        self._writers: dict[tuple[int | str, int], Write] = {}

    def parse(self, key: int | str, version: int, buf: bytes | memoryview, pos: int) -> Message:
        parser = self._parsers.get((key, version))
        if parser is None:
            parser = self._parsers[key, version] = compile_parse(self._layout(key, version))
        raw = buf if type(buf) is bytes else bytes(buf)
        end = len(raw)
        try:
            value, pos = parser(raw, pos, end)
        except ProtocolError as error:
            raise ProtocolError(f"{self._layout(key, version).name}: {error}") from None
        except FOREIGN_BYTES_ERRORS as error:
            raise ProtocolError(f"{self._layout(key, version).name}: {malformed(error)}") from None
        if pos != end:
            raise ProtocolError(f"{self._layout(key, version).name}: {end - pos} bytes left over")
        return value

    def write(self, key: int | str, version: int, value: Message, out: bytearray) -> bytearray:
        writer = self._writers.get((key, version))
        if writer is None:
            writer = self._writers[key, version] = compile_write(self._layout(key, version))
        try:
            writer(value, out)
        except WRONG_VALUE_ERRORS as error:
            raise ProtocolError(
                f"{self._layout(key, version).name} cannot carry this value: {error}"
            ) from error
        return out


def _offered_layout(declared: dict[int, type[Any]], key: int | str, version: int) -> Layout:
    api = APIS.get(key)  # type: ignore[call-overload]
    if api is None or not api.decodable_from <= version <= api.max:
        raise UnsupportedApi(f"API key {key} version {version} is not offered")
    return Layout(declared[int(key)], version, is_flexible(int(key), version))


def _data_layout(name: int | str, version: int) -> Layout:
    declared = DATA.get(str(name))
    if declared is None or not declared.__versions__[0] <= version <= declared.__versions__[1]:
        raise ProtocolError(f"{name} version {version} is not known")
    return Layout(declared, version, flexible=False)


_requests: Final = _Codec(partial(_offered_layout, REQUESTS))
_responses: Final = _Codec(partial(_offered_layout, RESPONSES))
_data: Final = _Codec(_data_layout)


def parse_request(api_key: int, version: int, buf: bytes | memoryview, pos: int = 0) -> Any:
    """The body of a request as its `messages` class. Bytes left over are an error."""
    if len(buf) - pos > MAX_STRUCTURED_BYTES and api_key != ApiKey.PRODUCE:
        raise FrameTooLarge(f"request of {len(buf) - pos} bytes for API key {api_key}")
    return _requests.parse(api_key, version, buf, pos)


def parse_response(api_key: int, version: int, buf: bytes | memoryview, pos: int = 0) -> Any:
    """The body of a response as its `messages` class. Bytes left over are an error."""
    return _responses.parse(api_key, version, buf, pos)


def parse_data(name: str, version: int, buf: bytes | memoryview, pos: int = 0) -> Any:
    """A stored struct such as OffsetCommitValue; the caller has read the version in front of it."""
    return _data.parse(name, version, buf, pos)


def write_request(api_key: int, version: int, request: Message) -> bytes:
    """The body of a request, without header."""
    return bytes(_requests.write(api_key, version, request, bytearray()))


def write_response(api_key: int, version: int, response: Message) -> bytes:
    """The body of a response, without header."""
    return bytes(_responses.write(api_key, version, response, bytearray()))


def write_data(name: str, version: int, data: Message) -> bytes:
    """A stored struct, without the version that precedes it."""
    return bytes(_data.write(name, version, data, bytearray()))


def write_response_buffers(
    api_key: int, version: int, response: Message, correlation_id: int
) -> list[bytes | bytearray | memoryview]:
    """A whole response frame (size prefix, header, body) as buffers to be sent in order."""
    out = bytearray(4)
    out += response_header_bytes(api_key, version, correlation_id)
    _responses.write(api_key, version, response, out)
    _CORRELATION.pack_into(out, 0, len(out) - 4)
    return [out]
