"""Opening the keys of a data directory: made once, found again, refused by name, waited for."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from rivven.app import encryption
from rivven.app.encryption import Encryption
from rivven.app.failures import ExitCode, StartFailed
from rivven.app.storage import METADATA_JOURNAL, Storage
from rivven.clock import SystemClock
from rivven.config.models import Config
from rivven.config.storage import EncryptionConfig
from rivven.errors import InvalidConfig
from rivven.log.workers import WorkerPool
from rivven.machine.state_machine import JournalRecord
from rivven.security.keys.keyring_file import KeyringFile, open_keyring
from rivven.security.keys.provider import KeyRefused, ProviderUnavailable, WrappedKey
from rivven.security.keys.secrets import AUDIT_SIGNING, TOKEN_HASH
from rivven.tasks import Tasks
from rivven.telemetry import Metrics


class Home:
    """A data directory that is opened and closed as by one broker after another."""

    def __init__(self, directory: Path) -> None:
        self.data = directory / "data"
        self.keys = directory / "data-keys"
        self.tasks = Tasks()
        self.storage: Storage | None = None
        self.settings: dict[str, Any] = {"enabled": True}

    def config(self) -> Config:
        listener = {"name": "one", "bind": "127.0.0.1:0", "protocol": "plaintext"}
        return Config.model_validate(
            {
                "insecure": True,
                "data_dir": str(self.data),
                "listeners": [listener],
                "storage": {"encryption": self.settings},
            }
        )

    async def open(self, **settings: Any) -> Storage:
        self.settings |= settings
        storage = self.storage = Storage(self.config(), SystemClock(), Metrics({}), WorkerPool())
        storage.open()
        await storage.open_keys(self.tasks)
        return storage

    async def encrypted(self, **settings: Any) -> Encryption:
        found = (await self.open(**settings)).encryption
        assert found is not None
        return found

    async def close(self) -> None:
        await self.tasks.cancel_all()
        if self.storage is not None:
            await self.storage.close()
            self.storage = None

    async def write_metadata(self, value: bytes) -> list[bytes | None]:
        """What the journal held, after one more value was added to it."""
        assert self.storage is not None
        journal = self.storage.metadata_journal()
        found = [record.value async for record in journal.load()]
        await self.storage.metadata_opened()
        await journal.append([JournalRecord(b"key", value)])
        await journal.close()
        return found

    async def refused(self, **settings: Any) -> StartFailed:
        with pytest.raises(StartFailed) as caught:
            await self.open(**settings)
        await self.close()
        assert "\n" not in caught.value.reason and len(caught.value.hint) > 20
        return caught.value


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    made = Home(tmp_path)
    yield made
    await made.close()


def files_of(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


async def test_nothing_is_made_while_encryption_is_off(home: Home) -> None:
    storage = await home.open(enabled=False)
    assert storage.encryption is None and storage.topic_keys is None
    assert not home.keys.exists()
    assert not (home.data / "encryption.key").exists()


async def test_a_first_start_makes_the_keys_and_the_next_finds_them(home: Home) -> None:
    first = await home.encrypted()
    key = first.metadata_key.journal_key()
    for path in (home.keys, home.keys / "keyring", home.keys / "state", home.data / "encryption.key"):
        assert path.stat().st_mode & 0o077 == 0, path
    await home.close()
    again = await home.encrypted()
    assert again.metadata_key.journal_key() == key


async def test_what_was_encrypted_is_opened_after_encryption_was_switched_off(home: Home) -> None:
    await home.open()
    assert await home.write_metadata(b"marker one") == []
    await home.close()
    await home.open(enabled=False)
    assert await home.write_metadata(b"marker two") == [b"marker one"]
    assert b"marker" not in (home.data / METADATA_JOURNAL).read_bytes()


async def test_metadata_and_secrets_of_the_time_before_are_sealed(home: Home) -> None:
    storage = await home.open(enabled=False)
    await home.write_metadata(b"marker")
    token = storage.secrets.load_or_create(TOKEN_HASH, lambda: b"t" * 32)
    storage.secrets.load_or_create(AUDIT_SIGNING, lambda: b"signing marker")
    await home.close()
    assert b"marker" in b"".join(files_of(home.data).values())
    storage = await home.open(enabled=True)
    assert await home.write_metadata(b"more") == [b"marker"]
    everything = b"".join([*files_of(home.data).values(), *files_of(home.keys).values()])
    assert b"marker" not in everything and token not in everything
    assert storage.secrets.load(TOKEN_HASH) == token


async def test_a_plain_journal_in_the_place_of_a_sealed_one_is_refused(home: Home, tmp_path: Path) -> None:
    other = Home(tmp_path / "attacker")
    other.data.parent.mkdir()
    await other.open(enabled=False)
    await other.write_metadata(b"a user of mine")
    await other.close()
    await home.open()
    await home.write_metadata(b"ours")
    await home.close()
    shutil.copy(other.data / METADATA_JOURNAL, home.data / METADATA_JOURNAL)
    await home.open()
    with pytest.raises(Exception, match="sealed before"):
        await home.write_metadata(b"more")


async def test_switching_encryption_off_does_not_make_a_plain_journal_welcome(home: Home) -> None:
    await home.open()
    await home.write_metadata(b"ours")
    await home.close()
    for name in ("encryption.key", METADATA_JOURNAL):
        (home.data / name).unlink()
    failure = await home.refused(enabled=False)
    assert failure.exit_code is ExitCode.KEYS
    assert "encryption.key: is missing, and by the key store" in failure.reason


async def test_a_key_store_that_never_sealed_a_journal_does_not_keep_a_plain_one_from_starting(
    home: Home,
) -> None:
    await home.open()
    await home.close()
    (home.data / "encryption.key").unlink()
    assert (await home.open(enabled=False)).encryption is None


async def test_a_journal_that_is_gone_is_not_begun_anew_under_partitions(home: Home) -> None:
    storage = await home.open(enabled=False)
    await home.write_metadata(b"x")
    await home.close()
    (home.data / METADATA_JOURNAL).unlink()
    (home.data / "partitions" / "somebodys").mkdir()
    storage = await home.open()
    with pytest.raises(StartFailed, match=r"metadata\.journal: is missing, and there are partitions"):
        storage.metadata_journal()


@pytest.mark.parametrize(
    ("lost", "reason"),
    [
        ("data/encryption.key", r"data/encryption\.key: is missing, and the metadata is sealed"),
        ("data-keys", r"data-keys: there is no key store|data-keys/keyring: there is no keyring"),
        ("data-keys/keyring", r"data-keys/keyring: there is no keyring"),
        ("data-keys/state", r"data-keys: there is no key store"),
    ],
)
async def test_what_is_missing_is_named_and_nothing_is_made_in_its_place(
    home: Home, tmp_path: Path, lost: str, reason: str
) -> None:
    await home.open()
    await home.write_metadata(b"x")
    await home.close()
    path, aside = tmp_path / lost, tmp_path / "aside"
    path.rename(aside)
    before = files_of(home.data)
    failure = await home.refused()
    assert failure.exit_code is ExitCode.KEYS
    assert re.search(reason, failure.reason), failure.reason
    assert not path.exists()
    assert files_of(home.data) == before
    aside.rename(path)
    await home.open()
    assert await home.write_metadata(b"y") == [b"x"]


@pytest.mark.parametrize(
    "left",
    [
        {"data-keys/keyring"},
        {"data-keys/keyring", "data-keys/keyring.lock", "data-keys/lock"},
        {"data-keys/keyring", "data-keys/state"},
    ],
    ids=["keyring", "no state", "no bootstrap file"],
)
async def test_a_first_start_that_was_killed_is_finished_by_the_next(
    home: Home, tmp_path: Path, left: set[str]
) -> None:
    """They are made in this order: keyring, key store, bootstrap file; each is durable before the next."""
    await home.open()
    await home.close()
    for path in [*home.keys.rglob("*"), home.data / "encryption.key"]:
        if path.is_file() and str(path.relative_to(tmp_path)) not in left:
            path.unlink()
    await home.open()
    assert await home.write_metadata(b"x") == []
    await home.close()
    await home.open()
    assert await home.write_metadata(b"y") == [b"x"]


@pytest.mark.parametrize("name", ["data/encryption.key", "data-keys/keyring", "data-keys/state"])
@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"RVKR\0\0old"], ids=["empty", "zeros", "old"])
async def test_a_file_that_is_no_key_file_is_refused_by_name_and_left_alone(
    home: Home, tmp_path: Path, name: str, content: bytes
) -> None:
    await home.open()
    await home.close()
    path = tmp_path / name
    path.write_bytes(content)
    failure = await home.refused()
    assert (failure.exit_code, name in failure.reason) == (ExitCode.KEYS, True), failure.reason
    assert path.read_bytes() == content


async def test_another_keyring_opens_nothing(home: Home, tmp_path: Path) -> None:
    await home.open()
    await home.close()
    other = Home(tmp_path / "other")
    other.data.parent.mkdir()
    await other.open()
    await other.close()
    shutil.copy(other.keys / "keyring", home.keys / "keyring")
    failure = await home.refused()
    assert failure.exit_code is ExitCode.KEYS
    assert "has no key k1" in failure.reason


async def test_a_key_store_of_another_data_directory_is_refused(home: Home, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    other.data.parent.mkdir()
    await other.open()
    await other.close()
    shutil.copytree(other.keys, home.keys)
    failure = await home.refused()
    assert "is the key store of cluster" in failure.reason
    assert not (home.data / "encryption.key").exists()


async def test_a_source_that_is_not_installed_is_refused_by_name(home: Home) -> None:
    failure = await home.refused(key_source="nowhere")
    assert failure.exit_code is ExitCode.CONFIG
    assert "storage.encryption.key_source" in failure.reason and "'nowhere'" in failure.reason


class Flaky:
    """A keyring file whose first calls fail as they are told to."""

    def __init__(self, inner: KeyringFile, failures: list[Exception]) -> None:
        self._inner = inner
        self.failures = failures
        self.closed = False

    @property
    def name(self) -> str:
        return self._inner.name

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        if self.failures:
            raise self.failures.pop(0)
        return self._inner.unwrap(wrapped, context)

    def close(self) -> None:
        self.closed = True
        self._inner.close()


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Exception]], list[Flaky]]:
    """Let the next starts get a provider that fails so."""

    def arrange(failures: list[Exception]) -> list[Flaky]:
        made: list[Flaky] = []

        def load(config: EncryptionConfig, data_dir: Path) -> Flaky:
            made.append(Flaky(open_keyring(config), failures))
            return made[-1]

        monkeypatch.setattr(encryption, "load_provider", load)
        monkeypatch.setattr(encryption, "RETRY_SECONDS_MIN", 0.001)
        return made

    return arrange


async def test_a_provider_out_of_reach_is_asked_again(
    home: Home, flaky: Callable[[list[Exception]], list[Flaky]]
) -> None:
    await home.open()
    await home.write_metadata(b"x")
    await home.close()
    failures: list[Exception] = [ProviderUnavailable("no route")] * 5
    flaky(failures)
    await home.open()
    assert failures == []
    assert await home.write_metadata(b"y") == [b"x"]


async def test_at_the_deadline_the_start_ends_with_one_line(
    home: Home, flaky: Callable[[list[Exception]], list[Flaky]]
) -> None:
    await home.open()
    await home.close()
    made = flaky([ProviderUnavailable("no route to the KMS")] * 100_000)
    failure = await home.refused(provider_timeout_secs=0.05)
    assert failure.exit_code is ExitCode.KEYS
    assert failure.reason == "the key provider file gave no keys within 0.05 s: no route to the KMS"
    assert made[0].closed


async def test_a_refusal_is_not_asked_again(
    home: Home, flaky: Callable[[list[Exception]], list[Flaky]]
) -> None:
    await home.open()
    await home.close()
    failures: list[Exception] = [KeyRefused("access denied"), KeyRefused("access denied")]
    flaky(failures)
    failure = await home.refused()
    assert (failure.exit_code, len(failures)) == (ExitCode.KEYS, 1)
    assert failure.reason == "the key provider file: access denied"


async def test_a_start_can_be_given_up_while_it_waits(
    home: Home, flaky: Callable[[list[Exception]], list[Flaky]]
) -> None:
    await home.open()
    await home.close()
    flaky([ProviderUnavailable("no route")] * 100_000)
    start = asyncio.ensure_future(home.open())
    await asyncio.sleep(0.05)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    await home.close()


async def test_keys_of_removed_topics_are_destroyed_and_those_of_a_newer_copy_kept(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    keys = await home.encrypted()
    kept, removed, unknown = uuid4(), uuid4(), uuid4()
    await keys.topic_keys.prepare({kept: "", removed: "", unknown: ""})
    await keys.forget_removed({removed}, [kept])
    assert {one.topic_id for one in keys.topic_keys.wrapped()} == {kept, unknown}
    assert str(unknown) in caplog.text and str(kept) not in caplog.text


async def test_a_key_of_a_topic_is_looked_up_at_the_provider(home: Home) -> None:
    keys = await home.encrypted()
    with pytest.raises(InvalidConfig, match="gives no such key"):
        await keys.key_names.check("theirs")
    keys.provider.rotate("theirs")
    await keys.key_names.check("theirs")
    (home.keys / "keyring").rename(home.keys / "aside")
    with pytest.raises(InvalidConfig):
        await keys.key_names.check("theirs")
