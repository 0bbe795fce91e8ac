"""The provider `file`: the conformance suite, the file itself, its passphrase, and damage of every kind."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rivven.config.storage import EncryptionConfig, KeyringConfig
from rivven.log.files import OsFiles
from rivven.security.keys.key_file import KeyFileRefused, PrivateFiles
from rivven.security.keys.keyring_file import KeyringFile, open_keyring
from rivven.security.keys.provider import (
    KeyGone,
    KeyMismatch,
    KeyProviderError,
    KeyRefused,
    ProviderUnavailable,
)
from rivven.testing.canary import leaks
from rivven.testing.files import CrashFiles, Fault, PowerCut
from tests.conformance.key_providers import CONTEXT, PLAIN, Conformance, Subject

PASSPHRASE = "correct horse battery staple"
KEK = b"K" * 16 + b"e" * 16
"""What the entropy of some tests gives, to be looked for."""


def on_disk(files: CrashFiles, passphrase: Callable[[], str] | None = None) -> KeyringFile:
    return KeyringFile(files, "/keyring", passphrase)


@contextmanager
def broken_disk(files: CrashFiles) -> Iterator[None]:
    files.faults += [Fault("open", errno.EIO, "/keyring", times=1_000)]
    yield
    files.faults.clear()


class TestWithoutPassphrase(Conformance):
    @pytest.fixture
    def subject(self) -> Subject:
        files = CrashFiles()
        provider = KeyringFile(files, "/keyring", None, lambda size: KEK if size == 32 else os.urandom(size))
        provider.create()
        return Subject(provider, lambda: broken_disk(files), "k9-00000000", (KEK,))


class TestWithPassphrase(Conformance):
    @pytest.fixture
    def subject(self) -> Subject:
        files = CrashFiles()
        provider = on_disk(files, lambda: PASSPHRASE)
        provider.create()
        return Subject(provider, lambda: broken_disk(files), "k9-00000000", (PASSPHRASE,))


class TestOnARealDisk(Conformance):
    @pytest.fixture
    def subject(self, private_path: Path) -> Subject:
        @contextmanager
        def locked_and_unreadable() -> Iterator[None]:
            path = private_path / "keyring"
            limit = path.read_bytes()
            path.unlink()
            path.symlink_to("keyring-that-is-unreachable" * 20)  # ENAMETOOLONG: no answer, and no refusal
            yield
            path.unlink()
            path.write_bytes(limit)
            path.chmod(0o600)

        config = EncryptionConfig(key_directory=private_path)
        provider = open_keyring(config)
        provider.create()
        return Subject(provider, locked_and_unreadable, "k9-00000000")


# -- the file ------------------------------------------------------------------------------------------------


def test_the_file_is_private_and_a_second_one_is_never_made(private_path: Path) -> None:
    provider = open_keyring(EncryptionConfig(key_directory=private_path))
    provider.create()
    path = private_path / "keyring"
    before = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(KeyRefused, match="never replaced"):
        provider.create()
    assert path.read_bytes() == before


def test_a_keyring_that_others_can_read_is_refused_by_name(private_path: Path) -> None:
    provider = open_keyring(EncryptionConfig(key_directory=private_path))
    provider.create()
    (private_path / "keyring").chmod(0o640)
    with pytest.raises(KeyFileRefused, match=r"keyring: is open to other users: chmod 600"):
        provider.current_id("")


def test_a_missing_keyring_says_how_to_make_one() -> None:
    with pytest.raises(KeyGone, match=r"/keyring: there is no keyring.*rivven keys init"):
        on_disk(CrashFiles()).current_id("")


def test_that_the_keyring_is_away_is_no_proof_of_a_destruction() -> None:
    files = CrashFiles()
    provider = on_disk(files)
    provider.create()
    old = provider.current_id("")
    provider.rotate("")
    files.rename("/keyring", "/elsewhere")
    for ask in (provider.destroy, provider.state):
        with pytest.raises(ProviderUnavailable, match="there is no keyring"):
            ask(old)
    files.rename("/elsewhere", "/keyring")
    assert provider.state(old) == "enabled"
    assert provider.destroy(old).complete and provider.state(old) == "destroyed"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "/keyring: is empty"),
        (b"k", "/keyring: is no keyring"),
        (bytes(range(100, 132)), "/keyring: is no keyring, or of a format older"),
        (b"RVKR\x00\x00\x00\x00\x00\x00\x00\x00", "/keyring: keyring of format 0"),
        (b"RVKR\x00\x01\x00\x00\x00\x00\x00\x00", "/keyring"),
    ],
)
def test_a_file_that_is_no_keyring_is_refused_by_name_and_left_alone(content: bytes, reason: str) -> None:
    files = CrashFiles()
    files.put("/keyring", content)
    provider = on_disk(files)
    for call in (lambda: provider.current_id(""), lambda: provider.rotate(""), lambda: provider.create()):
        with pytest.raises(KeyRefused) as refused:
            call()
        assert "/keyring" in str(refused.value)
    with pytest.raises(KeyRefused) as refused:
        provider.current_id("")
    assert str(refused.value).startswith(reason)
    assert not content or len(content) < 6 or not leaks([content], {"error": repr(refused.value)})
    assert files.content("/keyring") == content


def test_a_keyring_of_a_later_version_is_refused() -> None:
    files = CrashFiles()
    on_disk(files).create()
    from rivven.log.framed_file import encode

    files.put("/keyring", encode(b"RVKR", 2, b"whatever"))
    with pytest.raises(KeyFileRefused, match="format 2 is newer than 1"):
        on_disk(files).current_id("")


def test_every_flipped_bit_of_a_keyring_is_noticed_and_nothing_is_written() -> None:
    files = CrashFiles()
    on_disk(files).create()
    whole = files.content("/keyring")
    for at in range(len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 1 << (at % 8)
        files.put("/keyring", bytes(changed))
        with pytest.raises(KeyProviderError, match="/keyring"):
            on_disk(files).rotate("")
        assert files.content("/keyring") == bytes(changed)


def test_another_cluster_s_keyring_opens_nothing() -> None:
    ours, theirs = CrashFiles(), CrashFiles()
    on_disk(ours).create()
    on_disk(theirs).create()
    wrapped = on_disk(ours).wrap("", PLAIN, CONTEXT)
    with pytest.raises(KeyGone, match=r"/keyring: has no key k1-"):
        on_disk(theirs).unwrap(wrapped, CONTEXT)


def test_what_another_process_changed_is_seen_and_it_is_kept_out_meanwhile() -> None:
    files = CrashFiles()
    ours, theirs = on_disk(files), on_disk(files)
    ours.create()
    made = theirs.rotate("")
    assert ours.current_id("") == made
    lock = files.lock("/keyring.lock")
    assert lock is not None
    with pytest.raises(ProviderUnavailable, match="another process is changing it"):
        ours.rotate("")
    lock.release()
    assert ours.rotate("") != made


def test_keys_have_names() -> None:
    provider = on_disk(CrashFiles())
    default = provider.create()
    payroll = provider.rotate("payroll")
    assert payroll.startswith("payroll:k1-")
    assert (provider.current_id(""), provider.current_id("payroll")) == (default, payroll)
    wrapped = provider.wrap("payroll", PLAIN, CONTEXT)
    assert wrapped.key_id == payroll
    assert provider.unwrap(wrapped, CONTEXT) == PLAIN
    for name in ("pay/roll", "x" * 129, "ü"):
        with pytest.raises(KeyRefused):
            provider.rotate(name)


def test_the_bytes_of_a_destroyed_key_are_in_no_file_and_not_on_the_disk_under_it(private_path: Path) -> None:
    provider = KeyringFile(PrivateFiles(), str(private_path / "keyring"), None, lambda size: KEK[:size])
    provider.create()
    old = os.open(private_path / "keyring", os.O_RDONLY)
    assert KEK in os.pread(old, 4096, 0)
    made = provider.current_id("")
    fresh = KeyringFile(PrivateFiles(), str(private_path / "keyring"))
    fresh.rotate("")
    still = os.open(private_path / "keyring", os.O_RDONLY)
    assert KEK in os.pread(still, 4096, 0)
    fresh.destroy(made)
    assert KEK not in (private_path / "keyring").read_bytes()
    assert KEK not in os.pread(still, 4096, 0), "the file that was replaced is overwritten"
    assert KEK in os.pread(old, 4096, 0), "rotation alone overwrites nothing: hard links may be backups"
    os.close(old)
    os.close(still)


# -- the passphrase ------------------------------------------------------------------------------------------


def test_a_keyring_with_a_passphrase_opens_with_it_alone() -> None:
    files = CrashFiles()
    made = on_disk(files, lambda: PASSPHRASE).create()
    assert on_disk(files, lambda: PASSPHRASE).current_id("") == made
    with pytest.raises(KeyMismatch, match=r"/keyring: the passphrase does not open it"):
        on_disk(files, lambda: "wrong").current_id("")
    with pytest.raises(KeyRefused, match=r"set storage.encryption.file.passphrase"):
        on_disk(files).current_id("")
    assert made.encode() not in files.content("/keyring")


def test_a_passphrase_that_is_configured_later_seals_the_keyring() -> None:
    files = CrashFiles()
    clear = KeyringFile(files, "/keyring", None, lambda size: KEK[:size])
    made = clear.create()
    assert KEK in files.content("/keyring")
    assert on_disk(files, lambda: PASSPHRASE).current_id("") == made
    assert KEK not in files.content("/keyring")
    with pytest.raises(KeyRefused):
        clear.current_id("")


def test_a_passphrase_is_read_where_the_configuration_says(
    private_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = EncryptionConfig(
        key_directory=private_path,
        file=KeyringConfig.model_validate({"passphrase": "env:KEYRING_PASSPHRASE"}),
    )
    with pytest.raises(KeyRefused, match=r"storage.encryption.file.passphrase: env:KEYRING_PASSPHRASE"):
        open_keyring(config).create()
    monkeypatch.setenv("KEYRING_PASSPHRASE", PASSPHRASE)
    made = open_keyring(config).create()
    assert open_keyring(config).current_id("") == made


def test_a_passphrase_costs_one_derivation_however_often_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def passphrase() -> str:
        asked.append(1)
        return PASSPHRASE

    provider = on_disk(CrashFiles(), passphrase)
    provider.create()
    for _ in range(3):
        provider.unwrap(provider.wrap("", PLAIN, CONTEXT), CONTEXT)
        provider.rotate("")
    assert len(asked) == 1


def test_costs_nobody_would_choose_are_not_paid() -> None:
    files = CrashFiles()
    on_disk(files, lambda: PASSPHRASE).create()
    from rivven.log.framed_file import encode
    from rivven.security.keys.keyring import PassphraseCosts

    for costs in (PassphraseCosts(bytes(16), passes=0), PassphraseCosts(bytes(16), memory_kib=1 << 30)):
        files.put("/keyring", encode(b"RVKR", 1, costs.encode() + bytes(60), 1))
        with pytest.raises(KeyFileRefused, match="more work"):
            on_disk(files, lambda: PASSPHRASE).current_id("")


# -- crashes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["rotate", "destroy"])
def test_a_power_cut_at_any_step_leaves_the_old_keyring_or_the_new_one(change: str) -> None:
    reached = 0
    for seed in range(6):
        for step in range(1, 12):
            files = CrashFiles()
            provider = on_disk(files)
            first = provider.create()
            old = provider.wrap("", PLAIN, CONTEXT)
            second = provider.rotate("") if change == "destroy" else ""
            files.sync_all("/")
            files.cut_power_at = files.operations + step
            try:
                provider.destroy(first) if change == "destroy" else provider.rotate("")
                continue
            except PowerCut:
                reached += 1
            files.crash(random.Random(seed))
            again = on_disk(files)
            if change == "rotate":
                assert again.unwrap(old, CONTEXT) == PLAIN
                assert again.rotate("") != first
            else:
                assert again.current_id("") == second
                states = [one.state for one in again.describe("")]
                assert states in (["enabled", "enabled"], ["destroyed", "enabled"])
                again.destroy(first)
                with pytest.raises(KeyGone):
                    again.unwrap(old, CONTEXT)
    assert reached >= 4, "the power was cut nowhere"


def test_a_change_that_fails_on_a_full_disk_changes_nothing() -> None:
    files = CrashFiles()
    provider = on_disk(files)
    made = provider.create()
    for operation in ("write", "sync", "rename", "sync_directory"):
        files.faults.append(Fault(operation, errno.ENOSPC))
        with pytest.raises(ProviderUnavailable):
            provider.rotate("")
        files.faults.clear()
        assert provider.unwrap(provider.wrap("", PLAIN, CONTEXT), CONTEXT) == PLAIN
        if operation != "sync_directory":  # after the rename it may have happened
            assert on_disk(files).current_id("") == provider.current_id("") == made


def test_the_file_system_of_keys_is_the_ordinary_one_but_for_open_files(private_path: Path) -> None:
    files = PrivateFiles()
    path = str(private_path / "a")
    OsFiles().open(path, "create").write((b"x",), 0)
    os.chmod(path, 0o604)
    for mode in ("read", "write", "create"):
        with pytest.raises(KeyFileRefused):
            files.open(path, mode)  # type: ignore[arg-type]
    os.chmod(path, 0o600)
    assert files.open(path, "read").read(9, 0) == b"x"


def test_a_directory_that_others_can_change_is_refused_by_name(private_path: Path) -> None:
    provider = open_keyring(EncryptionConfig(key_directory=private_path))
    made = provider.create()
    for mode in (0o770, 0o702):
        private_path.chmod(mode)
        with pytest.raises(KeyFileRefused, match=f"^{private_path}: other users can change it: chmod 700"):
            provider.rotate("")
    private_path.chmod(0o755)
    assert provider.current_id("") == made != provider.rotate("")
