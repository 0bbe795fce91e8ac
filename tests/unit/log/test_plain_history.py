"""Whether a partition ever held plain bytes: never denied when it did."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace

import pytest

from rivven.config.topic_settings import TopicConfig
from rivven.log.plain_history import MARK_NAME, had_plain
from rivven.testing.files import CrashFiles, PowerCut
from rivven.testing.segment_keys import StaticSegmentKeys
from tests.unit.log.harness import DIRECTORY, batch_of, broker

SEALED = TopicConfig(encryption_enabled=True)
PLAIN = TopicConfig()


def test_what_names_say() -> None:
    assert not had_plain([], 0), "nothing was ever written"
    assert had_plain([], 5), "it was, and is deleted"
    assert had_plain(["00000000000000000000.log"], 0)
    assert not had_plain([MARK_NAME, "00000000000000000000.log"], 7)


def test_a_partition_that_was_encrypted_from_its_creation_has_none() -> None:
    keys = StaticSegmentKeys()
    with broker(config=SEALED, keys=keys) as b:
        assert not b.log.plaintext_history
        b.commit(batch_of(b"1"))
        assert not b.log.plaintext_history
        files = b.stop()
    for clean in (True, False):
        with broker(files, config=SEALED, keys=keys) as b:
            assert not b.log.plaintext_history
            b.commit(batch_of(b"1"))
            files = b.stop(clean=clean)
    assert MARK_NAME in files.list(DIRECTORY)


def test_encryption_that_is_switched_on_later_does_not_hide_what_was() -> None:
    with broker(config=PLAIN, keys=StaticSegmentKeys()) as b:
        assert not b.log.plaintext_history, "not a byte was written yet"
        b.commit(batch_of(b"1"))
        assert b.log.plaintext_history
        b.log.update_config(replace(SEALED, retention_ms=1))
        b.commit(batch_of(b"2"))
        b.clock.ms += 10_000
        b.run(b.log.delete_expired(b.clock.ms))
        assert b.log.log_start_offset > 0
        assert b.log.plaintext_history, "deleted is not undone"


def test_switched_off_once_is_remembered() -> None:
    keys = StaticSegmentKeys()
    with broker(config=SEALED, keys=keys) as b:
        b.commit(batch_of(b"1"))
        b.log.update_config(PLAIN)
        assert not b.log.plaintext_history
        b.commit(batch_of(b"2"))
        b.log.update_config(SEALED)
        b.commit(batch_of(b"3"))
        assert b.log.plaintext_history
        files = b.stop()
    with broker(files, config=SEALED, keys=keys) as b:
        assert b.log.plaintext_history


def test_the_mark_is_durable_before_a_partition_is_used() -> None:
    keys = StaticSegmentKeys()
    for cut_at in range(1, 160):
        files = CrashFiles()
        files.cut_power_at = cut_at % 40 + 1
        with suppress(PowerCut), broker(files, config=SEALED, keys=keys) as b:
            b.commit(batch_of(b"1"))
        files.crash(random.Random(cut_at))
        with broker(files, config=SEALED, keys=keys) as b:
            assert b.log.online
            b.commit(batch_of(b"2"))
            cut = any(name.startswith("cut-") for name in files.list(DIRECTORY))
            assert not b.log.plaintext_history or cut


@pytest.mark.parametrize("seed", range(30))
def test_a_crash_never_leaves_the_mark_beside_plain_bytes(seed: int) -> None:
    keys = StaticSegmentKeys()
    with broker(config=SEALED, keys=keys) as b:
        b.commit(batch_of(b"1"))
        files = b.stop()
    with suppress(PowerCut), broker(files, config=PLAIN, keys=keys) as b:
        b.log.usable()
        files.cut_power_at = files.operations + 1 + seed % 10
        b.append(batch_of(b"plain"))
        b.settle()
    files.crash(random.Random(seed))
    with broker(files, config=SEALED, keys=keys) as b:
        names = files.list(DIRECTORY)
        plain = any(b"plain" in files.content(f"{DIRECTORY}/{name}") for name in names)
        assert b.log.plaintext_history or not plain
