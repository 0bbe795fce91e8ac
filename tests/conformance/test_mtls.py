"""Client certificates over the wire: who they are, who they are not, and how they end."""

from __future__ import annotations

import ssl
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from rivven.protocol.api import ApiKey
from rivven.protocol.messages import CreateDelegationTokenRequest
from rivven.types import Operation, ResourceType
from tests.conformance.client import Client
from tests.conformance.live import KINDS, PROMISED_S, Live, is_refused
from tests.conformance.process import LogTail
from tests.conformance.web import web_of
from tests.conformance.wire import Refused
from tests.shipped.broker import ShippedBroker
from tests.shipped.client_certificates import ClientAuthority, ClientFiles
from tests.shipped.connection import Account, Connection
from tests.shipped.running_time import running_time

MTLS = "ssl"
BOTH = "sasl_and_ssl"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> ClientAuthority:
    return ClientAuthority(tmp_path_factory.mktemp("clients"))


@pytest.fixture(scope="module")
def denied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("denied") / "denied"
    path.write_text("# nobody yet\n")
    return path


@pytest.fixture(scope="module")
def static(authority: ClientAuthority) -> ClientFiles:
    """On the configuration's own list."""
    return authority.issue("static")


@pytest.fixture(scope="module")
def broker(
    tmp_path_factory: pytest.TempPathFactory, authority: ClientAuthority, denied: Path, static: ClientFiles
) -> Iterator[ShippedBroker]:
    directory = tmp_path_factory.mktemp("broker")
    pki = directory / "pki"
    tls = {
        "cert_path": str(pki / "server.crt"),
        "key_path": str(pki / "server.key"),
        "ca_path": str(authority.ca),
        "client_auth": "required",
    }
    extra = {
        "listeners": [
            {"name": "sasl_ssl", "bind": "127.0.0.1:0", "protocol": "sasl_ssl"},
            {"name": MTLS, "bind": "127.0.0.1:0", "protocol": "ssl", "tls": tls},
            {"name": BOTH, "bind": "127.0.0.1:0", "protocol": "sasl_ssl", "tls": dict(tls)},
        ],
        "auth": {
            "mtls_mapping": {"type": "common_name"},
            "mtls": {"denied": [f"sha256:{static.fingerprint}"], "denied_file": str(denied)},
        },
    }
    settings = {"connection.failed.authentication.delay.ms": 0}
    with ShippedBroker(directory, settings=settings, extra=extra) as made:
        yield made
        assert made.stop() == 0, made.tail()
    assert "Traceback" not in made.log.read_text(errors="replace"), made.tail()


@pytest.fixture(scope="module")
def plain(broker: ShippedBroker) -> Connection:
    return broker.connection("sasl_ssl")


@pytest.fixture
def mtls(broker: ShippedBroker) -> Connection:
    return broker.connection(MTLS)


def test_a_certificate_is_a_principal(mtls: Connection, authority: ClientAuthority, admin: Client) -> None:
    topic = admin.create_topic()
    with Client(mtls.with_certificate(authority.issue("shop"))) as client:
        assert client.describe_topic(topic).error_code != 0, "nobody has allowed anything yet"
        admin.allow("shop", Operation.WRITE, ResourceType.TOPIC, topic)
        assert client.produced(topic, b"by certificate") == 0


def test_tls_1_2_as_well(mtls: Connection, authority: ClientAuthority) -> None:
    files = authority.issue("old-shop")
    context = mtls.with_certificate(files).ssl_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with Client(mtls.with_certificate(files), context=context) as client:
        assert client.metadata().brokers


