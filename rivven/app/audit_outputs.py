"""The audit outputs that reach beyond this machine, built from their settings; imported only where one is
named."""

from __future__ import annotations

import os
import socket

from rivven.audit.stream_sink import StreamSink
from rivven.audit.syslog_sink import SyslogServer, SyslogSink
from rivven.config.audit import AuditOutput
from rivven.config.values import parse_address
from rivven.security.tls import client_context


def syslog_sink(output: AuditOutput) -> SyslogSink:
    """A syslog output."""
    assert output.address is not None
    address = parse_address(output.address)
    server = SyslogServer(
        address.host,
        address.port,
        output.transport or "udp",
        output.facility or "auth",
        str(output.ca_path) if output.ca_path is not None else None,
    )
    return SyslogSink(server, socket.gethostname(), os.getpid(), client_context)


def stream_sink(output: AuditOutput) -> StreamSink:
    """A topic of another cluster; raises ValueError when its password cannot be read."""
    assert output.bootstrap_servers is not None
    assert output.topic is not None
    protocol = output.security_protocol or ("sasl_ssl" if output.username else "ssl")
    settings = {"bootstrap.servers": output.bootstrap_servers, "security.protocol": protocol}
    if output.username is not None and output.password is not None:
        settings["sasl.mechanism"] = output.mechanism or "SCRAM-SHA-512"
        settings["sasl.username"] = output.username
        settings["sasl.password"] = output.password.reveal()
    if output.ca_path is not None:
        settings["ssl.ca.location"] = str(output.ca_path)
    return StreamSink(output.topic, settings)
