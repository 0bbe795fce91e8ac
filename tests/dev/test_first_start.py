"""`rivven server --dev`: what the first start makes, shows and keeps, as a stranger finds it."""

from __future__ import annotations

import logging
import re
import signal
import socket
import ssl
import stat
import warnings
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from cryptography import x509

from tests.dev.stranger import Stranger
from tests.shipped.dev import DevBroker, has_ipv6_loopback
from tests.shipped.on_disk import holding, statuses

CERTIFICATE_DAYS_MAX = 397  # what clients accept from public authorities; ours keeps to it


def topics(profile: dict[str, str]) -> set[str]:
    return set(AdminClient(dict(profile)).list_topics(timeout=10).topics)


def create(profile: dict[str, str], topic: str) -> None:
    admin = AdminClient(dict(profile))
    [future] = admin.create_topics([NewTopic(topic, 1, 1)]).values()
    future.result(10)


def pasted(printed: str) -> list[str]:
    """The lines below "Ready to paste", as shown."""
    _, _, rest = printed.partition("Ready to paste into another terminal:\n\n")
    return [line.strip() for line in rest.splitlines() if line.startswith("    ")]


def port_of(dev: DevBroker, listener: str = "dev") -> int:
    listeners = dev.ready["listeners"]
    assert isinstance(listeners, dict)
    return int(listeners[listener].rpartition(":")[2])


# -- what is shown ---------------------------------------------------------------------------------------


def test_pasted_lines_of_the_command_work(stranger: Stranger) -> None:
    lines = [line for line in pasted(stranger.broker.printed()) if "rivven" in line]
    assert len(lines) == 3
    assert stranger.types("\n".join(lines)).splitlines()[-1] == "first message"


@pytest.mark.interop
def test_pasted_line_of_kcat_works(stranger: Stranger, kcat: str) -> None:
    [line] = [line for line in pasted(stranger.broker.printed()) if line.startswith("kcat")]
    assert "broker 1 at" in stranger.types(line)


@pytest.mark.interop
def test_pasted_line_of_kafkas_tools_works(stranger: Stranger, kafka_scripts: Path) -> None:
    [line] = [line for line in pasted(stranger.broker.printed()) if line.startswith("kafka-topics.sh")]
    stranger.types("rivven topic create seen-by-tools")
    assert "seen-by-tools" in stranger.types(line, path=kafka_scripts).splitlines()


def test_pasted_lines_name_another_data_directory(stopped: DevBroker) -> None:
    stopped.start(["--data-dir", "other"])
    try:
        lines = pasted(stopped.printed())
    finally:
        stopped.stop()
    assert len(lines) == 5
    assert all("other/dev/client" in line for line in lines)


# -- secrets ---------------------------------------------------------------------------------------------


def test_password_is_shown_once_and_stored_in_the_client_files_only(dev: DevBroker) -> None:
    profile = dev.client_settings()
    password = profile["sasl.password"]
    assert dev.printed().count(password) == 1
    assert topics(profile) <= {"__consumer_offsets"}
    # A refused login is where a careless server would log what it was given.
    wrong = profile | {"sasl.password": f"{password}x", "log_level": "0"}
    with pytest.raises(KafkaException, match=r"_TRANSPORT|_AUTHENTICATION"):
        AdminClient(wrong, logger=_silent()).list_topics(timeout=2)
    assert dev.stop() == 0
    assert dev.printed().count(password) == 1
    holders = {Path(name).name for name in holding(dev.directory / "data", password.encode())}
    assert holders == {"client.properties", "client-java.properties"}


def _silent() -> logging.Logger:
    logger = logging.Logger("librdkafka of a test")
    logger.addHandler(logging.NullHandler())
    return logger


def test_everything_made_is_for_its_owner_only(stranger: Stranger) -> None:
    dev = stranger.broker
    data = dev.directory / "data"
    for path, status in statuses(data).items():
        wanted = 0o700 if stat.S_ISDIR(status.st_mode) else 0o600
        assert stat.S_IMODE(status.st_mode) == wanted, path
    assert {path.name for path in (data / "dev").iterdir()} == {
        "ca.crt",
        "ca.key",
        "server.crt",
        "server.key",
        "client.properties",
        "client-java.properties",
        "admin.properties",
    }


def test_java_file_names_the_same_login(stranger: Stranger) -> None:
    dev = stranger.broker
    text = (dev.directory / "data/dev/client-java.properties").read_text()
    assert "ssl.truststore.type=PEM" in text
    assert dev.client_settings()["sasl.password"] in text
    assert f"bootstrap.servers={dev.client_settings()['bootstrap.servers']}" in text


# -- the second start ------------------------------------------------------------------------------------