def test_without_a_certificate_of_this_authority_nobody_gets_in(
    mtls: Connection, authority: ClientAuthority, tmp_path: Path, broker: ShippedBroker
) -> None:
    foreign = ClientAuthority(tmp_path / "foreign", "foreign").issue("shop")
    same_name = ClientAuthority(tmp_path / "twin").issue("shop")
    server = authority.issue("shop", purpose=ExtendedKeyUsageOID.SERVER_AUTH)
    over = authority.issue("shop", seconds=-1)
    for files, reason in (
        (None, "did not return a certificate"),
        (foreign, "unable to get local issuer"),
        (same_name, "signature failure"),
        (server, "unsuitable certificate purpose"),
        (over, "certificate has expired"),
    ):
        log = LogTail(broker)
        assert is_refused(mtls.with_certificate(files))
        assert reason in log.wait_for("TLS handshake failed")


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("admin",), "local user"),
        (("a", "b"), "exactly one"),
        ((), "exactly one"),
        (("ANONYMOUS",), "means something else"),
    ],
)
def test_a_certificate_that_names_nobody_or_one_of_us_is_refused(
    mtls: Connection, authority: ClientAuthority, broker: ShippedBroker, names: tuple[str, ...], reason: str
) -> None:
    log = LogTail(broker)
    assert is_refused(mtls.with_certificate(authority.issue(*names)))
    log.wait_for(reason)


def test_the_name_of_a_local_user_is_taken(
    mtls: Connection, authority: ClientAuthority, admin: Client
) -> None:
    """Before the connection and after: a user that comes later ends it."""
    user = admin.create_user()
    assert is_refused(mtls.with_certificate(authority.issue(user.user)))
    with Client(mtls.with_certificate(authority.issue("later"))) as client:
        assert client.metadata().brokers
        admin.create_user("later")
        assert client.is_closed(PROMISED_S)


def test_with_sasl_on_top_sasl_says_who_it_is(
    broker: ShippedBroker, authority: ClientAuthority, admin: Client, user: Account
) -> None:
    topic = admin.create_topic()
    admin.allow(user.user, Operation.WRITE, ResourceType.TOPIC, topic)
    connection = broker.connection(BOTH, user)
    assert is_refused(connection)
    files = authority.issue("whoever")
    with Client(connection.with_certificate(files)) as client:
        assert client.produced(topic, b"x") == 0
    with pytest.raises(Refused):
        Client(connection.with_certificate(files).with_password("wrong"))


@pytest.mark.parametrize("protocol", [MTLS, BOTH])
def test_it_ends_with_the_certificate(
    broker: ShippedBroker, authority: ClientAuthority, protocol: str, user: Account
) -> None:
    files = authority.issue("brief", seconds=2.5)
    left = files.parsed.not_valid_after_utc.timestamp() - time.time()
    with Client(broker.connection(protocol, user).with_certificate(files)) as client:
        assert client.metadata().brokers
        if protocol == BOTH:
            assert client.session_lifetime_ms > left * 1000, "no new login could renew the certificate"
        assert client.is_closed(left + PROMISED_S)
        assert time.time() >= files.parsed.not_valid_after_utc.timestamp()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("protocol", [MTLS, BOTH])
def test_a_line_in_the_file_ends_live_connections(
    broker: ShippedBroker,
    authority: ClientAuthority,
    denied: Path,
    admin: Client,
    user: Account,
    protocol: str,
    kind: str,
) -> None:
    topic = admin.create_topic()
    files = authority.issue("fileshop")
    for name in (user.user, "fileshop"):
        admin.allow(name, Operation.ALL, ResourceType.TOPIC, topic)
    connection = broker.connection(protocol, user).with_certificate(files)
    with Client(connection) as client:
        live = Live(client, kind, topic)
        moment = running_time()
        entry = f"serial:{files.serial} issuer:CN=Rivven clients authority\n"
        denied.write_text(denied.read_text() + entry)
        assert live.closed_after(moment) <= PROMISED_S
    assert is_refused(connection)
    admin.revoke_all("fileshop")


