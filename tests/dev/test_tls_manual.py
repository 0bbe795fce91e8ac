"""The runbooks of docs/tls.md: each line typed against the shipped command, and its promise looked at."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rivven.security import pki
from tests.dev.runbook import Operator, blocks

PAGE = Path(__file__).parents[2] / "docs" / "tls.md"
FIRST, SERVER, AUTHORITY, REVOKE, ENDED = (
    "Runbook: the first authority and certificates",
    "Runbook: rotate a server certificate",
    "Runbook: rotate the authority",
    "Runbook: revoke a client's certificate",
    "Runbook: a certificate has ended",
)
PICKED_UP_SECONDS = 10.0
"""What the project promises; it takes about half a second."""


def scripts(heading: str) -> list[str]:
    return [text for language, text in blocks(PAGE, heading) if language == "sh"]


def within(seconds: float, done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.fixture
def operator(tmp_path: Path, certified: Operator) -> Iterator[Operator]:
    """The first runbook done: authority, broker, admin and alice."""
    made = Operator(tmp_path)
    made.goes_on_from(certified)
    [configuration] = [text for language, text in blocks(PAGE, FIRST) if language == "yaml"]
    [settings] = [text for language, text in blocks(PAGE, FIRST) if language == "properties"]
    made.saves("/etc/rivven/rivven.yaml", configuration)
    made.saves("admin.properties", settings)
    _judge, start = scripts(FIRST)[1].strip().splitlines()
    made.serves(start)
    yield made
    made.stops()


def let_alice_in(operator: Operator) -> None:
    assert operator.types(scripts(FIRST)[2]).splitlines()[-1] == "hello"


class Client:
    """A client's TLS connection that stays open, as far as one request (ApiVersions)."""

    def __init__(self, operator: Operator, name: str = "alice", authority: str = "pki") -> None:
        directory = operator.directory
        context = ssl.create_default_context(cafile=str(directory / authority / "ca.crt"))
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.load_cert_chain(directory / authority / f"{name}.crt", directory / authority / f"{name}.key")
        raw = socket.create_connection(("localhost", operator.port), timeout=PICKED_UP_SECONDS)
        self.socket = context.wrap_socket(raw, server_hostname="localhost")
        self.shown = self.socket.getpeercert(True)

    def works(self) -> bool:
        """Whether it is answered."""
        try:
            self.socket.sendall(struct.pack(">ihhih", 10, 18, 0, 7, -1))
            answer = self.socket.recv(4096)
        except OSError:
            return False
        return answer[4:8] == struct.pack(">i", 7)

    def ends(self) -> float:
        """Seconds until the broker closes it."""
        begun = time.monotonic()
        try:
            assert self.socket.recv(1) == b""
        except ConnectionResetError:
            pass
        return time.monotonic() - begun

    def close(self) -> None:
        self.socket.close()


def serial_in(path: Path) -> str:
    certificate = pki.x509.load_pem_x509_certificate(path.read_bytes())
    return f"{certificate.serial_number:x}"


def test_the_first_authority(operator: Operator) -> None:
    judge, _start = scripts(FIRST)[1].strip().splitlines()
    assert "problem" not in operator.types(judge)
    let_alice_in(operator)
    daily = scripts(FIRST)[3]
    assert "ends soon" not in operator.types(daily)
    assert "ends soon" in operator.types(daily.partition("\n")[0].replace("30d", "400d"), code=1), "a control"
    refused = operator.types("rivven --command-config alice.properties topic delete orders --yes", code=12)
    assert "orders" in refused


def test_every_block_is_typed() -> None:
    """One that is added must be typed by a test below."""
    counts = {heading: len(scripts(heading)) for heading in (FIRST, SERVER, AUTHORITY, REVOKE, ENDED)}
    assert counts == {FIRST: 4, SERVER: 2, AUTHORITY: 6, REVOKE: 3, ENDED: 4}
    fences = re.findall(r"^```\w+$", PAGE.read_text(), re.MULTILINE)
    assert len(fences) == sum(counts.values()) + 2


