"""The codec's front: headers, left-over bytes, limits, buffers that are never joined."""

from __future__ import annotations

import pytest

from rivven.protocol import codec
from rivven.protocol import messages as m
from rivven.protocol.api import API_RANGES, APIS, ApiKey, response_header_version
from rivven.protocol.codec import RequestHeader
from rivven.protocol.exceptions import FrameTooLarge, ProtocolError, UnsupportedApi
from rivven.protocol.parse_compiler import MAX_ELEMENTS

BOTH_ENDS = [
    pytest.param(key, version, id=f"{key.name}-{version}")
    for key, api in APIS.items()
    for version in sorted({api.decodable_from, api.max})
]


def small_fetch_answer(records: object) -> m.FetchResponse:
    f = m.FetchResponse
    partition = f.PartitionData(high_watermark=9, aborted_transactions=None, records=records)  # type: ignore[arg-type]
    return f(responses=[f.FetchableTopicResponse(topic="t", partitions=[partition, f.PartitionData()])])


@pytest.mark.parametrize(("key", "version"), BOTH_ENDS)
def test_both_ends_of_every_range_round_trip(key: ApiKey, version: int) -> None:
    request, response = m.REQUESTS[key](), m.RESPONSES[key]()
    assert codec.parse_request(key, version, codec.write_request(key, version, request)) == request
    assert codec.parse_response(key, version, codec.write_response(key, version, response)) == response


@pytest.mark.parametrize("key", list(ApiKey))
def test_versions_outside_the_range_are_not_offered(key: ApiKey) -> None:
    for version in (APIS[key].decodable_from - 1, APIS[key].max + 1, -1, 32767):
        with pytest.raises(UnsupportedApi):
            codec.parse_request(key, version, b"")
        with pytest.raises(UnsupportedApi):
            codec.write_response(key, version, m.RESPONSES[key]())


def test_unknown_keys_are_not_offered() -> None:
    for key in (-1, 4, 24, 68, 94, 32767):
        with pytest.raises(UnsupportedApi):
            codec.parse_request(key, 0, b"")
        with pytest.raises(UnsupportedApi):
            codec.parse_request_header(key.to_bytes(2, signed=True) + bytes(10))


def test_the_deliberate_oddities_of_the_ranges() -> None:
    assert API_RANGES[ApiKey.PRODUCE] == (0, 11)
    assert API_RANGES[ApiKey.JOIN_GROUP] == (0, 9)
    for version in (0, 1, 2):
        with pytest.raises(UnsupportedApi):
            codec.parse_request(ApiKey.PRODUCE, version, b"")


@pytest.mark.parametrize(("key", "version"), BOTH_ENDS)
@pytest.mark.parametrize("client_id", [None, "", "rdkafka", "ü" * 200])
def test_request_headers_round_trip(key: ApiKey, version: int, client_id: str | None) -> None:
    header = RequestHeader(key, version, -5, client_id)
    raw = codec.request_header_bytes(header)
    assert codec.parse_request_header(raw + b"body") == (header, len(raw))
    assert codec.parse_request_header(memoryview(bytearray(raw))) == (header, len(raw))


def test_header_versions() -> None:
    assert response_header_version(ApiKey.FETCH, 12) == 1
    assert [response_header_version(ApiKey.API_VERSIONS, version) for version in range(5)] == [0] * 5
    assert codec.response_header_bytes(ApiKey.API_VERSIONS, 4, 7) == bytes([0, 0, 0, 7])
    assert codec.response_header_bytes(ApiKey.METADATA, 12, 7) == bytes([0, 0, 0, 7, 0])


