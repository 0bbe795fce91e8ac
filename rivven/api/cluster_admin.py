"""DescribeLogDirs (35), ElectLeaders (43), AlterPartitionReassignments (45), ListPartitionReassignments (46),
DescribeCluster (60): what a single node answers truthfully about leaders, replicas and disks.
"""

from __future__ import annotations

from typing import Any, Protocol

from rivven.api.context import RequestContext
from rivven.api.rules import Filter, Require
from rivven.errors import ErrorCode, RivvenError, UnknownTopicOrPartition
from rivven.protocol import messages as m
from rivven.replication.replicas import Replicas
from rivven.types import CLUSTER_NAME, Operation, ResourceType

_Elected = m.ElectLeadersResponse.PartitionResult
_ElectedTopic = m.ElectLeadersResponse.ReplicaElectionResult
_Reassigned = m.AlterPartitionReassignmentsResponse.ReassignablePartitionResponse
_ReassignedTopic = m.AlterPartitionReassignmentsResponse.ReassignableTopicResponse
_Broker = m.DescribeClusterResponse.DescribeClusterBroker
_LogDir = m.DescribeLogDirsResponse.DescribeLogDirsResult
_LogDirTopic = m.DescribeLogDirsResponse.DescribeLogDirsTopic
_LogDirPartition = m.DescribeLogDirsResponse.DescribeLogDirsPartition

BROKERS = 1
CONTROLLERS = 2
"""Endpoint types of DescribeCluster v1 (KIP-919)."""

PREFERRED = 0
UNCLEAN = 1
"""Election types of ElectLeaders v1 (KIP-460)."""


class DiskView(Protocol):
    """What DescribeLogDirs tells about the log directory."""

    @property
    def log_dir(self) -> str:
        """Its absolute path."""
        ...

    @property
    def online(self) -> bool: ...

    async def space(self) -> tuple[int, int]:
        """(total bytes, usable bytes) of the volume."""
        ...


def _elect_failed(request: Any, version: int, code: ErrorCode) -> Any:
    if version >= 1:
        return m.ElectLeadersResponse(error_code=code)
    response = m.ElectLeadersResponse()
    for topic in request.topic_partitions or ():
        results = [_Elected(partition_id=index, error_code=code) for index in topic.partitions]
        response.replica_election_results.append(_ElectedTopic(topic=topic.topic, partition_result=results))
    return response


def _reassign_failed(_request: Any, _version: int, code: ErrorCode) -> Any:
    return m.AlterPartitionReassignmentsResponse(error_code=code, error_message=None)


def _list_reassignments_failed(_request: Any, _version: int, code: ErrorCode) -> Any:
    return m.ListPartitionReassignmentsResponse(error_code=code, error_message=None)


def _log_dirs_failed(_request: Any, _version: int, code: ErrorCode) -> Any:
    return m.DescribeLogDirsResponse(error_code=code)  # before v3 an empty list is all that can be said


def describe_cluster_failed(_request: Any, _version: int, code: ErrorCode) -> Any:
    """The answer to an unexpected error."""
    return m.DescribeClusterResponse(error_code=code)


DESCRIBE_LOG_DIRS_RULES = (Require(Operation.DESCRIBE, ResourceType.CLUSTER, denied=_log_dirs_failed),)
ELECT_LEADERS_RULES = (Require(Operation.ALTER, ResourceType.CLUSTER, denied=_elect_failed),)
ALTER_PARTITION_REASSIGNMENTS_RULES = (
    Require(Operation.ALTER, ResourceType.CLUSTER, denied=_reassign_failed),
)
LIST_PARTITION_REASSIGNMENTS_RULES = (
    Require(Operation.DESCRIBE, ResourceType.CLUSTER, denied=_list_reassignments_failed),
)
DESCRIBE_CLUSTER_RULES = (Filter(),)  # addresses are no secret from the authenticated; operations are


