"""The development profile: what `rivven server --dev` runs with when no file says otherwise.

The same values stand, commented, in config/development.yaml (a test compares them). It only names files;
making the certificates and the first password is the work of security.bootstrap.
"""

from __future__ import annotations

import socket
from pathlib import Path

DEV_PORT = 9092
DEV_ADMIN_PORT = 9094
DEV_MECHANISMS = ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"]
"""PLAIN beside SCRAM, so that API tokens can be tried with every client."""


def development_settings(
    data_dir: Path, *, port: int = DEV_PORT, ipv6: bool | None = None
) -> dict[str, object]:
    """The profile as the configuration file would hold it; `ipv6` adds the ::1 listener (None: where there
    is one). On another port than the usual metrics and Admin API take any free one: a second server runs
    beside the first."""
    usual_listener = {"protocol": "sasl_ssl", "sasl": DEV_MECHANISMS}
    listeners: list[dict[str, object]] = [{"name": "dev", "bind": f"127.0.0.1:{port}", **usual_listener}]
    if has_ipv6_loopback() if ipv6 is None else ipv6:
        listeners.append({"name": "dev6", "bind": f"[::1]:{port}", **usual_listener})
    dev_files = data_dir / "dev"
    usual = port == DEV_PORT
    metrics: dict[str, object] = {} if usual else {"metrics": {"bind": "127.0.0.1:0"}}
    return {
        "data_dir": str(data_dir),
        "listeners": listeners,
        "server": {
            "tls": {"cert_path": str(dev_files / "server.crt"), "key_path": str(dev_files / "server.key")}
        },
        "authorization": {"super_users": ["User:admin"]},
        "broker": {"group.initial.rebalance.delay.ms": 0, "offsets.topic.num.partitions": 1},
        "admin": {"bind": f"127.0.0.1:{DEV_ADMIN_PORT if usual else 0}"},
        "logging": {"format": "human"},
        **metrics,
    }


def has_ipv6_loopback() -> bool:
    """Whether this machine can listen on ::1."""
    if not socket.has_ipv6:
        return False
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
