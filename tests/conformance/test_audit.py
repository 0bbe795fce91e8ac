"""The audit trail of the shipped broker: what it records of every API, of logins and of denials."""

from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path

import pytest

from rivven.api.table import UNAUDITED
from rivven.audit.events import CHANGES
from rivven.errors import ErrorCode
from rivven.protocol.api import APIS, ApiKey
from rivven.testing.canary import leaks
from rivven.types import Operation, ResourceType
from tests.conformance.answers import Names
from tests.conformance.calls import CALLS
from tests.conformance.client import Client, batch, fresh
from tests.conformance.web import web_of
from tests.conformance.wire import Refused
from tests.shipped.broker import BrokerDidNotStart, ShippedBroker
from tests.shipped.connection import Account, Connection
from tests.shipped.trail import Event, assert_chained, events, log_of, rivven_audit, wait_for

SETTINGS = {"connection.failed.authentication.delay.ms": 1}
EXTRA = {"admin": {"bind": "127.0.0.1:0"}}
PAYLOAD = b"a-payload-that-must-stay-in-its-topic"
CHANGING = sorted(set(APIS) - UNAUDITED)


def requests(broker: ShippedBroker, api_events: list[Event]) -> list[Event]:
    """Events of the requests of these events, in order."""
    ids = {event["request_id"] for event in api_events}
    return [event for event in events(broker) if event["request_id"] in ids]


@pytest.mark.parametrize("key", CHANGING, ids=lambda key: key.name)
def test_every_api_that_changes_something_leaves_intent_and_result(
    broker: ShippedBroker, admin: Client, key: ApiKey
) -> None:
    topic, group = admin.create_topic(), fresh("g")
    admin.produced(topic, PAYLOAD)
    assert admin.commit(group, topic, 1) == 0
    names = Names(topic, admin.topic_id(topic), group, admin.create_user().user)
    if key is ApiKey.DELETE_ACLS:
        admin.call(ApiKey.CREATE_ACLS, 3, CALLS[ApiKey.CREATE_ACLS].request(3, names))
    if key in (ApiKey.RENEW_DELEGATION_TOKEN, ApiKey.EXPIRE_DELEGATION_TOKEN):
        create = CALLS[ApiKey.CREATE_DELEGATION_TOKEN].request(3, names)
        names = dataclasses.replace(names, token=admin.call(ApiKey.CREATE_DELEGATION_TOKEN, 3, create).hmac)
    version = APIS[key].max
    request = CALLS[key].request(version, names)
    if hasattr(request, "validate_only"):
        request.validate_only = False
    before = len(events(broker))
    admin.call(key, version, request)
    # The answer is here, so both records are on the disk already: nothing is waited for.
    own = [e for e in events(broker)[before:] if e["event_type"] not in ("authorization", "audit", "session")]
    assert {e["event_type"] for e in own} <= set(CHANGES)
    assert own[0]["result"] == "intent" and own[-1]["result"] in ("success", "failure")
    assert len({e["request_id"] for e in own}) == 1
    assert {e["principal"] for e in own} == {"user:admin"}
    assert all(e["resource"] for e in own) and own[0]["client_ip"] == "127.0.0.1"


def test_a_check_only_leaves_nothing(broker: ShippedBroker, admin: Client) -> None:
    before = len(events(broker))
    names = Names(admin.create_topic(), admin.topic_id, "g", "u")  # type: ignore[arg-type]
    admin.call(ApiKey.ALTER_CONFIGS, 2, CALLS[ApiKey.ALTER_CONFIGS].request(2, names))
    assert not [e for e in events(broker)[before:] if e["event_type"] == "config_change"]


def test_a_refused_change_says_which_error(broker: ShippedBroker, admin: Client) -> None:
    topic = admin.create_topic()
    assert admin.try_create_topic(topic).error_code == ErrorCode.TOPIC_ALREADY_EXISTS
    own = [
        e for e in events(broker) if e["resource"] == f"topic:{topic}" and e["event_type"] == "topic_create"
    ]
    assert [(e["result"], e["reason"]) for e in own[-2:]] == [
        ("intent", None),
        ("failure", "TOPIC_ALREADY_EXISTS"),
    ]


def test_logins_their_failures_and_their_ends(
    broker: ShippedBroker, plain: Connection, user: Account
) -> None:
    with pytest.raises(Refused), Client(plain.as_user(Account(user.user, "Wrong-password 1"))):
        pass
    (failed,) = wait_for(
        broker, lambda e: e["result"] == "failure" and f"'{user.user}'" in (e["reason"] or "")
    )
    assert (failed["event_type"], failed["action"]) == ("authentication", "login")
    assert (failed["listener"], failed["mechanism"]) == ("sasl_plaintext", "SCRAM-SHA-256")
    with Client(plain.as_user(user)):
        pass
    mine = wait_for(broker, lambda e: e["principal"] == f"user:{user.user}", 2)
    assert [(e["event_type"], e["action"], e["result"]) for e in mine[:2]] == [
        ("authentication", "login", "success"),
        ("session", "end", "success"),
    ]
    assert mine[0]["resource"] == mine[1]["resource"]


