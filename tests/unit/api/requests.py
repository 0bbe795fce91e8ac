"""Requests to handlers without a socket: a context, a session, and the partition's own entry of an answer."""

from __future__ import annotations

from typing import Any

from rivven.api.context import RequestContext
from rivven.api.session import ListenerInfo, Session
from rivven.protocol import messages as m
from rivven.security.authn.authenticator import Authenticated
from rivven.security.authz.access import Access
from rivven.security.authz.authorizer import Authorizer
from rivven.security.authz.chain import AuthorizerChain
from rivven.testing.authorizers import AllowAll
from rivven.types import Principal
from tests.unit.replication.data_plane import NOW_MS

LISTENER = ListenerInfo("main", tls=False, sasl=True, advertised_host="broker.example", advertised_port=9092)


def context(version: int = 9, authorizer: Authorizer | None = None) -> RequestContext:
    """A request of alice."""
    session = Session(LISTENER, "127.0.0.1", None)
    session.become(Authenticated(Principal("User", "alice")), "PLAIN")
    access = Access(session.subject, AuthorizerChain({"test": authorizer or AllowAll()}))
    return RequestContext(0, version, 1, "test", session, access, NOW_MS)


def produce(topic: str, *batches: memoryview | None, acks: int = -1, timeout_ms: int = 30_000) -> Any:
    """One batch for each partition from 0."""
    entries = [
        m.ProduceRequest.PartitionProduceData(index=index, records=records)
        for index, records in enumerate(batches)
    ]
    data = m.ProduceRequest.TopicProduceData(name=topic, partition_data=entries)
    return m.ProduceRequest(acks=acks, timeout_ms=timeout_ms, topic_data=[data])


def fetch(topic: str, offset: int, **arguments: Any) -> Any:
    """Partition 0."""
    part = m.FetchRequest.FetchPartition(partition=0, fetch_offset=offset, partition_max_bytes=1 << 20)
    for name in ("current_leader_epoch", "last_fetched_epoch", "partition_max_bytes"):
        if name in arguments:
            setattr(part, name, arguments.pop(name))
    asked = m.FetchRequest.FetchTopic(topic=topic, partitions=[part])
    defaults = {"max_wait_ms": 0, "min_bytes": 1, "max_bytes": 1 << 20}
    return m.FetchRequest(topics=[asked], **(defaults | arguments))
