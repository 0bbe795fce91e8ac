"""Builds and starts what `rivven keys` needs of a broker that encrypts; imported only there."""

from __future__ import annotations

import os

from rivven.app.audit_signing import AuditSigning
from rivven.app.encryption import Encryption
from rivven.app.failures import ExitCode, StartFailed
from rivven.app.key_operations import KeyOperations
from rivven.app.topic_erasure import TopicErasure
from rivven.audit.trail import AuditTrail
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
from rivven.tasks import Tasks
from rivven.telemetry import Metrics


async def start_key_operations(
    config: Config,
    encryption: Encryption,
    metadata: MetadataService,
    replicas: Replicas,
    trail: AuditTrail,
    audit_signing: AuditSigning,
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
        audit_signing=audit_signing,
        topics=TopicErasure(metadata, replicas, f"{config.data_dir}/{PARTITIONS_NAME}"),
        metadata=metadata,
        reencryptor=reencryptor,
        trail=trail,
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
