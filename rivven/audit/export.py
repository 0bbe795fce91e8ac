"""Events in other systems' languages: CSV for tables, OCSF for security tools.

Pure. OCSF 1.5 (schema.ocsf.io): logins are class 3002, and so is the end of a session, as Logoff;
authorisation decisions and most changes are 6003 (API Activity), changes of users and grants 3001 (Account
Change) and 3005 (User Access Management), the trail's own events 6002 (Application Lifecycle). What has no
place in a class is under ``unmapped``, so nothing is lost.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from rivven.audit.events import (
    ALLOWED,
    AUTHENTICATION,
    AUTHORIZATION,
    DENIED,
    FAILURE,
    LIFECYCLE,
    SESSION,
    SUCCESS,
)

Event = Mapping[str, Any]

COLUMNS: Final = (
    "timestamp",
    "sequence",
    "event_type",
    "principal",
    "action",
    "resource",
    "result",
    "reason",
    "client_ip",
    "listener",
    "mechanism",
    "tenant",
    "request_id",
    "details",
    "previous",
)

OCSF_VERSION: Final = "1.5.0"
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What spreadsheets take for a formula at the start of a cell: names come from strangers."""


def csv_header() -> str:
    """The first line of a CSV file."""
    return _csv_line(COLUMNS)


def to_csv(event: Event) -> str:
    """One event as a line of CSV (RFC 4180)."""
    cells = []
    for name in COLUMNS:
        value = event.get(name)
        text = json.dumps(value, separators=(",", ":")) if isinstance(value, dict) else _cell(value)
        cells.append("'" + text if text.startswith(_FORMULA) else text)
    return _csv_line(cells)


def _cell(value: object) -> str:
    return "" if value is None else str(value)


def _csv_line(cells: tuple[str, ...] | list[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(cells)
    return out.getvalue()


# -- OCSF ----------------------------------------------------------------------------------------------------

_AUTHENTICATION, _ACCOUNT, _ACCESS, _LIFECYCLE, _API = 3002, 3001, 3005, 6002, 6003
_CATEGORIES: Final = {3: "Identity & Access Management", 6: "Application Activity"}
_CLASSES: Final = {
    _AUTHENTICATION: "Authentication",
    _ACCOUNT: "Account Change",
    _ACCESS: "User Access Management",
    _LIFECYCLE: "Application Lifecycle",
    _API: "API Activity",
}
_CLASS_OF: Final = {
    AUTHENTICATION: _AUTHENTICATION,
    SESSION: _AUTHENTICATION,
    LIFECYCLE: _LIFECYCLE,
    "audit": _LIFECYCLE,
    "user_change": _ACCOUNT,
    "acl_change": _ACCESS,
    "role_change": _ACCESS,
}
_ACTIVITIES: Final[Mapping[int, Mapping[str, int]]] = {
    _AUTHENTICATION: {"login": 1, "re-authenticate": 1, "end": 2},
    _ACCOUNT: {"create": 1, "delete": 6, "enable": 2, "disable": 5},
    _ACCESS: {"create": 1, "delete": 2},
    _LIFECYCLE: {"start": 3, "stop": 4},
    _API: {"create": 1, "consume": 2, "describe": 2, "describe-configs": 2, "alter": 3, "delete": 4},
}
"""OCSF's activity ids; 99 (Other) for the rest, with our word as its name."""
_OTHER: Final = 99


def to_ocsf(event: Event) -> dict[str, Any]:
    """One event as an OCSF object."""
    event_type, action = str(event.get("event_type")), str(event.get("action"))
    class_uid = _CLASS_OF.get(event_type, _API)
    activity = _ACTIVITIES[class_uid].get(action, _OTHER)
    refused = event.get("result") in (DENIED, FAILURE)
    made: dict[str, Any] = {
        "activity_id": activity,
        "activity_name": action,
        "category_uid": class_uid // 1000,
        "category_name": _CATEGORIES[class_uid // 1000],
        "class_uid": class_uid,
        "class_name": _CLASSES[class_uid],
        "type_uid": class_uid * 100 + activity,
        "time": _milliseconds(str(event.get("timestamp") or "")),
        "severity_id": 3 if refused else 1,
        "severity": "Medium" if refused else "Informational",
        **_status(event),
        "metadata": {
            "version": OCSF_VERSION,
            "product": {"name": "Rivven", "vendor_name": "Rivven"},
            "uid": str(event.get("sequence")),
            "sequence": event.get("sequence"),
            "log_name": event_type,
            "correlation_uid": event.get("request_id"),
        },
        "message": event.get("reason"),
        "unmapped": {
            name: event.get(name)
            for name in ("event_type", "result", "tenant", "previous", "details", "listener")
            if event.get(name) is not None
        },
    }
    if event.get("client_ip"):
        made["src_endpoint"] = {"ip": event["client_ip"]}
    user = _user(event.get("principal"))
    if class_uid == _AUTHENTICATION:
        made["user"] = user or {"name": "unknown", "type_id": 0}
        made["auth_protocol_id"], made["auth_protocol"] = _OTHER, event.get("mechanism") or "unknown"
        made["service"] = {"name": "rivven"}
    elif class_uid in (_ACCOUNT, _ACCESS):
        made["user"] = _user(event.get("resource")) or {"name": "unknown", "type_id": 0}
        made["actor"] = {"user": user} if user else {"app_name": "rivven"}
    else:
        made["actor"] = {"user": user} if user else {"app_name": "rivven"}
    if class_uid == _ACCESS:
        made["privileges"] = [str((event.get("details") or {}).get("operation") or action)]
    if class_uid == _API:
        made["api"] = {"operation": action, "service": {"name": "rivven"}}
        made["src_endpoint"] = made.get("src_endpoint") or {"name": "unknown"}
        kind, _, name = str(event.get("resource") or "cluster").partition(":")
        made["resources"] = [{"type": kind, "name": name or kind}]
    if class_uid == _LIFECYCLE:
        made["app"] = {"name": "rivven", "vendor_name": "Rivven"}
    if event_type == AUTHORIZATION:
        made["action_id"], made["action"] = (2, "Denied") if refused else (1, "Allowed")
    return {name: value for name, value in made.items() if value is not None}


def _status(event: Event) -> dict[str, Any]:
    result = event.get("result")
    if result in (SUCCESS, ALLOWED):
        return {"status_id": 1, "status": "Success"}
    if result in (FAILURE, DENIED):
        return {"status_id": 2, "status": "Failure", "status_detail": event.get("reason") or result}
    return {"status_id": _OTHER, "status": str(result)}


def _user(text: object) -> dict[str, Any] | None:
    if not isinstance(text, str) or not text:
        return None
    return {"name": text.partition(":")[2] or text, "uid": text, "type_id": 0}


def _milliseconds(text: str) -> int:
    try:
        return int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)
    except ValueError:
        return 0