def test_unknown_tags_in_a_request_header_are_skipped() -> None:
    raw = codec.request_header_bytes(RequestHeader(ApiKey.METADATA, 12, 1, "c"))[:-1]
    tagged = raw + bytes([2, 0, 1, 65, 9, 0])
    assert codec.parse_request_header(tagged + b"rest")[1] == len(tagged)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        bytes(7),
        bytes([0, 3, 0, 0, 0, 0, 0, 1]),
        bytes([0, 3, 0, 0, 0, 0, 0, 1, 0, 9, 65]),
        bytes([0, 3, 0, 0, 0, 0, 0, 1, 0xFF, 0xFE]),
        bytes([0, 3, 0, 0, 0, 0, 0, 1, 0, 1, 0xFF]),
        bytes([0, 3, 0, 12, 0, 0, 0, 1, 0xFF, 0xFF]),
        bytes([0, 3, 0, 12, 0, 0, 0, 1, 0xFF, 0xFF, 200, 1, 0]),
        bytes([0, 3, 0, 12, 0, 0, 0, 1, 0xFF, 0xFF, 1, 0, 9]),
    ],
)
def test_malformed_request_headers(raw: bytes) -> None:
    with pytest.raises(ProtocolError):
        codec.parse_request_header(raw)


def test_api_versions_above_the_maximum_reads_eight_bytes_only() -> None:
    raw = bytes([0, 18, 0, 5, 0, 0, 0, 42]) + b"\xff\xff whatever v5 is"
    assert codec.parse_request_header(raw) == (RequestHeader(18, 5, 42, None), len(raw))


def test_bytes_left_over_are_an_error() -> None:
    raw = codec.write_request(ApiKey.HEARTBEAT, 4, m.HeartbeatRequest())
    with pytest.raises(ProtocolError, match="HeartbeatRequest v4: 1 bytes left over"):
        codec.parse_request(ApiKey.HEARTBEAT, 4, raw + b"\0")


@pytest.mark.parametrize("version", [11, 12, 13])
def test_librdkafka_asking_for_all_topics(version: int) -> None:
    """It writes the null array as four zero bytes; what follows is read as Kafka reads it."""
    request = codec.parse_request(ApiKey.METADATA, version, bytes.fromhex("00000000010000"))
    assert request.topics is None
    with pytest.raises(ProtocolError, match="4 bytes left over"):
        codec.parse_request(ApiKey.METADATA, version, bytes.fromhex("0000000001000000"))


def test_every_truncation_is_an_error() -> None:
    request = m.JoinGroupRequest(
        group_id="g",
        protocol_type="consumer",
        protocols=[m.JoinGroupRequest.JoinGroupRequestProtocol(name="range", metadata=b"abc")],
    )
    for version in (0, 5, 9):
        raw = codec.write_request(ApiKey.JOIN_GROUP, version, request)
        for cut in range(len(raw)):
            with pytest.raises(ProtocolError):
                codec.parse_request(ApiKey.JOIN_GROUP, version, raw[:cut])


def test_a_count_beyond_the_frame_is_refused_before_anything_is_built() -> None:
    # 2^31-1 topics in a frame of a few bytes.
    with pytest.raises(ProtocolError, match="topics is longer than the bytes that remain"):
        codec.parse_request(ApiKey.METADATA, 4, b"\x7f\xff\xff\xff\x01")
    with pytest.raises(ProtocolError, match="topics is longer"):
        codec.parse_request(ApiKey.METADATA, 12, b"\xff\xff\xff\xff\x0f\x01\0")
    # Four bytes are announced as four topics: each takes at least two.
    with pytest.raises(ProtocolError, match="topics is longer"):
        codec.parse_request(ApiKey.METADATA, 0, b"\0\0\0\x04\0\0\0\0")


@pytest.mark.parametrize("raw", [b"\x80\x80\x80\x80\x80\x01", b"\xff\xff\xff\xff\x1f", b"\x80" * 6])
def test_overlong_varints_are_refused(raw: bytes) -> None:
    with pytest.raises(ProtocolError, match="varint"):
        codec.parse_request(ApiKey.METADATA, 12, raw + bytes(10))


