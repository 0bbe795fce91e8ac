"""Whatever the bytes: parsers raise ProtocolError or return, and a lie about a size allocates nothing."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rivven.protocol import codec, scram
from rivven.protocol import messages as m
from rivven.protocol.api import APIS, ApiKey
from rivven.protocol.exceptions import ProtocolError
from rivven.protocol.layout import Layout

VERSIONS = [(key, version) for key, api in APIS.items() for version in range(api.decodable_from, api.max + 1)]

MUTATIONS = 25
"""Mutated copies of each message and version: 9,000 in about five seconds."""


@settings(max_examples=500, deadline=None)
@given(which=st.sampled_from(VERSIONS), data=st.binary(max_size=200), response=st.booleans())
def test_random_bodies(which: tuple[ApiKey, int], data: bytes, response: bool) -> None:
    parse = codec.parse_response if response else codec.parse_request
    try:
        parse(*which, data)
    except ProtocolError as error:
        assert "\n" not in str(error)


@settings(max_examples=500, deadline=None)
@given(data=st.binary(max_size=60))
def test_random_headers(data: bytes) -> None:
    try:
        codec.parse_request_header(data)
    except ProtocolError as error:
        assert "\n" not in str(error)


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=120), name=st.sampled_from(sorted(m.DATA)), version=st.integers(-1, 5))
def test_random_stored_structs(data: bytes, name: str, version: int) -> None:
    try:
        codec.parse_data(name, version, data)
    except ProtocolError:
        pass


def _mutated(rng: random.Random, raw: bytes) -> bytes:
    out = bytearray(raw)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(4)
        if kind == 0 and at < len(out):
            out[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        elif kind == 1:
            del out[at : at + rng.randint(1, 4)]
        elif kind == 2:
            out[at:at] = rng.randbytes(rng.randint(1, 4))
        else:
            out[at : at + 4] = rng.choice([b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x80\0\0\0"])
    return bytes(out)


def test_mutated_messages(layout: Layout, fill: Callable[[random.Random, Layout], Any]) -> None:
    key = layout.message.__api_key__  # type: ignore[attr-defined]
    request = issubclass(layout.message, m.Request)
    write = codec.write_request if request else codec.write_response
    parse = codec.parse_request if request else codec.parse_response
    for seed in range(MUTATIONS):
        rng = random.Random(f"{layout.name}/{seed}")
        raw = _mutated(rng, write(key, layout.version, fill(rng, layout)))
        try:
            parse(key, layout.version, raw)
        except ProtocolError:
            continue


@pytest.mark.parametrize("count", [b"\x7f\xff\xff\xff", b"\x00\xff\xff\xff"])
def test_a_lying_count_allocates_nothing(count: bytes) -> None:
    raw = count + bytes(1000)
    codec.parse_request(ApiKey.METADATA, 4, bytes(5))  # compiled before the measurement starts
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError):
            codec.parse_request(ApiKey.METADATA, 4, raw)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@settings(max_examples=500, deadline=None)
@given(data=st.one_of(st.binary(max_size=80), st.text("n,=rcpm23CDabi+/", max_size=60).map(str.encode)))
def test_random_scram_messages(data: bytes) -> None:
    first = scram.client_first("u", "n")
    for parse in (
        scram.parse_client_first,
        scram.parse_client_final,
        lambda message: scram.parse_server_first(message, first),
    ):
        try:
            parse(data)
        except ProtocolError as error:
            assert "\n" not in str(error)


@given(name=st.text(min_size=1).filter(lambda text: "\0" not in text and text.isprintable()))
def test_any_user_name_survives_the_saslname_form(name: str) -> None:
    assert scram.parse_client_first(scram.client_first(name, "nonce").message).username == name
