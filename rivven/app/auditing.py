"""The audit trail of one broker: its sinks from the configuration, opened and closed in order.

A broker whose required outputs cannot be opened does not start. The signing key is loaded once clients are
served: the library that signs takes some 30 ms to import.
"""

from __future__ import annotations

import asyncio
import logging
import posixpath
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from rivven.app.failures import ExitCode, StartFailed
from rivven.audit.events import (
    AUDIT,
    AUTHENTICATION,
    FAILURE,
    LIFECYCLE,
    SESSION,
    AuditEvent,
    Fact,
    principal_text,
)
from rivven.audit.file_sink import FileRules, FileSink
from rivven.audit.requests import current_request_id
from rivven.audit.signing import Signer, new_secret, publish, signer_of
from rivven.audit.sinks import AuditSink, Delivery, QueueLimits, SinkFailed, SinkQueue, ThreadDelivery
from rivven.audit.tail import numbered
from rivven.audit.topic_sink import TopicDelivery
from rivven.audit.trail import PERIOD_SECONDS, AuditTrail, TrailSettings
from rivven.clock import Clock
from rivven.config.audit import AUDIT_TOPIC, AuditConfig, AuditOutput
from rivven.config.models import Config
from rivven.errors import RivvenError
from rivven.log.files import Files
from rivven.log.threads import LoopThreads, Threads
from rivven.metadata.audit_heads import AuditHeads, KeepAuditHead
from rivven.metadata.service import MetadataService
from rivven.records.batch import iterate_batches, read_records
from rivven.replication.partition import Partition
from rivven.replication.replicas import Replicas
from rivven.security.extensions import Extensions, UnknownExtension
from rivven.security.keys.secrets import AUDIT_SIGNING, Secrets
from rivven.security.sessions import LiveSession, Refusal, Sessions
from rivven.telemetry import Metrics

if TYPE_CHECKING:
    from rivven.audit.reading import Wanted

_log = logging.getLogger("rivven.audit")

Found = TypeVar("Found")

_BUILT_IN = {
    "stream": "rivven.app.audit_outputs:stream_sink",
    "syslog": "rivven.app.audit_outputs:syslog_sink",
}
_SINKS = Extensions("rivven.audit_sinks", _BUILT_IN)
"""An installed sink is a callable of its options (texts) that returns a `rivven.audit.sinks.AuditSink`."""

AUDIT_TOPIC_CONFIGS = {"cleanup.policy": "delete", "retention.ms": str(30 * 86_400_000)}
"""As other topics; the file is the record, the topic is for whoever follows it."""

KEY_DIRECTORY = "audit"
"""Below the data directory: the public keys, and the log unless the configuration puts it elsewhere."""