def test_null_where_none_is_allowed() -> None:
    with pytest.raises(ProtocolError, match="group_id may not be null"):
        codec.parse_request(ApiKey.HEARTBEAT, 4, b"\0" * 12)
    with pytest.raises(ProtocolError, match="topics may not be null"):
        codec.parse_request(ApiKey.METADATA, 0, b"\xff\xff\xff\xff")
    with pytest.raises(ProtocolError, match="topics may not be null"):
        codec.parse_request(ApiKey.METADATA, 1, b"\xff\xff\xff\xfe")
    assert codec.parse_request(ApiKey.METADATA, 1, b"\xff\xff\xff\xff").topics is None


def test_a_known_tag_must_fill_its_size() -> None:
    raw = codec.write_request(ApiKey.FETCH, 12, m.FetchRequest(cluster_id="abc"))
    assert raw.endswith(bytes([1, 0, 4, 4]) + b"abc")
    assert codec.parse_request(ApiKey.FETCH, 12, raw).cluster_id == "abc"
    longer = raw[:-6] + bytes([0, 5, 4]) + b"abc\0"
    with pytest.raises(ProtocolError, match="size does not match"):
        codec.parse_request(ApiKey.FETCH, 12, longer)


def test_unknown_tags_are_skipped_and_truncated_ones_refused() -> None:
    raw = codec.write_request(ApiKey.HEARTBEAT, 4, m.HeartbeatRequest())
    assert codec.parse_request(ApiKey.HEARTBEAT, 4, raw[:-1] + bytes([2, 77, 2, 1, 2, 99, 0])) == (
        m.HeartbeatRequest()
    )
    for tail in ([1, 77, 3, 1], [100], [1, 77]):
        with pytest.raises(ProtocolError):
            codec.parse_request(ApiKey.HEARTBEAT, 4, raw[:-1] + bytes(tail))


