"""Events as lines: the document's fields, bounded texts, words that can be read back."""

import json

import pytest

from rivven.audit.events import (
    CHANGES,
    EVENT_TYPES,
    LINE_BYTES_MAX,
    TEXT_CHARS_MAX,
    AuditEvent,
    action_word,
    encode,
    operation_of,
    resource_text,
)
from rivven.config.audit import EVENT_NAMES
from rivven.security.authz.operations import VALID_OPERATIONS
from rivven.types import CLUSTER_NAME, ResourceType

AT = 1_769_337_000_123  # 2026-01-25T10:30:00.123Z


def test_the_example_of_the_security_document() -> None:
    event = AuditEvent(
        "authorization",
        "produce",
        "topic:orders",
        "allowed",
        "user:producer-app",
        client_ip="10.0.1.50",
        request_id="req-abc123",
    )
    fields = json.loads(encode(event, AT, 7, "ab"))
    assert fields == {
        "timestamp": "2026-01-25T10:30:00.123Z",
        "event_type": "authorization",
        "principal": "user:producer-app",
        "action": "produce",
        "resource": "topic:orders",
        "result": "allowed",
        "client_ip": "10.0.1.50",
        "request_id": "req-abc123",
        "reason": None,
        "listener": None,
        "mechanism": None,
        "tenant": None,
        "sequence": 7,
        "previous": "ab",
    }


def test_a_line_is_one_line_of_ascii_whatever_the_names_hold() -> None:
    event = AuditEvent("x", "a\nb\r\x00", 'topic:"},{"sequence":9', principal="user:\ud800\u2028é")
    data = encode(event, AT, 0, "")
    assert b"\n" not in data and data.isascii()
    assert json.loads(data)["sequence"] == 0


def test_texts_lists_and_lines_are_bounded() -> None:
    event = AuditEvent("x", "a", "r" * 10_000, details={f"d{i}": ["n" * 10_000] * 1000 for i in range(100)})
    data = encode(event, AT, 0, "")
    fields = json.loads(data)
    assert len(data) <= LINE_BYTES_MAX
    assert len(fields["resource"]) == TEXT_CHARS_MAX
    assert fields["details"] == {"truncated": True}
    small = json.loads(encode(AuditEvent("x", "a", details={"d": ["n"] * 103}), AT, 0, ""))
    assert small["details"]["d"][-1] == "and 3 more" and len(small["details"]["d"]) == 101


def test_the_configuration_names_the_same_types() -> None:
    assert EVENT_NAMES == EVENT_TYPES
    assert set(CHANGES) < set(EVENT_TYPES)


@pytest.mark.parametrize("kind", VALID_OPERATIONS)
def test_every_question_can_be_read_back(kind: ResourceType) -> None:
    name = CLUSTER_NAME if kind is ResourceType.CLUSTER else "a:b"
    for operation in VALID_OPERATIONS[kind]:
        found = operation_of(action_word(operation, kind), resource_text(kind, name))
        assert found == (operation, kind, name)


def test_what_is_no_question_is_refused() -> None:
    for action, resource in (("fly", "topic:x"), ("produce", "planet:x"), ("", "")):
        with pytest.raises(ValueError, match="no "):
            operation_of(action, resource)
