"""Certificates that change while clients are connected: who is shown what, who stays and who must go."""

from __future__ import annotations

import hashlib
import os
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rivven.types import Operation, ResourceType
from tests.conformance.client import Client
from tests.conformance.live import KINDS, PROMISED_S, Live, is_refused
from tests.conformance.process import LogTail
from tests.conformance.tls_peers import Returning, connected, served_by
from tests.conformance.web import Web
from tests.shipped.authority import Authority, Issued
from tests.shipped.broker import ShippedBroker
from tests.shipped.client_certificates import ClientFiles
from tests.shipped.connection import Connection
from tests.shipped.running_time import running_time
from tests.shipped.trail import wait_for

MTLS = "ssl"
PICKED_UP_S = 10.0


class World:
    """A broker, the files it was told of, and who may change them."""

    def __init__(self, directory: Path) -> None:
        self.tls = directory / "tls"
        self.tls.mkdir(parents=True)
        self.root, self.clients, self.others = Authority(), Authority("clients"), Authority("others")
        self.root_path = self.tls / "root.crt"
        self.root_path.write_bytes(self.root.pem)
        self.show(self.root.issue())
        self.trust(self.clients, self.others)
        self.revoke()
        pair = {"cert_path": str(self.tls / "leaf.crt"), "key_path": str(self.tls / "leaf.key")}
        asking = {
            **pair,
            "ca_path": str(self.tls / "ca.crt"),
            "crl_path": str(self.tls / "crl.pem"),
        }
        extra = {
            "listeners": [
                {"name": "sasl_ssl", "bind": "127.0.0.1:0", "protocol": "sasl_ssl"},
                {
                    "name": MTLS,
                    "bind": "127.0.0.1:0",
                    "protocol": "ssl",
                    "tls": {**asking, "client_auth": "required"},
                },
            ],
            "server": {"tls": pair},
            "admin": {"bind": "127.0.0.1:0", "tls": {**asking, "client_auth": "optional"}},
            "auth": {"mtls_mapping": {"type": "common_name"}},
        }
        settings = {"connection.failed.authentication.delay.ms": 0}
        self.broker = ShippedBroker(directory / "broker", settings=settings, extra=extra)
        self._files = 0

    def show(self, leaf: Issued) -> Issued:
        """Put the pair in place, each file by rename."""
        leaf.write(self.tls, "new")
        for end in ("key", "crt"):
            os.replace(self.tls / f"new.{end}", self.tls / f"leaf.{end}")
        return leaf

    def trust(self, *authorities: Authority) -> None:
        self._replace("ca.crt", b"".join(one.pem for one in authorities))

    def revoke(self, *clients: Issued, seconds: float = 86_400.0) -> None:
        """The list of the authority `clients`; `others` has none."""
        self._replace("crl.pem", self.clients.crl(*clients, seconds=seconds))

    def connection(self, name: str = "sasl_ssl", client: Issued | None = None) -> Connection:
        connection = self.broker.connection(name).with_ca(self.root_path)
        return connection if client is None else connection.with_certificate(self.files(client))

    def files(self, client: Issued) -> ClientFiles:
        self._files += 1
        return ClientFiles(*client.write(self.tls / "clients", str(self._files)))

    def wait_shown(self, leaf: Issued) -> float:
        """Seconds until every listener shows it."""
        began = time.monotonic()
        for port in self.ports():
            while served_by(port) != leaf.der:
                assert time.monotonic() - began < PICKED_UP_S, self.broker.tail()
                time.sleep(0.05)
        return time.monotonic() - began

    def ports(self) -> list[int]:
        addresses = [*self.broker.ready["listeners"].values(), self.broker.ready["admin"]]
        return [int(address.rpartition(":")[2]) for address in addresses]

    def _replace(self, name: str, content: bytes) -> None:
        (self.tls / f"{name}.new").write_bytes(content)
        os.replace(self.tls / f"{name}.new", self.tls / name)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("world"))
    with made.broker:
        yield made
        assert made.broker.stop() == 0, made.broker.tail()
    assert "Traceback" not in made.broker.log.read_text(errors="replace"), made.broker.tail()