def test_the_elements_of_a_request_are_counted_over_all_arrays() -> None:
    p = m.ProduceRequest
    full = p.TopicProduceData(partition_data=[p.PartitionProduceData() for _ in range(MAX_ELEMENTS // 2 - 2)])
    allowed = p(topic_data=[full, full])
    raw = codec.write_request(ApiKey.PRODUCE, 9, allowed)
    assert codec.parse_request(ApiKey.PRODUCE, 9, raw) == allowed
    raw = codec.write_request(ApiKey.PRODUCE, 9, p(topic_data=[full, full, full]))
    with pytest.raises(ProtocolError, match="more than 200000 array elements"):
        codec.parse_request(ApiKey.PRODUCE, 9, raw)
    names = [m.MetadataRequest.MetadataRequestTopic(name="") for _ in range(MAX_ELEMENTS + 1)]
    raw = codec.write_request(ApiKey.METADATA, 12, m.MetadataRequest(topics=names))
    with pytest.raises(ProtocolError, match="array elements"):
        codec.parse_request(ApiKey.METADATA, 12, raw)


def test_answers_may_have_more_elements_than_requests() -> None:
    keys = [m.ApiVersionsResponse.ApiVersion()] * (MAX_ELEMENTS + 1)
    raw = codec.write_response(ApiKey.API_VERSIONS, 0, m.ApiVersionsResponse(api_keys=keys))
    assert len(codec.parse_response(ApiKey.API_VERSIONS, 0, raw).api_keys) == MAX_ELEMENTS + 1


def test_large_requests_other_than_produce_are_refused() -> None:
    with pytest.raises(FrameTooLarge):
        codec.parse_request(ApiKey.METADATA, 12, bytes(codec.MAX_STRUCTURED_BYTES + 1))


def test_produce_records_are_writable_views_of_the_frame() -> None:
    p = m.ProduceRequest
    batch = p.PartitionProduceData(index=1, records=b"batch bytes")  # type: ignore[arg-type]
    for version in (3, 8, 9, 11):
        request = p(acks=1, topic_data=[p.TopicProduceData(name="t", partition_data=[batch])])
        frame = bytearray(b"head") + codec.write_request(ApiKey.PRODUCE, version, request)
        parsed = codec.parse_request(ApiKey.PRODUCE, version, memoryview(frame), 4)
        assert parsed == request
        records = parsed.topic_data[0].partition_data[0].records
        records[:5] = b"BATCH"
        assert b"BATCH bytes" in frame


@pytest.mark.parametrize("version", range(4, 13))
def test_fetch_answers_carry_the_callers_buffers(version: int) -> None:
    batches = [memoryview(b"first batch"), b"second", bytearray(b"third")]
    answer = small_fetch_answer(batches)
    buffers = codec.write_response_buffers(ApiKey.FETCH, version, answer, 77)
    for batch in batches:
        assert any(buffer is batch for buffer in buffers)
    frame = b"".join(buffers)
    assert int.from_bytes(frame[:4]) == len(frame) - 4
    correlation_id, pos = codec.parse_response_header(ApiKey.FETCH, version, frame[4:])
    assert correlation_id == 77
    assert frame[4 + pos :] == codec.write_response(ApiKey.FETCH, version, answer)
    joined = small_fetch_answer(b"first batchsecondthird")
    assert codec.parse_response(ApiKey.FETCH, version, frame, 4 + pos) == joined


def test_fetch_answers_without_records_are_one_buffer() -> None:
    for records in (None, b"", []):
        assert len(codec.write_response_buffers(ApiKey.FETCH, 12, small_fetch_answer(records), 1)) == 1


def test_every_answer_is_framed() -> None:
    for key, api in APIS.items():
        for version in (api.decodable_from, api.max):
            (frame,) = codec.write_response_buffers(key, version, m.RESPONSES[key](), 3)
            assert int.from_bytes(frame[:4]) == len(frame) - 4
            assert codec.parse_response_header(key, version, frame[4:])[0] == 3


def test_values_a_version_cannot_hold_are_refused() -> None:
    for response in (
        m.HeartbeatResponse(error_code=40_000),
        m.HeartbeatResponse(throttle_time_ms="soon"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ProtocolError, match="HeartbeatResponse v4 cannot carry"):
            codec.write_response(ApiKey.HEARTBEAT, 4, response)
    with pytest.raises(ProtocolError):
        codec.write_request(ApiKey.HEARTBEAT, 4, m.HeartbeatRequest(group_id=None))  # type: ignore[arg-type]
    with pytest.raises(ProtocolError):
        codec.write_request(ApiKey.HEARTBEAT, 0, m.HeartbeatRequest(group_id="x" * 40_000))
    with pytest.raises(ProtocolError):
        codec.write_response_buffers(ApiKey.FETCH, 12, m.FetchResponse(session_id=2**40), 1)


def test_fields_a_version_does_not_carry_are_left_out() -> None:
    raw = codec.write_request(ApiKey.FETCH, 4, m.FetchRequest(rack_id="r1", session_id=5))
    assert codec.parse_request(ApiKey.FETCH, 4, raw) == m.FetchRequest()


def test_stored_structs() -> None:
    value = m.OffsetCommitValue(
        offset=7, leader_epoch=2, metadata="m", commit_timestamp=9, expire_timestamp=3
    )
    assert codec.parse_data("OffsetCommitValue", 3, codec.write_data("OffsetCommitValue", 3, value)) == (
        m.OffsetCommitValue(offset=7, metadata="m", commit_timestamp=9, leader_epoch=2)
    )
    assert codec.parse_data("OffsetCommitValue", 1, codec.write_data("OffsetCommitValue", 1, value)) == (
        m.OffsetCommitValue(offset=7, metadata="m", commit_timestamp=9, expire_timestamp=3)
    )
    for name, version in (("OffsetCommitValue", 4), ("GroupMetadataKey", 1), ("Nothing", 0)):
        with pytest.raises(ProtocolError):
            codec.parse_data(name, version, b"")