def test_a_denial_is_recorded_with_its_reason_and_request(
    broker: ShippedBroker, admin: Client, plain: Connection, user: Account
) -> None:
    topic = admin.create_topic()
    with Client(plain.as_user(user)) as client:
        assert client.produce(topic, batch(PAYLOAD)).error_code == 29
    (denied,) = wait_for(
        broker, lambda e: e["principal"] == f"user:{user.user}" and e["event_type"] == "authorization"
    )
    assert (denied["action"], denied["resource"], denied["result"]) == ("produce", f"topic:{topic}", "denied")
    assert denied["reason"] and denied["request_id"].startswith("req-")
    assert denied["details"]["count"] == 1 and denied["details"]["client_id"] == "wire"


def test_a_granted_use_is_recorded_first_and_then_counted(
    broker: ShippedBroker, admin: Client, plain: Connection, user: Account
) -> None:
    topic = admin.create_topic()
    admin.allow(user.user, Operation.WRITE, ResourceType.TOPIC, topic)
    with Client(plain.as_user(user)) as client:
        for _ in range(20):
            client.produced(topic, PAYLOAD)
    (first,) = wait_for(
        broker,
        lambda e: (
            e["resource"] == f"topic:{topic}"
            and e["result"] == "allowed"
            and e["action"] == "produce"
            and e["principal"] == f"user:{user.user}"
        ),
    )
    assert first["details"]["first_use"] is True


def test_changes_over_http_are_recorded_as_well(
    broker: ShippedBroker, plain: Connection, user: Account
) -> None:
    web = web_of(broker)
    with Client(plain.as_user(user)):
        (session,) = [
            one for one in web.get("/v1/sessions").json["items"] if one["principal"] == f"User:{user.user}"
        ]
        assert web.ask("DELETE", f"/v1/sessions/{session['id']}").status == 204
    mine = [e for e in events(broker) if e["event_type"] == "session_change"]
    assert [e["result"] for e in mine[-2:]] == ["intent", "success"]
    assert mine[-1]["resource"] == f"session:{session['id']}" and mine[-1]["principal"] == "user:admin"
    (end,) = wait_for(broker, lambda e: e["action"] == "end" and e["resource"] == f"session:{session['id']}")
    assert end["reason"] == "ended by User:admin"


def test_the_admin_api_shows_the_head_and_the_newest_events(
    broker: ShippedBroker, plain: Connection, user: Account
) -> None:
    web = web_of(broker)
    head = web.get("/v1/audit/head").json
    assert head["next_sequence"] > 0 and len(head["hash"]) == 64
    assert head["outputs"] == [{"name": "file", "required": True, "healthy": True, "waiting": 0, "missed": 0}]
    found = web.get("/v1/audit/events?type=lifecycle").json["items"]
    assert [event["action"] for event in found] == ["start"]
    assert len(web.get("/v1/audit/events?limit=3").json["items"]) == 3
    assert web.as_user(user).get("/v1/audit/head").status == 403
    rivven_audit("verify", log_of(broker), "--head", head["hash"])
    rivven_audit("verify", log_of(broker), "--head", "ab" * 32, code=7)


def test_no_secret_and_no_payload_is_in_the_log(
    broker: ShippedBroker, admin: Client, plain: Connection, user: Account
) -> None:
    wrong = "Wrong-password-9247!"
    topic = admin.create_topic()
    admin.produced(topic, PAYLOAD)
    with pytest.raises(Refused), Client(plain.as_user(Account(user.user, wrong))):
        pass
    web_of(broker).as_user(Account(user.user, wrong)).get("/v1/cluster")
    wait_for(broker, lambda e: e["listener"] == "admin" and e["result"] == "failure")
    log = log_of(broker).read_bytes()
    key = (log_of(broker).parent / "signing.key").read_text().splitlines()[1]
    assert leaks([broker.admin.password, user.password, wrong, PAYLOAD, key], {"audit.log": log}) == []
    assert leaks([PAYLOAD], {"control": b"x" + PAYLOAD}) != []
    assert (log_of(broker).parent / "signing.key").stat().st_mode & 0o77 == 0
    assert log_of(broker).stat().st_mode & 0o77 == 0


def test_the_commands_read_what_the_broker_wrote(
    broker: ShippedBroker, admin: Client, tmp_path: Path
) -> None:
    topic = admin.create_topic()
    found = rivven_audit(
        "search", log_of(broker), "--resource", f"topic:{topic}", "--type", "topic_create", "-o", "json"
    )
    assert [json.loads(line)["result"] for line in found.splitlines()] == ["intent", "success"]
    assert (
        rivven_audit(
            "search", log_of(broker), "--resource", f"topic:{topic}", "--since", "5m", "--until", "1h"
        )
        == ""
    )
    assert "topic_create" in rivven_audit("tail", log_of(broker), "--resource", f"topic:{topic}", "-n", 1)
    csv = rivven_audit("export", log_of(broker), "--format", "csv", "--resource", f"topic:{topic}")
    assert csv.startswith("timestamp,sequence,")
    (ocsf, *_) = rivven_audit("export", log_of(broker), "--format", "ocsf", "--action", "login").splitlines()
    assert json.loads(ocsf)["class_uid"] == 3002
    report = json.loads(rivven_audit("verify", log_of(broker), "-o", "json"))
    assert report["intact"] is True and report["checkpoints"] >= 1 and report["findings"] == []
    lines = log_of(broker).read_bytes().splitlines()
    lines[3] = lines[3].replace(b'"127.0.0.1"', b'"10.66.66.6"')
    forged = tmp_path / "forged.log"
    forged.write_bytes(b"\n".join(lines) + b"\n")
    report = json.loads(rivven_audit("verify", forged, "-o", "json", code=7))
    assert report["findings"][0]["line"] == 5 and report["findings"][0]["file"] == str(forged)


