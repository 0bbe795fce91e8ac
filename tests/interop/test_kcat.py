"""kcat from Debian: an old librdkafka (2.0), which tests codecs by asking for ancient Produce versions."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.interop.disk import codecs_on_disk
from tests.interop.reference import Reference
from tests.interop.samples import CODECS
from tests.shipped.broker import ShippedBroker
from tests.shipped.connection import Connection

Kcat = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(kcat: str, tmp_path: Path) -> Kcat:
    """Run kcat as someone; with `text` on standard input."""

    def call(connection: Connection, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        file = connection.librdkafka_file(tmp_path / "client.properties")
        return subprocess.run(
            [kcat, "-F", str(file), *arguments],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=40,
        )

    return call


def succeed(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def read(run: Kcat, connection: Connection, topic: str) -> list[dict[str, Any]]:
    output = succeed(
        run(connection, "-C", "-t", topic, "-o", "beginning", "-e", "-J", "-X", "check.crcs=true")
    )
    return [json.loads(line) for line in output.splitlines()]


@pytest.mark.parametrize("codec", CODECS)
def test_produce_consume(
    run: Kcat, user: Connection, broker: ShippedBroker, reference: Reference, topic: str, codec: str
) -> None:
    lines = [f"key-{index}:value {index} " + "again and again " * 20 for index in range(50)]
    settings = ["-X", "acks=all", "-X", "linger.ms=100", "-z", codec, "-H", "trace=one", "-H", "kind=größe"]
    succeed(run(user, "-P", "-t", topic, "-p", "0", "-K", ":", *settings, text="\n".join(lines)))
    rows = read(run, user, topic)
    assert [f"{row['key']}:{row['payload']}" for row in rows] == lines
    assert all(row["headers"] == ["trace", "one", "kind", "größe"] for row in rows)
    assert codecs_on_disk(broker.data, reference.topic_id(topic)) == {codec}


def test_metadata(run: Kcat, user: Connection, topic: str, secret_topic: str) -> None:
    listed = json.loads(succeed(run(user, "-L", "-J")))
    names = {row["topic"] for row in listed["topics"]}
    assert topic in names
    assert secret_topic not in names


def test_offset_by_time(run: Kcat, user: Connection, topic: str) -> None:
    succeed(run(user, "-P", "-t", topic, "-p", "0", text="a\nb\nc\n"))
    first = read(run, user, topic)[0]["ts"]
    assert f"{topic} [0] offset 0" in succeed(run(user, "-Q", "-t", f"{topic}:0:{first}"))


def test_group(run: Kcat, user: Connection, topic: str) -> None:
    succeed(run(user, "-P", "-t", topic, "-p", "0", text="a\nb\nc\n"))
    settings = ["-X", "auto.offset.reset=earliest"]
    assert succeed(run(user, "-G", topic, "-e", *settings, topic)).split() == ["a", "b", "c"]
    succeed(run(user, "-P", "-t", topic, "-p", "0", text="d\n"))
    assert succeed(run(user, "-G", topic, "-e", *settings, topic)).split() == ["d"]


def test_idempotent_producer(run: Kcat, user: Connection, topic: str) -> None:
    text = "".join(f"{index}\n" for index in range(500))
    succeed(run(user, "-P", "-t", topic, "-p", "0", "-X", "enable.idempotence=true", text=text))
    assert [row["payload"] for row in read(run, user, topic)] == text.split()


def test_wrong_password_is_refused(run: Kcat, wrong_password: Connection) -> None:
    # The answer to a wrong password waits longer with each recent failure from an address: up to 5 s.
    done = run(wrong_password, "-L", "-m", "12", "-d", "security")
    assert done.returncode != 0
    assert "authentication" in done.stderr.lower()


def test_wrong_ca_is_refused(run: Kcat, wrong_ca: Connection) -> None:
    done = run(wrong_ca, "-L", "-m", "5")
    assert done.returncode != 0
    assert "certificate verify failed" in done.stderr.lower()


def test_denied_topic(run: Kcat, user: Connection, secret_topic: str) -> None:
    done = run(user, "-P", "-t", secret_topic, "-p", "0", "-X", "message.timeout.ms=5000", text="x\n")
    assert done.returncode != 0
    assert "authorization failed" in done.stderr.lower()
