"""Bytes to messages and back, for every API and version in `api.APIS`.

A parse or write function is compiled the first time its (message, version) is used, and kept. Whatever the
bytes, parsing raises nothing but ProtocolError; so does writing a message that the version cannot hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from struct import Struct
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from rivven.protocol.api import OFFERED, ApiKey, is_flexible, response_header_version
from rivven.protocol.exceptions import FrameTooLarge, ProtocolError, UnsupportedApi
from rivven.protocol.layout import Layout
from rivven.protocol.messages import DATA, REQUESTS, RESPONSES, Message, MetadataResponse
from rivven.protocol.metadata_cache import metadata_writer
from rivven.protocol.parse_compiler import Parse, compile_parse
from rivven.protocol.primitives import FOREIGN_BYTES_ERRORS, Buffer, malformed, read_uvarint
from rivven.protocol.write_compiler import WRONG_VALUE_ERRORS, Gather, Write, compile_gather, compile_write

MAX_STRUCTURED_BYTES: Final = 16 * 1024 * 1024
"""Largest request parsed into structs. Produce is exempt (record batches stay bytes); any other request is
names and numbers, and one byte of those can become 100 bytes of objects. 100,000 topic names are 5 MB."""

_PREFIX: Final = Struct(">hhi")
_HEADER: Final = Struct(">hhih")
_CLIENT_ID_LENGTH: Final = Struct(">h")
_CORRELATION: Final = Struct(">i")
_API_VERSIONS: Final = int(ApiKey.API_VERSIONS)
_SIZE_AND_CORRELATION: Final = Struct(">ii")


class EncodedBody(NamedTuple):
    """A response body that is already in the bytes of its version (ApiVersions keeps such)."""

    body: bytes


class RequestHeader(NamedTuple):
    """Request header v1 or v2; `client_id` is None when the client sent null."""

    api_key: int
    api_version: int
    correlation_id: int
    client_id: str | None


def parse_request_header(frame: Buffer) -> tuple[RequestHeader, int]:
    """The header of a frame (without its size prefix) and the position of the body.

    An unknown API or version raises UnsupportedApi, except ApiVersions above our maximum: of that only the
    first eight bytes are read and the position is the end of the frame, as the layout is unknown (KIP-511).
    """
    api_key, version, correlation_id = peek_request_header(frame)
    flexible = OFFERED.get((api_key, version))
    if flexible is None:
        if api_key == _API_VERSIONS:
            return RequestHeader(api_key, version, correlation_id, None), len(frame)
        raise UnsupportedApi(f"API key {api_key} version {version} is not offered")
    try:
        (length,) = _CLIENT_ID_LENGTH.unpack_from(frame, 8)
        pos = 10 + max(length, 0)
        if length < -1 or pos > len(frame):
            raise ProtocolError("client id is longer than the bytes that remain")
        client_id = str(frame[10:pos], "utf-8") if length >= 0 else None
        if flexible:
            pos = _skip_tags(frame, pos)
    except FOREIGN_BYTES_ERRORS as error:
        raise ProtocolError(f"request header: {malformed(error)}") from None
    return RequestHeader(api_key, version, correlation_id, client_id), pos


def peek_request_header(frame: Buffer) -> tuple[int, int, int]:
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


def parse_response_header(api_key: int, version: int, frame: Buffer) -> tuple[int, int]:
    """(correlation id, position of the body) of a response frame without its size prefix."""
    try:
        (correlation_id,) = _CORRELATION.unpack_from(frame)
        pos = _skip_tags(frame, 4) if response_header_version(api_key, version) else 4
    except FOREIGN_BYTES_ERRORS as error:
        raise ProtocolError(f"response header: {malformed(error)}") from None
    return correlation_id, pos


def _skip_tags(frame: Buffer, pos: int) -> int:
    count = frame[pos]
    if not count:
        return pos + 1
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

    def __init__(
        self,
        layout: Callable[[int | str, int], Layout],
        compile_write: Callable[[Layout], Write] = compile_write,
        leftover_bytes_max: Mapping[int | str, int] = MappingProxyType({}),
    ) -> None:
        self._layout = layout
        self._leftover_bytes_max = leftover_bytes_max
        self._compile_write = compile_write
        self._parsers: dict[tuple[int | str, int], tuple[Parse, bool]] = {}
        self._writers: dict[tuple[int | str, int], Write] = {}
        self._gatherers: dict[tuple[int | str, int], Gather | None] = {}

    def parse(self, key: int | str, version: int, buf: Buffer, pos: int) -> Message:
        found = self._parsers.get((key, version))
        if found is None:
            layout = self._layout(key, version)
            found = self._parsers[key, version] = (compile_parse(layout), layout.carries_records)
        parser, views = found
        raw = memoryview(buf) if views else buf if type(buf) is bytes else bytes(buf)
        end = len(raw)
        try:
            value, pos = parser(raw, pos, end)
        except ProtocolError as error:
            raise ProtocolError(f"{self._layout(key, version).name}: {error}") from None
        except FOREIGN_BYTES_ERRORS as error:
            raise ProtocolError(f"{self._layout(key, version).name}: {malformed(error)}") from None
        if pos != end and end - pos > self._leftover_bytes_max.get(key, 0):
            raise ProtocolError(f"{self._layout(key, version).name}: {end - pos} bytes left over")
        return value

    def write(self, key: int | str, version: int, value: Message, out: bytearray) -> bytearray:
        writer = self._writers.get((key, version))
        if writer is None:
            writer = self._writers[key, version] = self._compile_write(self._layout(key, version))
        try:
            writer(value, out)
        except WRONG_VALUE_ERRORS as error:
            raise self._cannot_carry(key, version, error) from error
        return out

    def gather(self, key: int | str, version: int, value: Message, out: bytearray) -> list[Buffer]:
        """As `write`, with record batches as buffers of their own; the first buffer is `out`."""
        try:
            gatherer = self._gatherers[key, version]
        except KeyError:
            layout = self._layout(key, version)
            gatherer = compile_gather(layout) if layout.carries_records else None
            self._gatherers[key, version] = gatherer
        if gatherer is None:
            return [self.write(key, version, value, out)]
        parts: list[Buffer] = []
        try:
            parts.append(gatherer(value, out, parts))
        except WRONG_VALUE_ERRORS as error:
            raise self._cannot_carry(key, version, error) from error
        return parts

    def _cannot_carry(self, key: int | str, version: int, error: Exception) -> ProtocolError:
        return ProtocolError(f"{self._layout(key, version).name} cannot carry this value: {error}")


def _offered_layout(declared: dict[int, type[Any]], key: int | str, version: int) -> Layout:
    flexible = OFFERED.get((int(key), version))
    if flexible is None:
        raise UnsupportedApi(f"API key {key} version {version} is not offered")
    return Layout(declared[int(key)], version, flexible)


def _data_layout(name: int | str, version: int) -> Layout:
    declared = DATA.get(str(name))
    if declared is None or not declared.__versions__[0] <= version <= declared.__versions__[1]:
        raise ProtocolError(f"{name} version {version} is not known")
    return Layout(declared, version, flexible=False)


def _compile_response_write(layout: Layout) -> Write:
    """Metadata answers may hold entries that are encoded already."""
    return metadata_writer(layout.version) if layout.message is MetadataResponse else compile_write(layout)


# librdkafka (still in 2.16) asks for all topics, v9 and up, with a null array of four bytes instead of one.
# Its AlterUserScramCredentials ends with one empty set of tagged fields too many. Kafka never looks at
# what is left over; so do we, for these bytes only.
_LEFTOVER_BYTES_MAX: Final = MappingProxyType[int | str, int](
    {ApiKey.METADATA: 3, ApiKey.ALTER_USER_SCRAM_CREDENTIALS: 1}
)

_requests: Final = _Codec(partial(_offered_layout, REQUESTS), leftover_bytes_max=_LEFTOVER_BYTES_MAX)
_responses: Final = _Codec(partial(_offered_layout, RESPONSES), _compile_response_write)
_data: Final = _Codec(_data_layout)


def _response_body(
    api_key: int, version: int, response: Message | EncodedBody, out: bytearray
) -> list[Buffer]:
    """Append a body to `out`, the first of the buffers returned."""
    if type(response) is EncodedBody:
        out += response.body
        return [out]
    return _responses.gather(api_key, version, response, out)  # type: ignore[arg-type]


def parse_request(api_key: int, version: int, buf: Buffer, pos: int = 0) -> Any:
    """The body of a request as its `messages` class. Bytes left over are an error, Metadata's apart."""
    if len(buf) - pos > MAX_STRUCTURED_BYTES and api_key != ApiKey.PRODUCE:
        raise FrameTooLarge(f"request of {len(buf) - pos} bytes for API key {api_key}")
    return _requests.parse(api_key, version, buf, pos)


