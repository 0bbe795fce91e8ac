"""The shipped broker with its KEKs in AWS KMS (moto's server) and in OpenBao: use, outage, refusal."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException

from tests.conformance.encrypted import MARKERS, EncryptedUse, encryption, key_directory, marked_files
from tests.conformance.keys_commands import KeysCommand
from tests.conformance.process import metric
from tests.shipped.broker import BrokerDidNotStart, ShippedBroker
from tests.shipped.connection import Account
from tests.shipped.kms import ACCESS_KEY, REGION, MotoServer, ScriptedKms
from tests.shipped.openbao import KEY, OpenBao, openbao_program
from tests.shipped.relay import Relay
from tests.shipped.transit import DENIED, ROOT_TOKEN, TransitServer

KEYS_EXIT_CODE = 8
WAIT_SECONDS_MAX = 30.0
PROVIDER_SECONDS = 25  # how long a start waits for its provider; well above a start on a busy machine
UNWRAPS = 'rivven_key_provider_calls_total{operation="unwrap",outcome="ok"}'


@dataclass
class Service:
    """A key service behind a relay, and the broker's section for it."""

    relay: Relay
    section: dict[str, Any]
    secrets: tuple[str, ...]
    rotate: Callable[[], object]
    """As its owner would, beside the broker."""
    missing: dict[str, Any]
    """A section that names a key which is not there."""
    missing_says: str


def kms_section(url: str, directory: Path, **fields: object) -> dict[str, Any]:
    """Credentials in files, as a secret of Kubernetes would be mounted."""
    for name, text in zip(("id", "secret"), ACCESS_KEY, strict=True):
        (directory / name).write_text(text)
    known: dict[str, object] = {
        "key_id": ScriptedKms.ALIAS,
        "region": REGION,
        "endpoint_url": url,
        "access_key_id": f"file:{directory / 'id'}",
        "secret_access_key": f"file:{directory / 'secret'}",
    }
    return encryption(key_source="kms", provider_timeout_secs=PROVIDER_SECONDS, kms=known | fields)


def vault_section(url: str, token: str, directory: Path, **fields: object) -> dict[str, Any]:
    (directory / "token").write_text(token)
    known = {"address": url, "auth": {"token": f"file:{directory / 'token'}"}}
    return encryption(key_source="vault", provider_timeout_secs=PROVIDER_SECONDS, vault=known | fields)


@pytest.fixture(params=["kms", "vault"], scope="module")
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("service")
    if request.param == "kms":
        with MotoServer(directory) as moto, Relay(moto.url) as relay:
            client = moto.client()

            def rotate() -> None:
                made = client.create_key()["KeyMetadata"]["KeyId"]
                client.update_alias(AliasName=ScriptedKms.ALIAS, TargetKeyId=made)

            client.create_alias(
                AliasName=ScriptedKms.ALIAS, TargetKeyId=client.create_key()["KeyMetadata"]["KeyId"]
            )
            yield Service(
                relay,
                kms_section(relay.url, directory),
                (ACCESS_KEY[1],),
                rotate,
                kms_section(relay.url, directory, key_id="alias/not-there"),
                "alias/not-there: NotFoundException: there is no such key",
            )
        return
    program, reason = openbao_program()
    if program is None:
        if os.environ.get("RIVVEN_REQUIRE_INTEROP") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with OpenBao(program, directory) as bao, Relay(bao.url) as relay:
        token = bao.token("rivven-operator")
        yield Service(
            relay,
            vault_section(relay.url, token, directory),
            (token,),
            lambda: bao.client().secrets.transit.rotate_key(KEY),
            vault_section(relay.url, token, directory, mount="elsewhere"),
            "get elsewhere/keys/rivven: permission denied",
        )


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[ShippedBroker]:
    """Not started, without `storage`; it must log no traceback."""
    made = ShippedBroker(tmp_path / "one")
    yield made
    if made.running:
        assert made.stop() == 0, made.tail()
    log = made.log.read_text(errors="replace") if made.log.exists() else ""
    assert "Traceback" not in log, made.tail()


