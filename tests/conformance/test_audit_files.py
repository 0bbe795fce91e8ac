"""The audit log of the shipped broker as files: followed, rotated, removed by rule, forged, and counted."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from rivven.audit.chain import Chain, Head, line_hash
from rivven.audit.events import AuditEvent
from rivven.types import Operation, ResourceType
from tests.conformance.client import Client
from tests.shipped.broker import RIVVEN, ShippedBroker
from tests.shipped.trail import events, log_of, rivven_audit, wait_for

SMALL = {"allowed": "each", "rotation": {"max_bytes": 65_536}}


def load(broker: ShippedBroker, produces: int) -> None:
    """So many decisions, each of them a line."""
    with Client(broker.connection()) as client:
        topic = client.create_topic()
        for _ in range(produces):
            client.produced(topic, b"x")


def rotated(broker: ShippedBroker) -> list[Path]:
    return sorted(path for path in log_of(broker).parent.iterdir() if re.search(r"\.\d{20}$", path.name))


def report_of(directory: Path, code: int = 0) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(rivven_audit("verify", directory, "-o", "json", code=code))
    return report


def test_follow_shows_each_event_once_over_rotations_and_restarts(own_directory: Path) -> None:
    with ShippedBroker(own_directory, extra={"audit": SMALL}) as broker:
        # The newest event is asked for so that the follower is seen to follow before the load begins.
        command = [RIVVEN, "audit", "tail", log_of(broker), "-n", "1", "--follow", "-o", "json"]
        load(broker, 5)
        assert rivven_audit("tail", log_of(broker), "-n", 0) == ""
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1) as follower:
            assert follower.stdout is not None
            first = json.loads(follower.stdout.readline())["sequence"]
            load(broker, 150)
            broker.restart()
            load(broker, 150)
            assert len(rotated(broker)) >= 2
            last = events(broker)[-1]["sequence"]
            numbers = [first]
            while numbers[-1] < last:
                numbers.append(json.loads(follower.stdout.readline())["sequence"])
            follower.terminate()
        assert numbers == list(range(first, last + 1))


def test_allowed_uses_are_counted_by_the_minute_and_every_one_is_in_a_count(own_directory: Path) -> None:
    with ShippedBroker(own_directory) as broker:
        with Client(broker.connection()) as admin:
            topic, account = admin.create_topic(), admin.create_user()
            admin.allow(account.user, Operation.WRITE, ResourceType.TOPIC, topic)
            with Client(broker.connection(account=account)) as client:
                for _ in range(20):
                    client.produced(topic, b"x")
        assert broker.stop() == 0, "a stop ends the minute"
        uses = [
            one["details"]
            for one in events(broker)
            if (one["principal"], one["action"], one["resource"])
            == (f"user:{account.user}", "produce", f"topic:{topic}")
        ]
    assert [(one["first_use"], one["count"]) for one in uses] == [(True, 1), (False, 19)]
    assert all(one["client_id"] == "wire" and one["engine"] == "acl" and one["rule"] for one in uses)


def test_every_use_of_super_user_rights_is_recorded_with_the_key_that_gave_them(own_directory: Path) -> None:
    with ShippedBroker(own_directory, extra={"audit": {"allowed": "each"}}) as broker:
        load(broker, 3)
        produced = wait_for(
            broker, lambda one: one["action"] == "produce", 3
        )  # what was allowed is not waited for
        used = [one for one in events(broker) if one["event_type"] == "authorization"]
    assert len(produced) == 3
    assert {one["details"]["rule"] for one in used} == {"authorization.super_users"}


@pytest.mark.durability
def test_retention_and_rotation_survive_kill_9(own_directory: Path) -> None:
    extra = {"audit": SMALL | {"retention": {"max_files": 2}}}
    broker = ShippedBroker(own_directory, extra=extra).start()
    try:
        rounds, first_sequence = 0, 0
        while rounds < 4 or not first_sequence:
            rounds += 1
            assert rounds < 20, "no file was ever removed"
            busy = threading.Thread(target=_until_it_dies, args=(broker,))
            busy.start()
            threading.Event().wait(0.7)
            broker.kill()
            busy.join()
            report = found_by_verify(broker)
            reasons = {one["reason"] for one in report["findings"]}
            assert reasons <= {"the line is not finished: a crash, or the end was cut off"}
            first_sequence = report["first_sequence"]
            broker.start()
        assert broker.stop() == 0
    finally:
        if broker.running:
            broker.kill()
    report = report_of(log_of(broker).parent)
    assert report["intact"] and report["first_sequence"] > 0, report
    assert len(rotated(broker)) <= 4, (
        "removed files stay only while the record of their removal is on its way"
    )
    removals = [one for one in events_of_all(broker) if one["action"] == "retention"]
    assert removals and all(one["signature"] for one in removals)


def found_by_verify(broker: ShippedBroker) -> dict[str, Any]:
    command = [RIVVEN, "audit", "verify", log_of(broker).parent, "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def _until_it_dies(broker: ShippedBroker) -> None:
    try:
        while True:
            load(broker, 10_000)
    except Exception:  # noqa: BLE001 - the broker is killed under it
        return


def events_of_all(broker: ShippedBroker) -> list[dict[str, Any]]:
    paths = [*rotated(broker), log_of(broker)]
    return [json.loads(line) for path in paths for line in path.read_bytes().splitlines()]


def test_a_forged_record_of_a_removal_excuses_no_missing_file(own_directory: Path) -> None:
    """The broker is stopped; somebody with the files but without the key removes the oldest one."""
    with ShippedBroker(own_directory, extra={"audit": SMALL}) as broker:
        load(broker, 300)
        assert broker.stop() == 0
    directory = log_of(broker).parent
    assert report_of(directory)["intact"]
    gone, successor = rotated(broker)[:2]
    first = json.loads(successor.read_bytes().splitlines()[0])
    gone.unlink()
    lines = log_of(broker).read_bytes().splitlines()
    newest = json.loads(lines[-1])
    details = {"removed_below": first["sequence"], "last_hash": first["previous"], "files": [gone.name]}
    chain = Chain(Head(newest["sequence"] + 1, line_hash(lines[-1])))
    forged = chain.append(AuditEvent("audit", "retention", "file:audit.log", details=details), 0).data
    with log_of(broker).open("ab") as file:
        file.write(forged + b"\n")
    reasons = [one["reason"] for one in report_of(directory, code=7)["findings"]]
    assert "the record of a removal is not signed" in reasons
    assert any("no record says that they were removed" in reason for reason in reasons)


def test_heads_kept_elsewhere_find_what_the_chain_cannot(own_directory: Path) -> None:
    with ShippedBroker(own_directory) as broker:
        load(broker, 5)
        assert broker.stop() == 0
    directory, log = log_of(broker).parent, log_of(broker)
    whole = log.read_bytes()
    known = json.loads(rivven_audit("verify", directory, "-o", "json"))["head"]
    kept = own_directory / "heads.txt"
    kept.write_text(f"2026-01-31 broker 1: {known}\n")
    for head in (known, kept):
        rivven_audit("verify", directory, "--head", head)
    log.write_bytes(b"\n".join(whole.splitlines()[:-2]) + b"\n")
    rivven_audit("verify", directory)  # a chain that was cut is a chain
    for head in (known, kept):
        report = json.loads(rivven_audit("verify", directory, "--head", head, "-o", "json", code=7))
        assert "the end was cut off" in report["findings"][0]["reason"]
    for wrong in ("abc", own_directory / "nowhere", own_directory / "rivven.yaml"):
        rivven_audit("verify", directory, "--head", wrong, code=1)


def test_signing_anew_with_another_key_is_found_with_a_copy_of_the_public_key(own_directory: Path) -> None:
    with ShippedBroker(own_directory) as broker:
        load(broker, 5)
        assert broker.stop() == 0
        directory = log_of(broker).parent
        kept = own_directory / "signing.pub"
        kept.write_bytes((directory / "signing.pub").read_bytes())
        for name in ("signing.key", "signing.pub", "audit.log"):
            os.unlink(directory / name)
        broker.start()
        load(broker, 5)
        assert broker.stop() == 0
    assert report_of(directory)["intact"], "it checks out against the key beside it: that one proves nothing"
    report = json.loads(rivven_audit("verify", directory, "--key", kept, "-o", "json", code=7))
    assert report["findings"][0]["reason"] == "the signature is not of this key"


def test_a_running_broker_is_asked_for_its_newest_events(own_directory: Path) -> None:
    with ShippedBroker(own_directory) as broker:
        profile = broker.connection().librdkafka_file(own_directory / "admin.properties")
        with profile.open("a") as file:
            file.write(f"admin.url={broker.admin_url()}\n")
        command = [RIVVEN, "--command-config", profile, "audit"]
        with Client(broker.connection()) as admin:
            topic = admin.create_topic()
        asked = [*command, "search", "--remote", "--resource", f"topic:{topic}", "--type", "topic_*"]
        done = subprocess.run([*asked, "-o", "json"], capture_output=True, text=True, timeout=60, check=True)
        found = [json.loads(line) for line in done.stdout.splitlines()]
        assert [one["result"] for one in found] == ["intent", "success"]
        assert found == [one for one in events(broker) if one in found], "as they are in the file"
        follow = [*command, "tail", "--remote", "--follow", "--type", "topic_create", "-o", "json"]
        with subprocess.Popen(follow, stdout=subprocess.PIPE, text=True, bufsize=1) as follower:
            assert follower.stdout is not None
            first = [json.loads(follower.stdout.readline()) for _ in range(2)]
            with Client(broker.connection()) as admin:
                made = [admin.create_topic() for _ in range(3)]
            then = [json.loads(follower.stdout.readline()) for _ in range(6)]
            follower.terminate()
        assert first == found
        assert [one["resource"] for one in then] == [f"topic:{name}" for name in made for _ in range(2)]
        for wrong, reason in (
            ([*command, "search", "--remote", log_of(broker)], "FILES are read without it"),
            ([*command, "tail", own_directory / "nowhere"], "does not exist"),
        ):
            done = subprocess.run(wrong, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode and reason in done.stderr, done.stderr


def test_a_log_stands_for_the_files_that_were_rotated_out_of_it(own_directory: Path) -> None:
    with ShippedBroker(own_directory, extra={"audit": SMALL}) as broker:
        load(broker, 200)
        assert broker.stop() == 0
    assert rotated(broker)
    whole = report_of(log_of(broker))
    assert whole == report_of(log_of(broker).parent) and whole["first_sequence"] == 0
    rivven_audit("verify", rotated(broker)[0])


@pytest.mark.parametrize("overflow", ["count", "block"])
def test_when_a_required_output_falls_behind_the_policy_holds(own_directory: Path, overflow: str) -> None:
    nowhere = {"type": "stream", "bootstrap_servers": "127.0.0.1:1", "topic": "t", "required": True}
    audit = {"allowed": "each", "queue_events": 100, "overflow": overflow}
    with ShippedBroker(own_directory, extra={"audit": audit}) as broker:
        with Client(broker.connection()) as admin:
            topic = admin.create_topic()
        assert broker.stop() == 0
        broker.change(audit=audit | {"output": [{"type": "file"}, nowhere]})
        broker.start()
        done: list[int] = []

        def produce() -> None:
            # The broker goes away under a blocked client.
            with contextlib.suppress(Exception), Client(broker.connection()) as client:
                while len(done) < 300:
                    done.append(client.produced(topic, b"x"))

        thread = threading.Thread(target=produce)
        thread.start()
        deadline = time.monotonic() + 20  # one attempt takes ten seconds
        while (values := metrics_of(broker))['rivven_audit_output_healthy{output="stream"}']:
            assert time.monotonic() < deadline
            thread.join(0.2)
        assert values["rivven_audit_backlog"] >= 100
        if overflow == "count":
            assert len(done) == 300
            assert values["rivven_audit_dropped_total"] > 0
        else:
            assert thread.is_alive() and 0 < len(done) < 300, "requests wait for room"
            assert values["rivven_audit_dropped_total"] == 0
        broker.kill()
        thread.join(30)


def metrics_of(broker: ShippedBroker) -> dict[str, float]:
    host, port = broker.metrics_address()
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    found = re.findall(r"^(\w+(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}