def test_a_stop_is_recorded_and_a_restart_continues_the_chain(own_directory: Path) -> None:
    with ShippedBroker(own_directory) as own:
        own.restart()
        wait_for(own, lambda e: e["action"] == "start", 2)
    lines = log_of(own).read_bytes().splitlines()
    assert_chained(lines)
    actions = [json.loads(line)["action"] for line in lines]
    assert [action for action in actions if action in ("start", "stop")] == ["start", "stop"] * 2
    assert actions[-1] == "checkpoint"


def test_a_log_that_cannot_be_written_refuses_the_start(own_directory: Path) -> None:
    own = ShippedBroker(own_directory, extra={"audit": {"log_path": "/proc/nothing/audit.log"}})
    with pytest.raises(BrokerDidNotStart, match="exit code 5"):
        own.start()
    assert "a required audit output cannot be opened" in own.logged()


def test_without_audit_nothing_is_written(own_directory: Path) -> None:
    with ShippedBroker(own_directory, extra={"audit": {"enabled": False}}) as own:
        with Client(own.connection()) as client:
            client.create_topic()
        assert not log_of(own).exists()


def test_a_change_is_refused_when_a_required_output_fails_and_data_goes_on(own_directory: Path) -> None:
    output = [
        {"type": "file"},
        {
            "type": "stream",
            "bootstrap_servers": "127.0.0.1:1",
            "topic": "t",
            "security_protocol": "plaintext",
        },
    ]
    with ShippedBroker(own_directory, extra={"audit": {"output": output}}) as own:
        with Client(own.connection()) as client:
            topic = client.create_topic()  # the stream is not required
        assert own.stop() == 0
        own.change(audit={"output": [output[0], {**output[1], "required": True}]})
        own.start()
        with Client(own.connection()) as client:
            assert client.try_create_topic(fresh()).error_code == ErrorCode.POLICY_VIOLATION
            assert client.produced(topic, PAYLOAD) == 0
            assert client.values(topic) == [PAYLOAD]
        report = [e for e in events(own) if e["event_type"] == "topic_create"]
        assert [e["result"] for e in report] == ["intent", "success", "intent"]


@pytest.mark.durability
def test_the_chain_survives_kill_9_under_load(own_directory: Path) -> None:
    own = ShippedBroker(
        own_directory, extra={"audit": {"allowed": "each", "rotation": {"max_bytes": 65_536}}}
    )
    own.start()
    confirmed = 0
    for _ in range(4):
        stop = threading.Event()
        made: list[str] = []

        def load(stop: threading.Event = stop, made: list[str] = made) -> None:
            try:
                with Client(own.connection()) as client:
                    topic = client.create_topic()
                    while not stop.is_set():
                        client.produced(topic, PAYLOAD)
                        if len(made) < 20:
                            made.append(client.create_topic())
            except (OSError, Exception):  # noqa: BLE001 - the broker is killed under it
                return

        threads = [threading.Thread(target=load) for _ in range(2)]
        for thread in threads:
            thread.start()
        threading.Event().wait(0.7)
        own.kill()
        stop.set()
        for thread in threads:
            thread.join()
        own.start()
        confirmed += len(made)
    assert own.stop() == 0
    report = json.loads(rivven_audit("verify", log_of(own).parent, "-o", "json"))
    assert report["intact"] is True and report["files"] > 1, report
    found = rivven_audit(
        "search", log_of(own).parent, "--type", "topic_create", "--result", "success", "-o", "json"
    )
    assert len(found.splitlines()) >= confirmed > 0


def test_an_end_that_was_cut_off_is_noticed_by_the_next_start(own_directory: Path) -> None:
    with ShippedBroker(own_directory) as own:
        with Client(own.connection()) as client:
            client.create_topic()
        assert own.stop() == 0
        lines = log_of(own).read_bytes().splitlines(keepends=True)
        log_of(own).write_bytes(b"".join(lines[:3]))
        own.start()
        (noticed,) = wait_for(own, lambda e: e["action"] == "truncated")
        assert noticed["details"]["found_next_sequence"] == 3
        assert noticed["details"]["known_sequence"] >= len(lines) - 6
        assert own.stop() == 0
        own.start()
        wait_for(own, lambda e: e["action"] == "start", 2)
        assert len([e for e in events(own) if e["action"] == "truncated"]) == 1, "said once"