def test_rotate_a_server_certificate(operator: Operator) -> None:
    let_alice_in(operator)
    before = Client(operator)
    issue, look = scripts(SERVER)
    operator.types(issue)

    def is_new() -> bool:
        client = Client(operator)
        client.close()
        return client.shown != before.shown

    within(PICKED_UP_SECONDS, is_new, operator.tail())
    assert before.works(), "the connection from before stays"
    before.close()
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: the second step was not typed")
    served, in_file = re.findall(r"serial(?:=|: +)([0-9A-Fa-f]+)", operator.types(look))
    assert served.lower().lstrip("0") == in_file == serial_in(operator.etc / "tls" / "server.crt")


def test_rotate_the_authority(operator: Operator) -> None:
    let_alice_in(operator)
    make, trust_both, issue, look, drop, remedy = scripts(AUTHORITY)
    operator.types(make)
    operator.types(trust_both)
    operator.types("rivven --command-config alice.properties produce orders 'between the stages'")
    operator.types(issue)
    assert works(operator, "admin.properties")
    operator.types("rivven --command-config alice.properties produce orders 'the old one still counts'")
    assert "CN=Example CA" in operator.types(look)

    old = ssl.create_default_context(cafile=str(operator.directory / "both.crt"))
    old.load_cert_chain(operator.directory / "pki" / "alice.crt", operator.directory / "pki" / "alice.key")
    raw = socket.create_connection(("localhost", operator.port), timeout=PICKED_UP_SECONDS)
    forgotten = old.wrap_socket(raw, server_hostname="localhost")
    forgotten.sendall(struct.pack(">ihhih", 10, 18, 0, 7, -1))
    assert forgotten.recv(4096)
    assert "problem" not in operator.types(drop)
    with forgotten:
        try:
            assert forgotten.recv(1) == b""
        except ConnectionResetError:
            pass
    refused = "rivven --timeout 2 --command-config alice.properties produce orders late"
    assert works(operator, "admin.properties")
    assert not re.search(r"^late$", operator.types(f"{refused} || true"), re.MULTILINE)
    if shutil.which("shred") is None:
        remedy = remedy.replace("shred -u", "rm")
    operator.types(remedy)
    assert not (operator.directory / "pki" / "ca.key").exists()
    said = operator.types(
        "rivven --command-config admin.properties consume orders --from-beginning --count 4"
    )
    assert said.splitlines() == ["hello", "between the stages", "the old one still counts", "back again"]


def works(operator: Operator, settings: str) -> bool:
    return "orders" in operator.types(f"rivven --command-config {settings} topic list")


def test_revoke_a_certificate(operator: Operator) -> None:
    let_alice_in(operator)
    alice, admin = Client(operator), Client(operator, "admin")
    assert alice.works() and admin.works()
    revoke, look, renew = scripts(REVOKE)
    serial = serial_in(operator.directory / "pki" / "alice.crt")
    operator.types(revoke)
    assert alice.ends() < PICKED_UP_SECONDS
    assert admin.works(), "nobody else is disturbed"
    again = Client(operator)  # TLS 1.3 tells the client later than its handshake ends
    assert not again.works()
    assert serial in operator.types(look)
    operator.types(renew)
    for client in (alice, admin, again):
        client.close()


def make_an_ended_certificate(operator: Operator) -> None:
    """What `rivven tls issue` made ninety-one days ago, in the place of the broker's pair."""
    directory = operator.directory / "pki"
    signer = pki.load_authority(
        (directory / "ca.crt").read_bytes(), (directory / "ca.key").read_bytes(), None
    )
    key = pki.make_key()
    name = pki.alternative_name("localhost")
    request = pki.Request(pki.subject_name("localhost"), (name,), "server", timedelta(days=90))
    made = pki.issue(request, key, signer, datetime.now(UTC) - timedelta(days=91))
    place = operator.etc / "tls"
    (place / "server.key").write_bytes(pki.key_pem(key))
    (place / "server.crt").write_bytes(pki.certificate_pem(made))


def test_a_certificate_has_ended(operator: Operator) -> None:
    let_alice_in(operator)
    operator.stops()
    make_an_ended_certificate(operator)
    operator.serves(scripts(FIRST)[1].strip().splitlines()[1])
    with pytest.raises(ssl.SSLCertVerificationError, match="has expired"):
        Client(operator)
    find, issue, renew, judge = scripts(ENDED)
    assert re.search(r"localhost.* expired", operator.types(find, code=1))
    operator.types(judge, code=3)
    operator.types(issue)
    operator.types(renew)
    assert "problem" not in operator.types(judge)
