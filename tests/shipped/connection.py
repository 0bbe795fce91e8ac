"""How a client reaches a broker: one value, written in each client's own configuration language."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, replace
from pathlib import Path

from tests.shipped.client_certificates import ClientFiles


@dataclass(frozen=True, slots=True)
class Account:
    """A user and the password it logs in with."""

    user: str
    password: str


@dataclass(frozen=True, slots=True)
class Connection:
    """Address and identity; `account` is None on a listener without SASL, `ca` is None on one without TLS."""

    bootstrap: str
    ca: Path | None = None
    account: Account | None = None
    mechanism: str = "SCRAM-SHA-256"
    client: ClientFiles | None = None
    """The certificate the client shows, if any."""

    @property
    def protocol(self) -> str:
        """Kafka's name of the security protocol."""
        return ("SASL_" if self.account else "") + ("SSL" if self.ca else "PLAINTEXT")

    def as_user(self, account: Account) -> Connection:
        return replace(self, account=account)

    def with_password(self, password: str) -> Connection:
        assert self.account is not None
        return replace(self, account=replace(self.account, password=password))

    def with_certificate(self, client: ClientFiles | None) -> Connection:
        return replace(self, client=client)

    def with_mechanism(self, mechanism: str) -> Connection:
        return replace(self, mechanism=mechanism)

    def with_ca(self, ca: Path) -> Connection:
        return replace(self, ca=ca)

    def librdkafka(self, **settings: object) -> dict[str, object]:
        """For confluent-kafka; keyword names take `_` for `.`."""
        conf: dict[str, object] = {
            "bootstrap.servers": self.bootstrap,
            "security.protocol": self.protocol,
            # A client that fails must say so to the test instead of trying for five minutes.
            "socket.connection.setup.timeout.ms": 10_000,
            # Tests look at what calls and callbacks say; the log would fill their output at each restart.
            "log_level": 2,
        }
        if self.account is not None:
            conf |= {
                "sasl.mechanism": self.mechanism,
                "sasl.username": self.account.user,
                "sasl.password": self.account.password,
            }
        if self.ca is not None:
            conf["ssl.ca.location"] = str(self.ca)
        if self.client is not None:
            conf["ssl.certificate.location"] = str(self.client.certificate)
            conf["ssl.key.location"] = str(self.client.key)
        return conf | {name.replace("_", "."): value for name, value in settings.items()}

    def librdkafka_file(self, path: Path) -> Path:
        """For kcat -F."""
        settings = self.librdkafka()
        del settings["log_level"]  # what kcat says, it says in its log
        lines = (f"{name}={value}" for name, value in settings.items())
        return _write_private(path, "\n".join(lines) + "\n")

    def kafka_python(self) -> dict[str, object]:
        """For kafka-python's constructors."""
        conf: dict[str, object] = {"bootstrap_servers": self.bootstrap, "security_protocol": self.protocol}
        if self.account is not None:
            conf |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.account.user,
                "sasl_plain_password": self.account.password,
            }
        if self.ca is not None:
            conf["ssl_cafile"] = str(self.ca)
        if self.client is not None:
            conf["ssl_certfile"] = str(self.client.certificate)
            conf["ssl_keyfile"] = str(self.client.key)
        return conf

    def aiokafka(self) -> dict[str, object]:
        """For aiokafka's constructors."""
        conf = self.kafka_python()
        for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"):
            conf.pop(name, None)
        if self.ca is not None:
            conf["ssl_context"] = self.ssl_context()
        return conf

    def ssl_context(self) -> ssl.SSLContext:
        """For clients that take one, and for bare sockets."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if self.client is not None:
            context.load_cert_chain(self.client.certificate, self.client.key)
        return context

    def java_file(self, path: Path) -> Path:
        """For the Java client and Kafka's command line tools (`--command-config`)."""
        lines = [f"bootstrap.servers={self.bootstrap}", f"security.protocol={self.protocol}"]
        if self.account is not None:
            plain = self.mechanism == "PLAIN"
            module = "plain.PlainLoginModule" if plain else "scram.ScramLoginModule"
            login = f"org.apache.kafka.common.security.{module}"
            lines += [
                f"sasl.mechanism={self.mechanism}",
                f'sasl.jaas.config={login} required username="{self.account.user}" '
                f'password="{self.account.password}";',
            ]
        if self.ca is not None:
            lines += ["ssl.truststore.type=PEM", f"ssl.truststore.location={self.ca}"]
        if self.client is not None:
            store = path.with_suffix(".keystore.pem")
            _write_private(store, self.client.key.read_text() + self.client.certificate.read_text())
            lines += ["ssl.keystore.type=PEM", f"ssl.keystore.location={store}"]
        return _write_private(path, "\n".join(lines) + "\n")

    def node(self) -> dict[str, object]:
        """For the Node.js programs under `tests/interop/clients/node`, which turn it into client options."""
        return {
            "bootstrap": self.bootstrap,
            "ca": str(self.ca) if self.ca else None,
            "mechanism": self.mechanism.lower(),
            "user": self.account.user if self.account else None,
            "password": self.account.password if self.account else None,
        }


def _write_private(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path
