"""Starting, stopping and coming back: what is kept, what is finished, and what a refused start says."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rivven.errors import ErrorCode as E
from rivven.protocol import messages as m
from rivven.protocol.api import ApiKey
from rivven.types import Operation, ResourceType
from tests.conformance.client import Client, batch, fetch_request, fresh, produce_request
from tests.conformance.wire import Closed, Refused
from tests.shipped.broker import RIVVEN, ShippedBroker
from tests.shipped.connection import Account, Connection
from tests.shipped.on_disk import statuses
from tests.shipped.running_time import running_time

PLAIN = "sasl_plaintext"
FORCED = 130


@pytest.fixture
def own(own_directory: Path) -> Iterator[ShippedBroker]:
    """A broker to stop and start; running."""
    with ShippedBroker(own_directory, protocols=(PLAIN,)) as broker:
        yield broker


def connect(broker: ShippedBroker) -> Client:
    return Client(broker.connection(PLAIN))


# -- what is kept --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_everything_is_there_after_a_restart(own: ShippedBroker, end: str) -> None:
    with connect(own) as client:
        topic, group = client.create_topic(partitions=2, retention_ms="123456789"), fresh("g")
        doomed = client.create_topic()
        account = client.create_user()
        client.allow(account.user, Operation.READ, ResourceType.TOPIC, topic)
        for index in range(20):
            client.produced(topic, b"%d" % index, partition=index % 2)
        assert client.commit(group, topic, 7, "seven") == 0
        assert client.delete_topic(doomed) == 0
        producer = client.producer_id()
        sequence = [numbered(producer, n) for n in range(6)]
        offsets = [client.produce(topic, one).base_offset for one in sequence]
        topic_id, cluster_id = client.topic_id(topic), client.metadata().cluster_id
    if end == "stop":
        assert own.stop() == 0
    else:
        own.kill()
    own.start()
    with connect(own) as client:
        assert client.metadata().cluster_id == cluster_id
        assert client.topic_id(topic) == topic_id
        assert client.describe_topic(doomed).error_code == E.UNKNOWN_TOPIC_OR_PARTITION
        assert client.values(topic)[:10] == [b"%d" % index for index in range(0, 20, 2)]
        assert client.values(topic, partition=1) == [b"%d" % index for index in range(1, 20, 2)]
        committed = client.committed(group, topic)
        assert (committed.committed_offset, committed.metadata) == (7, "seven")
        assert setting(client, topic, "retention.ms") == "123456789"
        # The idempotent producer goes on where it was: duplicates are known, the next one fits, ids are new.
        for offset, one in list(zip(offsets, sequence, strict=True))[1:]:
            again = client.produce(topic, one)
            assert (again.error_code, again.base_offset) == (0, offset)
        assert client.produce(topic, numbered(producer, 7)).error_code == E.OUT_OF_ORDER_SEQUENCE_NUMBER
        assert client.produce(topic, numbered(producer, 6)).error_code == 0
        assert client.producer_id()[0] > producer[0]
    with Client(own.connection(PLAIN, account)) as reader:
        assert len(reader.values(topic)) == 17
        assert reader.produce(topic, batch(b"no")).error_code == E.TOPIC_AUTHORIZATION_FAILED


def numbered(producer: tuple[int, int], sequence: int) -> bytes:
    return batch(
        b"i%d" % sequence, producer_id=producer[0], producer_epoch=producer[1], base_sequence=sequence
    )


def setting(client: Client, topic: str, name: str) -> str:
    resource = m.DescribeConfigsRequest.DescribeConfigsResource(
        resource_type=2, resource_name=topic, configuration_keys=[name]
    )
    answer = client.call(ApiKey.DESCRIBE_CONFIGS, 4, m.DescribeConfigsRequest(resources=[resource]))
    return str(answer.results[0].configs[0].value)


def test_a_member_of_a_group_goes_on_after_a_restart(own: ShippedBroker) -> None:
    group = fresh("g")
    protocols = [m.JoinGroupRequest.JoinGroupRequestProtocol(name="range", metadata=b"meta")]
    join = m.JoinGroupRequest(
        group_id=group,
        session_timeout_ms=20_000,
        rebalance_timeout_ms=20_000,
        protocol_type="consumer",
        protocols=protocols,
    )
    with connect(own) as client:
        joined = client.call(ApiKey.JOIN_GROUP, 3, join)
        assert joined.error_code == 0
        share = m.SyncGroupRequest.SyncGroupRequestAssignment(member_id=joined.member_id, assignment=b"share")
        sync = m.SyncGroupRequest(
            group_id=group,
            generation_id=joined.generation_id,
            member_id=joined.member_id,
            assignments=[share],
        )
        assert client.call(ApiKey.SYNC_GROUP, 3, sync).error_code == 0
    own.restart()
    beat = m.HeartbeatRequest(group_id=group, generation_id=joined.generation_id, member_id=joined.member_id)
    with connect(own) as client:
        assert client.call(ApiKey.HEARTBEAT, 4, beat).error_code == 0
        sync.assignments = []
        again = client.call(ApiKey.SYNC_GROUP, 3, sync)
        assert (again.error_code, again.assignment) == (0, b"share")


# -- stopping ------------------------------------------------------------------------------------------------


def test_sigterm_finishes_what_is_in_flight_and_exits_0(own: ShippedBroker) -> None:
    """What was acknowledged is there; what was not was never answered."""
    with connect(own) as client:
        topic = client.create_topic()
    acknowledged: list[int] = []
    ready = threading.Event()

    def produce() -> None:
        with connect(own) as client:
            for number in range(1_000_000):
                try:
                    offset = client.produce(topic, batch(b"%d" % number)).base_offset
                except (Closed, OSError):
                    return
                acknowledged.append(offset)
                if number == 50:
                    ready.set()

    def wait_for_records() -> None:
        with connect(own) as client, pytest.raises((Closed, OSError)):
            client.call(ApiKey.FETCH, 12, fetch_request(topic, 1 << 40, max_wait_ms=0))
            client.call(ApiKey.FETCH, 12, fetch_request("nothing", 0, max_wait_ms=0))
            client.send(ApiKey.FETCH, 12, fetch_request(topic, 0, max_wait_ms=60_000, min_bytes=1 << 30))
            client.receive_frame(30)

    threads = [threading.Thread(target=produce), threading.Thread(target=wait_for_records)]
    for thread in threads:
        thread.start()
    assert ready.wait(20)
    started = time.monotonic()
    assert own.stop() == 0
    assert time.monotonic() - started < 10
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert "Traceback" not in own.tail(100_000)
    own.start()
    with connect(own) as client:
        stored = len(client.values(topic))
    assert acknowledged == list(range(len(acknowledged)))
    assert stored in (len(acknowledged), len(acknowledged) + 1)


def test_new_connections_are_refused_while_it_stops(own: ShippedBroker) -> None:
    with stalled(own):
        own.signal(signal.SIGTERM)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                connect(own).close()
            except (OSError, Closed):
                break
            time.sleep(0.01)
        else:
            pytest.fail("still accepting")
        assert own.running, "an answer that is not taken holds it up until its deadline"
    assert own.wait() == 0


class stalled:
    """A client whose answer does not fit the socket: the broker cannot finish without it."""

    def __init__(self, broker: ShippedBroker) -> None:
        with connect(broker) as client:
            topic = client.create_topic()
            for _ in range(12):
                client.produced(topic, b"v" * 1_000_000)
        self._client = Client(broker.connection(PLAIN), receive_buffer=4096)
        self._client.send(ApiKey.FETCH, 12, fetch_request(topic, 0))
        time.sleep(0.2)

    def __enter__(self) -> Client:
        return self._client

    def __exit__(self, *_: object) -> None:
        self._client.close()


def test_the_deadline_ends_what_a_stalled_client_holds_up(own_directory: Path) -> None:
    broker = ShippedBroker(own_directory, protocols=(PLAIN,), extra={"shutdown_timeout_secs": 4.0})
    with broker, stalled(broker):
        started = time.monotonic()
        assert broker.stop() == 0
        assert 3.9 < time.monotonic() - started < 16
        assert "not everything in flight was finished" in broker.logged()


def test_a_second_interrupt_stops_at_once(own: ShippedBroker) -> None:
    with stalled(own):
        own.signal(signal.SIGINT)
        time.sleep(0.3)
        assert own.running
        started = running_time()
        own.signal(signal.SIGINT)
        assert own.wait(5) == FORCED
        assert running_time() - started < 2


def test_one_interrupt_stops_cleanly(own: ShippedBroker) -> None:
    own.signal(signal.SIGINT)
    assert own.wait(10) == 0


# -- a disk that is nearly full ------------------------------------------------------------------------------


def test_below_the_reserve_only_produce_is_refused(own: ShippedBroker) -> None:
    group = fresh("g")
    with connect(own) as client:
        topic = client.create_topic()
        client.produced(topic, b"before")
        assert client.commit(group, topic, 0) == 0
    assert own.stop() == 0
    own.change(broker={"log.dir.reserve.bytes": 1 << 60, "group.initial.rebalance.delay.ms": 0})
    own.start()
    with connect(own) as client:
        assert client.produce(topic, batch(b"no room")).error_code == E.KAFKA_STORAGE_ERROR
        client.send(ApiKey.PRODUCE, 9, produce_request(topic, batch(b"no room")))
        client.receive_frame()
        assert client.values(topic) == [b"before"]
        assert client.list_offset(topic, -1).offset == 1
        assert client.commit(group, topic, 1) == 0
        assert client.committed(group, topic).committed_offset == 1
        account = client.create_user()
        other = client.create_topic()
        assert client.delete_topic(other) == 0
    with Client(own.connection(PLAIN, account)) as client:
        assert client.metadata().brokers
    assert own.stop() == 0
    own.change(broker={"log.dir.reserve.bytes": 0})
    own.start()
    with connect(own) as client:
        assert client.produced(topic, b"after") == 1


# -- a start that is refused ---------------------------------------------------------------------------------


def configuration(directory: Path, **keys: Any) -> Path:
    """A file for one plain SASL listener on port 0."""
    directory.mkdir(mode=0o700, exist_ok=True)
    path = directory / "refused.yaml"
    listener = {"name": "main", "bind": "127.0.0.1:0", "protocol": PLAIN}
    content = {
        "data_dir": str(directory / "data"),
        "listeners": [listener],
        "metrics": {"enabled": False},
        "logging": {"format": "human", "level": "warning"},
    }
    path.write_text(yaml.safe_dump(content | keys))
    return path


def refused(path: Path) -> tuple[int, list[str]]:
    """(exit code, lines on standard error) of a start that must fail."""
    done = subprocess.run(
        [RIVVEN, "server", "--config", path], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 2, done.stderr
    assert lines[1].strip().startswith("hint: ")
    return done.returncode, lines


def initialise(path: Path) -> None:
    command = [RIVVEN, "server", "init", "--config", path, "--admin", "admin"]
    assert subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0


def test_no_credential(own_directory: Path) -> None:
    path = configuration(own_directory)
    code, lines = refused(path)
    assert code == 6
    assert f"rivven server init --config {path} --admin" in lines[1]
    initialise(path)
    again = subprocess.run(
        [RIVVEN, "server", "init", "--config", path, "--admin", "second"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert again.returncode == 6
    assert "rivven user create" in again.stderr


def test_a_taken_port(own_directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        path = configuration(own_directory, listeners=[{"name": "main", "bind": address, "protocol": PLAIN}])
        code, lines = refused(path)
        assert code == 4
        assert address in lines[0]
        path = configuration(own_directory, metrics={"enabled": True, "bind": address})
        assert refused(path)[0] == 4
    assert not (own_directory / "data").exists(), "nothing is made before the addresses are had"


def test_a_locked_directory(own: ShippedBroker, tmp_path: Path) -> None:
    path = configuration(tmp_path / "second", data_dir=str(own.data))
    code, lines = refused(path)
    assert code == 5
    assert str(own.data) in lines[0]
    with connect(own) as client:
        assert client.metadata().brokers, "the first one does not mind"


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read and write everything")
def test_a_directory_without_permission(own_directory: Path) -> None:
    path = configuration(own_directory)
    initialise(path)
    data = own_directory / "data"
    data.chmod(0o500)
    code, lines = refused(path)
    data.chmod(0o700)
    assert code == 5
    assert str(data) in lines[0]
    assert "chmod 700" in lines[1]


def test_a_file_where_the_directory_should_be(own_directory: Path) -> None:
    path = configuration(own_directory)
    (own_directory / "data").write_text("not a directory")
    code, lines = refused(path)
    assert code == 5
    assert str(own_directory / "data") in lines[0]


def test_what_is_stored_is_its_owners_only(own: ShippedBroker) -> None:
    """Whatever the directory around it allows."""
    own.data.chmod(0o755)
    with connect(own) as client:
        topic = client.create_topic()
        client.produced(topic, b"v")
        assert client.commit(fresh("g"), topic, 1) == 0
    own.restart()
    found = statuses(own.data)
    del found[own.data]
    assert any(path.suffix == ".log" and status.st_size for path, status in found.items())
    assert not [path for path, status in found.items() if stat.S_IMODE(status.st_mode) & 0o077]


def test_a_directory_of_a_newer_format(own_directory: Path) -> None:
    path = configuration(own_directory)
    initialise(path)
    (identity,) = [
        one
        for one in (own_directory / "data").iterdir()
        if one.is_file() and b"format" in one.read_bytes()[:200] and one.suffix != ".journal"
    ]
    content = json.loads(identity.read_text())
    key = next(name for name in content if "format" in name)
    content[key] += 1
    identity.write_text(json.dumps(content))
    code, lines = refused(path)
    assert code == 5
    assert "newer" in lines[0] + lines[1]


def test_a_wrong_configuration_names_the_key(own_directory: Path) -> None:
    path = configuration(own_directory, listenerz=[])
    done = subprocess.run(
        [RIVVEN, "server", "--config", path], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 3
    assert "listenerz" in done.stderr
    assert "listeners" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_ready_line_tells_the_real_addresses(own_directory: Path) -> None:
    path = configuration(own_directory)
    command = [RIVVEN, "server", "init", "--config", path, "--admin", "admin", "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    password = json.loads(done.stdout)["password"]
    with subprocess.Popen(
        [RIVVEN, "server", "--config", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert (ready["event"], ready["pid"], ready["node_id"]) == ("ready", process.pid, 1)
        connection = Connection(ready["listeners"]["main"], None, Account("admin", password))
        with Client(connection) as client:
            broker = client.metadata().brokers[0]
            assert f"{broker.host}:{broker.port}" == ready["listeners"]["main"]
            assert client.metadata().cluster_id == ready["cluster_id"]
        with pytest.raises(Refused):
            Client(connection.with_password("wrong"))
        process.terminate()
        assert process.wait(20) == 0


def test_files_of_two_data_directories_are_not_mixed(own_directory: Path) -> None:
    """The identity, the metadata and the ready line name one cluster; a foreign identity is refused."""
    with ShippedBroker(own_directory / "one") as broker:
        identity_path = broker.data / "identity.json"
        identity = json.loads(identity_path.read_text())
        assert broker.ready["cluster_id"] == identity["cluster_id"]
    identity_path.write_text(json.dumps(identity | {"cluster_id": "AAAAAAAAAAAAAAAAAAAAAA"}))
    code, lines = refused(broker.config_path)
    assert code == 5
    assert "belongs to cluster AAAAAAAAAAAAAAAAAAAAAA" in lines[0]
    identity_path.write_text(json.dumps(identity))
    with broker:
        assert broker.ready["cluster_id"] == identity["cluster_id"]
