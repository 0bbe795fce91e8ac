"""Every code block of the README, run as it stands there: the README cannot lie.

A block is named by its heading and its place below it; one that is not named here fails the first test.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from tests.dev.configured import ConfiguredServer
from tests.dev.stranger import Stranger
from tests.interop.programs import JavaPrograms, NodePrograms
from tests.shipped.dev import DevBroker
from tests.shipped.on_disk import holding

ROOT = Path(__file__).parents[2]

TARGETS = "Try it"
FIRST_STEPS = "Try it, 2"
PYTHON = {
    "Python: confluent-kafka": "hello from confluent-kafka",
    "Python: aiokafka": "hello from aiokafka",
    "Python: kafka-python": "hello from kafka-python",
}
KCAT, NODE, JAVA, TOOLS = "kcat", "Node.js: kafkajs", "Java", "Kafka's command line tools"
SERVER = "On a server"
CERTIFICATES, OPENSSL = "Certificates", "Certificates, 2"  # test_readme_certificates.py
RIGHTS = "Who may come, what they may do, what they did"
USERS, TOKENS, ROLES, AUDIT, ADMIN_API, QUOTAS = (
    RIGHTS if number == 1 else f"{RIGHTS}, {number}" for number in range(1, 7)
)
ENCRYPTION = "Encryption at rest"
SWITCHED_ON, KEYS, SHREDDED = ENCRYPTION, f"{ENCRYPTION}, 2", f"{ENCRYPTION}, 3"
DURABILITY = "What is promised, and what it costs"


def blocks() -> dict[str, str]:
    """Heading (and number below it, from the second on) -> what is between the fences."""
    found: dict[str, str] = {}
    heading = ""
    pattern = r"^#+ (?P<heading>[^\n]+)$|^```\w+\n(?P<code>.*?)^```$"
    for match in re.finditer(pattern, (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL):
        # A comment in a shell block is no heading: a block is matched whole, from its first fence.
        if match["heading"]:
            heading, number = match["heading"], 1
        else:
            found[heading if number == 1 else f"{heading}, {number}"] = match["code"]
            number += 1
    return found


def test_every_block_is_run_by_a_test_below() -> None:
    rights = {USERS, TOKENS, ROLES, AUDIT, ADMIN_API, QUOTAS}
    known = {TARGETS, FIRST_STEPS, *PYTHON, KCAT, NODE, JAVA, TOOLS, SERVER, *rights, DURABILITY}
    known |= {CERTIFICATES, OPENSSL, SWITCHED_ON, KEYS, SHREDDED}
    assert set(blocks()) == known
    fences = re.findall(r"^```", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(fences) == 2 * len(known)


def test_make_targets_stand_at_the_top() -> None:
    """`make run` is started in test_make.py; `make test` is what runs this."""
    first = next(iter(blocks().items()))
    assert first[0] == TARGETS
    targets = re.findall(r"^make (\w+)", first[1], re.MULTILINE)
    assert targets == ["run", "test"]
    for target in targets:
        planned = subprocess.run(
            ["make", "-n", target], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
        )
        assert planned.returncode == 0, planned.stderr


def test_first_steps(stranger: Stranger) -> None:
    assert stranger.types(blocks()[FIRST_STEPS]).splitlines()[-1] == "hello, world"


@pytest.mark.parametrize("heading", PYTHON)
def test_python(stranger: Stranger, heading: str) -> None:
    script = stranger.saves("snippet.py", blocks()[heading])
    assert PYTHON[heading] in stranger.types(f"{sys.executable} {script.name}").splitlines()


@pytest.mark.interop
def test_kcat(stranger: Stranger, kcat: str) -> None:
    assert "hello from kcat" in stranger.types(blocks()[KCAT]).splitlines()


@pytest.mark.interop
def test_kafkajs(stranger: Stranger, node: NodePrograms) -> None:
    script = stranger.saves("snippet.mjs", blocks()[NODE])
    assert "hello from kafkajs" in node.run_file(script, stranger.directory).splitlines()


@pytest.mark.interop
def test_java(stranger: Stranger, java: JavaPrograms) -> None:
    source = stranger.saves("Hello.java", blocks()[JAVA])
    assert "hello from Java" in java.run_file(source, stranger.directory).splitlines()


@pytest.mark.interop
def test_kafka_tools(stranger: Stranger, kafka_scripts: Path) -> None:
    assert "from-tools" in stranger.types(blocks()[TOOLS], path=kafka_scripts).splitlines()


def test_who_may_come_what_they_may_do_what_they_did(stranger: Stranger) -> None:
    """One after the other, as a reader goes through them: later blocks speak of what earlier ones made."""
    printed = stranger.types(blocks()[USERS])
    assert re.search(r"orders\b.*", printed)
    assert "alice" in printed

    printed = stranger.types(blocks()[TOKENS])
    assert re.search(r"rvn_[0-9A-Za-z]{65}", printed)
    assert "revoked" in printed

    made = json.loads(stranger.types("rivven auth token create --name tried --ttl 1h -o json"))
    by_token = {"sasl.mechanism": "PLAIN", "sasl.username": "token", "sasl.password": made["token"]}
    assert AdminClient({**stranger.profile, **by_token}).list_topics(timeout=15).brokers, "every client can"

    printed = stranger.types(blocks()[ROLES])
    assert "ALLOWED: user:alice consume topic:orders" in printed
    assert "DENIED: user:alice delete topic:orders" in printed
    assert "role shipping allows READ" in printed

    printed = stranger.types(blocks()[AUDIT])
    assert re.search(r"acl_change .*topic:orders .*intent", printed)
    assert "intact" in printed

    assert "1000000" in stranger.types(blocks()[QUOTAS])


def test_the_admin_api(stranger: Stranger) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    address = f"localhost:{str(stranger.broker.ready['admin']).rpartition(':')[2]}"
    printed = stranger.types(blocks()[ADMIN_API].replace("localhost:9094", address))
    assert json.loads(printed)["principal"] == "User:admin"


def test_encryption_at_rest(tmp_path: Path) -> None:
    """Switched on for a development server that has a topic in plain, then block by block."""
    assignment, command = blocks()[SWITCHED_ON].strip().split(" ", 1)
    assert command == "make run"
    secret = b"for few eyes"
    with DevBroker(tmp_path) as broker:
        before = Stranger(broker)
        before.types(f"rivven topic create earlier\nrivven produce earlier '{secret.decode()}'")
    assert holding(tmp_path / "data", secret), "the control"
    name, _, value = assignment.partition("=")
    broker.server_environment[name] = value
    with broker:
        printed = before.types(blocks()[KEYS])
        assert re.search(r"customers\b", printed)
        before.types("rivven keys reencrypt --topic earlier --follow")
        assert not holding(tmp_path / "data", secret)
        assert "does not cover:" in before.types(blocks()[SHREDDED]), "which only a valid certificate says"
        assert "customers" not in before.types("rivven topic list")
        assert secret.decode() in before.types("rivven consume earlier --from-beginning --exit-at-end")


def test_durability_settings(stranger: Stranger) -> None:
    stranger.types(blocks()[DURABILITY])
    assert "flush.messages" not in [
        line.split()[0] for line in stranger.types("rivven topic describe fast").splitlines() if line.strip()
    ], "back at the default"
    assert "10000" not in stranger.types("rivven topic describe fast")


def test_server(tmp_path: Path) -> None:
    """The two commands with the file they name."""
    initialise, serve = blocks()[SERVER].strip().splitlines()
    server = ConfiguredServer(tmp_path / "server")
    stored = server.run(initialise)
    assert stored.returncode == 0, stored.stderr
    assert "password" in stored.stdout
    facts, code = server.serve(serve)
    assert facts["event"] == "ready"
    assert code == 0
