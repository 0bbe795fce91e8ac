"""What can never work is said at once and in full: names no topic can have, records that are too old."""

from __future__ import annotations

import time

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from rivven.errors import ErrorCode as E
from rivven.protocol import messages as m
from rivven.protocol.api import ApiKey
from rivven.records.compression import CODECS
from tests.conformance.client import Client, batch, now_ms
from tests.shipped.connection import Connection

ILLEGAL = ["", ".", "..", "with space", "größe", "a" * 250]
MINUTE_MS = 60_000


@pytest.mark.parametrize("version", [4, 5, 9, 12, 13])
@pytest.mark.parametrize("auto_create", [False, True])
def test_names_no_topic_can_have(admin: Client, version: int, auto_create: bool) -> None:
    answer = admin.metadata(*ILLEGAL, version=version, auto_create=auto_create)
    codes = {topic.name: topic.error_code for topic in answer.topics}
    assert codes == dict.fromkeys(ILLEGAL, E.INVALID_TOPIC_EXCEPTION)


def test_a_stock_producer_gives_up_on_such_a_name_at_once(plain: Connection) -> None:
    """With UNKNOWN_TOPIC_OR_PARTITION librdkafka goes on asking until the message times out."""
    producer = Producer(plain.librdkafka() | {"message.timeout.ms": 30_000})
    started, errors = time.monotonic(), []
    try:
        producer.produce("with space", b"v", on_delivery=lambda error, _message: errors.append(error))
        assert producer.flush(20) == 0
    except KafkaException as error:
        errors.append(error.args[0])
    assert errors
    assert errors[0].code() in (KafkaError.TOPIC_EXCEPTION, KafkaError._UNKNOWN_TOPIC)
    assert time.monotonic() - started < 15


@pytest.mark.parametrize("size", [3, 200], ids=["looked at on the loop", "opened in a worker"])
@pytest.mark.parametrize("codec", ["uncompressed", "zstd"])
def test_every_record_is_held_to_the_age_a_topic_allows(admin: Client, size: int, codec: str) -> None:
    """The header has the first and the largest timestamp only; the old record is in the middle."""
    topic = admin.create_topic(message_timestamp_before_max_ms=str(MINUTE_MS))
    times = [now_ms()] * size
    good = batch(*[b"v"] * size, timestamps=times, codec=CODECS[codec])
    times[1] -= 2 * MINUTE_MS
    bad = batch(*[b"v"] * size, timestamps=times, codec=CODECS[codec])
    entry = admin.produce(topic, bad)
    assert (entry.error_code, entry.base_offset) == (E.INVALID_TIMESTAMP, -1)
    assert "record 1" in entry.error_message
    assert admin.produce(topic, good).base_offset == 0
    assert len(admin.values(topic)) == size


def test_the_brokers_own_times_are_never_too_old(admin: Client) -> None:
    topic = admin.create_topic(
        message_timestamp_before_max_ms=str(MINUTE_MS), message_timestamp_type="LogAppendTime"
    )
    assert admin.produce(topic, batch(b"v", timestamps=[now_ms() - 2 * MINUTE_MS])).error_code == 0


def test_age_is_held_as_soon_as_the_setting_changes(admin: Client) -> None:
    topic = admin.create_topic()
    old = batch(b"a", b"b", timestamps=[now_ms(), now_ms() - 2 * MINUTE_MS])
    assert admin.produce(topic, old).error_code == 0
    request = m.IncrementalAlterConfigsRequest
    setting = request.AlterableConfig(
        name="message.timestamp.before.max.ms", config_operation=0, value=str(MINUTE_MS)
    )
    resource = request.AlterConfigsResource(resource_type=2, resource_name=topic, configs=[setting])
    answer = admin.call(ApiKey.INCREMENTAL_ALTER_CONFIGS, 1, request(resources=[resource]))
    assert answer.responses[0].error_code == 0
    assert admin.produce(topic, old).error_code == E.INVALID_TIMESTAMP