@pytest.fixture(scope="module")
def broker(world: World) -> ShippedBroker:
    return world.broker


@pytest.fixture(scope="module")
def plain(world: World) -> Connection:
    return world.connection()


def metric(broker: ShippedBroker, start: str) -> float:
    """The value of the first metric whose name and labels start so."""
    host, port = broker.metrics_address()
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer:
        page: str = answer.read().decode()
    return float(next(line for line in page.splitlines() if line.startswith(start)).rpartition(" ")[2])


def admin_api(world: World) -> Web:
    return Web(world.broker.admin_url(), world.root_path)


def by_rename(world: World, leaf: Issued) -> None:
    world.show(leaf)


def in_place(world: World, leaf: Issued) -> None:
    (world.tls / "leaf.crt").write_bytes(leaf.pem)
    (world.tls / "leaf.key").write_bytes(leaf.key_pem)


def half_written(world: World, leaf: Issued) -> None:
    """An editor that empties the file and takes its time."""
    for name, content in (("leaf.crt", leaf.pem), ("leaf.key", leaf.key_pem)):
        with (world.tls / name).open("wb", buffering=0) as file:
            for part in (content[:100], content[100:-50], content[-50:]):
                file.write(part)
                time.sleep(0.02)


def kubernetes(world: World, leaf: Issued) -> None:
    """A mounted secret: `leaf.crt` -> `..data/leaf.crt`, and `..data` changes its target."""
    number = len(list(world.tls.glob("..2*")))
    target = world.tls / f"..2{number}"
    leaf.write(target, "leaf")
    os.symlink(target.name, world.tls / "..data.new")
    os.replace(world.tls / "..data.new", world.tls / "..data")
    for name in ("leaf.crt", "leaf.key"):
        if not (world.tls / name).is_symlink():
            os.symlink(f"..data/{name}", world.tls / f"{name}.link")
            os.replace(world.tls / f"{name}.link", world.tls / name)


def same_inode_old_times(world: World, leaf: Issued) -> None:
    """A network file system whose times say little."""
    for name, content in (("leaf.crt", leaf.pem), ("leaf.key", leaf.key_pem)):
        path = world.tls / name
        before = path.stat()
        with path.open("r+b") as file:
            file.write(content)
            file.truncate()
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    "way", [by_rename, in_place, half_written, kubernetes, same_inode_old_times, kubernetes]
)
def test_a_new_certificate_is_shown_at_once_and_nobody_is_dropped(
    world: World, way: Callable[[World, Issued], None], admin: Client
) -> None:
    if way not in (kubernetes, by_rename) and (world.tls / "leaf.crt").is_symlink():
        world.show(world.root.issue())  # files again
    topic = admin.create_topic()
    with (
        Client(world.connection()) as client,
        Client(world.connection(MTLS, world.clients.issue("c"))) as other,
    ):
        failures = metric(world.broker, 'rivven_tls_reloads_total{outcome="failure",section="server.tls"}')
        leaf = world.root.issue()
        way(world, leaf)
        world.wait_shown(leaf)
        assert client.produced(topic, b"still here") == 0
        assert other.metadata().brokers
        with Client(world.connection()) as later:
            assert later.produced(topic, b"and here") == 1
        now = metric(world.broker, 'rivven_tls_reloads_total{outcome="failure",section="server.tls"}')
        assert now == failures, "what was half there for a moment is no failure"


