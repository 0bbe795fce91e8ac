"""The section `audit`: the Rivven document's examples are taken, contradictions are refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from rivven.config.audit import FACILITIES, AuditConfig
from rivven.config.load import ConfigError, parse_yaml, validate

LISTENER = {"name": "main", "bind": "127.0.0.1:9092", "protocol": "sasl_plaintext"}

DOCUMENT = b"""
audit:
  enabled: true
  log_path: /var/log/rivven/audit.log
  events:
    - authentication
    - authorization
    - topic_create
    - topic_delete
    - acl_change
    - config_change
  format: json
"""
SHIPPING = b"""
audit:
  output:
    - type: file
      path: /var/log/rivven/audit.log
    - type: stream
      bootstrap_servers: rivven:9292
      topic: security-audit
    - type: syslog
      address: syslog.example.com:514
      facility: auth
"""


def audit(text: bytes) -> AuditConfig:
    return validate({"listeners": [LISTENER], **parse_yaml(text, "f")}, "f").audit


def test_the_examples_of_the_security_document() -> None:
    first, second = audit(DOCUMENT), audit(SHIPPING)
    assert (
        first.file_path(Path("data")) == second.file_path(Path("data")) == Path("/var/log/rivven/audit.log")
    )
    assert len(first.events) == 6
    assert [(one.type, one.is_required) for one in second.outputs] == [
        ("file", True),
        ("stream", False),
        ("syslog", False),
    ]


def test_nothing_said_is_a_required_file_in_the_data_directory() -> None:
    made = AuditConfig()
    assert made.enabled and [one.type for one in made.outputs] == ["file"] and made.outputs[0].is_required
    assert made.file_path(Path("data")) == Path("data/audit/audit.log")


def test_without_a_file_output_there_is_no_file() -> None:
    assert audit(b"audit: {output: [{type: topic}]}").file_path(Path("data")) is None


@pytest.mark.parametrize(
    ("text", "key", "reason"),
    [
        (b"{events: [everything]}", "audit.events", "is none of authentication"),
        (b"{format: xml}", "audit.format", "'json'"),
        (b"{output: [{type: file, topic: x}]}", "audit", "means nothing for type file"),
        (b"{output: [{type: file}, {type: file}]}", "audit", "one file is enough"),
        (b"{log_path: a, output: [{type: topic}]}", "audit", "no output has the type file"),
        (b"{log_path: a, output: [{type: file, path: b}]}", "audit", "said twice"),
        (b"{output: [{type: stream, topic: x}]}", "", "needs bootstrap_servers"),
        (b"{output: [{type: syslog}]}", "", "needs an address"),
        (b"{output: [{type: syslog, address: 'h:1', required: true}]}", "", "cannot be required"),
        (b"{output: [{type: syslog, address: 'h:1', facility: moon}]}", "", "'moon' is none of"),
        (b"{output: [{type: stream, bootstrap_servers: 'h:1', topic: x, username: u}]}", "", "together"),
        (
            b"{output: [{type: stream, bootstrap_servers: 'h:1', topic: x, username: u, password: pw}]}",
            "",
            "reference",
        ),
        (b"{queue_events: 1}", "audit.queue_events", "100"),
        (b"{sink: x}", "audit.sink", "unknown key"),
    ],
)
def test_what_makes_no_sense_is_refused(text: bytes, key: str, reason: str) -> None:
    with pytest.raises(ConfigError) as refused:
        audit(b"audit: " + text)
    (problem,) = refused.value.problems
    assert key in str(problem) and reason in str(problem)
    assert "pw" not in str(problem).split()


def test_facilities_have_the_codes_of_the_rfc() -> None:
    assert (FACILITIES.index("kern"), FACILITIES.index("authpriv"), FACILITIES.index("local7")) == (0, 10, 23)
