"""Coverage-guided fuzzing of every parser that sees foreign bytes (atheris, libFuzzer's arguments).

    python tests/fuzz/fuzz_protocol.py -max_total_time=600 [corpus directory]

An input's first byte chooses the parser, the rest is what it gets. Any exception but ProtocolError is a
finding; so is a value that does not survive being written and parsed again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rivven.protocol import codec, scram
from rivven.protocol import messages as m
from rivven.protocol.api import APIS, ApiKey
from rivven.protocol.connection import Connection
from rivven.protocol.exceptions import ProtocolError
from rivven.protocol.source import Source

SCRATCH_BYTES = 64
"""A small read buffer, so that short inputs already cross its end."""

_FIRST = scram.client_first("user", "nonce")


def frame(data: bytes) -> None:
    """A whole request frame: header, then the body it names."""
    header, pos = codec.parse_request_header(data)
    if header.api_key == ApiKey.API_VERSIONS and header.api_version > APIS[ApiKey.API_VERSIONS].max:
        return
    request = codec.parse_request(header.api_key, header.api_version, data, pos)
    again = codec.write_request(header.api_key, header.api_version, request)
    assert codec.parse_request(header.api_key, header.api_version, again) == request


def response(data: bytes) -> None:
    """A response frame of the API and version that the first two bytes choose."""
    key = list(APIS)[data[0] % len(APIS)]
    api = APIS[key]
    version = api.decodable_from + data[1] % (api.max - api.decodable_from + 1)
    _, pos = codec.parse_response_header(key, version, data[2:])
    answer = codec.parse_response(key, version, data[2:], pos)
    again = codec.write_response(key, version, answer)
    assert codec.parse_response(key, version, again) == answer


def stored(data: bytes) -> None:
    """A record of `__consumer_offsets`."""
    name = sorted(m.DATA)[data[0] % len(m.DATA)]
    value = codec.parse_data(name, data[1] % 4, data[2:])
    assert codec.parse_data(name, data[1] % 4, codec.write_data(name, data[1] % 4, value)) == value


def connection(data: bytes) -> None:
    """A byte stream; the input's length bytes decide how it is cut into reads."""
    core = Connection(scratch=bytearray(SCRATCH_BYTES))
    while data:
        room = core.get_buffer()
        taken = min(len(room), 1 + data[0] % 7, len(data))
        room[:taken] = data[:taken]
        for request in core.bytes_received(taken):
            core.complete(request.sequence, [bytes(request.data)])
        data = data[taken:]


def scram_messages(data: bytes) -> None:
    """The three messages of a SCRAM exchange that come from a peer."""
    parsers: tuple[Callable[[bytes], object], ...] = (
        scram.parse_client_first,
        scram.parse_client_final,
        lambda message: scram.parse_server_first(message, _FIRST),
    )
    parsers[data[0] % 3](data[1:])


TARGETS: tuple[tuple[Callable[[bytes], None], int], ...] = (
    (frame, 8),
    (response, 2),
    (stored, 2),
    (connection, 1),
    (scram_messages, 1),
)
"""Each parser with the fewest bytes it makes sense to give it."""


def exercise(data: bytes) -> None:
    """One input; raises what the parsers should never have raised."""
    if not data:
        return
    target, least = TARGETS[data[0] % len(TARGETS)]
    if len(data) <= least:
        return
    try:
        target(data[1:])
    except ProtocolError as error:
        assert "\n" not in str(error)


def seeds() -> list[bytes]:
    """One valid input per message and version: where the fuzzer starts."""
    found = []
    for index, (key, api) in enumerate(APIS.items()):
        for version in range(api.decodable_from, api.max + 1):
            header = codec.request_header_bytes(codec.RequestHeader(key, version, 1, "fuzz"))
            found.append(b"\0" + header + codec.write_request(key, version, m.REQUESTS[key]()))
            answer = codec.response_header_bytes(key, version, 1)
            answer += codec.write_response(key, version, m.RESPONSES[key]())
            found.append(bytes([1, index, version - api.decodable_from]) + answer)
    found.append(b"\3" + b"\0\0\0\x05hello" * 3)
    found.append(b"\4\0n,,n=user,r=abc,tokenauth=true")
    found.append(b"\4\1c=biws,r=abc,p=AAAA")
    found.append(b"\4\2r=nonceX,s=c2FsdA==,i=4096")
    return found


def main() -> None:
    """Instrument the protocol package, the generated functions included, and fuzz until told to stop."""
    import atheris

    compile_plain = Source.compile

    def compile_instrumented(source: Source, name: str) -> Any:
        return atheris.instrument_func(compile_plain(source, name))

    Source.compile = compile_instrumented  # type: ignore[method-assign]
    for module in (codec, scram, sys.modules[Connection.__module__]):
        for name, value in list(vars(module).items()):
            if (
                callable(value)
                and getattr(value, "__module__", "") == module.__name__
                and hasattr(value, "__code__")
            ):
                setattr(module, name, atheris.instrument_func(value))
    for name in ("bytes_received", "_cut", "_start", "_grow", "_checked_size", "complete"):
        setattr(Connection, name, atheris.instrument_func(getattr(Connection, name)))
    atheris.Setup(sys.argv, exercise)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
