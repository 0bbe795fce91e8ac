"""Every command of docs/cli.md, run once with the shipped `rivven` against the shipped broker.

What each does in detail is tested elsewhere; here no documented command is without a run that works.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from tests.dev.test_manual import documented_commands
from tests.shipped.broker import RIVVEN, ShippedBroker
from tests.shipped.client_certificates import ClientAuthority

SECONDS_MAX = 60
CONFORMANCE = Path(__file__).parent.parent / "conformance"
POLICY = '@id("writers")\npermit (principal in Group::"g", action == Action::"Write", resource is Topic);\n'
ROLES = "roles:\n  shipping:\n    permissions:\n      - {resource: 'topic:orders-*', actions: [consume]}\n"
TESTS = """
tests:
  - {principal: 'user:x', groups: [g], action: produce, resource: 'topic:orders', expected: allow}
  - {principal: 'user:x', action: produce, resource: 'topic:orders', expected: deny}
"""

# A line, and what must be in its output; {name} is filled in by the test.
LINES = [
    ("cluster info", "controller"),
    ("topic create manual --partitions 2 --config retention.ms=86400000", "manual"),
    ("topic list", "manual"),
    ("topic alter manual --set max.message.bytes=20000 --unset retention.ms", ""),
    ("topic add-partitions manual 3", ""),
    ("topic describe manual", "max.message.bytes"),
    ("produce manual 'hello manual' --key k --partition 0", ""),
    ("consume manual --from-beginning --exit-at-end --group readers", "hello manual"),
    ("group list", "readers"),
    ("group describe readers", "manual"),
    ("group reset-offsets readers --to-earliest --yes", "manual"),
    ("group delete readers --yes", "readers"),
    ("topic delete manual --yes", "manual"),
    ("user create mina --password-file {password} --iterations 4096 --group g", "mina"),
    ("user list", "mina"),
    ("user groups mina --add staff --remove g", "staff"),
    ("user show mina", "staff"),
    ("user passwd mina --generate", ""),
    ("user disable mina", "mina"),
    ("user enable mina", "mina"),
    ("acl add --principal user:mina --resource 'topic:orders-*' --action produce --allow", "orders-"),
    ("acl list --principal user:mina", "orders-"),
    ("authz explain --principal user:mina --action produce --resource topic:orders-1", "allow"),
    ("authz who-can produce topic:orders-1", "mina"),
    ("authz show user:mina", "orders-"),
    ("acl remove --principal user:mina --yes", "orders-"),
    ("role create shipping --permission 'topic:orders-*:consume'", "shipping"),
    ("role list", "shipping"),
    ("role grant shipping user:mina", "mina"),
    ("role describe shipping", "mina"),
    ("role revoke shipping user:mina", "mina"),
    ("role delete shipping --yes", "shipping"),
    ("auth hash-password --password-file {password} --iterations 4096", "$scram-sha-256$4096$"),
    ("auth token create --name manual --ttl 1h --scope 'topic:orders-*:produce'", "rvn_"),
    ("auth token list", "manual"),
    ("auth token rotate manual --overlap 1m", "rvn_"),
    ("auth token revoke manual --yes", ""),
    ("quota set --user mina producer_byte_rate=1000000", "user=mina"),
    ("quota list", "mina"),
    ("quota remove --user mina producer_byte_rate", ""),
    ("session list", "User:admin"),
    ("session kill --principal user:admin --yes", "ended"),
    ("revocation add --certificate {certificate} --reason 'laptop lost'", ""),
    ("revocation list", "laptop lost"),
    ("revocation remove {revocation} --yes", ""),
    ("tls principal-test {certificate} --rule 'RULE:^CN=([^,]*),O=Shop$/x-$1/'", "x-Duke"),
    ("policy check {policies}", ""),
    ("policy schema", "entity"),
    ("policy list", "writers"),
    ("authz test {tests} --policies {policies}", ""),
    ("authz replay --since 1h --policies {policies} --rbac {roles} --audit-log {audit}", ""),
    ("audit tail --lines 5 {audit}/audit.log", ""),
    ("audit search --type role_change {audit}/audit.log", "shipping"),
    ("audit export --format ocsf --type role_change {audit}/audit.log", "shipping"),
    ("audit verify {audit}", ""),
    ("config check {config}", ""),
    ("config show {config}", "data_dir"),
    ("config defaults", "listeners"),
    ("completion bash", "rivven"),
    ("tls init-ca --cn 'Manual CA' --dir {pki}", "Manual CA"),
    ("tls issue --cn localhost --san dns:localhost --dir {pki}", "localhost"),
    ("tls issue --profile client --cn duke --dir {pki}", "duke"),
    ("tls crl --revoke {pki}/duke.crt --dir {pki}", ""),
    ("tls inspect {pki}/localhost.crt", "Manual CA"),
    ("tls expiry {pki}/localhost.crt {pki}/ca.crt", "localhost"),
    ("tls verify-config {config}", ""),
    ("topic create sealed", "sealed"),
    ("produce sealed 'for a year'", ""),
    ("keys list --topics", "sealed"),
    ("keys rotate", ""),
    ("keys rewrap", ""),
    ("keys reencrypt --topic sealed --follow", ""),
    ("keys shred --topic sealed --yes --certificate {pki}/erasure.json", "complete"),
    ("keys certificates", "sealed"),
    ("keys certificate {erasure} {pki}/again.json", ""),
    ("keys export-public-key", "BEGIN PUBLIC KEY"),
    ("keys verify-certificate {pki}/again.json --public-key {public_key}", "sealed"),
    ("user delete mina --yes", "mina"),
]
STOPPED = [("log verify {data}", ""), ("log dump {segment} --records", "")]
STARTING = {"server", "server init"}
"""`ShippedBroker` runs these two."""
IN_OTHER_STATES = {"keys init": "test_keys_init.py", "keys start-over": "test_keys_lost.py"}
"""Commands for a broker without keys or with lost ones: modules of tests/conformance run them."""


@dataclass
class Typist:
    """Types lines in a directory as an administrator."""

    directory: Path
    profile: Path
    values: dict[str, Any]
    said: dict[str, str] = field(default_factory=dict)

    def types(self, line: str, expected: str) -> None:
        words = [word.format(**self.values) for word in shlex.split(line)]
        done = subprocess.run(
            [RIVVEN, "--command-config", self.profile, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
            cwd=self.directory,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        assert expected in done.stdout + done.stderr, f"{line}\n{done.stdout}{done.stderr}"
        self.said[command_of(line)] = done.stdout


def command_of(line: str) -> str:
    """The longest documented command the line begins with."""
    names = [name for name, _ in documented_commands()]
    return max((name for name in names if f"{line} ".startswith(f"{name} ")), key=len)


def test_every_documented_command_is_run_here() -> None:
    run = {command_of(line) for line, _ in LINES + STOPPED} | STARTING | set(IN_OTHER_STATES)
    assert run == {name for name, _ in documented_commands()}
    for command, module in IN_OTHER_STATES.items():
        assert command.split()[-1] in (CONFORMANCE / module).read_text()


@pytest.mark.timeout(180)  # sixty processes one after the other
def test_the_commands_of_the_manual(tmp_path: Path) -> None:
    files = {
        "policies/p.cedar": POLICY,
        "roles.yaml": ROLES,
        "tests.yaml": TESTS,
        "password": "Canary-pass 71!\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    authorization = {
        "super_users": ["User:admin"],
        "authorizers": ["acl", "rbac", "cedar"],
        "cedar": {"policy_dir": str(tmp_path / "policies")},
    }
    extra = {"authorization": authorization, "storage": {"encryption": {"enabled": True}}}
    with ShippedBroker(tmp_path / "broker", extra=extra) as broker:
        profile = broker.connection().librdkafka_file(tmp_path / "client.properties")
        with profile.open("a") as more:
            more.write(f"admin.url={broker.admin_url()}\n")
        values = {
            "password": tmp_path / "password",
            "certificate": ClientAuthority(tmp_path / "clients").issue("Duke").certificate,
            "policies": tmp_path / "policies",
            "roles": tmp_path / "roles.yaml",
            "tests": tmp_path / "tests.yaml",
            "audit": broker.data / "audit",
            "config": broker.config_path,
            "data": broker.data,
            "pki": tmp_path / "pki",
            "public_key": tmp_path / "erasure.pem",
        }
        typist = Typist(tmp_path, profile, values)
        connected = AdminClient({**broker.connection().librdkafka(), "error_cb": lambda _error: None})
        assert connected.list_topics(timeout=10).brokers  # somebody to be listed and thrown out
        for line, expected in LINES:
            if "{revocation}" in line:
                values["revocation"] = re.findall(r"[0-9a-f]{8,}\S*", typist.said["revocation list"])[0]
            if "{erasure}" in line:
                values["erasure"] = json.loads((tmp_path / "pki/erasure.json").read_text())["certificate_id"]
            if "{public_key}" in line:
                (tmp_path / "erasure.pem").write_text(typist.said["keys export-public-key"])
            typist.types(line, expected)
        assert broker.stop() == 0, broker.tail()
        values["segment"] = next(broker.data.glob("partitions/*/*.log"))
        for line, expected in STOPPED:
            typist.types(line, expected)