def parse_response(api_key: int, version: int, buf: Buffer, pos: int = 0) -> Any:
    """The body of a response as its `messages` class. Bytes left over are an error."""
    return _responses.parse(api_key, version, buf, pos)


def parse_data(name: str, version: int, buf: Buffer, pos: int = 0) -> Any:
    """A stored struct such as OffsetCommitValue; the caller has read the version in front of it."""
    return _data.parse(name, version, buf, pos)


def write_request(api_key: int, version: int, request: Message) -> bytes:
    """The body of a request, without header."""
    return bytes(_requests.write(api_key, version, request, bytearray()))


def write_response(api_key: int, version: int, response: Message | EncodedBody) -> bytes:
    """The body of a response, without header."""
    return b"".join(_response_body(api_key, version, response, bytearray()))


def write_data(name: str, version: int, data: Message) -> bytes:
    """A stored struct, without the version that precedes it."""
    return bytes(_data.write(name, version, data, bytearray()))


def write_response_buffers(
    api_key: int, version: int, response: Message | EncodedBody, correlation_id: int
) -> list[Buffer]:
    """A whole response frame (size prefix, header, body) as buffers to be sent in order.

    Record batches of a Fetch answer are the caller's own buffers, never copied or joined.
    """
    out = bytearray(9 if response_header_version(api_key, version) else 8)
    buffers = _response_body(api_key, version, response, out)
    size = len(out) if len(buffers) == 1 else sum(map(len, buffers))
    _SIZE_AND_CORRELATION.pack_into(out, 0, size - 4, correlation_id)
    return buffers