def refused(broker: ShippedBroker) -> str:
    """The one line of a start that must not succeed."""
    broker.admin = Account(broker.admin.user, broker.admin.password or "unused")
    with pytest.raises(BrokerDidNotStart, match=f"exit code {KEYS_EXIT_CODE}"):
        broker.start()
    return [line for line in broker.tail().splitlines() if line.startswith("rivven: ")][-1]


def test_clients_notice_nothing_and_the_disk_tells_nothing(broker: ShippedBroker, service: Service) -> None:
    broker.change(storage=service.section)
    use = EncryptedUse(broker.start())
    use.create("t", 2, segment_bytes="4000")
    use.produce("t", 50)
    broker.restart()
    assert len(use.consume("t", 50)) == 50
    broker.kill()
    service.rotate()  # what the old KEK has wrapped stays readable
    broker.start()
    use.create("newer")
    use.produce("newer", 5)
    assert len(use.read("newer")) == 5 and len(use.consume("t", 50, "others")) == 50
    assert metric(broker, UNWRAPS) <= 1 + 3, "the metadata key, and a key for each topic"
    assert broker.stop() == 0
    assert marked_files([broker.data, key_directory(broker)], MARKERS.values()) == {}
    assert not any(secret in broker.log.read_text() for secret in service.secrets)


def test_an_outage_at_the_start_is_waited_for(broker: ShippedBroker, service: Service) -> None:
    broker.change(storage=service.section)
    use = EncryptedUse(broker.start())
    use.create("t")
    use.produce("t", 5)
    assert broker.stop() == 0
    with service.relay.outage():
        broker.spawn()
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while "no keys yet, trying again" not in broker.tail() and time.monotonic() < deadline:
            time.sleep(0.05)
    broker.wait_until_ready()
    assert len(use.read("t")) == 5


def test_an_outage_that_lasts_ends_the_start_with_one_line(broker: ShippedBroker, service: Service) -> None:
    broker.change(storage=service.section)
    use = EncryptedUse(broker.start())
    use.create("t")
    use.produce("t", 5)
    assert broker.stop() == 0
    hasty = service.section["encryption"] | {"provider_timeout_secs": 1}
    broker.change(storage={"encryption": hasty})
    with service.relay.outage():
        line = refused(broker)
    source = service.section["encryption"]["key_source"]
    assert line.startswith(f"rivven: the key provider {source} gave no keys within 1 s: ")
    broker.start()
    assert len(use.read("t")) == 5


def test_an_outage_while_it_runs_does_not_reach_open_topics(broker: ShippedBroker, service: Service) -> None:
    broker.change(storage=service.section)
    use = EncryptedUse(broker.start())
    use.create("t", segment_bytes="2000")
    use.produce("t", 10)
    with service.relay.outage():
        use.produce("t", 40, batch_num_messages=5)
        assert len(use.read("t")) == 50
        use.create("new")
        assert use.error_of_producing("new") == "KAFKA_STORAGE_ERROR"
        assert broker.running
    use.produce("new", 5)
    assert len(use.read("new")) == 5


def test_a_key_that_is_not_there_ends_the_start_at_once(broker: ShippedBroker, service: Service) -> None:
    broker.change(storage=service.missing)
    broker.admin = Account("admin", "unused")  # no first credential can be made without keys
    begun = time.monotonic()
    assert service.missing_says in refused(broker)
    assert time.monotonic() - begun < PROVIDER_SECONDS, "no waiting for what waiting does not cure"
    assert not (broker.data / "encryption.key").exists()