@pytest.mark.parametrize("how", ["revoked", "denied"])
def test_a_token_ends_with_the_certificate_it_was_made_with(
    broker: ShippedBroker, mtls: Connection, authority: ClientAuthority, denied: Path, how: str
) -> None:
    """A token of another certificate of the same name stays."""
    log = LogTail(broker)
    tokens, files = [], [authority.issue("maker"), authority.issue("maker")]
    for one in files:
        with Client(mtls.with_certificate(one)) as maker:
            request = CreateDelegationTokenRequest(max_lifetime_ms=-1)
            made = maker.call(ApiKey.CREATE_DELEGATION_TOKEN, 3, request)
            assert (made.error_code, made.principal_name) == (0, "maker")
            tokens.append(Account(made.token_id, b64encode(made.hmac).decode()))

    @contextmanager
    def logged_in(token: Account) -> Iterator[Client]:
        with Client(broker.connection("sasl_ssl"), login=False) as client:
            client.login(token, "SCRAM-SHA-256", token_auth=True)
            yield client

    with logged_in(tokens[0]) as ends, logged_in(tokens[1]) as stays:
        assert ends.metadata().cluster_id == stays.metadata().cluster_id
        if how == "revoked":
            facts = {"kind": "certificate-fingerprint", "value": files[0].fingerprint}
            assert web_of(broker).post("/v1/revocations", facts).status == 201
        else:
            denied.write_text(denied.read_text() + f"sha256:{files[0].fingerprint}\n")
        assert ends.is_closed(PROMISED_S)
        assert stays.metadata().cluster_id
    with pytest.raises(Refused), logged_in(tokens[0]):
        pass
    log.wait_for("made with a certificate: ")
    with logged_in(tokens[1]) as other:
        assert other.metadata().cluster_id


def test_a_file_that_cannot_be_read_changes_nothing(
    mtls: Connection, authority: ClientAuthority, denied: Path, broker: ShippedBroker
) -> None:
    log = LogTail(broker)
    before, files = denied.read_text(), authority.issue("stays-out")
    denied.write_text(before + f"sha256:{files.fingerprint}\n")
    log.wait_for("sessions ended")
    denied.write_text("")  # as an editor begins
    time.sleep(0.02)
    denied.write_text("nonsense\n")
    log.wait_for("the list before it stays in force")
    assert is_refused(mtls.with_certificate(files))
    denied.write_text(before)


def test_the_list_of_the_configuration(mtls: Connection, static: ClientFiles, broker: ShippedBroker) -> None:
    log = LogTail(broker)
    assert is_refused(mtls.with_certificate(static))
    log.wait_for("deny-list")


def test_a_broker_of_certificates_alone_needs_no_users(
    own_directory: Path, authority: ClientAuthority
) -> None:
    """Nobody to be taken for: the super user is named as the certificate names it."""
    pki = own_directory / "pki"
    extra = {
        "insecure": False,
        "listeners": [{"name": MTLS, "bind": "127.0.0.1:0", "protocol": "ssl"}],
        "server": {
            "tls": {
                "cert_path": str(pki / "server.crt"),
                "key_path": str(pki / "server.key"),
                "ca_path": str(authority.ca),
                "client_auth": "required",
            }
        },
        "authorization": {"super_users": ["User:CN=root,O=Shop"]},
    }
    made = ShippedBroker(own_directory, extra=extra)
    made.admin = Account("nobody", "needed")  # no first user is stored
    with made, Client(made.connection(MTLS).with_certificate(authority.issue("root"))) as client:
        client.create_topic()
        client.create_user("CN=taken,O=Shop")
        assert is_refused(made.connection(MTLS).with_certificate(authority.issue("taken")))


def test_optional_certificates_need_the_word_insecure(
    own_directory: Path, authority: ClientAuthority
) -> None:
    pki = own_directory / "pki"
    tls = {
        "cert_path": str(pki / "server.crt"),
        "key_path": str(pki / "server.key"),
        "ca_path": str(authority.ca),
        "client_auth": "optional",
    }
    extra = {
        "insecure": True,
        "listeners": [
            {"name": MTLS, "bind": "127.0.0.1:0", "protocol": "ssl", "tls": tls},
            {"name": "sasl_ssl", "bind": "127.0.0.1:0", "protocol": "sasl_ssl"},
        ],
        "auth": {"mtls_mapping": {"type": "common_name", "prefix": "x509:"}},
    }
    with ShippedBroker(own_directory, extra=extra) as made:
        connection = made.connection(MTLS)
        with Client(connection) as anonymous:
            topic = anonymous.create_topic()
        with Client(connection.with_certificate(authority.issue("shop"))) as client:
            assert client.describe_topic(topic).error_code != 0, "who says who he is, is judged by the rules"
            with Client(made.connection("sasl_ssl")) as admin:
                admin.allow("x509:shop", Operation.DESCRIBE, ResourceType.TOPIC, topic)
            assert client.describe_topic(topic).error_code == 0