def test_second_start_keeps_data_and_credentials_and_shows_nothing(dev: DevBroker) -> None:
    before = dev.client_settings()
    create(before, "kept")
    producer = Producer(dict(before))
    producer.produce("kept", b"still here")
    assert producer.flush(10) == 0
    certificate = (dev.directory / "data/dev/server.crt").read_bytes()
    assert dev.stop() == 0
    dev.start()
    after = dev.client_settings()
    assert after["sasl.password"] == before["sasl.password"]
    assert before["sasl.password"] not in dev.printed()
    assert "First start" not in dev.printed()
    assert f"on {after['bootstrap.servers']}" in dev.printed()
    assert "its login is in data/dev/client.properties" in dev.printed()
    assert (dev.directory / "data/dev/server.crt").read_bytes() == certificate
    assert "kept" in topics(after)
    assert first_value(after, "kept") == b"still here"


def first_value(profile: dict[str, str], topic: str) -> bytes | None:
    consumer = Consumer(profile | {"group.id": "first-start", "auto.offset.reset": "earliest"})
    try:
        consumer.subscribe([topic])
        message = consumer.poll(20)
        return None if message is None else message.value()
    finally:
        consumer.close()


def test_client_files_follow_the_port(dev: DevBroker) -> None:
    assert dev.client_settings()["bootstrap.servers"] == f"localhost:{port_of(dev)}"
    dev.stop()
    old = dev.profile.read_text()
    dev.profile.write_text(old.replace(str(port_of(dev)), "1"))
    dev.start()
    assert dev.client_settings()["bootstrap.servers"] == f"localhost:{port_of(dev)}"
    assert topics(dev.client_settings()) is not None


# -- addresses and certificates --------------------------------------------------------------------------


def test_both_loopback_addresses_serve_clients(stranger: Stranger) -> None:
    dev = stranger.broker
    if not has_ipv6_loopback():
        pytest.skip("no ::1 on this machine")
    for address in (f"127.0.0.1:{port_of(dev)}", f"[::1]:{port_of(dev, 'dev6')}"):
        profile = dev.client_settings() | {"bootstrap.servers": address}
        create(profile, re.sub(r"\W", "-", address))
        brokers = AdminClient(dict(profile)).list_topics(timeout=10).brokers.values()
        # Who comes over one address is told that one, or the connection after the first would go elsewhere.
        assert [f"{broker.host}:{broker.port}" for broker in brokers] == [
            address.replace("[", "").replace("]", "")
        ]


def handshake(dev: DevBroker, name: str, context: ssl.SSLContext) -> tuple[str | None, bytes]:
    """(TLS version, server certificate in DER)."""
    with (
        socket.create_connection(("127.0.0.1", port_of(dev)), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname=name) as secured,
    ):
        certificate = secured.getpeercert(binary_form=True)
        assert certificate is not None
        return secured.version(), certificate


def strict_context(dev: DevBroker) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(dev.directory / "data/dev/ca.crt"))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def test_certificate_is_strict_short_lived_and_for_this_machine_only(stranger: Stranger) -> None:
    dev = stranger.broker
    for name in ("localhost", "127.0.0.1", "::1"):
        version, der = handshake(dev, name, strict_context(dev))
        assert version == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(dev, "example.com", strict_context(dev))
    certificate = x509.load_der_x509_certificate(der)
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert lifetime.days <= CERTIFICATE_DAYS_MAX
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert {str(address) for address in names.get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "::1"}
    authority = x509.load_pem_x509_certificate((dev.directory / "data/dev/ca.crt").read_bytes())
    for extension in (x509.BasicConstraints, x509.KeyUsage):
        assert authority.extensions.get_extension_for_class(extension).critical
    authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)


def test_tls_12_is_accepted_and_11_is_not(stranger: Stranger) -> None:
    dev = stranger.broker
    context = strict_context(dev)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert handshake(dev, "localhost", context)[0] == "TLSv1.2"
    old = strict_context(dev)
    old.set_ciphers("ALL:@SECLEVEL=0")  # lets this side speak it, so that the refusal is the server's
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(dev, "localhost", old)


# -- the end ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_drains_and_ends_with_zero(dev: DevBroker, number: signal.Signals) -> None:
    dev.signal(number)
    assert dev.wait() == 0
    assert "Traceback" not in dev.printed()


def test_port_option(tmp_path: Path) -> None:
    """Somebody whose 9092 is taken adds one option; nothing else has to be known."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    broker = DevBroker(tmp_path)
    broker.server_environment = dict(broker.environment)
    broker.start(["--port", str(port)])
    try:
        assert broker.client_settings()["bootstrap.servers"] == f"localhost:{port}"
        assert topics(broker.client_settings()) is not None
    finally:
        assert broker.stop() == 0
