"""API tokens of one broker: what authenticates them, what manages them, and what happens to them in time.

Driver. Three things happen without anybody asking: a session ends when its token, or the overlap after a
rotation, does; last uses are stored now and then and at the end; and when a user is deleted its tokens are
revoked, so that a later user of the same name does not inherit them.
"""

from __future__ import annotations

import asyncio
import heapq
import os
from contextlib import suppress
from typing import Any

from rivven.api.tokens import TokenService
from rivven.app.authentication import Authentication
from rivven.clock import Clock
from rivven.errors import RivvenError
from rivven.metadata.service import MetadataService
from rivven.metadata.token_records import Token, TokenStored
from rivven.metadata.tokens import USES_MAX, RecordTokenUses, RevokeTokensOf, Tokens
from rivven.security.authn.authenticator import Credential
from rivven.security.authn.token_text import TokenHashKeys
from rivven.security.authn.token_uses import STORED_EVERY_MS, LastUse, TokenUses
from rivven.security.authn.tokens import TokenAuthentication
from rivven.security.authn.users import Users
from rivven.security.authz.authorizer import Subject
from rivven.security.sessions import Sessions
from rivven.tasks import Tasks
from rivven.types import Principal

LOOK_S = 60.0
"""Longest pause between two looks at the clock: it may be set, and uses become due."""


class ApiTokens:
    """Belongs to the event loop. `start` before sessions may come, `close` before the metadata."""

    def __init__(
        self,
        metadata: MetadataService,
        users: Users,
        sessions: Sessions,
        keys: TokenHashKeys,
        clock: Clock,
        tasks: Tasks,
    ) -> None:
        self._metadata = metadata
        self._users = users
        self._sessions = sessions
        self._clock = clock
        self._tasks = tasks
        self._uses = TokenUses()
        self._ends: list[tuple[int, str]] = []
        self._changed = asyncio.Event()
        self._owners: dict[str, bool] = {}
        """Local owners of tokens, and whether each was a user when we last looked."""
        self.authentication = TokenAuthentication(lambda: self._tokens, users, keys, self._uses.used)
        self.service = TokenService(
            metadata, keys, self._uses, clock, os.urandom, lambda name: users.find(name) is not None
        )

    @property
    def _tokens(self) -> Tokens:
        return self._metadata.image.of(Tokens)

    def start(self) -> None:
        """Watch tokens, users and the clock from now on."""
        self._sessions.validators.append(self._problem)
        for token in self._tokens:
            self._remember_end(token)
            self._remember_owner(token)
        self._users.on_change.append(self._users_changed)
        self._metadata.on_commit(self._committed)
        self._tasks.spawn(self._watch(), "API tokens")

    async def close(self) -> None:
        """Store the last uses that are not stored yet; a disk that refuses them is not in the way."""
        with suppress(RivvenError, OSError):
            await self._store_uses(0)

    # -- sessions --------------------------------------------------------------------------------------------

    def _problem(self, subject: Subject, credential: Credential) -> str | None:
        return self.authentication.no_longer_valid(credential, subject.groups, self._clock.now_ms())

    def _committed(self, events: tuple[Any, ...]) -> None:
        for event in events:
            if isinstance(event, TokenStored):
                self._remember_end(event.token)
                self._remember_owner(event.token)
                self._changed.set()

    def _remember_end(self, token: Token) -> None:
        """Note when sessions of this token will have to be looked at again."""
        if token.revoked_at_ms is not None:
            return
        heapq.heappush(self._ends, (token.expires_at_ms, token.token_id))
        if token.previous is not None:
            heapq.heappush(self._ends, (token.previous_until_ms, token.token_id))
        if len(self._ends) > 4 * len(self._tokens) + 1_000:  # renewed again and again: forget old ends
            self._ends = [(one.expires_at_ms, one.token_id) for one in self._tokens]
            self._ends += [(one.previous_until_ms, one.token_id) for one in self._tokens if one.previous]
            heapq.heapify(self._ends)

    async def _watch(self) -> None:
        while True:
            self._changed.clear()
            now_ms = self._clock.now_ms()
            if self._ends and self._ends[0][0] <= now_ms:
                while self._ends and self._ends[0][0] <= now_ms:
                    heapq.heappop(self._ends)
                self._sessions.recheck_soon("")
            wait_s = min(LOOK_S, (self._ends[0][0] - now_ms) / 1000 if self._ends else LOOK_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            await self._store_uses(STORED_EVERY_MS)

    # -- last uses -------------------------------------------------------------------------------------------

    async def _store_uses(self, lag_ms: int) -> None:
        due = self._uses.due(self._stored_use, lag_ms)
        for start in range(0, len(due), USES_MAX):
            await self._metadata.submit(RecordTokenUses(tuple(due[start : start + USES_MAX])))

    def _stored_use(self, token_id: str) -> LastUse | None:
        token = self._tokens.find(token_id)
        return None if token is None else (token.last_used_ms, token.last_used_from)

    # -- owners ----------------------------------------------------------------------------------------------

    def _remember_owner(self, token: Token) -> None:
        if token.local_owner:
            name = token.owner.name
            self._owners[name] = self._users.find(name) is not None

    def _users_changed(self) -> None:
        """Revoke the tokens of users that were here and are no more."""
        for name, was_here in self._owners.items():
            self._owners[name] = here = self._users.find(name) is not None
            if was_here and not here:
                revoke = self._metadata.submit(RevokeTokensOf(Principal("User", name)))
                self._tasks.spawn(revoke, "revoke the tokens of a deleted user")


def open_tokens(
    keys: TokenHashKeys,
    authentication: Authentication,
    metadata: MetadataService,
    sessions: Sessions,
    clock: Clock,
    tasks: Tasks,
) -> ApiTokens:
    """The tokens of this broker, accepted from now on; `keys` are those they are hashed with."""
    tokens = ApiTokens(metadata, authentication.users, sessions, keys, clock, tasks)
    services = authentication.services
    services.tokens = services.passwords.tokens = services.bearer.tokens = tokens.authentication
    authentication.services.passwords.tokens = tokens.authentication
    tokens.start()
    return tokens
