"""Meaningful requests of the administrative APIs: settings, security, the cluster. Part of `calls`."""

from __future__ import annotations

from typing import Any

from rivven.protocol import messages as m
from rivven.protocol.api import API_RANGES
from rivven.types import Operation, PatternType, Permission, ResourceType
from tests.conformance.answers import NOT_ASKED, Names, no_errors

ELECTION_NOT_NEEDED = 84
TOPIC_CONFIG = 2  # DescribeConfigs' code of a topic


# -- configuration -------------------------------------------------------------------------------------------


def describe_configs(_version: int, names: Names) -> Any:
    resource = m.DescribeConfigsRequest.DescribeConfigsResource(
        resource_type=TOPIC_CONFIG, resource_name=names.topic, configuration_keys=None
    )
    return m.DescribeConfigsRequest(resources=[resource], include_synonyms=True, include_documentation=True)


def check_describe_configs(answer: Any, version: int, names: Names) -> None:
    (result,) = answer.results
    assert (result.error_code, result.resource_name) == (0, names.topic)
    policy = next(config for config in result.configs if config.name == "cleanup.policy")
    assert policy.value == "delete"
    assert policy.config_source == 5, "a built-in default"
    if version >= 3:
        assert policy.documentation
        assert policy.config_type > 0


def alter_configs(_version: int, names: Names) -> Any:
    config = m.AlterConfigsRequest.AlterableConfig(name="retention.ms", value="100000000")
    resource = m.AlterConfigsRequest.AlterConfigsResource(
        resource_type=TOPIC_CONFIG, resource_name=names.topic, configs=[config]
    )
    return m.AlterConfigsRequest(resources=[resource], validate_only=True)


def incremental(_version: int, names: Names) -> Any:
    config = m.IncrementalAlterConfigsRequest.AlterableConfig(
        name="retention.ms", config_operation=0, value="100000000"
    )
    resource = m.IncrementalAlterConfigsRequest.AlterConfigsResource(
        resource_type=TOPIC_CONFIG, resource_name=names.topic, configs=[config]
    )
    return m.IncrementalAlterConfigsRequest(resources=[resource], validate_only=True)


# -- security ------------------------------------------------------------------------------------------------


def acl_filter(names: Names) -> dict[str, Any]:
    return {
        "resource_type_filter": ResourceType.TOPIC,
        "resource_name_filter": names.topic,
        "pattern_type_filter": PatternType.LITERAL,
        "principal_filter": "User:nobody",
        "host_filter": None,
        "operation": Operation.ANY,
        "permission_type": Permission.ANY,
    }


def create_acls(_version: int, names: Names) -> Any:
    creation = m.CreateAclsRequest.AclCreation(
        resource_type=ResourceType.TOPIC,
        resource_name=names.topic,
        resource_pattern_type=PatternType.LITERAL,
        principal="User:nobody",
        host="*",
        operation=Operation.READ,
        permission_type=Permission.ALLOW,
    )
    return m.CreateAclsRequest(creations=[creation])


def check_describe_acls(answer: Any, _version: int, names: Names) -> None:
    assert answer.error_code == 0
    (resource,) = answer.resources
    (acl,) = resource.acls
    assert (resource.resource_name, acl.principal, acl.operation) == (
        names.topic,
        "User:nobody",
        Operation.READ,
    )


def check_delete_acls(answer: Any, version: int, names: Names) -> None:
    no_errors(answer, version, names)
    assert [acl.resource_name for acl in answer.filter_results[0].matching_acls] == [names.topic]


def describe_scram(_version: int, names: Names) -> Any:
    return m.DescribeUserScramCredentialsRequest(
        users=[m.DescribeUserScramCredentialsRequest.UserName(name=names.user)]
    )


def check_describe_scram(answer: Any, _version: int, names: Names) -> None:
    (result,) = answer.results
    assert (result.user, result.error_code) == (names.user, 0)
    assert {info.mechanism for info in result.credential_infos} == {1, 2}