@pytest.mark.parametrize("what", ["another key", "half", "ended"])
def test_a_broken_pair_keeps_the_old_one_and_raises_the_alarm(world: World, what: str) -> None:
    leaf = world.show(world.root.issue())
    world.wait_shown(leaf)
    log = LogTail(world.broker)
    if what == "another key":
        (world.tls / "leaf.key").write_bytes(world.root.issue().key_pem)
        reason = "is not the key of the certificate"
    elif what == "half":
        (world.tls / "leaf.crt").write_bytes(leaf.pem[:300])
        reason = "has no END line"
    else:
        world.show(world.root.issue(seconds=-5.0))
        reason = "certificate 1 ended at"
    line = log.wait_for("what was in force before stays")
    assert reason in line
    assert str(world.tls) in line
    log.wait_for("admin.tls")
    for port in world.ports():
        assert served_by(port) == leaf.der
    deadline = time.monotonic() + PICKED_UP_S
    while metric(world.broker, 'rivven_tls_refused{section="server.tls"}') != 1:  # each section for itself
        assert time.monotonic() < deadline, world.broker.tail()
        time.sleep(0.05)
    refused = wait_for(world.broker, lambda one: one["action"] == "reload" and reason in str(one["reason"]))
    assert {one["result"] for one in refused} == {"failure"}
    mended = world.show(world.root.issue())
    world.wait_shown(mended)
    log.wait_for("the files of server.tls are sound again")
    assert metric(world.broker, 'rivven_tls_refused{section="server.tls"}') == 0


def test_days_to_the_end_follow_what_is_in_force(world: World) -> None:
    for days in (3, 2):
        leaf = world.show(world.root.issue(seconds=days * 86_400.0))
        world.wait_shown(leaf)
        name = 'rivven_tls_expiry_days{file="server.tls.cert_path"}'
        assert metric(world.broker, name) == pytest.approx(days, abs=0.01)


def test_the_admin_api_tells_what_is_in_force(world: World) -> None:
    leaf = world.show(world.root.issue())
    world.wait_shown(leaf)
    (world.tls / "leaf.crt").write_bytes(b"broken")
    answer = admin_api(world).as_user(world.broker.admin).get("/v1/tls/certificates").json
    world.show(leaf)
    shown = {one["key"]: one["sha256"] for one in answer["items"]}
    assert set(shown) == {"server.tls", "listeners.ssl.tls", "admin.tls"}
    assert set(shown.values()) == {hashlib.sha256(leaf.der).hexdigest()}


