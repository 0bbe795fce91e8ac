"""Durable events as records of `__consumer_offsets`, in Kafka's own layouts.

Pure. Key and value each start with an int16 version (kafka.md 2.5 lists what is offered):

    offset   key 1 group, topic, partition    value 3 offset, leader epoch, metadata, commit time
                                               value 1 when the client chose an expiry (v3 has none)
    group    key 2 group                       value 3 protocol, generation, leader, members
    removed  the same key                      null

Other key versions belong to group types this broker does not have; they are left alone.
"""

from __future__ import annotations

import struct
from typing import Any

from rivven.coordinator.events import (
    CommittedOffset,
    DurableEvent,
    GroupRemoved,
    GroupStored,
    OffsetRemoved,
    OffsetStored,
    StoredMember,
)
from rivven.machine.state_machine import JournalRecord
from rivven.protocol import messages as m
from rivven.protocol.codec import parse_data, write_data
from rivven.protocol.exceptions import ProtocolError

_VERSION = struct.Struct(">h")

OFFSET_KEY_VERSIONS = (0, 1)
OFFSET_KEY = 1
GROUP_KEY = 2
OFFSET_VALUE = 3
OFFSET_VALUE_WITH_EXPIRY = 1
GROUP_VALUE = 3

_StoredMemberStruct = m.GroupMetadataValue.MemberMetadata


def encode(event: DurableEvent) -> JournalRecord:
    """The record of a durable event; a removal is a tombstone."""
    match event:
        case OffsetStored(group_id, topic, partition, committed):
            return JournalRecord(_offset_key(group_id, topic, partition), _offset_value(committed))
        case OffsetRemoved(group_id, topic, partition):
            return JournalRecord(_offset_key(group_id, topic, partition), None)
        case GroupStored():
            return JournalRecord(_group_key(event.group_id), _group_value(event))
        case GroupRemoved(group_id):
            return JournalRecord(_group_key(group_id), None)


def decode(record: JournalRecord) -> DurableEvent | None:
    """The event of a record, None for kinds of another group type. Raises ValueError if unreadable."""
    try:
        return _decode(record)
    except (ProtocolError, struct.error) as error:
        raise ValueError(f"a record of __consumer_offsets does not parse: {error}") from error


def _decode(record: JournalRecord) -> DurableEvent | None:
    if record.key is None:
        raise ValueError("a record of __consumer_offsets without a key")
    version = _version(record.key)
    if version in OFFSET_KEY_VERSIONS:
        key = parse_data("OffsetCommitKey", version, record.key, _VERSION.size)
        if record.value is None:
            return OffsetRemoved(key.group, key.topic, key.partition)
        return OffsetStored(key.group, key.topic, key.partition, _read_offset(record.value))
    if version == GROUP_KEY:
        group_id = parse_data("GroupMetadataKey", version, record.key, _VERSION.size).group
        if record.value is None:
            return GroupRemoved(group_id)
        return _read_group(group_id, record.value)
    return None


def _version(data: bytes) -> int:
    version: int = _VERSION.unpack_from(data)[0]
    return version


def _with_version(name: str, version: int, data: Any) -> bytes:
    return _VERSION.pack(version) + write_data(name, version, data)


def _offset_key(group_id: str, topic: str, partition: int) -> bytes:
    key = m.OffsetCommitKey(group=group_id, topic=topic, partition=partition)
    return _with_version("OffsetCommitKey", OFFSET_KEY, key)


def _offset_value(committed: CommittedOffset) -> bytes:
    version = OFFSET_VALUE if committed.expire_ms < 0 else OFFSET_VALUE_WITH_EXPIRY
    value = m.OffsetCommitValue(
        offset=committed.offset,
        leader_epoch=committed.leader_epoch,
        metadata=committed.metadata,
        commit_timestamp=committed.commit_ms,
        expire_timestamp=committed.expire_ms,
    )
    return _with_version("OffsetCommitValue", version, value)


def _read_offset(data: bytes) -> CommittedOffset:
    value = parse_data("OffsetCommitValue", _version(data), data, _VERSION.size)
    return CommittedOffset(
        value.offset, value.leader_epoch, value.metadata, value.commit_timestamp, value.expire_timestamp
    )


def _group_key(group_id: str) -> bytes:
    return _with_version("GroupMetadataKey", GROUP_KEY, m.GroupMetadataKey(group=group_id))


def _group_value(stored: GroupStored) -> bytes:
    value = m.GroupMetadataValue(
        protocol_type=stored.protocol_type,
        generation=stored.generation,
        protocol=stored.protocol,
        leader=stored.leader,
        current_state_timestamp=stored.state_since_ms,
        members=[
            _StoredMemberStruct(
                member_id=member.member_id,
                group_instance_id=member.instance_id,
                client_id=member.client_id,
                client_host=member.client_host,
                rebalance_timeout=member.rebalance_timeout_ms,
                session_timeout=member.session_timeout_ms,
                subscription=member.subscription,
                assignment=member.assignment,
            )
            for member in stored.members
        ],
    )
    return _with_version("GroupMetadataValue", GROUP_VALUE, value)


def _read_group(group_id: str, data: bytes) -> GroupStored:
    value = parse_data("GroupMetadataValue", _version(data), data, _VERSION.size)
    return GroupStored(
        group_id=group_id,
        protocol_type=value.protocol_type,
        generation=value.generation,
        protocol=value.protocol,
        leader=value.leader,
        state_since_ms=value.current_state_timestamp,
        members=tuple(
            StoredMember(
                member_id=member.member_id,
                instance_id=member.group_instance_id,
                client_id=member.client_id,
                client_host=member.client_host,
                rebalance_timeout_ms=member.rebalance_timeout,
                session_timeout_ms=member.session_timeout,
                subscription=member.subscription,
                assignment=member.assignment,
            )
            for member in value.members
        ),
    )