class Auditing:
    """Owns the trail between `start` and `close`; belongs to the event loop."""

    def __init__(self, config: Config, files: Files, clock: Clock, metrics: Metrics) -> None:
        self._config = config
        self._files = files
        self._clock = clock
        self._topics: dict[str, TopicDelivery] = {}
        self._threads: Threads = LoopThreads(asyncio.get_running_loop())
        self.trail = self._build()
        self._started = False
        self._announced = False
        metrics.watch_audit(
            lambda: self.trail.lines,
            lambda: self.trail.dropped,
            lambda: self.trail.backlog,
            {queue.name: _watched(queue) for queue in self.trail.queues},
        )

    def _build(self) -> AuditTrail:
        audit = self._config.audit
        if not audit.enabled:
            return AuditTrail((), self._clock, self._threads, TrailSettings(types=frozenset()))
        settings = TrailSettings(
            types=frozenset(audit.events),
            each=audit.allowed == "each",
            block=audit.overflow == "block",
            backlog_max=audit.queue_events,
        )
        limits = QueueLimits(audit.queue_events, audit.fsync_interval_ms / 1000)
        queues = [
            SinkQueue(
                name,
                self._delivery(name, output),
                self._threads,
                required=output.is_required,
                limits=limits,
            )
            for name, output in _named(audit.outputs)
        ]
        return AuditTrail(queues, self._clock, self._threads, settings)

    def _delivery(self, name: str, output: AuditOutput) -> Delivery:
        if output.type == "topic":
            delivery = TopicDelivery(self._clock)
            self._topics[output.topic or AUDIT_TOPIC] = delivery
            return delivery
        return ThreadDelivery(name, self._sink(output), self._threads)

    def _sink(self, output: AuditOutput) -> AuditSink:
        if output.type == "file":
            path = self._config.audit.file_path(self._config.data_dir)
            assert path is not None
            return FileSink(self._files, str(path), self._clock, _rules(self._config.audit))
        try:
            make = _SINKS.load(output.type)
            sink: AuditSink = make(output) if output.type in _BUILT_IN else make(dict(output.options))
        except UnknownExtension as error:
            raise StartFailed(
                f"audit.output: {error}", "name an installed audit sink", ExitCode.CONFIG
            ) from None
        except ValueError as error:
            raise StartFailed(
                f"audit.output ({output.type}): {error}", "check the output's settings", ExitCode.CONFIG
            ) from None
        return sink

    async def start(self) -> None:
        """Open the outputs and record the start. Raises StartFailed."""
        if not self._config.audit.enabled:
            return
        try:
            await self.trail.start()
        except (OSError, SinkFailed) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            where = f" {error.filename}" if isinstance(error, OSError) and error.filename else ""
            raise StartFailed(
                f"a required audit output cannot be opened:{where} {reason}",
                "check audit.log_path and audit.output",
                ExitCode.DATA_DIRECTORY,
            ) from None
        self._started = True

    async def connect_topics(self, metadata: MetadataService, replicas: Replicas) -> None:
        """Give the topic outputs their topics. Raises StartFailed when a name is taken already."""
        for name, delivery in self._topics.items():
            try:
                topic = await metadata.create_internal_topic(name, 1, AUDIT_TOPIC_CONFIGS)
            except RivvenError as error:
                raise StartFailed(
                    f"the audit topic {name} cannot be made: {error}", "name another topic", ExitCode.CONFIG
                ) from None
            if not topic.internal:
                raise StartFailed(
                    f"the topic {name} is not the broker's own, so clients can write to it",
                    "name another topic under audit.output, or delete this one",
                    ExitCode.CONFIG,
                )
            await replicas.ensure(topic)
            partition = replicas.partition(name, 0)
            assert partition is not None
            delivery.connect(partition, await _last_number(partition))

    @property
    def search(self) -> Callable[[Wanted, int], Awaitable[list[dict[str, Any]]]] | None:
        """Searches the newest part of the audit file; None without a file."""
        path = self._config.audit.file_path(self._config.data_dir) if self._started else None
        if path is None:
            return None

        async def search(wanted: Wanted, count: int) -> list[dict[str, Any]]:
            from rivven.audit.reading import newest_events  # not before somebody searches

            files = self._files
            return await self._on_thread("search", lambda: newest_events(files, str(path), count, wanted))

        return search

    async def _on_thread(self, name: str, work: Callable[[], Found]) -> Found:
        """Run blocking work beside the loop; raises its OSError, SinkFailed or RivvenError."""
        done: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        worker = self._threads.worker(f"audit-{name}")

        def job() -> None:
            try:
                found = work()
            except (OSError, SinkFailed, RivvenError) as error:
                self._threads.post(partial(done.set_exception, error))
            else:
                self._threads.post(partial(done.set_result, found))

        worker.submit(job)
        try:
            return await done
        finally:
            worker.close()

    def compare_head(self, metadata: MetadataService) -> None:
        """Say so when the trail ends before the head that the metadata knew: its end was cut off."""
        kept = metadata.image.of(AuditHeads).head
        if not self._started or kept is None or not self._has_file:
            return
        head = self.trail.head
        cut = head.next_sequence <= kept.sequence
        if cut or (head.next_sequence == kept.sequence + 1 and head.hash != kept.hash):
            _log.error("the audit log ends before line %d, which was on the disk", kept.sequence)
            details: dict[str, Fact] = {
                "known_sequence": kept.sequence,
                "known_hash": kept.hash,
                "found_next_sequence": head.next_sequence,
            }
            self.trail.event(AuditEvent(AUDIT, "truncated", "file", FAILURE, details=details))

    async def keep_heads(self, metadata: MetadataService) -> None:
        """For ever: tell the metadata each minute how far the trail has come."""
        while True:
            await asyncio.sleep(PERIOD_SECONDS)
            await self.keep_head(metadata)

    async def keep_head(self, metadata: MetadataService) -> None:
        """Tell the metadata how far the trail has come, if there is a file to compare with."""
        if not self._announced or not self._has_file:
            return  # a start that was refused has nothing to tell, and says why in one line
        try:
            head = await self.trail.settled()
            if head.next_sequence:
                await metadata.submit(KeepAuditHead(head.next_sequence - 1, head.hash))
        except RivvenError as error:
            _log.warning("the head of the audit trail is not kept: %s", error)

    @property
    def _has_file(self) -> bool:
        return self._config.audit.file_path(self._config.data_dir) is not None

    def follow(self, sessions: Sessions) -> None:
        """Record every login and the end of every session."""
        sessions.began = self._session_began
        sessions.ended = self._session_ended
        sessions.refused = self._refused

    def ready(self, facts: Mapping[str, Fact]) -> None:
        """Record the start, once clients can come."""
        self._announced = self._started
        self.trail.event(AuditEvent(LIFECYCLE, "start", "broker", details=facts))

    async def sign(self, secrets: Secrets) -> None:
        """Load or make the key; from then on checkpoints are signed."""
        if not self._started:
            return
        try:
            signer = await self._on_thread(
                "key", lambda: self._published(secrets, secrets.load_or_create(AUDIT_SIGNING, new_secret))
            )
        except (OSError, SinkFailed, RivvenError) as error:
            _log.error("audit checkpoints are not signed: %s", error)
            return
        self.trail.sign_with(signer.sign, signer.key_id)

    async def rotate_key(self, secrets: Secrets) -> Signer:
        """Sign with a new key from now on; what the old one signed can still be verified.

        Raises KeyProviderError, SinkFailed or OSError; a start that follows then takes over what is kept.
        """

        def rotate() -> Signer:
            self._published(secrets, secrets.load_or_create(AUDIT_SIGNING, new_secret))
            return self._published(secrets, secrets.rotate(AUDIT_SIGNING, new_secret))

        signer = await self._on_thread("key", rotate)
        if self._started:
            self.trail.sign_with(signer.sign, signer.key_id)
        return signer

    def _published(self, secrets: Secrets, secret: bytes) -> Signer:
        """The signer of a kept key, whose public half is beside the log and with the secrets."""
        signer = signer_of(secret)
        publish(self._files, posixpath.join(str(self._config.data_dir), KEY_DIRECTORY), signer)
        if signer.key_id not in secrets.public.all(AUDIT_SIGNING):
            secrets.public.keep(AUDIT_SIGNING, signer.key_id, signer.public_pem)
        return signer

    async def close(self) -> None:
        """Record the stop and deliver what is queued."""
        if self._started:
            self._started = False
            await self.trail.close(AuditEvent(LIFECYCLE, "stop", "broker"))

    def _session_began(self, session: LiveSession) -> None:
        self.trail.event(_session_event(session, AUTHENTICATION, "login"))

    def _session_ended(self, session: LiveSession) -> None:
        self.trail.event(_session_event(session, SESSION, "end", session.closing))

    def _refused(self, refusal: Refusal) -> None:
        subject = refusal.subject
        self.trail.event(
            AuditEvent(
                AUTHENTICATION,
                "login" if subject is None else "re-authenticate",
                f"session:{refusal.session_id}",
                FAILURE,
                principal_text(subject.principal) if subject is not None else "",
                refusal.reason,
                refusal.host,
                refusal.listener,
                refusal.mechanism,
                request_id=current_request_id(),
            )
        )


