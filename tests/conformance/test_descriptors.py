"""File descriptors: connections cannot take those the log needs, and being out of them breaks nothing."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from rivven.errors import ErrorCode as E
from rivven.protocol import messages as m
from rivven.protocol.api import ApiKey
from tests.conformance.client import Client, batch, produce_request
from tests.conformance.encrypted import encryption
from tests.shipped import broker as shipped
from tests.shipped.broker import ShippedBroker
from tests.shipped.connection import Connection

PLAIN = "sasl_plaintext"
LIMIT = 400
CONNECTIONS = LIMIT - 3 * 64 - 128
"""What docs/configuration.md promises for limits.max_connections under such a limit."""
PARTITIONS = 200
UNFINISHED = 9
pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc (Linux)"
)


def codes(client: Client, topic: str, partitions: int) -> Counter[int]:
    """Produce to every partition at once; how often each code was answered."""
    request = produce_request(topic, *[batch(b"v" * 100) for _ in range(partitions)])
    answer = client.call(ApiKey.PRODUCE, 9, request)
    return Counter(entry.error_code for entry in answer.responses[0].partition_responses)


def descriptors(broker: ShippedBroker) -> int:
    return len(os.listdir(f"/proc/{broker.pid}/fd"))


def address(connection: Connection) -> tuple[str, int]:
    host, _, port = connection.bootstrap.rpartition(":")
    return host, int(port)


@pytest.fixture
def strangers() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def test_connections_leave_the_log_what_it_needs(
    own_directory: Path, strangers: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_directory.mkdir(mode=0o700)
    limited = own_directory / "rivven"
    limited.write_text(f'#!/bin/sh\nulimit -n {LIMIT}\nexec {shipped.RIVVEN} "$@"\n')
    limited.chmod(0o700)
    monkeypatch.setattr(shipped, "RIVVEN", limited)
    with ShippedBroker(own_directory / "broker", protocols=(PLAIN,)) as broker:
        plain = broker.connection(PLAIN)
        with Client(plain) as admin:
            topic = admin.create_topic(partitions=PARTITIONS)
            for _ in range(CONNECTIONS + 60):
                strangers.enter_context(socket.create_connection(address(plain)))
            for _ in range(3):
                assert codes(admin, topic, PARTITIONS) == {E.NONE: PARTITIONS}
            assert admin.create_topic(partitions=3)
            assert descriptors(broker) < LIMIT
            log = broker.log.read_text()
            assert f"the limit of {LIMIT} open files leaves room for {CONNECTIONS} connections" in log
            assert f"all {CONNECTIONS} connections are in use" in log
            assert "Too many open files" not in log
        # Who has not logged in gives way to who does.
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(ConnectionError, OSError, AssertionError), Client(plain) as again:
                assert codes(again, topic, PARTITIONS) == {E.NONE: PARTITIONS}
                break
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_out_of_descriptors_nothing_goes_offline(own_directory: Path) -> None:
    """What is begun waits or is refused for now, and goes on by itself once there are some again."""
    with ShippedBroker(own_directory, protocols=(PLAIN,)) as broker:
        _wait_for_late_imports(broker)
        with Client(broker.connection(PLAIN)) as admin, Client(broker.connection(PLAIN)) as other:
            topic = admin.create_topic(partitions=20)
            assert codes(admin, topic, 1) == {E.NONE: 1}
            limits = resource.prlimit(broker.pid, resource.RLIMIT_NOFILE)
            waiting = _without_descriptors(broker, other, topic)
            assert codes(admin, topic, 20) == {E.KAFKA_STORAGE_ERROR: 20}
            with pytest.raises(TimeoutError):
                other.receive(ApiKey.DELETE_RECORDS, 2, waiting, timeout=1.0)
            resource.prlimit(broker.pid, resource.RLIMIT_NOFILE, limits)
            answer = other.receive(ApiKey.DELETE_RECORDS, 2, waiting)
            assert answer.topics[0].partitions[0].low_watermark == 1
            assert codes(admin, topic, 20) == {E.NONE: 20}
        assert "offline" not in broker.log.read_text()


def test_what_cannot_be_closed_does_not_keep_the_process(own_directory: Path) -> None:
    """The end is that of a crash: what was acknowledged is there at the next start."""
    settings = {"shutdown_timeout_secs": 2.0}
    with ShippedBroker(own_directory, protocols=(PLAIN,), extra=settings) as broker:
        _wait_for_late_imports(broker)
        with Client(broker.connection(PLAIN)) as admin, Client(broker.connection(PLAIN)) as other:
            topic = admin.create_topic()
            for _ in range(2):
                assert codes(admin, topic, 1) == {E.NONE: 1}
            _without_descriptors(broker, other, topic)
        assert broker.stop() == UNFINISHED
        assert "not closed in 2.0 s, given up; the next start recovers" in broker.log.read_text()
        broker.start()
        with Client(broker.connection(PLAIN)) as admin:
            assert admin.list_offset(topic, -1).offset == 2
            assert admin.values(topic)[-1] == b"v" * 100


@pytest.mark.parametrize(
    "configs", [{}, {"flush_messages": "1000000", "flush_ms": "600000"}], ids=["strict", "relaxed"]
)
@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "sealed"])
def test_a_deleted_topic_holds_no_space(
    own_directory: Path, configs: dict[str, str], encrypted: bool
) -> None:
    """A file that is removed but open keeps its space: a broker that never stops would fill its disk."""
    with (
        ShippedBroker(own_directory, protocols=(PLAIN,), extra={"storage": encryption()}) as broker,
        Client(broker.connection(PLAIN)) as admin,
    ):
        topic = admin.create_topic(partitions=2, encryption_enabled=str(encrypted).lower(), **configs)
        for _ in range(3):
            assert codes(admin, topic, 2) == {E.NONE: 2}
        assert len(admin.values(topic)) == len(admin.values(topic, partition=1)) == 3
        described = admin.describe_topic(topic)
        assert files_of(broker, str(described.topic_id)), "the control: they are open now"
        assert admin.delete_topic(topic) == E.NONE
        deadline = time.monotonic() + 20
        while files_of(broker, str(described.topic_id)):
            assert time.monotonic() < deadline, files_of(broker, str(described.topic_id))
            time.sleep(0.05)


def files_of(broker: ShippedBroker, topic_id: str) -> list[str]:
    """What the broker has open of a topic."""
    found = []
    for name in os.listdir(f"/proc/{broker.pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/{broker.pid}/fd/{name}"))
    return [path for path in found if topic_id in path]


def _without_descriptors(broker: ShippedBroker, client: Client, topic: str) -> int:
    """Leave the broker none while it deletes the first record, which needs one. The request's number."""
    _, hard = resource.prlimit(broker.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(broker.pid, resource.RLIMIT_NOFILE, (3, hard))
    # The checkpoint has to be written before this is answered: it waits for a descriptor.
    part = m.DeleteRecordsRequest.DeleteRecordsPartition(partition_index=0, offset=1)
    asked = m.DeleteRecordsRequest.DeleteRecordsTopic(name=topic, partitions=[part])
    request = m.DeleteRecordsRequest(topics=[asked], timeout_ms=20_000)
    number = client.send(ApiKey.DELETE_RECORDS, 2, request)
    # What was open was closed to get one: a record that meets its file open would be written, and wait for
    # the disk like the checkpoint.
    _wait_for(broker, "out of descriptors, what has to reach the disk waits")
    return number


def _wait_for_late_imports(broker: ShippedBroker) -> None:
    """What is imported after the ready line needs descriptors too."""
    _wait_for(broker, "listener ready", times=2)


def _wait_for(broker: ShippedBroker, line: str, times: int = 1) -> None:
    """Until the log says it so often."""
    deadline = time.monotonic() + 20
    while broker.log.read_text().count(line) < times:
        assert time.monotonic() < deadline, broker.tail()
        time.sleep(0.05)
