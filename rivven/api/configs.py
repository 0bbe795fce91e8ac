"""DescribeConfigs (32), AlterConfigs (33), IncrementalAlterConfigs (44), ListConfigResources (74).

One request may name topics and brokers, so every resource is authorised here by its own type (kafka.md 2.8).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from enum import IntEnum
from typing import Any

from rivven.api.context import RequestContext
from rivven.api.encryption_rule import EncryptionRule
from rivven.api.rules import DENIED_CODES, Filter, Require
from rivven.errors import ErrorCode, InvalidRequest, RivvenError
from rivven.metadata.broker_values import CLUSTER_SCOPE
from rivven.metadata.commands import AlterBrokerConfigs, AlterTopicConfigs, ConfigChange, ConfigOperation
from rivven.metadata.config_entries import (
    BrokerLayers,
    ConfigEntry,
    broker_entries,
    cluster_entries,
    topic_entries,
)
from rivven.metadata.image import Topic
from rivven.metadata.service import MetadataService
from rivven.metadata.topic_names import name_problem
from rivven.protocol import messages as m
from rivven.replication.replicas import Replicas
from rivven.types import CLUSTER_NAME, Operation, ResourceType

_Described = m.DescribeConfigsResponse.DescribeConfigsResult
_Entry = m.DescribeConfigsResponse.DescribeConfigsResourceResult
_Synonym = m.DescribeConfigsResponse.DescribeConfigsSynonym
_Altered = m.AlterConfigsResponse.AlterConfigsResourceResponse
_Incremented = m.IncrementalAlterConfigsResponse.AlterConfigsResourceResponse
_Listed = m.ListConfigResourcesResponse.ConfigResource


class ConfigResource(IntEnum):
    """What can have settings (wire codes of the config APIs)."""

    TOPIC = 2
    BROKER = 4
    BROKER_LOGGER = 8
    CLIENT_METRICS = 16
    GROUP = 32


def describe_configs_failed(request: Any, _version: int, code: ErrorCode) -> Any:
    """The answer to an unexpected error."""
    return m.DescribeConfigsResponse(
        results=[
            _Described(
                error_code=code,
                error_message=None,
                resource_type=one.resource_type,
                resource_name=one.resource_name,
            )
            for one in request.resources
        ]
    )


def alter_configs_failed(request: Any, _version: int, code: ErrorCode) -> Any:
    """The answer to an unexpected error."""
    return _all_failed(m.AlterConfigsResponse(), _Altered, request, code)


def incremental_alter_configs_failed(request: Any, _version: int, code: ErrorCode) -> Any:
    """The answer to an unexpected error."""
    return _all_failed(m.IncrementalAlterConfigsResponse(), _Incremented, request, code)


def _all_failed(response: Any, entry: Any, request: Any, code: ErrorCode) -> Any:
    for one in request.resources:
        response.responses.append(
            entry(
                error_code=code,
                error_message=None,
                resource_type=one.resource_type,
                resource_name=one.resource_name,
            )
        )
    return response


def _list_failed(_request: Any, _version: int, code: ErrorCode) -> Any:
    return m.ListConfigResourcesResponse(error_code=code)


DESCRIBE_CONFIGS_RULES = (Filter(),)
ALTER_CONFIGS_RULES = (Filter(),)
INCREMENTAL_ALTER_CONFIGS_RULES = (Filter(),)
LIST_CONFIG_RESOURCES_RULES = (
    Require(Operation.DESCRIBE_CONFIGS, ResourceType.CLUSTER, denied=_list_failed),
)


class ConfigHandlers:
    """Handles DescribeConfigs 1-4, AlterConfigs 0-2, IncrementalAlterConfigs 0-1, ListConfigResources 0-1.

    `explicit` are the broker settings the configuration file set.
    """

    def __init__(
        self,
        metadata: MetadataService,
        replicas: Replicas,
        explicit: Collection[str],
        encryption: EncryptionRule,
    ) -> None:
        self._metadata = metadata
        self._replicas = replicas
        self._encryption = encryption
        self._explicit = explicit

    def entries_of(self, topic: Topic, wanted: Collection[str] | None = None) -> list[ConfigEntry]:
        """The settings a topic runs with, all or the wanted ones."""
        return topic_entries(topic.configs, self._layers(), self._metadata.topic_defaults, wanted)

    def _layers(self) -> BrokerLayers:
        metadata = self._metadata
        return BrokerLayers.of(
            metadata.image.broker_configs, metadata.node_id, metadata.static_broker_values, self._explicit
        )

    # -- describing ------------------------------------------------------------------------------------------

    async def describe_configs(self, context: RequestContext, request: Any) -> Any:
        """Every setting with its value, source and, when asked for, synonyms and documentation."""
        context.access.used = True  # a request for no resources asks nothing
        response = m.DescribeConfigsResponse()
        for asked in request.resources:
            result = _Described(
                error_message=None, resource_type=asked.resource_type, resource_name=asked.resource_name
            )
            response.results.append(result)
            try:
                _authorise(context, Operation.DESCRIBE_CONFIGS, asked.resource_type, asked.resource_name)
                wanted = set(asked.configuration_keys) if asked.configuration_keys else None
                entries = self._entries(asked.resource_type, asked.resource_name, wanted)
            except RivvenError as error:
                result.error_code, result.error_message = error.code, error.message
                continue
            result.configs = [
                _encoded(entry, request.include_synonyms, request.include_documentation) for entry in entries
            ]
        return response

    def _entries(self, kind: int, name: str, wanted: Collection[str] | None) -> list[ConfigEntry]:
        if kind == ConfigResource.TOPIC:
            problem = name_problem(name)
            if problem is not None:
                raise RivvenError(problem, ErrorCode.INVALID_TOPIC_EXCEPTION)
            topic = self._metadata.image.topics.get(name)
            if topic is None:
                raise RivvenError("there is no such topic", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
            return self.entries_of(topic, wanted)
        if kind == ConfigResource.BROKER:
            if name == CLUSTER_SCOPE:
                return cluster_entries(self._layers(), wanted)
            if name == str(self._metadata.node_id):
                return broker_entries(self._layers(), wanted)
            raise InvalidRequest(f"the broker is {self._metadata.node_id}, or empty for all")
        raise InvalidRequest("this broker has no settings of that kind of resource")

    async def list_config_resources(self, context: RequestContext, request: Any) -> Any:
        """Names of what has settings. v0 asks only for client metrics, of which there are none."""
        response = m.ListConfigResourcesResponse()
        if context.api_version == 0:
            return response
        wanted = request.resource_types or list(ConfigResource)
        for kind in dict.fromkeys(wanted):
            if kind not in ConfigResource.__members__.values():
                return _list_failed(request, context.api_version, ErrorCode.UNSUPPORTED_VERSION)
            if kind == ConfigResource.TOPIC:
                names = list(self._metadata.image.topics)
            else:
                names = [str(self._metadata.node_id)] if kind == ConfigResource.BROKER else []
            response.config_resources += [
                _Listed(resource_name=name, resource_type=int(kind)) for name in names
            ]
        return response

    # -- altering --------------------------------------------------------------------------------------------

    async def alter_configs(self, context: RequestContext, request: Any) -> Any:
        """Replace all settings of each resource (librdkafka, aiokafka and kafkajs still do)."""
        return await self._alter(
            context,
            request,
            m.AlterConfigsResponse(),
            _Altered,
            lambda config: ConfigChange(config.name, ConfigOperation.SET, config.value),
            replace=True,
        )

    async def incremental_alter_configs(self, context: RequestContext, request: Any) -> Any:
        """Change single settings of each resource (KIP-339)."""
        return await self._alter(
            context,
            request,
            m.IncrementalAlterConfigsResponse(),
            _Incremented,
            lambda config: ConfigChange(config.name, config.config_operation, config.value),
            replace=False,
        )

    async def _alter(
        self,
        context: RequestContext,
        request: Any,
        response: Any,
        result: Any,
        change: Callable[[Any], ConfigChange],
        *,
        replace: bool,
    ) -> Any:
        context.access.used = True
        mentions = Counter((one.resource_type, one.resource_name) for one in request.resources)
        for (kind, name), count in mentions.items():
            entry = result(error_message=None, resource_type=kind, resource_name=name)
            response.responses.append(entry)
            try:
                _authorise(context, Operation.ALTER_CONFIGS, kind, name)
                if count > 1:
                    raise InvalidRequest("the resource is named twice")
                (asked,) = (
                    one for one in request.resources if (one.resource_type, one.resource_name) == (kind, name)
                )
                changes = tuple(change(config) for config in asked.configs)
                await self._alter_one(kind, name, changes, replace, request.validate_only)
            except RivvenError as error:
                entry.error_code, entry.error_message = error.code, error.message
        return response

    async def _alter_one(
        self, kind: int, name: str, changes: tuple[ConfigChange, ...], replace: bool, validate_only: bool
    ) -> None:
        if kind == ConfigResource.TOPIC:
            await self._encryption.check(
                (one.name, one.value) for one in changes if one.operation == ConfigOperation.SET
            )
            await self._metadata.submit(AlterTopicConfigs(name, changes, replace, validate_only))
            topic = self._metadata.image.topics.get(name)
            if topic is not None and not validate_only and self._replicas.partitions_of(name):
                await self._replicas.ensure(topic)  # the logs work by it when the client hears of it
        elif kind == ConfigResource.BROKER:
            await self._metadata.submit(AlterBrokerConfigs(name, changes, replace, validate_only))
        else:
            raise InvalidRequest("this broker has no settings of that kind of resource")


def _authorise(context: RequestContext, operation: Operation, kind: int, name: str) -> None:
    resource_type, resource_name = ResourceType.CLUSTER, CLUSTER_NAME
    if kind == ConfigResource.TOPIC:
        resource_type, resource_name = ResourceType.TOPIC, name
    elif kind == ConfigResource.GROUP:
        resource_type, resource_name = ResourceType.GROUP, name
    if not context.access.allowed(operation, resource_type, resource_name):
        raise RivvenError("not authorised", DENIED_CODES[resource_type])


def _encoded(entry: ConfigEntry, synonyms: bool, documentation: bool) -> Any:
    setting = entry.setting
    return _Entry(
        name=setting.name,
        value=entry.value,
        read_only=entry.read_only,
        config_source=entry.source,
        synonyms=[
            _Synonym(name=place.name, value=place.value, source=place.source) for place in entry.synonyms
        ]
        if synonyms
        else [],
        config_type=setting.type,
        documentation=setting.doc if documentation else None,
    )