class ClusterHandlers:
    """Handles DescribeLogDirs 1-4, ElectLeaders 0-2, the reassignment APIs 0 and DescribeCluster 0-1."""

    def __init__(self, node_id: int, cluster_id: str, replicas: Replicas, disk: DiskView) -> None:
        self._node_id = node_id
        self._cluster_id = cluster_id
        self._replicas = replicas
        self._disk = disk

    async def describe_cluster(self, context: RequestContext, request: Any) -> Any:
        """This node as the whole cluster, at the address of the listener that was asked."""
        access = context.access
        access.used = True
        endpoints = request.endpoint_type
        if endpoints != BROKERS:
            code = (
                ErrorCode.MISMATCHED_ENDPOINT_TYPE
                if endpoints == CONTROLLERS
                else ErrorCode.UNSUPPORTED_ENDPOINT_TYPE
            )
            return m.DescribeClusterResponse(
                error_code=code, error_message="this endpoint describes brokers", endpoint_type=BROKERS
            )
        listener = context.session.listener
        response = m.DescribeClusterResponse(
            cluster_id=self._cluster_id,
            controller_id=self._node_id,
            brokers=[
                _Broker(broker_id=self._node_id, host=listener.advertised_host, port=listener.advertised_port)
            ],
        )
        if request.include_cluster_authorized_operations:
            response.cluster_authorized_operations = (
                access.authorized_operations(ResourceType.CLUSTER, CLUSTER_NAME)
                if access.probe_cluster(Operation.DESCRIBE)
                else 0
            )
        return response

    async def describe_log_dirs(self, _context: RequestContext, request: Any) -> Any:
        """The one log directory with the size of the partitions asked for, of all when null."""
        result = _LogDir(log_dir=self._disk.log_dir)
        response = m.DescribeLogDirsResponse(results=[result])
        if not self._disk.online:
            result.error_code = ErrorCode.KAFKA_STORAGE_ERROR
            return response
        sizes: dict[str, dict[int, int]] = {}
        if request.topics is None:
            for partition in self._replicas:
                sizes.setdefault(partition.topic_name, {})[partition.index] = partition.log.size_bytes
        else:
            for asked in request.topics:
                for index in asked.partitions:
                    found = self._replicas.partition(asked.topic, index)
                    if found is not None:
                        sizes.setdefault(asked.topic, {})[index] = found.log.size_bytes
        for topic, of_partitions in sizes.items():
            partitions = [
                _LogDirPartition(partition_index=index, partition_size=size)
                for index, size in of_partitions.items()
            ]
            result.topics.append(_LogDirTopic(name=topic, partitions=partitions))
        result.total_bytes, result.usable_bytes = await self._disk.space()
        return response

    async def elect_leaders(self, context: RequestContext, request: Any) -> Any:
        """Every partition has its only replica as leader: there is never an election to hold."""
        if request.election_type not in (PREFERRED, UNCLEAN):
            return _elect_failed(request, context.api_version, ErrorCode.INVALID_REQUEST)
        response = m.ElectLeadersResponse()
        for topic in request.topic_partitions or ():  # null: all that need one, which are none
            results = []
            for index in topic.partitions:
                known = self._replicas.partition(topic.topic, index) is not None
                results.append(
                    _Elected(
                        partition_id=index,
                        error_code=(
                            ErrorCode.ELECTION_NOT_NEEDED if known else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
                        ),
                        error_message=("the only replica leads" if known else "there is no such partition"),
                    )
                )
            response.replica_election_results.append(
                _ElectedTopic(topic=topic.topic, partition_result=results)
            )
        return response

    async def alter_partition_reassignments(self, _context: RequestContext, request: Any) -> Any:
        """Only "where it already is" can be honoured; cancelling finds nothing under way."""
        response = m.AlterPartitionReassignmentsResponse(error_message=None)
        for topic in request.topics:
            results = []
            for asked in topic.partitions:
                entry = _Reassigned(partition_index=asked.partition_index, error_message=None)
                try:
                    self._reassign(topic.name, asked.partition_index, asked.replicas)
                except RivvenError as error:
                    entry.error_code, entry.error_message = error.code, error.message
                results.append(entry)
            response.responses.append(_ReassignedTopic(name=topic.name, partitions=results))
        return response

    def _reassign(self, topic: str, index: int, replicas: list[int] | None) -> None:
        if self._replicas.partition(topic, index) is None:
            raise UnknownTopicOrPartition("there is no such partition")
        if replicas is None:
            raise RivvenError("no reassignment is under way", ErrorCode.NO_REASSIGNMENT_IN_PROGRESS)
        if replicas != [self._node_id]:
            raise RivvenError(f"the only broker is {self._node_id}", ErrorCode.INVALID_REPLICA_ASSIGNMENT)

    async def list_partition_reassignments(self, _context: RequestContext, _request: Any) -> Any:
        """None is ever under way."""
        return m.ListPartitionReassignmentsResponse(error_message=None)
