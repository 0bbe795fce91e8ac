"""Key files that earlier versions wrote: this version opens them, and so does docs/formats.md as written.

The files never change. A new format gets files of its own beside them.
"""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from argon2.low_level import Type, hash_secret_raw
from crc32c import crc32c
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from rivven.log.sealing import parse_segment_header
from rivven.security.keys.bootstrap import MetadataKey
from rivven.security.keys.key_store import open_key_store
from rivven.security.keys.keyring_file import KeyringFile
from rivven.security.keys.provider import KeyContext, KeyGone
from rivven.security.keys.secrets import TOKEN_HASH, Secrets
from rivven.security.keys.topic_ring import decode_ring
from rivven.testing.files import CrashFiles

HERE = Path(__file__).parent
TOPIC = UUID("11111111-2222-4333-8444-555555555555")
PASSPHRASE = "correct horse battery staple"
KEYRINGS = ["keyring", "keyring-with-passphrase"]

JOURNAL_KEY = "9a886f2483b66a9b8d515fe6ea3b09f11931a8b27612ea70ee4e641854f16fb1"
DATA_KEY = "21548c66b44347d877e7b405a250121cda87cd494b122f0324f7df3b6cd75f86"
SECRET = b"a secret of the golden files"


def never(size: int) -> bytes:
    raise AssertionError("everything is there already")


@pytest.fixture
def files() -> CrashFiles:
    """The files where they belong."""
    files = CrashFiles()
    for directory in ("/data", "/keys", "/keys/topics", "/keys/secrets", "/keys/public"):
        files.make_directory(directory)
    for name in KEYRINGS:
        files.put(f"/{name}", (HERE / name).read_bytes())
    files.put("/data/encryption.key", (HERE / "bootstrap-file").read_bytes())
    files.put("/keys/state", (HERE / "state").read_bytes())
    files.put(f"/keys/topics/{TOPIC}.keys", (HERE / f"{TOPIC}.keys").read_bytes())
    files.put("/keys/secrets/token-hash", (HERE / "token-hash").read_bytes())
    return files


# -- this version --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KEYRINGS)
def test_keyrings_open(files: CrashFiles, name: str) -> None:
    phrase = (lambda: PASSPHRASE) if name != "keyring" else None
    provider = KeyringFile(files, f"/{name}", phrase, never)
    described = {one.key_id: (one.state, one.current, one.created_ms) for one in provider.describe("")}
    assert list(described.values()) == [
        ("destroyed", False, 1_700_000_000_000),
        ("enabled", True, 1_700_000_000_000),
    ]
    assert [key_id[:3] for key_id in described] == ["k1-", "k2-"]
    assert provider.current_id("payroll").startswith("payroll:k1-")
    with pytest.raises(KeyGone):
        provider.current_id("other")


def test_everything_below_a_keyring_opens(files: CrashFiles) -> None:
    provider = KeyringFile(files, "/keyring", None, never)
    metadata_key = MetadataKey.load(files, "/data/encryption.key", provider, "cluster-1")
    assert metadata_key is not None and metadata_key.journal_key().hex() == JOURNAL_KEY
    store = open_key_store(files, "/keys", "cluster-1", may_create=False)
    assert store.operation() == {"kind": "none"}
    assert Secrets(files, "/data", never, store, metadata_key.secrets_key()).load(TOKEN_HASH) == SECRET
    stored = store.read_topic(TOPIC)
    assert stored is not None
    assert (stored.key_name, stored.rewriting, stored.created_ms) == ("payroll", True, (1, 2))
    content = provider.unwrap(stored.wrapped, KeyContext("cluster-1").topic(TOPIC))
    header = parse_segment_header((HERE / "segment-header").read_bytes())
    assert header is not None and header.topic_key_id == stored.key_ids[-1]
    assert decode_ring(content, stored.key_ids).data_key(header).hex() == DATA_KEY


def test_a_file_of_topic_keys_says_whether_a_plain_segment_is_refused(files: CrashFiles) -> None:
    """An older file does not know: then none is."""
    store = open_key_store(files, "/keys", "cluster-1", may_create=False)
    before = store.read_topic(TOPIC)
    files.put(f"/keys/topics/{TOPIC}.keys", (HERE / "only-sealed.keys").read_bytes())
    after = store.read_topic(TOPIC)
    assert before is not None and not before.only_sealed
    assert after == replace(before, only_sealed=True, rewriting=False, former_names=("",))


