"""Building what bounds clients: connections, quotas, request rates, networks, limits on records and names."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

from rivven.api.throttling import Throttling
from rivven.app.storage import open_files
from rivven.clock import Clock
from rivven.config.listeners import ListenerConfig
from rivven.config.models import Config
from rivven.config.quotas import RateConfig
from rivven.metadata.quotas import QuotaFamily
from rivven.metadata.service import MetadataService
from rivven.metadata.topic_names import NAME_CHARACTERS_MAX, TopicNameRule
from rivven.records.limits import RecordLimits
from rivven.security.arrivals import Arrivals, CreationRate
from rivven.security.networks import AllowedNetworks
from rivven.security.quotas import Quotas, RequestRate, RequestRates
from rivven.telemetry import Metrics
from rivven.types import QuotaEntity

OTHER_DESCRIPTORS = 128
"""What is neither a segment nor a connection of a Kafka client: listeners, journals, outputs of the audit
trail, pipes of worker processes, a few callers of the Admin API and of /metrics."""

CONNECTIONS_MIN = 16
"""However few descriptors there are."""

_log = logging.getLogger("rivven.app")


def connections_max(config: Config, descriptors: int) -> int:
    """`limits.max_connections`, or fewer where so many would leave the log without descriptors (0 = unknown):
    strangers must not be able to keep from the disk what clients wait for."""
    wanted = config.limits.max_connections
    if descriptors == 0:
        return wanted
    # The log may hold three times what it keeps open: as many again unsynced, and as many being synced.
    possible = max(CONNECTIONS_MIN, descriptors - 3 * open_files(descriptors) - OTHER_DESCRIPTORS)
    if possible < wanted:
        _log.log(
            logging.WARNING if "max_connections" in config.limits.model_fields_set else logging.INFO,
            "the limit of %d open files leaves room for %d connections; limits.max_connections is %d:"
            " raise the limit (ulimit -n, LimitNOFILE)",
            descriptors,
            possible,
            wanted,
        )
    return min(wanted, possible)


class Limiting:
    """One broker's limits; the quotas follow the metadata."""

    def __init__(self, config: Config, metadata: MetadataService, clock: Clock, metrics: Metrics) -> None:
        def quotas() -> tuple[int, Mapping[QuotaEntity, Mapping[str, float]]]:
            family = metadata.image.of(QuotaFamily)
            return family.version, family.values

        self.quotas = Quotas(quotas, request_rates(config))
        self.throttling = Throttling(self.quotas, clock, metrics, lambda name: _partitions(metadata, name))
        rate = config.broker["max.connection.creation.rate"]
        assert isinstance(rate, int)
        self._config = config
        self._rate = CreationRate(rate)

    def arrivals(self, listener: ListenerConfig) -> Arrivals:
        """The rules for new connections of a listener."""
        allowlist = self._config.security.ip_allowlist
        groups = [allowlist.cidrs] if allowlist.enabled else []
        if listener.allowed_cidrs:
            groups.append(listener.allowed_cidrs)
        return Arrivals(AllowedNetworks(groups), self.quotas, self._rate)


def request_rates(config: Config) -> RequestRates:
    """The configured rates of requests."""
    limited, per_address = config.rate_limiting, config.limits.rate_limit_per_ip
    address = None if per_address is None else RequestRate(per_address, per_address)
    if not limited.enabled:
        return RequestRates(per_address=address)
    return RequestRates(
        _rate(limited.everybody), _rate(limited.per_client), _rate(limited.per_topic), address
    )


def record_limits(config: Config) -> RecordLimits:
    """The configured limits on records; where two keys limit the same, the smaller holds."""
    key, headers = config.validation.key, config.validation.headers
    sizes = [size for size in (key.max_size, config.limits.max_key_size) if size is not None]
    return RecordLimits(
        key_bytes_max=min(sizes, default=None),
        key_required=key.required,
        headers_max=headers.max_count,
        header_key_bytes_max=headers.max_key_size,
        header_value_bytes_max=headers.max_value_size,
    )


def topic_names(config: Config) -> TopicNameRule:
    """What names of new topics must look like."""
    wanted = config.validation.topic_name
    return TopicNameRule(
        None if wanted.pattern is None else re.compile(wanted.pattern),
        wanted.max_length or NAME_CHARACTERS_MAX,
    )


def _rate(rate: RateConfig | None) -> RequestRate | None:
    return None if rate is None else RequestRate(rate.requests_per_second, rate.burst)


def _partitions(metadata: MetadataService, name: str) -> int:
    topic = metadata.image.topics.get(name)
    return 0 if topic is None else topic.partitions
