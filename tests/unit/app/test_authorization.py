"""What the broker's own chain remembers ends with whatever could change it: hours, policies, roles."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rivven.actions import Permit
from rivven.app import authorization as module
from rivven.app.authorization import build_chain
from rivven.audit.events import AuditEvent
from rivven.config.load import validate
from rivven.metadata.image import MetadataImage
from rivven.security.authz.access import Access
from rivven.security.authz.authorizer import Action
from rivven.security.authz.chain import AuthorizerChain
from rivven.security.authz.roles import RoleDirectory
from rivven.security.authz.shadow import Shadow
from rivven.tasks import Tasks
from rivven.telemetry import Metrics
from rivven.types import Operation, ResourceType
from tests.unit.security.authz.cedar.policy_world import Standing, user, write
from tests.unit.security.authz.engines import Recorder
from tests.unit.security.authz.role_sources import Store, UserFile

LISTENER = {"name": "main", "bind": "127.0.0.1:9092", "protocol": "sasl_plaintext"}
OFFICE = '@id("office") permit(principal, action, resource is Topic) when { context.hour >= 9 };'
ALWAYS = '@id("always") permit(principal, action, resource is Topic);'
WRITERS = '@id("writers") permit(principal in Role::"writer", action, resource is Topic);'
ORDERS = Action(Operation.WRITE, ResourceType.TOPIC, "orders")


class Trail(Recorder):
    """What the chain and its shadow tell the audit trail."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[AuditEvent] = []

    def event(self, event: AuditEvent) -> None:
        self.events.append(event)


class Broker:
    """What a chain is built from, and the chain."""

    def __init__(self, **authorization: Any) -> None:
        self.clock = Standing(8)
        self.image = MetadataImage()
        self.store, self.users = Store(), UserFile({})
        self.roles = RoleDirectory(lambda: self.store, self.users)
        self.trail = Trail()
        self.tasks = Tasks()
        config = validate({"listeners": [LISTENER], "authorization": authorization}, "test")
        self.chain: AuthorizerChain = build_chain(
            config,
            cast(Any, SimpleNamespace(image=self.image)),
            self.roles,
            cast(Any, self.trail),
            metrics=Metrics(),
            clock=self.clock,
            tasks=self.tasks,
        )

    def allows(self) -> bool:
        return self.chain.decide(user("u"), ORDERS).allowed


@pytest.fixture
async def brokers() -> AsyncIterator[list[Broker]]:
    """Those a test makes; their tasks are ended."""
    made: list[Broker] = []
    yield made
    for broker in made:
        await broker.tasks.cancel_all()


def with_policies(brokers: list[Broker], directory: Path, text: str, **more: Any) -> Broker:
    write(directory, text)
    section = {"authorizers": ["acl", "rbac", "cedar"], "cedar": {"policy_dir": str(directory)}}
    brokers.append(Broker(**{**section, **more}))
    return brokers[-1]


async def test_answers_of_policies_about_time_end_at_the_hour(tmp_path: Path, brokers: list[Broker]) -> None:
    broker = with_policies(brokers, tmp_path, OFFICE)
    before = broker.chain.version
    assert [broker.allows(), broker.allows()] == [False, False]
    broker.clock.hour = 9
    assert [broker.allows(), broker.allows()] == [True, True]
    assert broker.chain.version > before, "fetches that wait are judged again"
    broker.clock.hour = 24
    assert not broker.allows()


async def test_other_policies_outlive_the_hour(tmp_path: Path, brokers: list[Broker]) -> None:
    broker = with_policies(brokers, tmp_path, ALWAYS)
    assert broker.allows()
    before = broker.chain.version
    broker.clock.hour = 9
    assert broker.allows()
    assert broker.chain.version == before


async def test_roles_that_policies_name_count_at_once(tmp_path: Path, brokers: list[Broker]) -> None:
    broker = with_policies(brokers, tmp_path, WRITERS)
    assert not broker.allows()
    broker.users.give("u", "writer")
    assert broker.allows()
    broker.users.give("u")
    assert not broker.allows()


async def test_roles_count_beside_policies(tmp_path: Path, brokers: list[Broker]) -> None:
    broker = with_policies(brokers, tmp_path, WRITERS)
    assert not broker.allows()
    broker.store.put("clerk", Permit("topic:orders", ("produce",)))
    broker.store.bind("clerk", "User:u")
    assert broker.allows()


async def test_changed_policies_count_as_soon_as_they_are_in_force(
    tmp_path: Path, brokers: list[Broker], monkeypatch: pytest.MonkeyPatch
) -> None:
    stores: list[Any] = []
    opened = module.open_policies

    def remembering(*given: Any) -> Any:
        stores.append(opened(*given))
        return stores[-1]

    monkeypatch.setattr(module, "open_policies", remembering)
    broker = with_policies(brokers, tmp_path, ALWAYS)
    assert broker.allows()
    write(tmp_path, WRITERS)
    os.utime(tmp_path / "a.cedar", (1, 1))
    assert await stores[0].look_once()
    assert not broker.allows()


async def test_a_candidate_about_time_is_asked_anew_each_hour(tmp_path: Path, brokers: list[Broker]) -> None:
    write(tmp_path / "candidate", OFFICE)
    shadow_section = {"authorizers": ["cedar"], "cedar": {"policy_dir": str(tmp_path / "candidate")}}
    broker = with_policies(brokers, tmp_path / "live", ALWAYS, shadow=shadow_section)
    shadow = broker.chain.observer
    assert isinstance(shadow, Shadow)
    outcomes = []
    for hour in (9, 9, 24):
        broker.clock.hour = hour
        Access(user("u"), broker.chain).allowed(*ORDERS)
        shadow.compare_some()
        outcomes.append([event.result for event in broker.trail.events])
    assert outcomes == [[], [], ["would_deny"]], "no difference from nine o'clock to midnight"
