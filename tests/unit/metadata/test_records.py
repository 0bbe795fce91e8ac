"""The bytes of metadata events: golden, round trip, refusals."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivven.machine.state_machine import JournalRecord
from rivven.metadata import records as r
from rivven.protocol.scram import ScramMechanism, ScramVerifier
from rivven.types import AclBinding, Operation, PatternType, Permission, ResourceType

TOPIC_ID = UUID("0b46b6f3-6c4e-4a33-9a2e-3a4c7d0a5f11")
VERIFIER = ScramVerifier(ScramMechanism.SCRAM_SHA_256, b"salt", 4096, b"s" * 32, b"k" * 32)
BINDING = AclBinding(
    ResourceType.TOPIC, "orders", PatternType.PREFIXED, "User:ann", "*", Operation.READ, Permission.DENY
)

GOLDEN: list[tuple[r.MetadataEvent, bytes, bytes]] = [
    (
        r.ClusterInitialised("AAAAAAAAQACAAAAAAAAAAA"),
        b"cluster/AAAAAAAAQACAAAAAAAAAAA",
        b'\x01{"kind":"cluster","cluster_id":"AAAAAAAAQACAAAAAAAAAAA"}',
    ),
    (
        r.TopicCreated("orders", TOPIC_ID, 3, {"retention.ms": "5"}, False),
        b"topic/orders",
        b'\x01{"kind":"topic","name":"orders","id":"0b46b6f36c4e4a339a2e3a4c7d0a5f11","partitions":3,'
        b'"configs":{"retention.ms":"5"}}',
    ),
    (
        r.TopicCreated("__consumer_offsets", TOPIC_ID, 50, {}, True),
        b"topic/__consumer_offsets",
        b'\x01{"kind":"topic","name":"__consumer_offsets","id":"0b46b6f36c4e4a339a2e3a4c7d0a5f11",'
        b'"partitions":50,"internal":true}',
    ),
    (
        r.TopicDeleted(TOPIC_ID),
        b"topic-deleted/0b46b6f36c4e4a339a2e3a4c7d0a5f11",
        b'\x01{"kind":"topic-deleted","id":"0b46b6f36c4e4a339a2e3a4c7d0a5f11"}',
    ),
    (
        r.PartitionsAdded(TOPIC_ID, 9),
        b"partitions/0b46b6f36c4e4a339a2e3a4c7d0a5f11",
        b'\x01{"kind":"partitions","id":"0b46b6f36c4e4a339a2e3a4c7d0a5f11","partitions":9}',
    ),
    (
        r.TopicConfigsChanged(TOPIC_ID, {}),
        b"topic-configs/0b46b6f36c4e4a339a2e3a4c7d0a5f11",
        b'\x01{"kind":"topic-configs","id":"0b46b6f36c4e4a339a2e3a4c7d0a5f11","configs":{}}',
    ),
    (
        r.BrokerConfigsChanged("", {"log.retention.ms": "5"}),
        b"broker-configs/",
        b'\x01{"kind":"broker-configs","scope":"","configs":{"log.retention.ms":"5"}}',
    ),
    (
        r.ScramUpserted("ann", VERIFIER),
        b"scram/ann",
        b'\x01{"kind":"scram","user":"ann","mechanism":"SCRAM-SHA-256","iterations":4096,"salt":"c2FsdA==",'
        b'"stored_key":"c3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3M=",'
        b'"server_key":"a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="}',
    ),
    (
        r.ScramDeleted("ann", ScramMechanism.SCRAM_SHA_512),
        b"scram-deleted/ann",
        b'\x01{"kind":"scram-deleted","user":"ann","mechanism":"SCRAM-SHA-512"}',
    ),
    (
        r.AclsAdded((BINDING,)),
        b"acls/1",
        b'\x01{"kind":"acls","acls":[[2,"orders",4,"User:ann","*",3,2]]}',
    ),
    (
        r.AclsRemoved((BINDING,)),
        b"acls-removed/1",
        b'\x01{"kind":"acls-removed","acls":[[2,"orders",4,"User:ann","*",3,2]]}',
    ),
    (
        r.ProducerIdsReserved(2000),
        b"producer-ids/2000",
        b'\x01{"kind":"producer-ids","next":2000}',
    ),
]


@pytest.mark.parametrize(("event", "key", "value"), GOLDEN, ids=[str(key) for _, key, _ in GOLDEN])
def test_the_bytes_of_version_1_never_change(event: r.MetadataEvent, key: bytes, value: bytes) -> None:
    assert r.encode(event) == JournalRecord(key, value)
    assert r.decode(JournalRecord(key, value)) == event


def test_unknown_members_are_ignored_so_that_versions_can_grow() -> None:
    value = b'\x01{"kind":"producer-ids","next":5,"later":true}'
    assert r.decode(JournalRecord(b"", value)) == r.ProducerIdsReserved(5)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\x02{}",
        b"\x01",
        b"\x01[]",
        b'\x01{"kind":"nonsense"}',
        b'\x01{"kind":"topic"}',
        b'\x01{"kind":"scram","user":"a","mechanism":"MD5"}',
        b'\x01{"kind":"acls","acls":[[99,"a",3,"User:a","*",3,3]]}',
        b'\x01{"kind":"acls","acls":[[2,"a"]]}',
    ],
)
def test_what_cannot_be_read_is_a_value_error(value: bytes | None) -> None:
    with pytest.raises(ValueError, match="metadata record"):
        r.decode(JournalRecord(b"key", value))


@given(st.binary(max_size=60))
def test_random_bytes_raise_nothing_else(value: bytes) -> None:
    try:
        r.decode(JournalRecord(None, value))
    except ValueError:
        pass


@given(
    st.text(min_size=1, max_size=20), st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3)
)
def test_any_text_survives(name: str, configs: dict[str, str]) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        return
    for text in (*configs, *configs.values()):
        if not text.isprintable():
            return
    event = r.TopicCreated(name, TOPIC_ID, 1, configs, False)
    assert r.decode(r.encode(event)) == event


def test_no_key_material_in_a_repr() -> None:
    assert "sssss" not in repr(r.ScramUpserted("ann", VERIFIER))