async def _last_number(partition: Partition) -> int | None:
    """The number of the last line in the audit topic."""
    end = partition.log_end_offset
    if end <= partition.log_start_offset:
        return None
    await partition.wait_committed(end - 1)
    result = await partition.read_from(end - 1, 1)
    found = [
        numbered(bytes(record.value or b""))
        for buffer in result.buffers
        for position, header in iterate_batches(buffer)
        for record in read_records(buffer, position, header)
    ]
    numbers = [line.sequence for line in found if line is not None]
    return max(numbers, default=None)


def _session_event(session: LiveSession, event_type: str, action: str, reason: str = "") -> AuditEvent:
    subject = session.subject
    assert subject is not None
    credential = session.credentials[0]
    return AuditEvent(
        event_type,
        action,
        f"session:{session.id}",
        principal=principal_text(subject.principal),
        reason=reason,
        client_ip=subject.host,
        listener=subject.listener,
        mechanism=subject.mechanism,
        details={
            "credential": credential.kind,
            "credential_id": credential.id,
            "client_software": session.client_software,
            "tls": subject.tls,
        },
    )


def _named(outputs: list[AuditOutput]) -> list[tuple[str, AuditOutput]]:
    """Each output with a name: its type, numbered when there are several."""
    names: list[tuple[str, AuditOutput]] = []
    for output in outputs:
        same = sum(1 for _, other in names if other.type == output.type)
        names.append((output.type if not same else f"{output.type}{same + 1}", output))
    return names


def _rules(audit: AuditConfig) -> FileRules:
    days = audit.retention.max_age_days
    return FileRules(
        bytes_max=audit.rotation.max_bytes,
        age_ms_max=int(audit.rotation.max_age_hours * 3_600_000),
        keep_files_max=audit.retention.max_files,
        keep_ms_max=None if days is None else int(days * 86_400_000),
    )


def _watched(queue: SinkQueue) -> tuple[Callable[[], float], Callable[[], float], Callable[[], float]]:
    return lambda: queue.failures, lambda: queue.missed, lambda: not queue.failure