class TestClients:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("how", ["authority", "list"])
    def test_who_is_no_longer_trusted_is_gone_within_a_second(
        self, world: World, admin: Client, kind: str, how: str
    ) -> None:
        topic = admin.create_topic()
        authority = world.others if how == "authority" else world.clients
        leaving, staying = authority.issue("leaving"), world.clients.issue("staying")
        admin.allow("leaving", Operation.ALL, ResourceType.TOPIC, topic)
        with (
            Client(world.connection(MTLS, leaving)) as client,
            Client(world.connection(MTLS, staying)) as other,
        ):
            live = Live(client, kind, topic)
            moment = running_time()
            world.trust(world.clients) if how == "authority" else world.revoke(leaving)
            assert live.closed_after(moment) <= PROMISED_S
            assert other.metadata().brokers
        assert is_refused(world.connection(MTLS, leaving))
        assert not is_refused(world.connection(MTLS, staying))
        self.restore(world, leaving)

    def restore(self, world: World, client: Issued) -> None:
        """What the next test expects, read by every listener, and the client let in again."""
        log = LogTail(world.broker)
        world.trust(world.clients, world.others)
        world.revoke()
        for section in ("listeners.ssl.tls", "admin.tls"):
            log.wait_for(f"{section}.crl_path has changed")
        deadline = time.monotonic() + PICKED_UP_S
        while is_refused(world.connection(MTLS, client)):
            assert time.monotonic() < deadline, world.broker.tail()

    def test_more_authorities_drop_nobody(self, world: World) -> None:
        """The first step of changing an authority."""
        newcomers = Authority("newcomers")
        client = newcomers.issue("new")
        assert is_refused(world.connection(MTLS, client))
        with Client(world.connection(MTLS, world.clients.issue("old"))) as old:
            world.trust(world.clients, world.others, newcomers)
            deadline = time.monotonic() + PICKED_UP_S
            while is_refused(world.connection(MTLS, client)):
                assert time.monotonic() < deadline
            assert old.metadata().brokers
        self.restore(world, world.clients.issue("old"))

    def test_a_session_ends_with_the_authority_above_its_certificate(self, world: World) -> None:
        brief = Authority("brief", seconds=3.0)
        client = brief.issue("outlives")
        world.trust(world.clients, world.others, brief)
        deadline = time.monotonic() + PICKED_UP_S
        while is_refused(world.connection(MTLS, client)):
            assert time.monotonic() < deadline, world.broker.tail()
        with Client(world.connection(MTLS, client)) as live:
            assert live.metadata().brokers
            end = brief.certificate.not_valid_after_utc.timestamp()
            assert live.is_closed(end - time.time() + PROMISED_S)
            assert time.time() >= end
        assert is_refused(world.connection(MTLS, client))
        self.restore(world, world.clients.issue("old"))

    def test_an_authority_without_a_list_is_not_checked(self, world: World) -> None:
        assert not is_refused(world.connection(MTLS, world.others.issue("unchecked")))

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    @pytest.mark.parametrize("how", ["authority", "list"])
    def test_an_old_session_is_not_resumed(self, world: World, how: str, version: ssl.TLSVersion) -> None:
        """Neither by ticket nor by id; with TLS 1.2 OpenSSL would resume by id in the same context, so
        the broker itself looks at the chain after every handshake."""
        authority = world.others if how == "authority" else world.clients
        client = authority.issue("resumer")
        with Returning(world.connection(MTLS, client), version) as peer:
            assert peer.is_answered(), "trusted so far"
            assert peer.is_answered()
            assert peer.resumed is (version is ssl.TLSVersion.TLSv1_2), (
                "TLS 1.3 needs a ticket, and gets none"
            )
            world.trust(world.clients) if how == "authority" else world.revoke(client)
            deadline = time.monotonic() + PICKED_UP_S
            while peer.is_answered():
                assert time.monotonic() < deadline, world.broker.tail()
        assert is_refused(world.connection(MTLS, client))
        self.restore(world, client)

    def test_an_expired_list_refuses_its_authority_and_alarms(self, world: World) -> None:
        log = LogTail(world.broker)
        client = world.clients.issue("late")
        with Client(world.connection(MTLS, client)) as live:
            world.revoke(seconds=2.0)
            log.wait_for("crl_path has changed")
            assert live.metadata().brokers
            line = log.wait_for("has expired: its certificates are refused")
            assert "the list of CN=clients" in line
            assert live.is_closed(PROMISED_S)
        assert is_refused(world.connection(MTLS, client))
        assert not is_refused(world.connection(MTLS, world.others.issue("unchecked")))
        assert metric(world.broker, "rivven_tls_crl_days") < 0
        assert wait_for(world.broker, lambda one: one["action"] == "expire" and one["result"] == "failure")
        self.restore(world, client)

    def test_the_admin_api_drops_who_is_no_longer_trusted(self, world: World, admin: Client) -> None:
        client = world.clients.issue("operator")
        web = admin_api(world).with_certificate(world.files(client))
        assert web.get("/v1/whoami").json["principal"] == "User:operator"
        log = LogTail(world.broker)
        with connected(world.connection(MTLS, client), world.ports()[-1]) as socket:
            socket.sendall(b"GET /v1/whoami HTTP/1.1\r\nHost: localhost\r\n\r\n")
            received = b""
            while not received.endswith(b"}"):
                received += socket.recv(65_536)
            assert b"200 OK" in received
            world.revoke(client)
            log.wait_for("admin.tls.crl_path has changed")
            socket.settimeout(PROMISED_S)
            assert not socket.recv(65_536)
        with pytest.raises(OSError):
            web.get("/v1/whoami")
        (event,) = wait_for(
            world.broker,
            lambda one: one["listener"] == "admin" and "is revoked" in str(one["reason"]),
        )[:1]
        assert (event["result"], event["mechanism"]) == ("failure", "MTLS")
        self.restore(world, client)
