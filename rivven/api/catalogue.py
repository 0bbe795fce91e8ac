"""The API table: every API this broker offers, its authorisation rules and its handler, on one page.

What is not a row here is not offered, and ApiVersions lists exactly these rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from rivven.api import (
    acls,
    audited,
    authentication,
    cluster_admin,
    configs,
    credentials,
    delegation_tokens,
    fetch,
    group_offsets,
    groups,
    metadata,
    offsets,
    produce,
    producers,
    quotas,
    topic_partitions,
    topics,
)
from rivven.api.table import UNAUDITED, Row, Table
from rivven.protocol.api import APIS, ApiKey


@dataclass(frozen=True, slots=True)
class HandlerSet:
    """The handlers rows refer to."""

    versions: authentication.VersionsHandler
    authentication: authentication.AuthenticationHandlers
    produce: produce.ProduceHandler
    fetch: fetch.FetchHandler
    offsets: offsets.OffsetHandlers
    metadata: metadata.MetadataHandler
    find_coordinator: groups.FindCoordinatorHandler
    group_admin: groups.GroupAdminHandlers
    groups: groups.GroupHandlers  # last of its module: the field hides the name
    group_offsets: group_offsets.GroupOffsetHandlers
    topics: topics.TopicHandlers
    configs: configs.ConfigHandlers
    acls: acls.AclHandlers
    credentials: credentials.CredentialHandlers
    tokens: delegation_tokens.DelegationTokenHandlers
    cluster: cluster_admin.ClusterHandlers
    producers: producers.ProducerHandlers
    quotas: quotas.QuotaHandlers
    topic_partitions: topic_partitions.TopicPartitionsHandler


def build_table(handlers: HandlerSet) -> Table:
    """All rows. Raises ValueError when a range is offered without a row."""
    table = Table(
        [
            *_session_rows(handlers),
            *_data_rows(handlers),
            *_group_rows(handlers),
            *_topic_rows(handlers),
            *_config_rows(handlers),
            *_security_rows(handlers),
            *_token_rows(handlers),
            *_cluster_rows(handlers),
        ]
    )
    missing = [key.name for key in APIS if key not in table.rows]
    if missing:
        raise ValueError(f"offered without a handler: {', '.join(missing)}")
    silent = [
        row.key.name for key, row in table.rows.items() if (row.audited is None) is not (key in UNAUDITED)
    ]
    if silent:
        raise ValueError(f"does not say what the audit trail hears of it: {', '.join(silent)}")
    return table


def _session_rows(h: HandlerSet) -> list[Row]:
    rules = authentication.AUTHENTICATION_RULES
    return [
        Row(
            ApiKey.API_VERSIONS,
            rules,
            h.versions.api_versions,
            failed=authentication.versions_failure,
        ),
        Row(
            ApiKey.SASL_HANDSHAKE,
            rules,
            h.authentication.sasl_handshake,
            failed=authentication.handshake_failure,
        ),
        Row(
            ApiKey.SASL_AUTHENTICATE,
            rules,
            h.authentication.sasl_authenticate,
            failed=authentication.authenticate_failure,
        ),
    ]


def _data_rows(h: HandlerSet) -> list[Row]:
    return [
        Row(ApiKey.PRODUCE, produce.PRODUCE_RULES, start=h.produce.start),
        Row(ApiKey.FETCH, fetch.FETCH_RULES, h.fetch.fetch),
        Row(ApiKey.LIST_OFFSETS, offsets.LIST_OFFSETS_RULES, h.offsets.list_offsets),
        Row(
            ApiKey.OFFSET_FOR_LEADER_EPOCH,
            offsets.OFFSET_FOR_LEADER_EPOCH_RULES,
            h.offsets.offset_for_leader_epoch,
        ),
        Row(
            ApiKey.METADATA,
            metadata.METADATA_RULES,
            h.metadata.metadata,
            failed=metadata.metadata_failure,
        ),
    ]


def _group_rows(h: HandlerSet) -> list[Row]:
    return [
        Row(
            ApiKey.FIND_COORDINATOR,
            groups.FIND_COORDINATOR_RULES,
            h.find_coordinator.find_coordinator,
            failed=groups.find_coordinator_failed,
        ),
        Row(ApiKey.JOIN_GROUP, groups.JOIN_GROUP_RULES, h.groups.join_group),
        Row(ApiKey.SYNC_GROUP, groups.SYNC_GROUP_RULES, h.groups.sync_group),
        Row(ApiKey.HEARTBEAT, groups.HEARTBEAT_RULES, h.groups.heartbeat),
        Row(ApiKey.LEAVE_GROUP, groups.LEAVE_GROUP_RULES, h.groups.leave_group),
        Row(ApiKey.DESCRIBE_GROUPS, groups.DESCRIBE_GROUPS_RULES, h.group_admin.describe_groups),
        Row(
            ApiKey.LIST_GROUPS,
            groups.LIST_GROUPS_RULES,
            h.group_admin.list_groups,
            failed=groups.list_groups_failed,
        ),
        Row(
            ApiKey.DELETE_GROUPS,
            groups.DELETE_GROUPS_RULES,
            h.group_admin.delete_groups,
            audited=audited.DELETE_GROUPS,
        ),
        Row(ApiKey.OFFSET_COMMIT, group_offsets.OFFSET_COMMIT_RULES, h.group_offsets.offset_commit),
        Row(
            ApiKey.OFFSET_FETCH,
            group_offsets.OFFSET_FETCH_RULES,
            h.group_offsets.offset_fetch,
            failed=group_offsets.offset_fetch_failed,
        ),
        Row(
            ApiKey.OFFSET_DELETE,
            group_offsets.OFFSET_DELETE_RULES,
            h.group_offsets.offset_delete,
            audited=audited.OFFSET_DELETE,
        ),
    ]


def _topic_rows(h: HandlerSet) -> list[Row]:
    return [
        Row(
            ApiKey.CREATE_TOPICS,
            topics.CREATE_TOPICS_RULES,
            h.topics.create_topics,
            audited=audited.CREATE_TOPICS,
        ),
        Row(
            ApiKey.DELETE_TOPICS,
            topics.DELETE_TOPICS_RULES,
            h.topics.delete_topics,
            failed=topics.delete_topics_failed,
            audited=audited.DELETE_TOPICS,
        ),
        Row(
            ApiKey.CREATE_PARTITIONS,
            topics.CREATE_PARTITIONS_RULES,
            h.topics.create_partitions,
            audited=audited.CREATE_PARTITIONS,
        ),
        Row(
            ApiKey.DELETE_RECORDS,
            topics.DELETE_RECORDS_RULES,
            h.topics.delete_records,
            audited=audited.DELETE_RECORDS,
        ),
        Row(
            ApiKey.DESCRIBE_TOPIC_PARTITIONS,
            topic_partitions.DESCRIBE_TOPIC_PARTITIONS_RULES,
            h.topic_partitions.describe_topic_partitions,
            failed=topic_partitions.describe_topic_partitions_failed,
        ),
        Row(
            ApiKey.INIT_PRODUCER_ID,
            producers.INIT_PRODUCER_ID_RULES,
            h.producers.init_producer_id,
            failed=producers.init_producer_id_failed,
        ),
        Row(ApiKey.DESCRIBE_PRODUCERS, producers.DESCRIBE_PRODUCERS_RULES, h.producers.describe_producers),
    ]


def _config_rows(h: HandlerSet) -> list[Row]:
    return [
        Row(
            ApiKey.DESCRIBE_CONFIGS,
            configs.DESCRIBE_CONFIGS_RULES,
            h.configs.describe_configs,
            failed=configs.describe_configs_failed,
        ),
        Row(
            ApiKey.ALTER_CONFIGS,
            configs.ALTER_CONFIGS_RULES,
            h.configs.alter_configs,
            failed=configs.alter_configs_failed,
            audited=audited.ALTER_CONFIGS,
        ),
        Row(
            ApiKey.INCREMENTAL_ALTER_CONFIGS,
            configs.INCREMENTAL_ALTER_CONFIGS_RULES,
            h.configs.incremental_alter_configs,
            failed=configs.incremental_alter_configs_failed,
            audited=audited.ALTER_CONFIGS,
        ),
        Row(
            ApiKey.LIST_CONFIG_RESOURCES,
            configs.LIST_CONFIG_RESOURCES_RULES,
            h.configs.list_config_resources,
        ),
    ]


def _security_rows(h: HandlerSet) -> list[Row]:
    return [
        Row(ApiKey.DESCRIBE_ACLS, acls.DESCRIBE_ACLS_RULES, h.acls.describe_acls),
        Row(ApiKey.CREATE_ACLS, acls.CREATE_ACLS_RULES, h.acls.create_acls, audited=audited.CREATE_ACLS),
        Row(ApiKey.DELETE_ACLS, acls.DELETE_ACLS_RULES, h.acls.delete_acls, audited=audited.DELETE_ACLS),
        Row(
            ApiKey.DESCRIBE_CLIENT_QUOTAS,
            quotas.DESCRIBE_CLIENT_QUOTAS_RULES,
            h.quotas.describe_client_quotas,
        ),
        Row(
            ApiKey.ALTER_CLIENT_QUOTAS,
            quotas.ALTER_CLIENT_QUOTAS_RULES,
            h.quotas.alter_client_quotas,
            audited=audited.ALTER_CLIENT_QUOTAS,
        ),
        Row(
            ApiKey.DESCRIBE_USER_SCRAM_CREDENTIALS,
            credentials.DESCRIBE_USER_SCRAM_CREDENTIALS_RULES,
            h.credentials.describe_user_scram_credentials,
        ),
        Row(
            ApiKey.ALTER_USER_SCRAM_CREDENTIALS,
            credentials.ALTER_USER_SCRAM_CREDENTIALS_RULES,
            h.credentials.alter_user_scram_credentials,
            audited=audited.ALTER_USER_SCRAM_CREDENTIALS,
        ),
    ]


def _token_rows(h: HandlerSet) -> list[Row]:
    return [
        Row(
            ApiKey.CREATE_DELEGATION_TOKEN,
            delegation_tokens.CREATE_DELEGATION_TOKEN_RULES,
            h.tokens.create_delegation_token,
            failed=delegation_tokens.create_failed,
            audited=audited.CREATE_DELEGATION_TOKEN,
        ),
        Row(
            ApiKey.RENEW_DELEGATION_TOKEN,
            delegation_tokens.RENEW_DELEGATION_TOKEN_RULES,
            h.tokens.renew_delegation_token,
            failed=delegation_tokens.renew_failed,
            audited=audited.token_by_secret("renew", h.tokens.id_of_secret),
        ),
        Row(
            ApiKey.EXPIRE_DELEGATION_TOKEN,
            delegation_tokens.EXPIRE_DELEGATION_TOKEN_RULES,
            h.tokens.expire_delegation_token,
            failed=delegation_tokens.expire_failed,
            audited=audited.token_by_secret("expire", h.tokens.id_of_secret),
        ),
        Row(
            ApiKey.DESCRIBE_DELEGATION_TOKEN,
            delegation_tokens.DESCRIBE_DELEGATION_TOKEN_RULES,
            h.tokens.describe_delegation_token,
            failed=delegation_tokens.describe_failed,
        ),
    ]


def _cluster_rows(h: HandlerSet) -> list[Row]:
    return [
        Row(
            ApiKey.DESCRIBE_CLUSTER,
            cluster_admin.DESCRIBE_CLUSTER_RULES,
            h.cluster.describe_cluster,
            failed=cluster_admin.describe_cluster_failed,
        ),
        Row(ApiKey.DESCRIBE_LOG_DIRS, cluster_admin.DESCRIBE_LOG_DIRS_RULES, h.cluster.describe_log_dirs),
        Row(
            ApiKey.ELECT_LEADERS,
            cluster_admin.ELECT_LEADERS_RULES,
            h.cluster.elect_leaders,
            audited=audited.ELECT_LEADERS,
        ),
        Row(
            ApiKey.ALTER_PARTITION_REASSIGNMENTS,
            cluster_admin.ALTER_PARTITION_REASSIGNMENTS_RULES,
            h.cluster.alter_partition_reassignments,
            audited=audited.ALTER_PARTITION_REASSIGNMENTS,
        ),
        Row(
            ApiKey.LIST_PARTITION_REASSIGNMENTS,
            cluster_admin.LIST_PARTITION_REASSIGNMENTS_RULES,
            h.cluster.list_partition_reassignments,
        ),
    ]
