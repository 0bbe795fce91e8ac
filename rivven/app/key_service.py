"""Builds and starts what `rivven keys` needs of a broker that encrypts; imported only there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

from rivven.app.auditing import Auditing
from rivven.app.encryption import Encryption
from rivven.app.failures import ExitCode, StartFailed
from rivven.app.key_operations import KeyOperations
from rivven.app.topic_erasure import TopicErasure
from rivven.audit.signing import new_secret, signer_of
from rivven.clock import Clock
from rivven.config.models import Config
from rivven.errors import RivvenError
from rivven.log.checkpoint import PartitionKey
from rivven.log.directory import PARTITIONS_NAME
from rivven.log.only_sealed import SealedSurvey
from rivven.log.partition_log import PartitionLog
from rivven.log.reencryption import Reencryptor
from rivven.log.workers import WorkerPool
from rivven.metadata.service import MetadataService
from rivven.replication.replicas import Replicas
from rivven.security.keys.erasure_files import ErasureFiles
from rivven.security.keys.erasure_signing import ErasureSigning
from rivven.security.keys.keks import Keks
from rivven.security.keys.key_file import PrivateFiles
from rivven.security.keys.operations import PublicKey
from rivven.security.keys.secrets import AUDIT_SIGNING, Secrets
from rivven.tasks import Tasks
from rivven.telemetry import Metrics


class AuditSigning:
    """Implements `key_operations.Signing` for the checkpoints of the audit trail."""

    def __init__(self, auditing: Auditing, kept: Secrets) -> None:
        self._auditing = auditing
        self._secrets = kept

    async def public_keys(self) -> Sequence[PublicKey]:
        """The present key first, then those before it. Raises KeyProviderError."""
        return await asyncio.to_thread(self._public_keys)

    def _public_keys(self) -> list[PublicKey]:
        current = signer_of(self._secrets.load_or_create(AUDIT_SIGNING, new_secret))
        old = sorted(self._secrets.public.all(AUDIT_SIGNING).items())
        return [
            PublicKey(current.key_id, current.public_pem.decode("ascii"), True),
            *(PublicKey(one, pem.decode("ascii"), False) for one, pem in old if one != current.key_id),
        ]

    async def rotate(self) -> PublicKey:
        """Sign with another key from now on. Raises RivvenError."""
        made = await self._auditing.rotate_key(self._secrets)
        return PublicKey(made.key_id, made.public_pem.decode("ascii"), True)


async def start_key_operations(
    config: Config,
    encryption: Encryption,
    metadata: MetadataService,
    replicas: Replicas,
    auditing: Auditing,
    *,
    claims: set[PartitionKey],
    workers: WorkerPool,
    clock: Clock,
    tasks: Tasks,
    metrics: Metrics,
) -> KeyOperations:
    """The service behind the routes; re-encryption and what a crash interrupted go on. Raises
    StartFailed."""
    settings = config.storage.encryption
    encryption.watched_by(metrics)
    files = ErasureFiles(PrivateFiles(), encryption.store)

    def logs() -> list[PartitionLog]:
        return [partition.log for partition in replicas]

    reencryptor = Reencryptor(
        logs=logs,
        keys=encryption.topic_keys,
        claims=claims,
        workers=workers,
        clock=clock,
        bytes_per_second=settings.reencrypt_bytes_per_second,
    )
    operations = KeyOperations(
        keks=Keks(encryption.provider, encryption.topic_keys, encryption.metadata_key, files),
        topic_keys=encryption.topic_keys,
        files=files,
        signing=ErasureSigning(encryption.secrets, os.urandom),
        audit_signing=AuditSigning(auditing, encryption.secrets),
        topics=TopicErasure(metadata, replicas, f"{config.data_dir}/{PARTITIONS_NAME}"),
        metadata=metadata,
        reencryptor=reencryptor,
        trail=auditing.trail,
        tasks=tasks,
        clock=clock,
        metrics=metrics,
        rotation_days=settings.key_rotation_days,
    )
    try:
        await operations.start()
    except RivvenError as error:
        raise StartFailed(
            f"an operation on keys cannot go on: {error}",
            "restore the key store's state from its own backup",
            ExitCode.KEYS,
        ) from None
    tasks.spawn(reencryptor.run(), "re-encryption")
    tasks.spawn(SealedSurvey(logs, encryption.topic_keys).run(), "only sealed topics")
    return operations
