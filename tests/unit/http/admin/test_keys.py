"""The routes of keys: what they show, what they ask for, and that a broker without encryption says so."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from rivven.http.admin import keys as module
from rivven.http.admin.problems import Problem, from_error
from rivven.http.admin.routes import UNSAFE, Call, Permission, Raw, Route
from rivven.security.authn.authenticator import Authenticated
from rivven.security.authz.access import Access
from rivven.security.authz.authorizer import Subject
from rivven.security.authz.chain import AuthorizerChain
from rivven.security.keys.erasure import Erasure, Step
from rivven.security.keys.inventory import KeyInventory, Stored, TopicKeyUse, take_inventory
from rivven.security.keys.operations import (
    CertificateEntry,
    KeysBusy,
    Rewrapped,
    RewriteProgress,
    Rotated,
    UnknownKeyThing,
)
from rivven.security.keys.provider import KekInfo
from rivven.security.keys.public_keys import PublicKey
from rivven.testing.authorizers import AllowAll
from rivven.types import Operation, Principal
from tests.unit.security.keys.erasure_samples import an_erasure

ALICE = Principal("User", "alice")
TOPIC_ID = UUID(int=5)


class Keys:
    """Implements `KeyService` with what a test says."""

    def __init__(self) -> None:
        self.running: Erasure | None = None
        self.problem = ""
        self.asked: list[tuple[object, ...]] = []

    async def inventory(self) -> KeyInventory:
        sealed = {"t1": Stored(2, 200), None: Stored(1, 50)}
        topic = TopicKeyUse("orders", TOPIC_ID, "", True, "t1", {"t1": "k1"}, sealed, True, True)
        infos = [KekInfo("k1", 7, "enabled", False), KekInfo("k2", 8, "enabled", True)]
        return take_inventory("file", {"": infos}, {}, [topic], "k2")

    async def rotate(self, name: str) -> Rotated:
        self.asked.append(("rotate", name))
        return Rotated(name, "k3", "k2", 4)

    async def rewrap(self) -> Rewrapped:
        return Rewrapped(4, 1, ("k1", "k2"))

    async def reencrypt(self, topic: str) -> RewriteProgress:
        if topic != "orders":
            raise UnknownKeyThing("there is no such topic")
        return RewriteProgress(topic, TOPIC_ID, 10, 90, False)

    async def start_over(self, topic: str) -> str:
        self.asked.append(("start over", topic))
        return "t2"

    def progress(self) -> Sequence[RewriteProgress]:
        return [RewriteProgress("orders", TOPIC_ID, 100, 0, True, "")]

    async def shred(self, topic: str, principal: str, *, accept_plaintext: bool) -> bytes:
        self.asked.append(("shred", topic, principal, accept_plaintext))
        return b'{"state":"complete"}\n'

    async def certificates(self) -> Sequence[CertificateEntry]:
        return [
            CertificateEntry("2", "b", "pending", "t", completed_by="1", problem="called off"),
            CertificateEntry("1", "a", "complete", "t", completes="2"),
        ]

    async def certificate(self, certificate_id: str) -> bytes:
        return json.dumps({"certificate_id": certificate_id}).encode()

    async def public_keys(self, name: str) -> Sequence[PublicKey]:
        return [PublicKey("aa", "PEM", True), PublicKey("bb", "PEM", False)]

    async def rotate_signing(self, name: str) -> PublicKey:
        self.asked.append(("sign", name))
        return PublicKey("cc", "PEM", True)


class Audit:
    """Implements `Signing` for a broker without keys of stored data."""

    async def public_keys(self) -> Sequence[PublicKey]:
        return [PublicKey("dd", "PEM", True)]

    async def rotate(self) -> PublicKey:
        return PublicKey("ee", "PEM", True)


class World:
    """The rows over a key service."""

    def __init__(self, keys: Keys | None) -> None:
        self.rows: dict[tuple[str, str], Route] = {
            (row.method, row.path): row for row in module.routes(keys, Audit())
        }
        self.last: Call | None = None

    async def __call__(
        self, method: str, path: str, parameters: dict[str, str] | None = None, /, **body: Any
    ) -> Any:
        row = self.rows[method, f"/v1/keys{path}"]  # type: ignore[index]
        subject = Subject(ALICE, "10.0.0.1")
        access = Access(subject, AuthorizerChain({"all": AllowAll()}))
        call = Call(subject, Authenticated(ALICE), access, parameters or {}, 1, "r")
        call.query = row.query() if row.query is not None else None
        call.body = row.request(**body) if row.request is not None else None
        self.last = call
        answer = await row.handler(call)
        return json.loads(answer.body) if isinstance(answer, Raw) else answer


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def world(keys: Keys) -> World:
    return World(keys)


async def test_what_is_under_which_key(world: World, keys: Keys) -> None:
    shown = await world("GET", "")
    assert (shown.provider, shown.newest_percent, shown.running) == ("file", 0.0, None)
    assert [(one.key_id, one.topic_keys, one.bytes, one.current) for one in shown.keys] == [
        ("k1", 1, 200, False),
        ("k2", 0, 0, True),
    ]
    assert (shown.plain_segments, shown.plain_bytes) == (1, 50)
    keys.running, keys.problem = an_erasure().at(Step.FORGOTTEN), "the provider is down"
    running = (await world("GET", "")).running
    assert (running.topic, running.step, running.problem) == ("orders", "forgotten", "the provider is down")


async def test_topics_and_their_keys(world: World) -> None:
    [shown] = (await world("GET", "/topics")).items
    assert (shown.topic, shown.topic_keys, shown.keks) == ("orders", 1, ["k1"])
    assert (shown.segments, shown.bytes, shown.plain_segments, shown.newest_percent) == (3, 250, 1, 80.0)
    assert shown.plaintext_history and shown.may_hold_plain
    assert shown.reencrypting


async def test_rotate_says_when_it_takes_effect(world: World, keys: Keys) -> None:
    made = await world("POST", "/rotate", key="payments")
    assert keys.asked == [("rotate", "payments")]
    assert (made.key_id, made.previous_key_id, made.older_topic_keys) == ("k3", "k2", 4)
    assert "now" in made.effect
    assert world.last is not None
    assert world.last.made == "kek:k3"


async def test_rewrap_warns_of_backups(world: World) -> None:
    made = await world("POST", "/rewrap")
    assert (made.rewrapped, made.unchanged, made.retirable) == (4, 1, ["k1", "k2"])
    assert "Backups" in made.warning


async def test_reencrypt_and_its_progress(world: World) -> None:
    started = await world("POST", "/reencrypt", topic="orders")
    assert (started.done_bytes, started.left_bytes, started.finished) == (10, 90, False)
    [shown] = (await world("GET", "/reencryption")).items
    assert shown.finished
    with pytest.raises(UnknownKeyThing) as caught:
        await world("POST", "/reencrypt", topic="nothing")
    assert from_error(caught.value).status == 404


async def test_starting_over_says_what_is_given_up(world: World, keys: Keys) -> None:
    made = await world("POST", "/start-over", topic="orders")
    assert keys.asked == [("start over", "orders")]
    assert (made.topic, made.topic_key) == ("orders", "t2")
    assert "unreadable" in made.effect


async def test_shredding_is_asked_for_by_the_caller(world: World, keys: Keys) -> None:
    assert await world("POST", "/shred", topic="orders") == {"state": "complete"}
    await world("POST", "/shred", topic="orders", accept_plaintext_history=True)
    assert keys.asked == [
        ("shred", "orders", "user:alice", False),
        ("shred", "orders", "user:alice", True),
    ]


async def test_certificates_in_order(world: World) -> None:
    first, second = (await world("GET", "/certificates")).items
    assert (first.id, first.completes, second.id, second.completed_by) == ("1", "2", "2", "1")
    assert second.problem == "called off"
    assert await world("GET", "/certificates/{id}", {"id": "1"}) == {"certificate_id": "1"}


async def test_public_keys(world: World, keys: Keys) -> None:
    shown = await world("GET", "/signing/{name}", {"name": "erasure"})
    assert [(one.key_id, one.current) for one in shown.items] == [("aa", True), ("bb", False)]
    assert (await world("POST", "/signing/{name}/rotate", {"name": "audit"})).key_id == "cc"
    assert keys.asked == [("sign", "audit")]


async def test_without_encryption_every_row_says_so() -> None:
    world = World(None)
    for (method, path), row in world.rows.items():
        body = {name: "x" for name in (row.request.model_fields if row.request else {}) if name == "topic"}
        with pytest.raises(Problem) as caught:
            await world(method, path.removeprefix("/v1/keys"), {"name": "erasure"}, **body)
        assert caught.value.status == 501


async def test_without_encryption_the_audit_trail_is_signed_all_the_same() -> None:
    world, name = World(None), {"name": "audit"}
    [shown] = (await world("GET", "/signing/{name}", name)).items
    assert (shown.key_id, shown.current) == ("dd", True)
    assert (await world("POST", "/signing/{name}/rotate", name)).key_id == "ee"


def test_a_busy_broker_answers_conflict() -> None:
    assert from_error(KeysBusy("shredding orders")).status == 409


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/shred", {}),
        ("/shred", {"topic": ""}),
        ("/shred", {"topic": "t" * 300}),
        ("/shred", {"topic": "t", "accept_plaintext_history": "perhaps"}),
        ("/reencrypt", {"topic": "t", "fast": True}),
        ("/rotate", {"key": "k" * 3_000}),
    ],
)
async def test_what_is_no_request(world: World, path: str, body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        await world("POST", path, **body)


def test_reading_needs_describe_and_changing_alter_and_an_audit_event(world: World) -> None:
    for (method, _), row in world.rows.items():
        unsafe = method in UNSAFE
        assert row.permission == Permission(Operation.ALTER if unsafe else Operation.DESCRIBE)
        assert row.audited == ("key_change" if unsafe else None)