def test_a_topic_is_shredded_as_far_as_the_service_confirms(broker: ShippedBroker, service: Service) -> None:
    service.rotate()  # a history from before this broker
    broker.change(storage=service.section)
    use = EncryptedUse(broker.start())
    for topic in ("gone", "kept"):
        use.create(topic)
        use.produce(topic, 5)
    keys = KeysCommand(broker)
    first = keys.current_kek()
    keys("rotate")
    second = keys.current_kek()
    assert second != first
    made = keys.json("shred", "--topic", "gone", "--yes", "--certificate", "c.json")
    assert keys.current_kek() not in (first, second)
    states = {one["key_id"]: one["state"] for one in keys.json("list")["keys"]}
    if service.section["encryption"]["key_source"] == "vault":
        assert (made["state"], made["pending_until"]) == ("complete", None)
        assert states[first] == states[second] == "destroyed"
    else:
        assert made["state"] == "pending" and made["pending_until"]
        assert states[first] == states[second] == "pending-destruction"
    broker.restart()
    assert len(use.read("kept")) == 5


def test_a_topic_may_name_a_key_of_its_own(broker: ShippedBroker, service: Service) -> None:
    broker.change(storage=service.section)
    use = EncryptedUse(broker.start())
    name = ScriptedKms.ALIAS if "kms" in service.section["encryption"]["key_source"] else KEY
    use.create("own", encryption_key=name)
    use.produce("own", 3)
    assert len(use.read("own")) == 3
    for strange in ("../../sys/health", "nobodys"):
        with pytest.raises(KafkaException, match="the key provider gives no such key"):
            use.create("strange", encryption_key=strange)


# -- denied: what moto does not play -------------------------------------------------------------------------


def denied_kms(server: ScriptedKms) -> None:
    server.refuse("Decrypt", "AccessDeniedException", message=ACCESS_KEY[1])
    server.refuse("Encrypt", "AccessDeniedException", message=ACCESS_KEY[1])


def denied_vault(server: TransitServer) -> None:
    server.fault("/transit/", DENIED[0], DENIED[1])


@pytest.mark.parametrize(
    ("server", "deny"), [(ScriptedKms(), denied_kms), (TransitServer(), denied_vault)], ids=["kms", "vault"]
)
def test_a_denial_closes_what_is_not_open_yet_and_ends_the_next_start(
    broker: ShippedBroker, tmp_path: Path, server: Any, deny: Callable[[Any], None]
) -> None:
    with server:
        if isinstance(server, ScriptedKms):
            broker.change(storage=kms_section(server.url, tmp_path))
        else:
            broker.change(storage=vault_section(server.url, ROOT_TOKEN, tmp_path))
        use = EncryptedUse(broker.start())
        use.create("t")
        use.produce("t", 5)
        deny(server)
        use.produce("t", 5)
        use.create("new")
        assert use.error_of_producing("new") == "KAFKA_STORAGE_ERROR"
        assert broker.stop() == 0
        begun = time.monotonic()
        line = refused(broker)
        assert "AccessDeniedException" in line or "permission denied" in line
        assert time.monotonic() - begun < PROVIDER_SECONDS
        server.faults.clear()
        broker.start()
        assert len(use.read("t")) == 10
        assert not any(secret in broker.log.read_text() for secret in (ACCESS_KEY[1], ROOT_TOKEN))


def test_what_a_kms_will_not_do_is_known_before_a_topic_is_shredded(
    broker: ShippedBroker, tmp_path: Path
) -> None:
    with ScriptedKms() as server:
        [arn] = server.keys
        broker.change(storage=kms_section(server.url, tmp_path, key_id=arn))
        use = EncryptedUse(broker.start())
        use.create("t")
        use.produce("t", 5)
        keys = KeysCommand(broker)
        assert "is a key, not an alias" in keys("shred", "--topic", "t", "--yes", code=16)
        assert len(use.read("t")) == 5
        assert keys.json("list")["running"] is None
        use.create("own", encryption_key=server.make().arn)
        use.produce("own", 5)
        made = keys.json("shred", "--topic", "own", "--yes")
        assert made["state"] == "pending", "a key of its own needs no successor"
        assert [key.state for key in server.keys.values()] == ["Enabled", "PendingDeletion"]
        assert len(use.read("t")) == 5
