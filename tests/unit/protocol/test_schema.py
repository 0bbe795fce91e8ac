"""Message classes: constructor, defaults, equality, and a repr that tells no secret."""

from __future__ import annotations

import pytest

from rivven.protocol import messages as m
from rivven.protocol.schema import FOREVER, Struct, parse_span


def test_spans() -> None:
    assert parse_span("") == (0, FOREVER)
    assert parse_span("3+") == (3, FOREVER)
    assert parse_span("2-7") == (2, 7)
    assert parse_span("1") == (1, 1)


def test_lists_are_not_shared_between_instances() -> None:
    one, two = m.ProduceRequest(), m.ProduceRequest()
    one.topic_data.append(m.ProduceRequest.TopicProduceData(name="t"))
    assert two.topic_data == []


def test_null_and_empty_lists_differ() -> None:
    assert m.MetadataRequest(topics=None) != m.MetadataRequest(topics=[])


def test_kafkas_own_defaults() -> None:
    assert m.FetchRequest().max_bytes == 2**31 - 1
    assert m.FetchRequest().replica_id == -1
    assert m.MetadataRequest().allow_auto_topic_creation is True
    assert m.MetadataResponse().cluster_authorized_operations == -(2**31)
    assert m.JoinGroupRequest().rebalance_timeout_ms == -1
    assert m.OffsetForLeaderEpochRequest().replica_id == -2
    assert m.CreateTopicsRequest().timeout_ms == 60_000
    assert m.MetadataRequest.MetadataRequestTopic().topic_id is m.NULL_UUID


def test_equality_is_by_class_and_fields() -> None:
    assert m.HeartbeatRequest(group_id="g") == m.HeartbeatRequest(group_id="g")
    assert m.HeartbeatRequest(group_id="g") != m.HeartbeatRequest(group_id="h")
    assert m.AlterConfigsRequest() != m.IncrementalAlterConfigsRequest()
    assert m.HeartbeatRequest() != "HeartbeatRequest"
    with pytest.raises(TypeError):
        hash(m.HeartbeatRequest())


def test_only_declared_fields_exist() -> None:
    with pytest.raises(TypeError):
        m.HeartbeatRequest(groupid="g")  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        m.HeartbeatRequest().groupid = "g"  # type: ignore[attr-defined]


def test_secrets_and_records_stay_out_of_the_repr() -> None:
    upsertion = m.AlterUserScramCredentialsRequest.ScramCredentialUpsertion(
        name="alice", salt=b"canary-1", salted_password=b"canary-2"
    )
    shown = [
        repr(m.SaslAuthenticateRequest(auth_bytes=b"canary-3")),
        repr(m.SaslAuthenticateResponse(auth_bytes=b"canary-4")),
        repr(m.AlterUserScramCredentialsRequest(upsertions=[upsertion])),
        repr(m.ProduceRequest.PartitionProduceData(records=memoryview(b"canary-5"))),
        repr(m.FetchResponse.PartitionData(records=[b"canary-6", b"x"])),
    ]
    assert not [text for text in shown if "canary" in text]
    assert "alice" in shown[2]
    assert "records=<8 bytes>" in shown[3]
    assert "records=<9 bytes>" in shown[4]


def test_nested_structs_are_attributes_of_their_message() -> None:
    for message in [*m.REQUESTS.values(), *m.RESPONSES.values(), *m.DATA.values()]:
        pending: list[type[Struct]] = [message]
        while pending:
            for field in pending.pop().__fields__:
                if field.kind == "struct" or (field.kind == "array" and field.element not in PRIMITIVES):
                    nested = getattr(message, field.element or "")
                    assert issubclass(nested, Struct), (message, field.name)
                    pending.append(nested)


PRIMITIVES = {"i8", "i16", "i32", "i64", "string", "uuid"}


def test_entities_are_named_where_authorisation_looks() -> None:
    entities = {field.name: field.entity for field in m.ProduceRequest.__fields__}
    assert entities["transactional_id"] == "transactionalId"
    assert {f.name: f.entity for f in m.JoinGroupRequest.__fields__}["group_id"] == "groupId"
    assert {f.name: f.entity for f in m.FetchRequest.FetchTopic.__fields__}["topic"] == "topicName"
