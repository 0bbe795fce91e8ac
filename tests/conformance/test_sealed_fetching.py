"""Every promise of Fetch and ListOffsets, kept by a broker whose segments are sealed.

The tests are those of `test_fetching`. Nothing is kept decrypted here, so that every read opens frames.
"""

from __future__ import annotations

from rivven.errors import ErrorCode as E
from rivven.protocol import messages as m
from rivven.protocol.api import ApiKey
from tests.conformance.client import Client, batch, read_all
from tests.conformance.encrypted import encryption
from tests.conformance.test_fetching import *  # noqa: F403 - the same tests against another broker
from tests.shipped.broker import ShippedBroker

EXTRA = {"storage": encryption(hot_tail_bytes=0)}
FRAME_BYTES = 48
HEADER_BYTES = 128


def test_the_segments_are_sealed(admin: Client, broker: ShippedBroker) -> None:
    topic = admin.create_topic()
    admin.produced(topic, b"a value that nobody finds")
    path = broker.data / "partitions" / f"{admin.topic_id(topic)}-0" / f"{0:020d}.log"
    content = path.read_bytes()
    assert content[:4] == b"RVNS" and b"nobody finds" not in content


def test_the_first_batch_is_whole_however_small_the_limit(admin: Client) -> None:
    topic = admin.create_topic()
    admin.produced(topic, b"v" * 50_000)
    admin.produced(topic, b"w" * 50_000)
    for limits in ({"max_bytes": 1}, {"partition_max_bytes": 1}):
        entry = admin.fetch(topic, 0, **limits)
        assert [record.value for record in read_all(entry.records)] == [b"v" * 50_000]


def test_a_limit_of_exactly_two_batches_gives_two(admin: Client) -> None:
    topic = admin.create_topic()
    size = len(batch(b"v" * 1000))
    for _ in range(3):
        admin.produced(topic, b"v" * 1000)
    for limit, count in ((2 * size, 2), (2 * size - 1, 1), (3 * size, 3)):
        entry = admin.fetch(topic, 0, partition_max_bytes=limit)
        assert len(read_all(entry.records)) == count, "what sealing adds is not counted"


def test_the_largest_message_is_measured_as_the_client_sent_it(admin: Client) -> None:
    size = len(batch(b"v" * 5000))
    topic = admin.create_topic(**{"max.message.bytes": str(size)})
    assert admin.produced(topic, b"v" * 5000) == 0
    refused = admin.produce(topic, batch(b"v" * 5001))
    assert refused.error_code == E.MESSAGE_TOO_LARGE


def test_log_dirs_tell_stored_bytes(admin: Client, broker: ShippedBroker) -> None:
    topic = admin.create_topic()
    size = len(batch(b"v" * 1000))
    for _ in range(3):
        admin.produced(topic, b"v" * 1000)
    wanted = m.DescribeLogDirsRequest.DescribableLogDirTopic(topic=topic, partitions=[0])
    answer = admin.call(ApiKey.DESCRIBE_LOG_DIRS, 4, m.DescribeLogDirsRequest(topics=[wanted]))
    [partition] = answer.results[0].topics[0].partitions
    path = broker.data / "partitions" / f"{admin.topic_id(topic)}-0" / f"{0:020d}.log"
    assert partition.partition_size == path.stat().st_size == HEADER_BYTES + 3 * (size + FRAME_BYTES)
