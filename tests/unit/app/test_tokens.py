"""What happens to tokens without anybody asking: sessions end, uses are stored, owners go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from rivven.app.tokens import ApiTokens
from rivven.metadata.tokens import RevokeToken, RotateToken
from rivven.security.authn.authenticator import Credential
from rivven.security.authn.token_text import NewToken
from rivven.security.authz.authorizer import Subject
from rivven.security.sessions import Sessions
from rivven.tasks import Tasks
from rivven.types import Principal
from tests.unit.api.token_world import ALICE, HOUR, TokenWorld, User


class Live:
    """A session of a token."""

    def __init__(self, number: int, credential: Credential) -> None:
        self.id = str(number)
        self.subject = Subject(ALICE, "10.0.0.1")
        self.credentials = (credential,)
        self.expires_at_ms = None
        self.connected_at_ms = 0
        self.client_software = ""
        self.still_trusted = lambda: None
        self.ended = ""
        self.gone = asyncio.Event()

    def end(self, reason: str) -> None:
        self.ended = reason
        self.gone.set()


class Users:
    """The users directory, as far as tokens ask."""

    def __init__(self, users: dict[str, User]) -> None:
        self._users = users
        self.on_change: list[Callable[[], None]] = []

    def find(self, name: str) -> User | None:
        return self._users.get(name)

    def delete(self, name: str) -> None:
        del self._users[name]
        for listener in self.on_change:
            listener()


class Running:
    """Tokens that are watched, over real metadata."""

    def __init__(self, tasks: Tasks) -> None:
        self.world = TokenWorld(tasks)
        self.tasks = tasks
        self.sessions = Sessions()
        self.users = Users(self.world.users)

    async def start(self) -> Running:
        await self.world.metadata.start()
        self.tokens = ApiTokens(
            self.world.metadata,
            self.users,  # type: ignore[arg-type]
            self.sessions,
            self.world.key,
            self.world.clock,
            self.tasks,
        )
        self.tokens.start()
        await asyncio.sleep(0)
        return self

    def login(self, new: NewToken) -> Live:
        now_ms = self.world.clock.now_ms()
        proved = self.tokens.authentication.verify(new.text, host="10.0.0.1", now_ms=now_ms)
        session = Live(len(self.sessions) + 1, proved.credential)  # type: ignore[union-attr]
        self.sessions.add(session)  # type: ignore[arg-type]
        assert session.ended == ""
        return session

    async def later(self, ms: int) -> None:
        """Let time pass; a commit makes the watch look at the clock, as its timer would."""
        self.world.clock.at_ms += ms
        await self.world.issue()
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    tasks = Tasks()
    yield await Running(tasks).start()
    await tasks.cancel_all()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_session_ends_when_its_token_was_shortened(running: Running) -> None:
    _, new = await running.world.issue()
    session = running.login(new)
    await running.world.service.expire(new.secret, ALICE, 1000)
    await running.later(999)
    assert session.ended == ""
    await running.later(1)
    assert session.ended == "the API token is expired"


async def test_the_old_secrets_session_ends_with_the_overlap(running: Running) -> None:
    token, new = await running.world.issue()
    session = running.login(new)
    _, newer = await running.world.service.rotate(token.token_id, 500)
    other = running.login(newer)
    await running.later(499)
    assert (session.ended, other.ended) == ("", "")
    await running.later(1)
    assert (session.ended, other.ended) == ("the API token was rotated", "")


async def test_the_timer_looks_by_itself(running: Running) -> None:
    """Real time: the pause until the next end is what the watch waits for."""
    running.world.clock.now_ms = lambda: int(asyncio.get_running_loop().time() * 1000)  # type: ignore[method-assign]
    _, new = await running.world.issue(lifetime_ms=100)
    session = running.login(new)
    await asyncio.wait_for(session.gone.wait(), 5)
    assert session.ended == "the API token is expired"


async def test_uses_are_stored_at_most_hourly_and_at_the_end(running: Running) -> None:
    token, new = await running.world.issue(lifetime_ms=100 * HOUR, validity_ms=100 * HOUR)

    def stored() -> Any:
        return running.world.tokens.find(token.token_id).last_used_ms  # type: ignore[union-attr]

    first = running.world.clock.now_ms()
    running.login(new)
    await running.later(1)
    await settle()
    assert stored() == first
    running.login(new)
    await running.later(HOUR // 2)
    await settle()
    assert stored() == first
    last = running.world.clock.now_ms()
    running.login(new)
    await running.tokens.close()
    assert stored() == last
    listed = running.tokens.service.find(token.token_id)
    assert listed is not None
    assert (listed.last_used_ms, listed.last_used_from) == (last, "10.0.0.1")


async def test_a_deleted_users_tokens_are_revoked_for_good(running: Running) -> None:
    mine, _ = await running.world.issue()
    await running.world.issue(Principal("User", "idp-carol"))
    running.users.delete("alice")
    await settle()
    revoked = {token.owner.name for token in running.world.tokens if token.revoked_at_ms is not None}
    assert revoked == {"alice"}
    running.world.users["alice"] = User()
    assert running.world.tokens.find(mine.token_id).state(0) == "revoked"  # type: ignore[union-attr]


async def test_users_of_before_the_start_are_known(running: Running) -> None:
    await running.world.issue()
    again = Users(running.world.users)
    tokens = ApiTokens(
        running.world.metadata,
        again,  # type: ignore[arg-type]
        Sessions(),
        running.world.key,
        running.world.clock,
        running.tasks,
    )
    tokens.start()
    again.delete("alice")
    await settle()
    assert all(token.revoked_at_ms is not None for token in running.world.tokens)


async def test_old_ends_are_forgotten(running: Running) -> None:
    token, new = await running.world.issue()
    for _ in range(1_100):
        await running.world.service.renew(new.secret, ALICE, HOUR)
    assert len(running.tokens._ends) < 1_100
    await running.world.metadata.submit(RotateToken(token.token_id, token.secret, HOUR))
    await running.world.metadata.submit(RevokeToken(token.token_id))
