"""kcat kept running: as members of a group that come and go, and as a producer whose broker restarts.

A kcat process is one member and ends with its input, so the members are processes and the input is a pipe.
Also what it must not be kept waiting for: transactions.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.interop.groups import SIZES, settle
from tests.interop.reference import Reference
from tests.shipped.broker import ShippedBroker
from tests.shipped.connection import Connection

PARTITIONS = 6
POLL_SECONDS = 0.05
END_SECONDS_MAX = 30.0
_ASSIGNED = re.compile(r"% Group \S+ rebalanced \(memberid [^)]*\): (assigned|revoked):(.*)")
_PARTITION = re.compile(r"\[(\d+)\]")


class Member:
    """One `kcat -G`; what it printed is what it was given."""

    def __init__(self, kcat: str, properties: Path, group: str, topic: str, output: Path) -> None:
        self._output, self._errors = output.with_suffix(".out"), output.with_suffix(".err")
        settings = ("session.timeout.ms=6000", "heartbeat.interval.ms=200", "auto.offset.reset=earliest")
        arguments = [kcat, "-F", str(properties), "-u", *(f"-X{one}" for one in settings), "-G", group, topic]
        with self._output.open("wb") as out, self._errors.open("wb") as err:
            self._process = subprocess.Popen(arguments, stdout=out, stderr=err, stdin=subprocess.DEVNULL)

    @property
    def partitions(self) -> list[int]:
        """What it owns, as it says itself: revoked before assigned anew (an eager assignor)."""
        found = _ASSIGNED.findall(self._errors.read_text(errors="replace"))
        if not found or found[-1][0] == "revoked":
            return []
        return [int(number) for number in _PARTITION.findall(found[-1][1])]

    @property
    def values(self) -> list[str]:
        return self._output.read_text().split()

    def leave(self) -> None:
        """As Ctrl-C does: it says goodbye to the group."""
        self._process.send_signal(signal.SIGINT)
        assert self._process.wait(END_SECONDS_MAX) == 0, self._errors.read_text(errors="replace")

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def join(kcat: str, user: Connection, tmp_path: Path) -> Iterator[Callable[[str], Member]]:
    """Starts a member of the group named like the topic."""
    properties = user.librdkafka_file(tmp_path / "client.properties")
    members: list[Member] = []

    def start(topic: str) -> Member:
        members.append(Member(kcat, properties, topic, topic, tmp_path / f"member-{len(members)}"))
        return members[-1]

    yield start
    for member in members:
        member.kill()


def test_group_members_join_and_leave(
    join: Callable[[str], Member], user: Connection, make_topic: Callable[..., str]
) -> None:
    topic = make_topic(PARTITIONS)
    present: list[Member] = []
    everybody: list[Member] = []
    producer = Producer(user.librdkafka())
    expected: set[str] = set()

    def owned() -> list[list[int]]:
        time.sleep(POLL_SECONDS)
        return [member.partitions for member in present]

    def all_values() -> set[str]:
        return {value for member in everybody for value in member.values}

    for round_, size in enumerate(SIZES):
        while len(present) < size:
            present.append(join(topic))
            everybody.append(present[-1])
        while len(present) > size:
            present.pop().leave()
        settle(owned, PARTITIONS)
        for partition in range(PARTITIONS):
            value = f"{round_}-{partition}"
            producer.produce(topic, value, partition=partition)
            expected.add(value)
        assert producer.flush(END_SECONDS_MAX) == 0
        _wait_for(lambda: all_values() == expected)


def test_idempotent_produce_across_restart(kcat: str, own_broker: ShippedBroker, tmp_path: Path) -> None:
    """Lines go on coming while the broker restarts: each is there once, in order."""
    reference = Reference(own_broker.connection())
    topic = reference.create_topic("steady")
    properties = own_broker.connection().librdkafka_file(tmp_path / "client.properties")
    settings = ("enable.idempotence=true", "linger.ms=2", "message.timeout.ms=60000", "retry.backoff.ms=50")
    command = [
        kcat,
        "-F",
        str(properties),
        *(f"-X{one}" for one in settings),
        "-E",
        "-P",
        "-t",
        topic,
        "-p",
        "0",
    ]
    count, restarted_at = 1200, 400
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stderr is not None
        pipe = process.stdin.fileno()
        for index in range(restarted_at):
            os.write(pipe, b"%d\n" % index)
        _wait_for(lambda: sum(reference.end_offsets(topic).values()) > 0)
        assert own_broker.stop() == 0
        for index in range(restarted_at, 2 * restarted_at):
            os.write(pipe, b"%d\n" % index)
        own_broker.start()
        for index in range(2 * restarted_at, count):
            os.write(pipe, b"%d\n" % index)
        process.stdin.close()
        assert process.wait(90) == 0, process.stderr.read().decode()
    assert [row.value for row in reference.read(topic)] == [b"%d" % index for index in range(count)]


def test_transactions_are_refused_quickly(kcat: str, user: Connection, topic: str, tmp_path: Path) -> None:
    properties = user.librdkafka_file(tmp_path / "client.properties")
    command = [kcat, "-F", str(properties), "-X", f"transactional.id={topic}", "-P", "-t", topic, "-p", "0"]
    started = time.monotonic()
    done = subprocess.run(command, input=b"x\n", capture_output=True, timeout=40, check=False)
    assert time.monotonic() - started < 5
    assert done.returncode != 0
    assert "transactions are not supported by this broker" in done.stderr.decode()


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + END_SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(POLL_SECONDS)
