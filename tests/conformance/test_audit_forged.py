"""A short audit log that somebody without the key wrote anew, chained without a fault."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rivven.audit.chain import GENESIS, line_hash
from rivven.audit.verify import NOTHING_SIGNED
from tests.conformance.client import Client
from tests.shipped.broker import ShippedBroker
from tests.shipped.trail import log_of, rivven_audit


def written_anew(lines: list[bytes], *, drop: str) -> bytes:
    """The events without those of the action `drop`, numbered and chained from the beginning."""
    previous, made = GENESIS, []
    for number, fields in enumerate(one for one in map(json.loads, lines) if one["action"] != drop):
        fields |= {"sequence": number, "previous": previous}
        fields.pop("signature", None)
        line = json.dumps(fields, separators=(",", ":")).encode()
        previous = line_hash(line)
        made.append(line + b"\n")
    return b"".join(made)


@pytest.mark.parametrize("changed", [False, True])
def test_a_short_log_without_any_signature_is_found_without_a_head(
    own_directory: Path, changed: bool
) -> None:
    with ShippedBroker(own_directory) as broker:
        with Client(broker.connection()) as admin:
            topic = admin.create_topic()
        assert broker.stop() == 0
    log = log_of(broker)
    rivven_audit("verify", log.parent)
    lines = log.read_bytes().splitlines()
    if changed:
        lines = [line.replace(topic.encode(), b"another-topic") for line in lines]
    log.write_bytes(written_anew(lines, drop="checkpoint"))
    report = json.loads(rivven_audit("verify", log.parent, "-o", "json", code=7))
    assert [(one["line"], one["reason"]) for one in report["findings"]] == [(0, NOTHING_SIGNED)]
    with broker:  # the next start knows how far the log went
        assert "the audit log ends before line" in broker.logged()
