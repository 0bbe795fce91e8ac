"""Modules without a unit test file of their own name: which tests hold them, and why there and not alone.

A module that gets a file of its own may leave this list; a module in neither place fails the check.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """`tests` are paths below tests/; `modules` are names or patterns."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]
    reason: str
    through_process: bool = False
    """The tests start the shipped command, so they import nothing of the broker."""


ELSEWHERE = (
    Elsewhere(
        ("rivven.types", "rivven.errors"),
        ("unit/api/test_dispatch.py", "conformance/test_versions.py"),
        "vocabulary: tables of Kafka's numbers, right when clients and handlers agree",
    ),
    Elsewhere(
        ("rivven.clock", "rivven.tasks"),
        ("unit/machine/test_runner.py", "unit/metadata/test_service.py"),
        "a few lines that every driver's test goes through",
    ),
    Elsewhere(
        (
            "rivven.config.problems",
            "rivven.config.strict_yaml",
            "rivven.config.models",
            "rivven.config.values",
            "rivven.config.listeners",
            "rivven.config.limits",
            "rivven.config.mtls",
            "rivven.config.authentication",
            "rivven.config.authorization",
            "rivven.config.quotas",
            "rivven.config.policies",
        ),
        ("unit/config/test_load.py",),
        "refusals are tested as a user meets them: file, key and reason of a whole file",
    ),
    Elsewhere(
        ("rivven.metadata.token_records",),
        ("unit/metadata/test_tokens.py",),
        "values and their bytes; every decided event of the family is written and read back there",
    ),
    Elsewhere(
        ("rivven.audit.chain", "rivven.audit.requests", "rivven.audit.sinks", "rivven.audit.tail"),
        ("unit/audit/test_trail.py", "unit/audit/test_file_sink.py", "unit/audit/test_verify.py"),
        "one trail: what it chains is what its file holds and what verification reads",
    ),
    Elsewhere(
        ("rivven.audit.signing",),
        ("unit/audit/test_verify.py",),
        "a signature is right when verification takes it and nobody else's",
    ),
    Elsewhere(
        ("rivven.audit.reading", "rivven.audit.stream_sink", "rivven.http.admin.audit"),
        ("conformance/test_audit.py", "interop/test_audit_outputs.py"),
        "every changing API, route and output of the shipped broker, as its log and its readers have it",
        through_process=True,
    ),
    Elsewhere(
        ("rivven.config.audit",),
        ("unit/config/test_audit.py",),
        "refusals as a user meets them, and the words of events",
    ),
    Elsewhere(
        ("rivven.security.keys.provider", "rivven.security.keys.keyring", "rivven.security.keys.key_file"),
        ("unit/security/keys/test_keyring_file.py",),
        "a seam whose suite every provider runs, and what the keyring file is made of, damaged there",
    ),
    Elsewhere(
        ("rivven.security.keys.data_keys", "rivven.security.keys.topic_ring"),
        ("unit/security/keys/test_topic_keys.py",),
        "parts of the keys in use: right when segments open, in this life of the broker and the next",
    ),
    Elsewhere(
        ("rivven.security.keys.public_keys", "rivven.security.keys.observed_provider"),
        ("unit/security/keys/test_secrets.py", "unit/security/keys/test_loader.py"),
        "what the secrets keep beside them, and what the loader puts around a provider",
    ),
    Elsewhere(
        ("rivven.security.keys.operations",),
        ("unit/http/admin/test_keys.py", "unit/app/test_key_operations.py"),
        "a seam and its values, from both sides",
    ),
    Elsewhere(
        ("rivven.http.admin.erasures",),
        ("unit/http/admin/test_keys.py",),
        "rows of the routes of keys, tested with the others",
    ),
    Elsewhere(
        ("rivven.metadata.families",),
        ("unit/metadata/test_family.py",),
        "a list; what being on it means is tested with a family of the test's own",
    ),
    Elsewhere(
        ("rivven.api.quotas", "rivven.http.admin.quotas"),
        ("conformance/test_quotas.py",),
        "what is set by one of the APIs is what the others show and what clients meet",
        through_process=True,
    ),
    Elsewhere(
        ("rivven.config.development", "rivven.telemetry.documentation"),
        ("unit/config/test_documentation.py", "dev/test_first_start.py"),
        "compared with the files and pages that must say the same",
        through_process=True,
    ),
    Elsewhere(
        ("rivven.config.*_settings",),
        ("unit/config/test_settings.py",),
        "two tables tested together with the type of their rows",
    ),
    Elsewhere(
        (
            "rivven.telemetry.instruments",
            "rivven.telemetry.redaction",
            "rivven.telemetry.registry",
            "rivven.telemetry.security_metrics",
            "rivven.telemetry.storage_metrics",
        ),
        ("unit/telemetry/test_metrics.py", "unit/telemetry/test_logs.py"),
        "seen in the page of metrics and in the log lines",
    ),
    Elsewhere(
        ("rivven.protocol.messages.*",),
        (
            "unit/protocol/test_versions.py",
            "golden/protocol/test_protocol_bytes.py",
            "properties/protocol/test_protocol_oracle.py",
        ),
        "declarations: byte-identical with another implementation in every version, and with golden bytes",
    ),
    Elsewhere(
        (
            "rivven.protocol.api",
            "rivven.protocol.exceptions",
            "rivven.protocol.layout",
            "rivven.protocol.source",
            "rivven.protocol.parse_compiler",
            "rivven.protocol.write_compiler",
        ),
        ("unit/protocol/test_compilers.py", "unit/protocol/test_codec.py"),
        "the compiler is tested as a whole: what it writes it parses, what is wrong it refuses",
    ),
    Elsewhere(
        ("rivven.records.unreadable",),
        ("unit/records/test_record.py", "unit/records/test_compression.py"),
        "the errors of the modules that raise them",
    ),
    Elsewhere(
        (
            "rivven.log.closing",
            "rivven.log.dirty_files",
            "rivven.log.host",
            "rivven.log.loaded",
            "rivven.log.lookup",
            "rivven.log.opening",
            "rivven.log.reading",
            "rivven.log.reads",
            "rivven.log.retention",
            "rivven.log.rolling",
            "rivven.log.segment",
            "rivven.log.waiting",
            "rivven.log.write_queue",
        ),
        (
            "unit/log/test_partition_log.py",
            "unit/log/test_write_failures.py",
            "simulation/log/test_power_loss.py",
        ),
        "parts of one partition that only mean something in the order they run in",
    ),
    Elsewhere(
        (
            "rivven.log.cut_files",
            "rivven.log.epoch_file",
            "rivven.log.producer_snapshots",
            "rivven.log.scanning",
            "rivven.log.segment_index",
        ),
        ("unit/log/test_recovery.py", "simulation/log/test_power_loss.py"),
        "what opening a partition reads and rebuilds, case by case of damage",
    ),
    Elsewhere(
        (
            "rivven.log.batch_opener",
            "rivven.log.checkpoint*",
            "rivven.log.free_space",
            "rivven.log.identity",
            "rivven.log.removal",
        ),
        ("unit/log/test_directory.py", "simulation/log/test_power_loss.py"),
        "parts of a directory: tested through opening, closing and crashing one",
    ),
    Elsewhere(
        ("rivven.log.framed_file",),
        ("unit/log/test_epochs.py", "unit/log/test_producers.py", "unit/log/test_compaction_swap.py"),
        "one frame under every small file; each of them is damaged in its own test",
    ),
    Elsewhere(
        ("rivven.log.files", "rivven.log.syncfs", "rivven.log.threads"),
        ("unit/log/test_os_files.py", "unit/log/test_compaction_live.py"),
        "the operating system itself, with real files and threads",
    ),
    Elsewhere(
        ("rivven.log.dump", "rivven.log.verify"),
        ("unit/log/test_offline_tools.py",),
        "two tools over the same files",
    ),
    Elsewhere(
        ("rivven.log.worker", "rivven.log.compaction_jobs"),
        ("unit/log/test_workers.py", "unit/log/test_compaction_live.py"),
        "run in another process, started by the test",
        through_process=True,
    ),
    Elsewhere(
        ("rivven.log.worker_jobs",),
        ("unit/log/test_workers.py",),
        "the framing between the broker and its workers",
    ),
    Elsewhere(
        ("rivven.machine.journal", "rivven.machine.state_machine"),
        ("unit/machine/test_runner.py", "unit/machine/test_local_journal.py"),
        "the two protocols the runner joins",
    ),
    Elsewhere(
        ("rivven.machine.journal_frames", "rivven.machine.journal_sealing"),
        ("unit/machine/test_local_journal.py", "simulation/machine/test_journal_power_loss.py"),
        "the bytes of the journal's file, cut, flipped and moved there",
    ),
    Elsewhere(
        (
            "rivven.metadata.acl_changes",
            "rivven.metadata.broker_values",
            "rivven.metadata.commands",
            "rivven.metadata.config_changes",
            "rivven.metadata.controller",
            "rivven.metadata.credential_changes",
            "rivven.metadata.image",
            "rivven.metadata.topic_changes",
            "rivven.metadata.topic_names",
        ),
        (
            "unit/metadata/test_topics_decided.py",
            "unit/metadata/test_configs_decided.py",
            "unit/metadata/test_credentials_decided.py",
            "unit/metadata/test_acls_decided.py",
        ),
        "one machine: what is decided, by subject",
    ),
    Elsewhere(
        ("rivven.metadata.config_entries",),
        ("unit/api/test_configs.py",),
        "what DescribeConfigs shows, tested where it is asked",
        through_process=True,
    ),
    Elsewhere(
        (
            "rivven.coordinator.commands",
            "rivven.coordinator.events",
            "rivven.coordinator.group",
            "rivven.coordinator.groups",
            "rivven.coordinator.joining",
            "rivven.coordinator.membership",
            "rivven.coordinator.offsets",
            "rivven.coordinator.rebalance",
            "rivven.coordinator.settings",
            "rivven.coordinator.turn",
        ),
        ("unit/coordinator/test_transcripts.py", "simulation/coordinator/test_groups_simulation.py"),
        "one machine: readable transcripts of whole group histories",
    ),
    Elsewhere(
        (
            "rivven.security.authn.authenticator",
            "rivven.security.authn.services",
            "rivven.security.authn.sources",
            "rivven.security.authz.authorizer",
            "rivven.security.authz.sources",
        ),
        ("conformance/test_authenticator.py", "conformance/test_authorizer.py"),
        "seams: every implementation runs the seam's conformance suite",
    ),
    Elsewhere(
        ("rivven.security.authz.roles",),
        ("unit/security/authz/test_rbac.py",),
        "who has which role is right when the engine over the directory answers right",
    ),
    Elsewhere(
        (
            "rivven.security.authz.acl_index",
            "rivven.security.authz.operations",
            "rivven.security.authz.rule_book",
        ),
        ("unit/security/authz/test_acl.py", "properties/security/test_acl_reference.py"),
        "the index is right when it answers as the plain reading of the rules does",
    ),
    Elsewhere(
        (
            "rivven.api.context",
            "rivven.api.rules",
        ),
        ("unit/api/test_dispatch.py", "unit/api/test_table.py"),
        "what dispatch works with",
    ),
    Elsewhere(
        ("rivven.api.producers", "rivven.api.topic_partitions"),
        ("unit/api/test_cluster_admin.py", "unit/api/test_topics.py"),
        "small handlers beside the ones they are served with",
    ),
    Elsewhere(
        ("rivven.__main__", "rivven.app.*"),
        ("dev/test_first_start.py", "dev/test_refused_starts.py", "interop/test_confluent.py"),
        "the composition root: right when the shipped command starts, serves, refuses and stops",
        through_process=True,
    ),
    Elsewhere(
        ("rivven.http.application", "rivven.http.exposition"),
        ("unit/http/test_metrics_server.py",),
        "what one GET answers is theirs together",
    ),
    Elsewhere(
        (
            "rivven.http.admin.connection",
            "rivven.http.admin.document",
            "rivven.http.admin.guard",
            "rivven.http.admin.peer",
        ),
        ("unit/http/admin/test_application.py", "unit/http/admin/test_server.py"),
        "one listener: the order of its checks is seen from outside only",
    ),
    Elsewhere(
        ("rivven.http.admin.roles", "rivven.http.admin.authz"),
        ("interop/test_roles.py", "conformance/test_admin_api.py"),
        "each route is asked by its command, against the shipped broker; every row without rights as well",
        through_process=True,
    ),
    Elsewhere(
        ("rivven.http.listening",),
        ("unit/http/test_metrics_server.py", "unit/http/admin/test_server.py"),
        "what both HTTP listeners stand on",
    ),
    Elsewhere(
        (
            "rivven.http.admin.broker",
            "rivven.http.admin.catalogue",
            "rivven.http.admin.manual",
            "rivven.http.admin.services",
        ),
        ("conformance/test_admin_api.py", "dev/test_admin_manual.py"),
        "the table as the shipped command serves it",
        through_process=True,
    ),
    Elsewhere(
        ("rivven.testing.*",),
        ("unit/log/test_crash_files.py", "simulation/log/test_power_loss.py", "unit/security/test_canary.py"),
        "fakes: judged by the suites that stand on them",
        through_process=True,
    ),
    Elsewhere(
        ("rivven_cli.*",),
        ("unit/cli/test_main.py", "unit/cli/test_offline.py", "unit/cli/test_acl.py"),
        "commands are tested as commands: arguments in, lines and exit codes out",
        through_process=True,
    ),
    Elsewhere(
        ("rivven_client.*",),
        ("unit/client/test_profile.py", "dev/test_first_start.py", "dev/test_readme_snippets.py"),
        "a thin layer on librdkafka: right when the command line works against the shipped broker",
        through_process=True,
    ),
)
