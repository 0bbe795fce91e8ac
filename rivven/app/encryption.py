"""Encryption at rest of one broker: provider, key store, metadata key, topic keys, secrets, opened in order.

Driver. There are keys when encryption is on, and when it was on once: what is sealed stays readable, and the
metadata stays sealed. Nothing that exists is ever replaced here; what is missing is made only when nothing of
it is there yet. A provider that is out of reach is asked again until `provider_timeout_secs`; everything else
that is wrong ends the start with one line.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple
from uuid import UUID

from rivven.app.failures import ExitCode, StartFailed
from rivven.clock import Clock
from rivven.config.models import Config
from rivven.config.storage import EncryptionConfig
from rivven.errors import InvalidConfig, RivvenError
from rivven.log.directory import PARTITIONS_NAME
from rivven.log.files import Files, OsFiles
from rivven.log.sealed_traces import traces_of
from rivven.log.threads import LoopThreads
from rivven.machine.journal_sealing import JournalKey
from rivven.security.extensions import UnknownExtension
from rivven.security.keys.bootstrap import BOOTSTRAP_NAME, MetadataKey
from rivven.security.keys.held_topics import TracesOf
from rivven.security.keys.key_file import KeyFileRefused, make_directory
from rivven.security.keys.key_store import STATE_NAME, KeyStore, open_key_store
from rivven.security.keys.keyring_file import KEYRING_NAME, open_keyring
from rivven.security.keys.loader import load_provider
from rivven.security.keys.observed_provider import OPERATIONS, OUTCOMES, ObservedProvider
from rivven.security.keys.provider import (
    BuiltInProvider,
    KeyContext,
    KeyGone,
    KeyMismatch,
    KeyProviderError,
    ProviderUnavailable,
)
from rivven.security.keys.secrets import PLAIN_FILES, Secrets
from rivven.security.keys.topic_keys import KeySettings, TopicKeys
from rivven.tasks import Tasks
from rivven.telemetry import Metrics

_log = logging.getLogger("rivven.keys")

RETRY_SECONDS_MIN, RETRY_SECONDS_MAX = 0.2, 5.0
"""Between two questions to a provider that is out of reach: doubled each time, shortened by up to half."""

JOURNAL_MARK = "metadata-journal"
"""In the key store once the metadata is sealed: a plain journal in its place was put there by somebody."""

ORPHANS_NAMED_MAX = 5
"""Topics without a topic that a warning names."""


class OpenedKeys(NamedTuple):
    """What a provider gave access to."""

    provider: ObservedProvider
    store: KeyStore
    metadata_key: MetadataKey
    made: bool
    """Nothing was there before."""


class Encryption:
    """The keys of one broker between `open_encryption` and `close`; belongs to the event loop."""

    def __init__(
        self,
        settings: EncryptionConfig,
        opened: OpenedKeys,
        secrets: Secrets,
        topic_keys: TopicKeys,
        *,
        journal_was_sealed: bool,
    ) -> None:
        self._settings = settings
        self.provider = opened.provider
        self.store = opened.store
        self.metadata_key = opened.metadata_key
        self.secrets = secrets
        self.topic_keys = topic_keys
        self.journal_was_sealed = journal_was_sealed
        self.key_names = KnownKeys(opened.provider)

    def journal_key(self) -> JournalKey:
        """The key of the metadata journal."""
        return JournalKey(self.metadata_key.journal_key(), self._settings.algorithm)

    async def journal_is_sealed(self) -> None:
        """Remember that from now on a plain journal is not ours. Raises KeyProviderError."""
        if not self.journal_was_sealed:
            await asyncio.to_thread(self.store.write_secret, JOURNAL_MARK, b"sealed")
            self.journal_was_sealed = True

    async def forget_removed(self, removed: Iterable[UUID], existing: Iterable[UUID]) -> None:
        """Destroy the keys of topics whose remains were removed at this start.

        Keys of other unknown topics are kept and named: this may be an older copy of the data directory, and
        the keys are those of a newer one. They are opened, so that a rewrap takes them along.
        """
        for topic_id in removed:
            try:
                await self.topic_keys.forget(topic_id)
            except RivvenError as error:
                _log.error("cannot destroy the keys of the deleted topic %s: %s", topic_id, error)
        orphans = sorted({one.topic_id for one in self.topic_keys.wrapped()} - set(existing))
        if orphans:
            _log.warning(
                "the key store has keys of %d topics that do not exist here (%s): an older copy of the data"
                " directory, or a deletion that a crash interrupted",
                len(orphans),
                ", ".join(map(str, orphans[:ORPHANS_NAMED_MAX])),
            )
            await self.topic_keys.open_all(orphans)

    def watched_by(self, metrics: Metrics) -> None:
        """Show what the provider is asked for, and what of it is missing."""
        calls = {
            (operation, outcome): partial(self.provider.calls, operation, outcome)
            for operation in OPERATIONS
            for outcome in OUTCOMES
        }
        keys = self.topic_keys
        metrics.watch_keys(calls, lambda: keys.waiting_topics, lambda: keys.data_keys)

    def close(self) -> None:
        """Overwrite the keys in memory and let go of the key store."""
        self.topic_keys.close()
        self.metadata_key.wipe()
        self.store.close()
        self.provider.close()


class KnownKeys:
    """Implements `api.encryption_rule.KeyNames`. Belongs to the event loop."""

    def __init__(self, provider: BuiltInProvider) -> None:
        self._provider = provider
        self._turn = asyncio.Lock()
        """Whoever may create topics may ask; the provider hears one question at a time."""

    async def check(self, name: str) -> None:
        """Raises InvalidConfig when the provider has no such key, ProviderUnavailable when it cannot say."""
        async with self._turn:
            try:
                await asyncio.to_thread(self._provider.current_id, name)
            except ProviderUnavailable:
                raise ProviderUnavailable(
                    "encryption.key: the key provider is out of reach, so it cannot be checked"
                ) from None
            except KeyProviderError as error:
                _log.warning("encryption.key %s is refused: %s", name, error)
                raise InvalidConfig("encryption.key: the key provider gives no such key") from None


async def open_encryption(
    config: Config, files: Files, cluster_id: str, *, journal_sealed: bool, clock: Clock, tasks: Tasks
) -> Encryption:
    """The keys of a data directory that is encrypted, was, or is to be. Raises StartFailed.

    `files` refuse what other users can read; `journal_sealed` says whether there is a sealed journal already.
    """
    settings = config.storage.encryption
    settings = settings.model_copy(update={"key_directory": settings.key_directory_of(config.data_dir)})
    data_dir = str(config.data_dir)
    try:
        provider = await asyncio.to_thread(load_provider, settings, config.data_dir)
    except UnknownExtension as error:
        hint = "install the extra, or name an installed key provider"
        raise StartFailed(f"storage.encryption.key_source: {error}", hint, ExitCode.CONFIG) from None
    except KeyProviderError as error:
        raise refusal(settings, error) from None
    opened: OpenedKeys | None = None
    try:
        opened = await _insist(
            lambda: open_keys(files, data_dir, settings, provider, cluster_id, journal_sealed),
            settings,
            clock,
        )
        secrets = Secrets(files, data_dir, os.urandom, opened.store, opened.metadata_key.secrets_key())
        traces = partial(traces_of, OsFiles(), f"{data_dir}/{PARTITIONS_NAME}")
        topic_keys = _topic_keys(settings, opened, cluster_id, traces, clock, tasks)
        await topic_keys.open()
        marked = await asyncio.to_thread(_take_over, opened.store, secrets)
    except KeyProviderError as error:
        if opened is not None:
            opened.store.close()
        provider.close()
        raise refusal(settings, error) from None
    _log.info("keys: provider %s, metadata key under %s", provider.name, opened.metadata_key.kek_id)
    return Encryption(settings, opened, secrets, topic_keys, journal_was_sealed=marked)


def open_keys(
    files: Files,
    data_dir: str,
    settings: EncryptionConfig,
    provider: ObservedProvider,
    cluster_id: str,
    journal_sealed: bool,
) -> OpenedKeys:
    """Open keyring, key store and metadata key, or make all of them where there is none of them yet.

    Blocks. Raises KeyProviderError and leaves nothing half open.
    """
    bootstrap = f"{data_dir}/{BOOTSTRAP_NAME}"
    made = not files.exists(bootstrap)
    if made and journal_sealed:
        raise KeyFileRefused(f"{bootstrap}: is missing, and the metadata is sealed with the key in it")
    if made:
        _make_keyring(files, settings)
    # The store before the bootstrap file: a data directory with that file must find the store it had.
    store = open_key_store(files, str(settings.key_directory), cluster_id, may_create=made)
    try:
        if made and store.read_secret(JOURNAL_MARK) is not None:
            raise KeyFileRefused(f"{bootstrap}: is missing, and the key store {store.path} belongs to it")
        metadata_key = MetadataKey.load_or_create(files, bootstrap, provider, cluster_id, os.urandom)
    except KeyMismatch as error:
        store.close()
        raise KeyMismatch(f"{bootstrap}: {error}") from None
    except BaseException:
        store.close()
        raise
    return OpenedKeys(provider, store, metadata_key, made)


def _make_keyring(files: Files, settings: EncryptionConfig) -> None:
    """The first keyring of a first start; never beside a key store, whose keys another one wrapped."""
    if settings.key_source != "file":
        return
    path = str(settings.file.path or f"{settings.key_directory}/{KEYRING_NAME}")
    if files.exists(path) or files.exists(f"{settings.key_directory}/{STATE_NAME}"):
        return
    make_directory(files, path.rpartition("/")[0])
    open_keyring(settings).create()


def _topic_keys(
    settings: EncryptionConfig,
    opened: OpenedKeys,
    cluster_id: str,
    traces: TracesOf,
    clock: Clock,
    tasks: Tasks,
) -> TopicKeys:
    return TopicKeys(
        store=opened.store,
        provider=opened.provider,
        metadata_key=opened.metadata_key,
        context=KeyContext(cluster_id),
        settings=KeySettings(settings.algorithm, settings.data_keys_max, settings.data_key_lifetime_secs),
        threads=LoopThreads(asyncio.get_running_loop()),
        tasks=tasks,
        clock=clock,
        entropy=os.urandom,
        traces_of=traces,
    )


def _take_over(store: KeyStore, secrets: Secrets) -> bool:
    """Seal the secrets of the time without encryption; whether the metadata was sealed before."""
    for name in PLAIN_FILES:
        secrets.load(name)
    return store.read_secret(JOURNAL_MARK) is not None


async def _insist(attempt: Callable[[], OpenedKeys], settings: EncryptionConfig, clock: Clock) -> OpenedKeys:
    """Try on a thread until it works, is refused, or the deadline of the configuration has come."""
    deadline = clock.monotonic() + settings.provider_timeout_secs
    delay = RETRY_SECONDS_MIN
    while True:
        try:
            return await asyncio.to_thread(attempt)
        except ProviderUnavailable as error:
            left = deadline - clock.monotonic()
            if left <= 0:
                raise
            _log.warning("no keys yet, trying again for %.0f s: %s", left, error)
        share = os.urandom(1)[0] / 256
        await asyncio.sleep(min(delay * (1 - share / 2), left))
        delay = min(delay * 2, RETRY_SECONDS_MAX)


def refusal(settings: EncryptionConfig, error: KeyProviderError) -> StartFailed:
    """The one line that a start without its keys ends with."""
    source = settings.key_source
    if isinstance(error, ProviderUnavailable):
        seconds = f"{settings.provider_timeout_secs:g}"
        return StartFailed(
            f"the key provider {source} gave no keys within {seconds} s: {error}",
            "the data is untouched: start the broker again once the provider answers",
            ExitCode.KEYS,
        )
    if isinstance(error, KeyFileRefused):
        hint = "restore the file named from its own backup; nothing was changed"
    elif isinstance(error, KeyGone):
        hint = "restore what is named: without it the data cannot be read; nothing was changed"
    elif isinstance(error, KeyMismatch):
        hint = "these are other keys than the data was encrypted with: restore the right ones"
    else:
        hint = "check storage.encryption and what the provider allows this broker"
    return StartFailed(f"the key provider {source}: {error}", hint, ExitCode.KEYS)
