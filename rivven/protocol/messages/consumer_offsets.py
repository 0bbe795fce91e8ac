"""The records of the internal topic `__consumer_offsets`, as Kafka writes them.

Every key and value starts with an int16 version which the caller reads and writes; the struct follows it.
Offered: OffsetCommitKey 0-1, OffsetCommitValue 0-3, GroupMetadataKey 2, GroupMetadataValue 0-3, the classic
layouts every Kafka since 2.1 reads. Declarations only.
"""

from __future__ import annotations

from rivven.protocol import schema as s
from rivven.protocol.schema import Data, Struct


class OffsetCommitKey(Data, versions="0-1"):
    group: str = s.string(entity="groupId")
    topic: str = s.string(entity="topicName")
    partition: int = s.i32()


class OffsetCommitValue(Data, versions="0-3"):
    offset: int = s.i64()
    leader_epoch: int = s.i32("3+", default=-1)
    metadata: str = s.string()
    commit_timestamp: int = s.i64()
    expire_timestamp: int = s.i64("1", default=-1)


class GroupMetadataKey(Data, versions="2"):
    group: str = s.string(entity="groupId")


class GroupMetadataValue(Data, versions="0-3"):
    class MemberMetadata(Struct):
        member_id: str = s.string()
        group_instance_id: str | None = s.string("3+", nullable="3+", default=None)
        client_id: str = s.string()
        client_host: str = s.string()
        rebalance_timeout: int = s.i32("1+")
        session_timeout: int = s.i32()
        subscription: bytes = s.blob()
        assignment: bytes = s.blob()

    protocol_type: str = s.string()
    generation: int = s.i32()
    protocol: str | None = s.string(nullable="")
    leader: str | None = s.string(nullable="")
    current_state_timestamp: int = s.i64("2+", default=-1)
    members: list[GroupMetadataValue.MemberMetadata] = s.array("MemberMetadata")
