"""`rivven authz test` and `replay`: exit codes, output, and events as the audit trail writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rivven.audit.aggregation import Decisions
from rivven.audit.events import AuditEvent, encode
from rivven.security.authz.authorizer import Action, Decision, Subject
from rivven.types import WILDCARD, Operation, Principal, ResourceType
from rivven_cli.authz_try import recorded
from rivven_cli.exits import Exit
from rivven_cli.main import run

HOUR_MS = 3_600_000
POLICY = """
@id("writers") permit(principal in Group::"writers", action == Action::"Write", resource is Topic)
when { context.hour >= 9 && context.address.isInRange(ip("10.0.0.0/8")) };
"""
TESTS = """
tests:
  - principal: user:u
    groups: [writers]
    action: produce
    resource: topic:orders
    context: {address: 10.1.1.1, hour: 9}
    expected: allow
  - name: not at night
    principal: user:u
    groups: [writers]
    action: produce
    resource: topic:orders
    context: {address: 10.1.1.1, hour: 3}
    expected: EXPECTED
"""
WRITE = Action(Operation.WRITE, ResourceType.TOPIC, "orders")


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    directory = tmp_path / "policies"
    directory.mkdir()
    (directory / "a.cedar").write_text(POLICY)
    return directory


def subject(*groups: str, host: str = "10.0.0.7", **others: Any) -> Subject:
    return Subject(Principal("User", "u"), host, "main", groups, "SCRAM-SHA-256", True, "app", **others)


def line(asking: Subject, action: Action, decision: Decision, hour: int = 9) -> bytes:
    """A decision as the trail writes it."""
    event = Decisions(each=True).decided(asking, action, decision)
    assert event is not None
    return encode(event, hour * HOUR_MS, 1, "0" * 64) + b"\n"


def test_a_test_file_passes_or_fails_with_its_exit_code(
    tmp_path: Path, policies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tests.yaml"
    file.write_text(TESTS.replace("EXPECTED", "deny"))
    assert run(["authz", "test", str(file), "--policies", str(policies)]) == Exit.OK
    assert "2 passed, 0 failed" in capsys.readouterr().out
    file.write_text(TESTS.replace("EXPECTED", "allow"))
    assert run(["authz", "test", str(file), "--policies", str(policies), "-o", "json"]) == Exit.FAILED
    first, second = json.loads(capsys.readouterr().out)
    assert first["result"] == "passed"
    assert "writers" in first["reason"]
    assert second == {
        "test": "2: not at night",
        "result": "failed",
        "expected": "allow",
        "actual": "deny",
        "reason": "no policy permits it",
    }


def test_roles_may_decide_or_only_be_looked_up(
    tmp_path: Path, policies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    roles = tmp_path / "rbac.yaml"
    roles.write_text("bindings:\n  producer: {users: [u]}\n")
    file = tmp_path / "tests.yaml"
    file.write_text(
        "tests: [{principal: 'user:u', action: produce, resource: 'topic:t', expected: allow,"
        " context: {hour: 1, address: 10.0.0.1}}]"
    )
    options = ["authz", "test", str(file), "--policies", str(policies)]
    assert run([*options, "--rbac", str(roles)]) == Exit.OK
    assert run([*options, "--roles", str(roles)]) == Exit.FAILED
    assert run(["authz", "test", str(file), "--rbac", str(roles)]) == Exit.OK


def test_access_rules_may_be_tried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    acls, file = tmp_path / "acl.json", tmp_path / "tests.yaml"
    rule = {
        "principal": "Group:writers",
        "host": "*",
        "resource_type": "topic",
        "resource": "ord",
        "pattern": "prefixed",
        "operation": "write",
        "permission": "allow",
    }
    acls.write_text(json.dumps([rule]))
    file.write_text(TESTS.replace("EXPECTED", "allow"))
    assert run(["authz", "test", str(file), "--acls", str(acls)]) == Exit.OK
    acls.write_text(json.dumps([{**rule, "permission": "deny"}]))
    assert run(["authz", "test", str(file), "--acls", str(acls)]) == Exit.FAILED
    assert "DENY WRITE on TOPIC prefixed 'ord' for Group:writers" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ([], Exit.USAGE),
        (["--acls", "{broken}"], Exit.CONFIG),
        (["--rbac", "{roles}", "--roles", "{roles}"], Exit.USAGE),
        (["--rbac", "{broken}"], Exit.CONFIG),
        (["--policies", "{empty}"], Exit.CONFIG),
    ],
)
def test_what_is_tried_must_be_named_and_usable(tmp_path: Path, options: list[str], code: Exit) -> None:
    places = {name: tmp_path / name for name in ("roles", "broken", "empty", "tests")}
    places["roles"].write_text("roles: {}\n")
    places["broken"].write_text("rolls: {}\n")
    places["empty"].mkdir()
    places["tests"].write_text(TESTS.replace("EXPECTED", "deny"))
    named = [option.format(**places) for option in options]
    assert run(["authz", "test", str(places["tests"]), *named]) == code


def test_a_file_without_tests(tmp_path: Path, policies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tests.yaml"
    file.write_text("tests: []")
    assert run(["authz", "test", str(file), "--policies", str(policies)]) == Exit.CONFIG
    assert "tests.yaml" in capsys.readouterr().err


def replayed(
    log: Path, policies: Path, capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[int, dict[str, Any]]:
    command = [
        "authz",
        "replay",
        "--audit-log",
        str(log),
        "--policies",
        str(policies),
        "--since",
        "1970-01-01",
    ]
    code = run([*command, "-o", "json", *options])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return code, found


def test_replay_of_what_the_trail_wrote(
    tmp_path: Path, policies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "audit.log"
    allow, deny = Decision.allow("a rule", engine="acl"), Decision.deny("none")
    log.write_bytes(
        line(subject("writers"), WRITE, allow)
        + line(subject("writers"), WRITE, deny, hour=3)
        + line(subject("writers"), WRITE._replace(resource_name=WILDCARD), allow)
        + line(subject(), WRITE, deny)
    )
    code, found = replayed(log, policies, capsys)
    assert (code, found["same"], found["rows"]) == (Exit.OK, 4, [])
    with log.open("ab") as file:
        file.write(line(subject("writers"), WRITE, allow, hour=3))
        file.write(line(subject("writers", host="192.0.2.1"), WRITE, allow))
        file.write(line(subject(), WRITE, Decision.allow("super user", engine="super-users")))
    code, found = replayed(log, policies, capsys)
    assert (code, found["same"], found["changes"], found["cannot_tell"]) == (Exit.FAILED, 5, 2, 0)
    (row,) = found["rows"]
    assert (row["outcome"], row["count"], row["recorded"], row["candidate"]) == (
        "changes",
        2,
        "allowed",
        "denied",
    )
    assert run(["authz", "replay", "--audit-log", str(log), "--policies", str(policies)]) == Exit.OK
    assert "changes:" in capsys.readouterr().out, "nothing within the last week"


def test_replay_names_what_a_log_does_not_tell(
    tmp_path: Path, policies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The example of the Rivven document has neither groups nor facts of the connection but the address."""
    log = tmp_path / "audit.log"
    example = {
        "timestamp": "2026-01-25T10:30:00.123Z",
        "event_type": "authorization",
        "principal": "user:producer-app",
        "action": "produce",
        "resource": "topic:orders",
        "result": "allowed",
        "client_ip": "10.0.1.50",
        "request_id": "req-abc123",
    }
    shadow = {**example, "result": "would_deny"}
    odd = {**example, "action": "fly"}
    log.write_text("".join(json.dumps(event) + "\n" for event in (example, shadow, odd)))
    code, found = replayed(log, policies, capsys)
    assert code == Exit.FAILED
    assert (found["same"], found["changes"], found["cannot_tell"], found["not_understood"]) == (0, 0, 1, 1)
    assert found["missing"] == {"groups": 1}
    assert found["rows"][0]["reason"] == "not recorded: groups"


def test_lists_that_were_cut_off_are_not_known() -> None:
    groups = tuple(f"g{number}" for number in range(150))
    event = json.loads(line(subject(*groups), WRITE, Decision.allow("x")))
    assert recorded(event).question.groups is None
    event["details"] = {"truncated": True}
    found = recorded(event).question
    assert (found.groups, found.scope_known) == (None, False)


def test_a_whole_event_tells_the_whole_question() -> None:
    scope = ("topic:orders:produce",)
    told = recorded(json.loads(line(subject("a", scope=scope), WRITE, Decision.allow("x"), hour=96 + 10)))
    assert told.question.principal == Principal("User", "u")
    assert told.question.action == WRITE
    assert (told.question.groups, told.question.scope, told.question.scope_known) == (("a",), scope, True)
    assert told.question.context == {
        "address": "10.0.0.7",
        "listener": "main",
        "mechanism": "SCRAM-SHA-256",
        "tls": True,
        "client_id": "app",
        "hour": 10,
        "weekday": 1,
    }
    assert (told.allowed, told.count) == (True, 1)
    with pytest.raises(ValueError, match="principal"):
        recorded(json.loads(encode(AuditEvent("authorization", "login"), 0, 1, "")))
