"""No key and no passphrase is found outside the memory of the broker, however its keys are used.

Searched are the log at its most talkative, metrics, what `rivven keys` prints, refused starts, command lines,
and every file of the data directory and the key store. The test opens the keyring, with the passphrase.
"""

from __future__ import annotations

import json
import os
import urllib.request
from pathlib import Path

import pytest

from rivven.log.sealing import parse_segment_header
from rivven.security.keys.bootstrap import MetadataKey
from rivven.security.keys.key_file import PrivateFiles
from rivven.security.keys.key_store import open_key_store
from rivven.security.keys.keyring_file import KeyringFile
from rivven.security.keys.provider import KeyContext
from rivven.security.keys.secrets import PLAIN_FILES, TOKEN_HASH, Secrets
from rivven.security.keys.topic_ring import decode_ring
from rivven.testing.canary import leaks
from tests.conformance.encrypted import MARKERS, EncryptedUse
from tests.conformance.keys_commands import KeysCommand
from tests.conformance.test_secrets import Gathered, command_lines
from tests.shipped.broker import BrokerDidNotStart, ShippedBroker

PASSPHRASE = "a passphrase, canary 8114"
WRONG = "a wrong passphrase, canary 8115"


def test_no_key_and_no_passphrase_is_found_anywhere(tmp_path: Path) -> None:
    passphrase = tmp_path / "passphrase"
    passphrase.touch(0o600)
    passphrase.write_text(PASSPHRASE + "\n")
    keys = tmp_path / "keys"
    section = {
        "enabled": True,
        "key_directory": str(keys),
        "file": {"passphrase": f"file:{passphrase}"},
    }
    broker = ShippedBroker(
        tmp_path / "one", extra={"storage": {"encryption": section}, "logging": {"level": "debug"}}
    )
    found = Gathered([PASSPHRASE, WRONG])
    with broker:
        use_keys(broker, found)
        assert broker.stop() == 0, broker.tail()
    with_a_wrong_passphrase(broker, passphrase, found)
    found.secrets += every_key(broker, keys)
    found.hear("log", broker.log.read_bytes())
    for directory in (broker.data, keys):
        for path in directory.rglob("*"):
            if path.is_file():
                found.hear(str(path.relative_to(tmp_path)), path.read_bytes())
    assert leaks(found.secrets, found.outputs) == []
    assert leaks([MARKERS["value"]], found.outputs) == []
    assert len(found.secrets) > 12 and len(found.outputs) > 12
    assert b"debug" in found.outputs["log"] and b"k2-" in found.outputs["rivven keys"]
    assert b'rivven_key_provider_calls_total{operation="wrap",outcome="ok"}' in found.outputs["metrics"]
    assert leaks(found.secrets[-1:], {"control": json.dumps({"key": found.secrets[-1].hex()})}) != []  # type: ignore[union-attr]


def use_keys(broker: ShippedBroker, found: Gathered) -> None:
    """Topics, rotations, refusals."""
    use, keys = EncryptedUse(broker), KeysCommand(broker)
    use.create("t")
    use.produce("t", 5)
    for name in ("token-hash", "scram-decoy"):
        found.hear("rivven keys", keys("rotate", "--secret", name, "-o", "json"))
    for arguments in (("rotate",), ("rewrap",), ("reencrypt", "--topic", "t"), ("list", "--topics")):
        found.hear("rivven keys", keys(*arguments, "-o", "json"))
    found.hear("rivven keys", keys("shred", "--topic", "no-such-topic", "--yes", code=13))
    host, port = broker.metrics_address()
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer:
        found.hear("metrics", answer.read())
    found.hear("processes", command_lines(broker.pid))


def with_a_wrong_passphrase(broker: ShippedBroker, passphrase: Path, found: Gathered) -> None:
    """A start that is refused, and one that is not."""
    passphrase.write_text(WRONG)
    with pytest.raises(BrokerDidNotStart) as caught:
        broker.start()
    assert "keyring: the passphrase does not open it" in str(caught.value)
    found.hear("refusal", str(caught.value))
    passphrase.write_text(PASSPHRASE)
    with broker:
        assert len(EncryptedUse(broker).consume("t", 5)) == 5
        assert broker.stop() == 0


def every_key(broker: ShippedBroker, keys: Path) -> list[str | bytes]:
    """KEKs, metadata key and what is derived from it, secrets, topic keys, data keys."""
    files = PrivateFiles()
    provider = KeyringFile(files, str(keys / "keyring"), lambda: PASSPHRASE)
    found: list[str | bytes] = [bytes(kek.key) for kek in provider._load().of("")]
    cluster = json.loads((broker.data / "encryption.key").read_text())["cluster"]
    metadata_key = MetadataKey.load(files, str(broker.data / "encryption.key"), provider, cluster)
    assert metadata_key is not None
    found += [bytes(metadata_key._secret), metadata_key.journal_key(), metadata_key.secrets_key()]
    store = open_key_store(files, str(keys), cluster, may_create=False)
    secrets = Secrets(files, str(broker.data), os.urandom, store, metadata_key.secrets_key())
    kept = [secret for name in PLAIN_FILES if (secret := secrets.load(name)) is not None]
    found += kept
    tokens = secrets.load(TOKEN_HASH) or b""
    assert len(tokens) == 64, "a key, and the one before it"
    found += [tokens[:32], tokens[32:]]
    rings = {}
    for topic_id, stored in store.topics()[0].items():
        ring = decode_ring(
            provider.unwrap(stored.wrapped, KeyContext(cluster).topic(topic_id)), stored.key_ids
        )
        rings[topic_id] = ring
        found += [key.encoded()[16:] for key in ring.keys]
    store.close()
    for path in broker.data.rglob("*.log"):
        header = parse_segment_header(path.read_bytes()[:128])
        if header is not None:
            found.append(bytes(rings[header.topic_id].data_key(header)))
    assert len(found) >= 10
    return found
