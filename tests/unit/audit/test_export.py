"""Exports: CSV that no spreadsheet runs, OCSF objects with the required attributes of their classes."""

import csv
import io
import json

import pytest

from rivven.audit.chain import Chain, Head
from rivven.audit.events import EVENT_TYPES, AuditEvent
from rivven.audit.export import COLUMNS, csv_header, to_csv, to_ocsf

ALWAYS = {"activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"}
OF_CLASS = {
    3002: {"user"},
    3001: {"user"},
    3005: {"user", "privileges"},
    6002: {"app"},
    6003: {"actor", "api", "src_endpoint"},
}
"""What the classes of OCSF 1.5 require."""


def event(event_type: str = "authorization", action: str = "produce", **fields) -> dict:
    fields.setdefault("principal", "user:alice")
    return json.loads(Chain(Head()).append(AuditEvent(event_type, action, **fields), 1_769_337_000_123).data)


@pytest.mark.parametrize("event_type", [*EVENT_TYPES, "audit"])
@pytest.mark.parametrize("principal", ["user:alice", ""])
def test_every_type_becomes_a_valid_object(event_type: str, principal: str) -> None:
    made = to_ocsf(event(event_type, "create", resource="topic:t", result="denied", principal=principal))
    assert set(made) >= ALWAYS | OF_CLASS[made["class_uid"]]
    assert made["type_uid"] == made["class_uid"] * 100 + made["activity_id"]
    assert made["category_uid"] == made["class_uid"] // 1000
    assert made["time"] == 1_769_337_000_123 and made["metadata"]["version"] == "1.5.0"
    assert made["status_id"] == 2
    json.dumps(made)


def test_a_login_is_an_authentication() -> None:
    made = to_ocsf(event("authentication", "login", client_ip="10.0.0.1", mechanism="PLAIN"))
    assert (made["class_uid"], made["activity_id"], made["status_id"]) == (3002, 1, 1)
    assert made["user"]["name"] == "alice" and made["src_endpoint"] == {"ip": "10.0.0.1"}
    assert (made["auth_protocol_id"], made["auth_protocol"]) == (99, "PLAIN")
    assert to_ocsf(event("session", "end"))["activity_id"] == 2


def test_a_decision_is_api_activity_with_its_outcome() -> None:
    made = to_ocsf(event(resource="topic:orders", result="denied", reason="no rule", request_id="req-1"))
    assert (made["class_uid"], made["activity_id"], made["activity_name"]) == (6003, 99, "produce")
    assert made["api"]["operation"] == "produce"
    assert made["resources"] == [{"type": "topic", "name": "orders"}]
    assert (made["action"], made["status_detail"]) == ("Denied", "no rule")
    assert made["metadata"]["correlation_uid"] == "req-1"


def test_nothing_is_lost() -> None:
    made = to_ocsf(event("acl_change", "create", result="intent", details={"operation": "read"}))
    assert made["unmapped"]["details"] == {"operation": "read"} and made["privileges"] == ["read"]
    assert (made["status_id"], made["status"]) == (99, "intent")


def test_csv_is_parsed_back() -> None:
    text = csv_header() + "\n" + to_csv(event(reason='a "b",\nc', details={"x": 1}))
    header, row = csv.reader(io.StringIO(text))
    cells = dict(zip(header, row, strict=True))
    assert tuple(header) == COLUMNS
    assert cells["reason"] == 'a "b",\nc' and json.loads(cells["details"]) == {"x": 1}


@pytest.mark.parametrize("name", ["=1+1", "+x", "-x", "@x", "\tx"])
def test_a_name_is_no_formula(name: str) -> None:
    (row,) = csv.reader(io.StringIO(to_csv(event(resource=name))))
    assert "'" + name in row