def describe_quotas(_version: int, names: Names) -> Any:
    component = m.DescribeClientQuotasRequest.ComponentData(
        entity_type="user", match_type=0, match=names.user
    )
    return m.DescribeClientQuotasRequest(components=[component], strict=True)


def check_described_quotas(answer: Any, _version: int, _names: Names) -> None:
    assert (answer.error_code, answer.error_message) == (0, None)
    assert all([one.entity_type for one in entry.entity] == ["user"] for entry in answer.entries)


def alter_quotas(_version: int, names: Names) -> Any:
    entity = m.AlterClientQuotasRequest.EntityData(entity_type="user", entity_name=names.user)
    change = m.AlterClientQuotasRequest.OpData(key="producer_byte_rate", value=1e12, remove=False)
    return m.AlterClientQuotasRequest(
        entries=[m.AlterClientQuotasRequest.EntryData(entity=[entity], ops=[change])]
    )


def alter_scram(_version: int, names: Names) -> Any:
    entry = m.AlterUserScramCredentialsRequest.ScramCredentialUpsertion(
        name=f"{names.user}-more", mechanism=1, iterations=4096, salt=b"s" * 16, salted_password=b"p" * 32
    )
    return m.AlterUserScramCredentialsRequest(upsertions=[entry])


def check_token_created(answer: Any, version: int, _names: Names) -> None:
    assert answer.error_code == 0
    assert (answer.principal_type, len(answer.hmac), len(answer.token_id)) == ("User", 32, 16)
    assert answer.issue_timestamp_ms < answer.expiry_timestamp_ms <= answer.max_timestamp_ms
    if version >= 3:
        assert answer.token_requester_principal_name == answer.principal_name


def check_token_moved(answer: Any, _version: int, _names: Names) -> None:
    assert answer.error_code == 0
    assert answer.expiry_timestamp_ms > 0


def check_tokens(answer: Any, _version: int, _names: Names) -> None:
    assert answer.error_code == 0
    assert all(token.hmac == b"" for token in answer.tokens), "the secret is not stored"


# -- cluster -------------------------------------------------------------------------------------------------


def check_cluster(answer: Any, _version: int, _names: Names) -> None:
    assert answer.error_code == 0
    assert answer.cluster_id
    assert [broker.broker_id for broker in answer.brokers] == [answer.controller_id] == [1]
    assert answer.cluster_authorized_operations == NOT_ASKED


def check_log_dirs(answer: Any, version: int, names: Names) -> None:
    (result,) = answer.results
    assert result.error_code == 0
    assert result.log_dir.startswith("/")
    assert names.topic in {topic.name for topic in result.topics}
    if version >= 4:
        assert result.total_bytes > result.usable_bytes > 0


def elect(_version: int, names: Names) -> Any:
    part = m.ElectLeadersRequest.TopicPartitions(topic=names.topic, partitions=[0])
    return m.ElectLeadersRequest(topic_partitions=[part])


def check_elect(answer: Any, _version: int, names: Names) -> None:
    (result,) = answer.replica_election_results
    assert result.topic == names.topic
    assert result.partition_result[0].error_code == ELECTION_NOT_NEEDED


def reassign(_version: int, names: Names) -> Any:
    part = m.AlterPartitionReassignmentsRequest.ReassignablePartition(partition_index=0, replicas=[1])
    topic = m.AlterPartitionReassignmentsRequest.ReassignableTopic(name=names.topic, partitions=[part])
    return m.AlterPartitionReassignmentsRequest(topics=[topic])


def check_versions(answer: Any, version: int, _names: Names) -> None:
    assert answer.error_code == 0
    offered = {api.api_key: (api.min_version, api.max_version) for api in answer.api_keys}
    assert offered == {int(key): span for key, span in API_RANGES.items()}
