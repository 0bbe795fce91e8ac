"""Every setting of a TLS section, as a client of the shipped broker meets it."""

from __future__ import annotations

import os
import socket
import ssl
import time
from pathlib import Path

from tests.conformance.client import Client
from tests.conformance.live import is_refused
from tests.conformance.process import LogTail
from tests.conformance.tls_peers import served_by
from tests.shipped.authority import Authority, rsa_key
from tests.shipped.broker import ShippedBroker
from tests.shipped.client_certificates import ClientFiles

CIPHERS_OF_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20"
OTHER_CIPHERS_OF_1_2 = (
    "ECDHE-ECDSA-AES256-SHA384:ECDHE-RSA-AES256-SHA384:AES256-GCM-SHA384:DHE-RSA-AES256-GCM-SHA384"
)
PASSWORDS = ("canary-first-password", "canary-second-password")


def cipher_with(port: int, ciphers: str) -> tuple[str, bytes] | None:
    """The suite and certificate of a TLS 1.2 client that knows only these suites; None when it is refused."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(ciphers)
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        try:
            with context.wrap_socket(sock) as tls:
                used, shown = tls.cipher(), tls.getpeercert(binary_form=True)
        except ssl.SSLError:
            return None
    assert used is not None and shown is not None
    return used[0], shown


def test_everything_a_section_can_say(own_directory: Path) -> None:
    tls = own_directory / "tls"
    root, clients = Authority(), Authority("clients")
    leaf, rsa, named = root.issue(), root.issue(key=rsa_key()), root.issue()
    alice, bob = clients.issue("alice"), clients.issue("bob")
    paths = {stem: one.write(tls, stem) for stem, one in (("leaf", leaf), ("rsa", rsa), ("named", named))}
    pairs = {stem: {"cert_path": str(cert), "key_path": str(key)} for stem, (cert, key) in paths.items()}
    (tls / "leaf.key").write_bytes(leaf.encrypted_key_pem(PASSWORDS[0]))
    (tls / "password").write_text(PASSWORDS[0])
    (tls / "root.crt").write_bytes(root.pem)
    (tls / "ca.crt").write_bytes(clients.pem)
    (tls / "crl.pem").write_bytes(clients.crl(alice, begin=-20.0, seconds=-10.0))
    server = {
        **pairs["leaf"],
        "key_password": f"file:{tls / 'password'}",
        "certificates": [pairs["rsa"]],
        "sni": {"*.kafka.example": pairs["named"]},
        "ca_path": str(tls / "ca.crt"),
        "client_auth": "required",
        "crl_path": str(tls / "crl.pem"),
        "crl_expired": "allow",
        "ciphers": ["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256"],
    }
    extra = {
        "listeners": [{"name": "ssl", "bind": "127.0.0.1:0", "protocol": "ssl"}],
        "server": {"tls": server},
        "auth": {"mtls_mapping": {"type": "common_name"}},
    }
    with ShippedBroker(own_directory, extra=extra) as broker:
        port = int(broker.ready["listeners"]["ssl"].rpartition(":")[2])
        assert served_by(port) == leaf.der
        assert served_by(port, "b1.kafka.example") == named.der
        open_to_none = "ECDHE-ECDSA-AES128-GCM-SHA256"
        assert cipher_with(port, open_to_none) is None, "a sound suite that was not chosen"
        connection = broker.connection("ssl").with_ca(tls / "root.crt")
        shown = {one: ClientFiles(*one.write(tls, name)) for one, name in ((alice, "alice"), (bob, "bob"))}
        assert is_refused(connection.with_certificate(shown[alice])), "an expired list still revokes"
        log = LogTail(broker)
        with Client(connection.with_certificate(shown[bob])) as client:
            assert client.metadata().brokers, "crl_expired: allow"
            (tls / "leaf.key").write_bytes(leaf.encrypted_key_pem(PASSWORDS[1]))
            line = log.wait_for("key_password does not open it")
            assert not any(password in line for password in PASSWORDS)
            renewed = root.issue()
            (tls / "new").write_bytes(renewed.encrypted_key_pem(PASSWORDS[1]))
            (tls / "password").write_text(PASSWORDS[1])
            (tls / "leaf.crt").write_bytes(renewed.pem)
            os.replace(tls / "new", tls / "leaf.key")
            deadline = time.monotonic() + 10
            while served_by(port) != renewed.der:
                assert time.monotonic() < deadline, broker.tail()
                time.sleep(0.05)
            assert client.metadata().brokers
            named = root.issue()
            named.write(tls, "named")
            while served_by(port, "b1.kafka.example") != named.der:
                assert time.monotonic() < deadline + 10, broker.tail()
                time.sleep(0.05)
            assert served_by(port) == renewed.der, "each for itself"
            assert client.metadata().brokers
    text = broker.log.read_text()
    assert "it is used all the same" in text
    assert not any(password in text for password in PASSWORDS)


def test_each_kind_of_client_is_shown_its_kind_of_key(own_directory: Path) -> None:
    root = Authority()
    ecdsa, rsa = root.issue(), root.issue(key=rsa_key())
    paths = [one.write(own_directory / "tls", name) for name, one in (("ecdsa", ecdsa), ("rsa", rsa))]
    pairs = [{"cert_path": str(certificate), "key_path": str(key)} for certificate, key in paths]
    listeners = [
        {"name": "sasl_ssl", "bind": "127.0.0.1:0", "protocol": "sasl_ssl"},
        {
            "name": "newest",
            "bind": "127.0.0.1:0",
            "protocol": "sasl_ssl",
            "tls": {**pairs[0], "min_version": "1.3"},
        },
    ]
    extra = {"listeners": listeners, "server": {"tls": {**pairs[0], "certificates": pairs[1:]}}}
    with ShippedBroker(own_directory, extra=extra) as broker:
        port = int(broker.ready["listeners"]["sasl_ssl"].rpartition(":")[2])
        for suite, issued in (("ECDSA-AES256-GCM-SHA384", ecdsa), ("RSA-AES128-GCM-SHA256", rsa)):
            assert cipher_with(port, f"ECDHE-{suite}") == (f"ECDHE-{suite}", issued.der)
        rsa = root.issue(key=rsa_key())
        rsa.write(own_directory / "tls", "rsa")
        deadline = time.monotonic() + 10
        while cipher_with(port, "ECDHE-RSA-AES128-GCM-SHA256") != ("ECDHE-RSA-AES128-GCM-SHA256", rsa.der):
            assert time.monotonic() < deadline, broker.tail()
            time.sleep(0.05)
        assert served_by(port) == ecdsa.der, "each for itself"
        newest = int(broker.ready["listeners"]["newest"].rpartition(":")[2])
        assert cipher_with(newest, CIPHERS_OF_1_2) is None, "min_version"
        assert served_by(newest) == ecdsa.der, "with TLS 1.3"
        assert cipher_with(port, OTHER_CIPHERS_OF_1_2) is None, "not forward-secret, or no AEAD"