# -- the page alone ------------------------------------------------------------------------------------------


def payload(name: str, magic: bytes) -> tuple[int, bytes]:
    content = (HERE / name).read_bytes()
    found, version, flags, length = struct.unpack_from(">4sHHI", content)
    assert (found, version) == (magic, 1) and len(content) == 12 + length + 4
    assert struct.unpack_from(">I", content, 12 + length)[0] == crc32c(content[: 12 + length])
    return flags, content[12 : 12 + length]


def keks(content: bytes) -> dict[str, bytes]:
    [count], at, found = struct.unpack_from(">I", content), 4, {}
    for _ in range(count):
        texts = []
        for _text in range(2):
            texts.append(content[at + 1 : at + 1 + content[at]].decode("ascii"))
            at += 1 + content[at]
        created_ms, state, key = struct.unpack_from(">QB32s", content, at)
        at += 41
        assert created_ms == 1_700_000_000_000 and (key == bytes(32)) is (state == 0)
        found[texts[1]] = key
    assert at == len(content)
    return found


def unwrapped(content: dict[str, str], context: dict[str, str]) -> bytes:
    blob = base64.b64decode(content["wrapped"])
    associated = json.dumps([content["kek"], sorted(context.items())], separators=(",", ":")).encode()
    key = keks(payload("keyring", b"RVKR")[1])[content["kek"]]
    return AESGCM(key).decrypt(blob[:12], blob[12:], associated)


def test_a_keyring_with_a_passphrase_is_as_the_page_says() -> None:
    flags, content = payload("keyring-with-passphrase", b"RVKR")
    passes, memory, lanes = struct.unpack_from(">III", content, 16)
    assert (flags, passes, memory, lanes) == (1, 3, 65_536, 4)
    key = hash_secret_raw(PASSPHRASE.encode(), content[:16], passes, memory, lanes, 32, Type.ID)
    plain = AESGCM(key).decrypt(content[28:40], content[40:], b"RVKR" + content[:28])
    assert len(keks(plain)) == len(keks(payload("keyring", b"RVKR")[1])) == 3


def test_from_the_keyring_to_a_data_key_as_the_page_says() -> None:
    flags, raw = payload(f"{TOPIC}.keys", b"RVKT")
    stored = json.loads(raw)
    context = {"cluster": "cluster-1", "purpose": "topic", "topic": str(TOPIC)}
    ring = unwrapped(stored, context)
    assert flags == 0 and ring[0] == 1 and ring[1] == 2 == len(stored["keys"]) and len(ring) == 2 + 2 * 48
    assert [ring[2:18].hex(), ring[50:66].hex()] == [key["id"] for key in stored["keys"]]
    header = (HERE / "segment-header").read_bytes()
    assert header[48:64] == ring[50:66]
    binding = header[4:5] + header[12:28] + header[28:32] + header[32:48]
    data_key = AESGCM(ring[66:98]).decrypt(header[64:76], header[76:124], binding)
    assert data_key.hex() == DATA_KEY


def test_the_mark_is_where_the_page_says() -> None:
    assert json.loads(payload("only-sealed.keys", b"RVKT")[1])["only_sealed"] is True
    assert "only_sealed" not in json.loads(payload(f"{TOPIC}.keys", b"RVKT")[1])


def test_from_the_keyring_to_a_secret_as_the_page_says() -> None:
    bootstrap = json.loads((HERE / "bootstrap-file").read_bytes())
    assert (bootstrap["version"], bootstrap["provider"]) == (1, "file")
    metadata_key = unwrapped(bootstrap, {"cluster": bootstrap["cluster"], "purpose": "metadata"})
    journal = HKDF(SHA256(), 32, salt=None, info=b"rivven metadata journal 1").derive(metadata_key)
    assert journal.hex() == JOURNAL_KEY
    key = HKDF(SHA256(), 32, salt=None, info=b"rivven secrets 1").derive(metadata_key)
    _, sealed = payload("token-hash", b"RVKS")
    assert AESGCM(key).decrypt(sealed[:12], sealed[12:], b"rivven secret 1 token-hash") == SECRET
