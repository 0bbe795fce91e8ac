"""Encryption at rest over the shipped command: clients notice nothing, and the disk tells nothing.

What is missing or wrong at a start is looked at in more variety by tests/unit/app/test_encryption.py.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaException

from rivven.config.load import load
from rivven.security.keys.bootstrap import MetadataKey
from rivven.security.keys.key_file import PrivateFiles
from rivven.security.keys.key_store import open_key_store
from rivven.security.keys.loader import load_provider
from rivven.security.keys.provider import KeyContext
from rivven.security.keys.secrets import AUDIT_SIGNING, SCRAM_DECOY, TOKEN_HASH, Secrets
from rivven.testing.canary import leaks
from tests.conformance.encrypted import MARKERS, EncryptedUse, encryption, key_directory, marked_files
from tests.conformance.process import metric
from tests.shipped.broker import RIVVEN, BrokerDidNotStart, ShippedBroker
from tests.shipped.connection import Account
from tests.shipped.on_disk import segments

KEYS_EXIT_CODE = 8
FAST_COMPACTION = {"log.cleaner.backoff.ms": 100}
COMPACTED = {
    "cleanup_policy": "compact",
    "segment_bytes": "2000",
    "min_cleanable_dirty_ratio": "0",
}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[ShippedBroker]:
    """Not started; it must log no traceback."""
    made = encrypting(tmp_path / "one")
    yield made
    end(made)


def encrypting(directory: Path) -> ShippedBroker:
    return ShippedBroker(directory, extra={"storage": encryption()}, settings=FAST_COMPACTION)


def end(broker: ShippedBroker) -> None:
    """Stop it cleanly if it runs."""
    if broker.running:
        assert broker.stop() == 0, broker.tail()
    log = broker.log.read_text(errors="replace") if broker.log.exists() else ""
    assert "Traceback" not in log, broker.tail()


def numbers(values: list[str]) -> list[int]:
    return [int(value.split()[0]) for value in values]


def first_bytes(broker: ShippedBroker) -> set[bytes]:
    """What the segments with content begin with."""
    return {content[:4] for _, content in segments(broker.data)}


def refused(broker: ShippedBroker) -> str:
    """The one line of a start that must not succeed, with its exit code in front."""
    with pytest.raises(BrokerDidNotStart) as caught:
        broker.start()
    text = str(caught.value)
    lines = [line for line in text.splitlines() if line.startswith(("rivven: ", "  hint: "))][-2:]
    assert [line[:8] for line in lines] == ["rivven: ", "  hint: "], text
    assert "Traceback" not in text
    return text.partition(":")[0] + ": " + lines[0]


def test_clients_notice_nothing_over_restarts_and_kills(broker: ShippedBroker) -> None:
    broker.change(audit={"output": [{"type": "file"}, {"type": "topic"}]})
    use = EncryptedUse(broker.start())
    use.create("t", 2, segment_bytes="4000")
    use.produce("t", 200)
    use.produce("t", 200, compression_type="zstd")
    assert len(use.consume("t", 150)) == 150
    broker.restart()
    rest = use.consume("t", 250)
    assert len(rest) == 250
    use.produce("t", 50)
    broker.kill()
    broker.start()
    assert len(use.consume("t", 50)) == 50
    everything = use.consume("t", 450, group="others")
    assert sorted(numbers(everything)) == sorted([*range(200)] * 2 + [*range(50)])
    assert first_bytes(broker) == {b"RVNS"}


@pytest.mark.parametrize("algorithm", ["chacha20-poly1305", None])
def test_a_marker_is_in_no_file_and_in_many_without_encryption(
    broker: ShippedBroker, algorithm: str | None
) -> None:
    """None is the control; everything else here is sealed with AES-256-GCM."""
    if algorithm is None:
        broker.change(storage={"encryption": {"enabled": False}})
    else:
        broker.change(storage=encryption(algorithm=algorithm))
    use = EncryptedUse(broker.start())
    verifier = use.store_verifier("marked-user")
    use.create("t")
    use.create("compacted", **COMPACTED)
    use.create("gone")
    for topic in ("t", "gone"):
        use.produce(topic, 50)
    for _ in range(3):
        use.produce("compacted", 60)
    use.consume("t", 50)
    deadline = time.monotonic() + 15
    while not metric(broker, "rivven_compaction_passes_total") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert metric(broker, "rivven_compaction_passes_total"), broker.tail()
    use.delete("gone")
    directories = [broker.data, key_directory(broker)]
    markers = [*MARKERS.values(), *verifier]
    while_running = marked_files(directories, markers)
    broker.kill()
    after_a_kill = marked_files(directories, markers)
    broker.start()
    assert broker.stop() == 0
    at_the_end = marked_files(directories, markers)
    if algorithm is not None:
        assert (while_running, after_a_kill, at_the_end) == ({}, {}, {})
        return
    for found in (while_running, after_a_kill, at_the_end):
        seen = set().union(*found.values())
        for marker in (*MARKERS.values(), *verifier[2:]):
            assert repr(marker if isinstance(marker, bytes) else marker.encode()) in seen
        assert len(found) >= 4


def test_switched_on_later_and_off_again(broker: ShippedBroker) -> None:
    broker.change(storage={"encryption": {"enabled": False}})
    use = EncryptedUse(broker.start())
    verifier = use.store_verifier("marked-user")
    use.create("t")
    use.produce("t", 20, "marker-before")
    assert broker.stop() == 0
    assert marked_files([broker.data], ["marker-before"])
    assert "metadata.journal" in marked_files([broker.data], verifier)

    broker.change(storage=encryption())
    broker.start()
    use.produce("t", 20, "marker-during")
    use.create("new")
    use.produce("new", 5, "marker-during")
    values = use.consume("t", 40)
    assert [value.split()[1] for value in values] == ["marker-before"] * 20 + ["marker-during"] * 20
    assert broker.stop() == 0
    assert marked_files([broker.data], ["marker-during", *verifier]) == {}
    assert [path.name for path in broker.data.glob("*.key")] == ["encryption.key"]
    assert not (broker.data / "audit/signing.key").exists()
    assert marked_files([broker.data], ["marker-before"]), "what is there already waits for re-encryption"

    broker.change(storage={"encryption": {"enabled": False}})
    broker.start()
    use.produce("t", 20, "marker-after")
    values = use.consume("t", 60, group="all")
    assert [value.split()[1] for value in values][20:] == ["marker-during"] * 20 + ["marker-after"] * 20
    assert broker.stop() == 0
    assert marked_files([broker.data], ["marker-after"])
    assert marked_files([broker.data], verifier) == {}, "the metadata stays sealed"
    assert marked_files([broker.data], ["marker-during"]) == {}


def test_a_topic_may_differ_from_the_broker(broker: ShippedBroker) -> None:
    use = EncryptedUse(broker.start())
    use.create("plain", encryption_enabled="false")
    use.create("sealed")
    use.produce("plain", 5, "marker-in-plain")
    use.produce("sealed", 5, "marker-sealed")
    broker.change(storage=encryption(enabled=False))
    broker.restart()
    use.create("own", encryption_enabled="true")
    use.create("later")
    use.produce("own", 5, "marker-sealed")
    use.produce("later", 5, "marker-in-plain")
    use.alter("later", "encryption.enabled", "true")
    use.produce("later", 5, "marker-sealed")
    for topic, count in (("plain", 5), ("sealed", 5), ("own", 5), ("later", 10)):
        assert len(use.consume(topic, count)) == count
    with pytest.raises(KafkaException, match="gives no such key"):
        use.create("strange", encryption_key="nobodys")
    keys = set((key_directory(broker) / "topics").iterdir())
    use.delete("own")
    assert broker.stop() == 0
    assert len(keys - set((key_directory(broker) / "topics").iterdir())) == 1, "its keys went with it"
    assert marked_files([broker.data], ["marker-sealed"]) == {}
    assert len(marked_files([broker.data], ["marker-in-plain"])) == 2


def test_without_keys_a_topic_cannot_be_encrypted(broker: ShippedBroker) -> None:
    broker.change(storage={"encryption": {"enabled": False}})
    use = EncryptedUse(broker.start())
    with pytest.raises(KafkaException, match="this broker has no keys"):
        use.create("t", encryption_enabled="true")
    use.create("t")
    with pytest.raises(KafkaException, match="this broker has no keys"):
        use.alter("t", "encryption.enabled", "true")
    assert not key_directory(broker).exists()


def test_no_key_and_no_passphrase_is_said_or_stored_anywhere(broker: ShippedBroker, tmp_path: Path) -> None:
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("canary passphrase 7731\n")
    passphrase.chmod(0o600)
    sealed = encryption(file={"passphrase": f"file:{passphrase}"})
    broker.change(storage=sealed, logging={"format": "human", "level": "debug"})
    use = EncryptedUse(broker.start())
    use.create("t")
    use.produce("t", 5)
    assert len(use.read("t")) == 5
    with pytest.raises(KafkaException):
        use.create("strange", encryption_key="nobodys")
    host, port = broker.metrics_address()
    said = {
        "metrics": urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10).read(),
        "command line": Path(f"/proc/{broker.pid}/cmdline").read_bytes(),
        "config show": subprocess.run(
            [RIVVEN, "config", "show", broker.config_path], capture_output=True, timeout=30, check=True
        ).stdout,
    }
    assert broker.stop() == 0
    secrets = ["canary passphrase 7731", *keys_of(broker)]
    assert len(secrets) >= 7
    for directory in (broker.directory, broker.data, key_directory(broker)):
        said |= {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    assert leaks(secrets, said) == []
    assert leaks(secrets, said | {"control": secrets[-1]}) == [
        f"plain of secret {len(secrets) - 1} in control"
    ]


def keys_of(broker: ShippedBroker) -> list[bytes]:
    """Every key of a stopped broker, opened with what its configuration names."""
    config = load(broker.config_path, {})
    settings = config.storage.encryption
    files, cluster = PrivateFiles(), broker.ready["cluster_id"]
    provider = load_provider(settings, config.data_dir)
    metadata_key = MetadataKey.load(files, f"{broker.data}/encryption.key", provider, cluster)
    assert metadata_key is not None
    store = open_key_store(files, str(key_directory(broker)), cluster, may_create=False)
    secrets = Secrets(files, str(broker.data), os.urandom, store, metadata_key.secrets_key())
    kept = [secrets.load(name) for name in (TOKEN_HASH, SCRAM_DECOY, AUDIT_SIGNING)]
    rings = [
        provider.unwrap(topic.wrapped, KeyContext(cluster).topic(topic.topic_id))
        for topic in store.topics()[0].values()
    ]
    store.close()
    found = [metadata_key.journal_key(), metadata_key.secrets_key(), *(one for one in kept if one)]
    return found + [ring[-32:] for ring in rings]


# -- the provider goes away while the broker runs ------------------------------------------------------------


def test_an_outage_does_not_reach_open_topics_and_ends_by_itself(broker: ShippedBroker) -> None:
    use = EncryptedUse(broker.start())
    use.create("t", segment_bytes="2000")
    use.produce("t", 10)
    keyring = key_directory(broker) / "keyring"
    aside = keyring.with_name("aside")
    keyring.rename(aside)
    use.produce("t", 60, batch_num_messages=5)  # new segments too: their keys need no provider
    assert len(use.read("t")) == 70
    use.create("new")
    assert use.error_of_producing("new") == "KAFKA_STORAGE_ERROR"
    assert broker.running
    assert first_bytes(broker) == {b"RVNS"}
    aside.rename(keyring)
    use.produce("new", 5)  # the client tries again until the broker has got the key
    assert len(use.read("new")) == 5
    assert marked_files([broker.data], MARKERS.values()) == {}


def test_a_start_that_waits_for_its_provider_can_be_stopped(broker: ShippedBroker) -> None:
    pytest.importorskip("boto3")
    kms = {"key_id": "alias/x", "region": "eu-central-1", "endpoint_url": "http://127.0.0.1:9"}
    credentials = {"access_key_id": "env:HOME", "secret_access_key": "env:HOME"}
    broker.change(storage=encryption(key_source="kms", kms=kms | credentials))
    broker.admin = Account("admin", "unused")  # no first credential can be made without keys
    broker.spawn()
    deadline = time.monotonic() + 20
    while "no keys yet, trying again" not in broker.tail() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "no keys yet, trying again" in broker.logged()
    begun = time.monotonic()
    broker.signal(signal.SIGTERM)
    assert broker.wait() == 0
    assert time.monotonic() - begun < 15
    assert not (broker.data / "encryption.key").exists()


# -- what is missing or wrong at a start ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> ShippedBroker:
    """It has data, and was stopped cleanly; what it left then is in `pristine` beside it."""
    broker = encrypting(tmp_path_factory.mktemp("kept") / "one")
    use = EncryptedUse(broker.start())
    use.create("t", segment_bytes="3000", index_interval_bytes="100")
    use.produce("t", 30, batch_num_messages=3)
    assert len(use.consume("t", 10)) == 10
    end(broker)
    shutil.copytree(broker.data, pristine(broker) / "data")
    shutil.copytree(key_directory(broker), pristine(broker) / "keys")
    return broker


def pristine(broker: ShippedBroker) -> Path:
    return broker.directory / "pristine"


def restore(broker: ShippedBroker) -> None:
    """As it was when it was stopped."""
    for target, source in ((broker.data, "data"), (key_directory(broker), "keys")):
        shutil.rmtree(target)
        shutil.copytree(pristine(broker) / source, target)


@pytest.fixture
def stopped(kept: ShippedBroker) -> Iterator[ShippedBroker]:
    """The same for every test that damages it."""
    restore(kept)
    yield kept
    end(kept)


def assert_whole(broker: ShippedBroker) -> None:
    assert numbers(EncryptedUse(broker.start()).consume("t", 20)) == list(range(10, 30))


def test_another_keyring_is_refused_and_destroys_nothing(stopped: ShippedBroker, tmp_path: Path) -> None:
    other = ShippedBroker(tmp_path / "other", extra={"storage": encryption()})
    other.start()
    assert other.stop() == 0
    keyring = key_directory(stopped) / "keyring"
    ours = keyring.read_bytes()
    shutil.copy(key_directory(other) / "keyring", keyring)
    line = refused(stopped)
    assert line.startswith(
        f"exit code {KEYS_EXIT_CODE}: rivven: the key provider file: {keyring}: has no key k1"
    )
    keyring.write_bytes(ours)
    assert_whole(stopped)


def test_a_keyring_that_is_none_is_refused_by_name(stopped: ShippedBroker) -> None:
    keyring = key_directory(stopped) / "keyring"
    ours = keyring.read_bytes()
    for content in (None, b"", b"RVKR\0\0of another age"):
        keyring.unlink() if content is None else keyring.write_bytes(content)
        for _ in range(2):  # a crash loop changes nothing
            line = refused(stopped)
            assert line.startswith(f"exit code {KEYS_EXIT_CODE}: ") and f"{keyring}: " in line
            assert not keyring.exists() if content is None else keyring.read_bytes() == content
        keyring.touch(0o600)
    offline = [RIVVEN, "server", "init", "--config", stopped.config_path, "--admin", "another"]
    assert subprocess.run(offline, capture_output=True, timeout=60, check=False).returncode == KEYS_EXIT_CODE
    keyring.write_bytes(ours)
    assert_whole(stopped)


@pytest.mark.parametrize(
    ("damage", "half"),
    [
        ("flip", 0),
        ("cut", 1),
        pytest.param("flip", 1, marks=pytest.mark.nightly),
        pytest.param("cut", 0, marks=pytest.mark.nightly),
    ],
)
def test_damage_is_found_in_every_kind_of_file(stopped: ShippedBroker, damage: str, half: int) -> None:
    """A start for each kind of file: every kind is flipped or cut, at night both."""
    keys = key_directory(stopped)
    kinds = kinds_of_files(pristine(stopped))
    assert {".log", ".index", "metadata.journal", "encryption.key", "state", ".keys", "keyring"} <= set(kinds)
    outcomes: dict[str, str] = {}
    for kind, name in list(kinds.items())[half::2]:
        restore(stopped)
        source, _, inner = name.partition("/")
        path = (stopped.data if source == "data" else keys) / inner
        content = bytearray(path.read_bytes())
        at = len(content) * 2 // 3
        content[at] ^= 0x04
        path.write_bytes(content if damage == "flip" else content[:at])
        outcomes[kind] = outcome_of(stopped, path)
    print(outcomes)
    assert outcomes.get(".log") != "whole"
    assert {kind for kind, outcome in outcomes.items() if outcome == "wrong"} == set()
    for kind in {"metadata.journal", "encryption.key", "state", "keyring"} & outcomes.keys():
        assert outcomes[kind].startswith("refused"), (kind, outcomes[kind])


def kinds_of_files(root: Path) -> dict[str, str]:
    """One file of every kind that has content, by its suffix or name."""
    kinds: dict[str, str] = {}
    topic = max(root.glob("data/partitions/*/*.log"), key=lambda path: path.stat().st_size)
    for path in [topic, *sorted(root.rglob("*"))]:
        if not path.is_file() or not path.stat().st_size or path.parent.name in ("audit", "public"):
            continue
        kind = "secret" if path.parent.name == "secrets" else path.suffix
        if kind not in ("secret", ".log", ".index", ".snapshot", ".keys"):
            kind = path.name
        kinds.setdefault(kind.replace(".timeindex", ".index"), str(path.relative_to(root)))
    return kinds


def outcome_of(broker: ShippedBroker, damaged: Path) -> str:
    """How a broker with a damaged file fares: refused by the file's name, or serving nothing wrong."""
    try:
        broker.start()
    except BrokerDidNotStart as error:
        text = str(error)
        line = next(line for line in reversed(text.splitlines()) if line.startswith("rivven: "))
        assert "Traceback" not in text.splitlines()
        return f"refused: {line}" if damaged.stem in line else f"wrong: {line}"
    try:
        found = numbers(EncryptedUse(broker).read("t"))
    finally:
        broker.kill()
    if found == list(range(30)):
        return "whole"
    return "partly" if found == list(range(len(found))) else "wrong"
