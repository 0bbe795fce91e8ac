"""The API table: every API this broker offers, its authorisation rules and its handler, on one page.

What is not a row here is not offered, and ApiVersions lists exactly these rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from rivven.api import authentication, fetch, group_offsets, groups, metadata, offsets, produce
from rivven.api.table import Row, Table
from rivven.protocol.api import ApiKey


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
    groups: groups.GroupHandlers
    group_admin: groups.GroupAdminHandlers
    group_offsets: group_offsets.GroupOffsetHandlers


def build_table(handlers: HandlerSet) -> Table:
    """All rows."""
    return Table([*_session_rows(handlers), *_data_rows(handlers), *_group_rows(handlers)])


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
        Row(ApiKey.DELETE_GROUPS, groups.DELETE_GROUPS_RULES, h.group_admin.delete_groups),
        Row(ApiKey.OFFSET_COMMIT, group_offsets.OFFSET_COMMIT_RULES, h.group_offsets.offset_commit),
        Row(
            ApiKey.OFFSET_FETCH,
            group_offsets.OFFSET_FETCH_RULES,
            h.group_offsets.offset_fetch,
            failed=group_offsets.offset_fetch_failed,
        ),
        Row(ApiKey.OFFSET_DELETE, group_offsets.OFFSET_DELETE_RULES, h.group_offsets.offset_delete),
    ]
