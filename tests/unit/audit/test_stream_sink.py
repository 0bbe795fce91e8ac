"""A cluster that cannot be reached, and authorities that are other ones by now."""

from __future__ import annotations

from pathlib import Path

import pytest

from rivven.audit import stream_sink
from rivven.audit.chain import Chain, Head
from rivven.audit.events import AuditEvent
from rivven.audit.sinks import SinkFailed
from rivven.audit.stream_sink import StreamSink
from tests.shipped.authority import Authority


def test_after_a_failure_authorities_are_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who changes the other cluster's authority restarts nothing."""
    monkeypatch.setattr(stream_sink, "DELIVERY_SECONDS_MAX", 0.3)
    ca = tmp_path / "ca.crt"
    ca.write_bytes(Authority().pem)
    settings = {
        "bootstrap.servers": "127.0.0.1:1",
        "security.protocol": "ssl",
        "ssl.ca.location": str(ca),
        "sasl.password": "canary-stream-password",
    }
    sink = StreamSink("audit", settings)
    sink.open()
    lines = [Chain(Head()).append(AuditEvent("authentication", "login"), 1000)]
    with pytest.raises(SinkFailed, match="stream: Local"):
        sink.write(lines, True)
    ca.write_bytes(b"no certificate")
    with pytest.raises(SinkFailed, match=r"ssl\.ca\.location"):
        sink.write(lines, True)
    assert "canary-stream-password" not in repr(sink)
    sink.close()
