"""Checking passwords that arrive in the clear - SASL PLAIN, HTTP Basic - without letting anybody's guesses
cost anybody else his login.

Driver. Key derivations run on two threads. Who waits for them is bounded per address and in all, served in
turn over addresses and, within one, over user names. Where there is no room, the newest of the user name that
waits most often is refused: guesses at one name push each other out, not the login of another. A password
that was right before goes in front of all guesses, and for a minute needs no derivation at all. What is
remembered of it is a keyed hash that only this process can make, over the version of the credential, so that
it dies with it.

It must not decide what a failure costs (`admission` does), nor log.
"""

from __future__ import annotations

import asyncio
import hmac
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from rivven.clock import Clock
from rivven.errors import ErrorCode
from rivven.security.admission import peer_of
from rivven.security.authn.authenticator import Authenticated, Entropy, Rejected
from rivven.security.authn.password_verifiers import PasswordVerifier
from rivven.security.authn.services import TokenVerifier

THREADS = 2
"""Derivations at once: each keeps a processor busy, and the event loop needs one too."""

WAITING_PER_ADDRESS_MAX = 32
"""Some four seconds of work for one address; more would only be answered after its clients gave up."""

WAITING_MAX = 256
"""A minute of work at 600,000 rounds; connections that wait longer are closed by their deadline."""

REMEMBERED_S = 60.0
"""How long a right password needs no derivation: enough for all clients of an application to reconnect."""

REMEMBERED_MAX = 10_000
"""Right passwords remembered, about 200 bytes each; the one not used for longest is forgotten first."""

PASSWORD_CHARACTERS_MAX = 1_024
USER_CHARACTERS_MAX = 256
"""As passwords and names are bounded where they are set; longer ones cannot be right."""

NAME_SHOWN_MAX = 64
"""Characters of a claimed user name that reach a log line."""

NO_ROOM_TEXT = "too many passwords wait to be checked; try again"
"""What the peer hears then; it depends on nothing about the user."""

TOKEN_PREFIX = "rvn_"  # noqa: S105 - how the text of any token begins


Result = TypeVar("Result")


class Directory(Protocol):
    """What is asked of users."""

    def identity(self, name: str) -> Authenticated | None: ...
    def password_verifier(self, name: str) -> PasswordVerifier | None: ...


@dataclass(eq=False, slots=True)
class _Attempt:
    """One password waiting for a thread; several logins with the same one share it."""

    digest: bytes = field(repr=False)
    peer: str
    user: str
    password: str = field(repr=False)
    verifier: PasswordVerifier = field(repr=False)
    outcome: asyncio.Future[bool | None]
    """True or False from the derivation, None when there was no room."""
    logins: int = 0


class _Lanes:
    """Who waits, in the order of service. Counts and picks; knows nothing of threads."""

    def __init__(self, per_address_max: int, total_max: int) -> None:
        self._per_address_max = per_address_max
        self._total_max = total_max
        self._known: deque[_Attempt] = deque()
        self._peers: OrderedDict[str, OrderedDict[str, deque[_Attempt]]] = OrderedDict()
        self._held: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._known) + sum(self._held.values())

    def add(self, attempt: _Attempt, known: bool) -> list[_Attempt]:
        """Take in an attempt; returns those that lost their place, perhaps itself."""
        if known:  # bounded by REMEMBERED_MAX: each is a password that was right, and it is here once
            self._known.append(attempt)
            return []
        lane = self._peers.setdefault(attempt.peer, OrderedDict())
        lane.setdefault(attempt.user, deque()).append(attempt)
        self._held[attempt.peer] = self._held.get(attempt.peer, 0) + 1
        if self._held[attempt.peer] > self._per_address_max:
            return [self._drop_from(attempt.peer)]
        if sum(self._held.values()) > self._total_max:
            return [self._drop_from(max(self._held, key=self._held.__getitem__))]
        return []

    def remove(self, attempt: _Attempt) -> None:
        """Forget an attempt nobody waits for any more; one that is being served is not here."""
        if attempt in self._known:
            self._known.remove(attempt)
            return
        lane = self._peers.get(attempt.peer)
        waiting = lane.get(attempt.user) if lane is not None else None
        if waiting is not None and attempt in waiting:
            waiting.remove(attempt)
            self._taken(attempt)

    def next(self) -> _Attempt | None:
        """The attempt to serve now: known passwords first, then address by address, name by name."""
        if self._known:
            return self._known.popleft()
        if not self._peers:
            return None
        peer, lane = next(iter(self._peers.items()))
        user, waiting = next(iter(lane.items()))
        attempt = waiting.popleft()
        self._peers.move_to_end(peer)
        lane.move_to_end(user)
        self._taken(attempt)
        return attempt

    def _drop_from(self, peer: str) -> _Attempt:
        lane = self._peers[peer]
        longest = max(len(waiting) for waiting in lane.values())
        # Of names that wait equally often, the one that came last: a login already waiting keeps its place.
        user = next(name for name in reversed(lane) if len(lane[name]) == longest)
        dropped = lane[user].pop()
        self._taken(dropped)
        return dropped

    def _taken(self, attempt: _Attempt) -> None:
        lane = self._peers[attempt.peer]
        if not lane[attempt.user]:
            del lane[attempt.user]
        if not lane:
            del self._peers[attempt.peer]
        self._held[attempt.peer] -= 1
        if not self._held[attempt.peer]:
            del self._held[attempt.peer]


class PasswordVerifications:
    """Belongs to the event loop. `decoy(user)` costs what the user's verifier would, did it exist."""

    def __init__(
        self,
        users: Directory,
        decoy: Callable[[str], PasswordVerifier],
        clock: Clock,
        entropy: Entropy,
        *,
        per_address_max: int = WAITING_PER_ADDRESS_MAX,
        total_max: int = WAITING_MAX,
    ) -> None:
        self._users = users
        self._decoy = decoy
        self._clock = clock
        self._secret = entropy(32)
        self._lanes = _Lanes(per_address_max, total_max)
        self._attempts: dict[bytes, _Attempt] = {}
        self._right: OrderedDict[bytes, float] = OrderedDict()
        self._running = 0
        self._pool: ThreadPoolExecutor | None = None
        self.tokens: TokenVerifier | None = None
        """Who checks passwords that are API tokens; None where there are none."""
        self.derivations = 0
        self.refused_for_room = 0

    @property
    def waiting(self) -> int:
        """Logins' passwords that wait for a thread."""
        return len(self._lanes)

    async def verify(self, user: str, password: str, host: str) -> Authenticated | Rejected:
        """Whether this is the user's password, for a login from address `host`. Never raises for any text.

        A password that is an API token is its owner's, whatever the user name says.
        """
        if password.startswith(TOKEN_PREFIX) and self.tokens is not None:
            return self.tokens.verify(password, host=host, now_ms=self._clock.now_ms())
        shown = repr(user[:NAME_SHOWN_MAX])
        if not _plausible(user, USER_CHARACTERS_MAX) or not _plausible(password, PASSWORD_CHARACTERS_MAX):
            return Rejected(f"a user name or password longer than any, or not a text (user {shown})")
        identity = self._users.identity(user)
        verifier = self._users.password_verifier(user) or self._decoy(user)
        # The decoy's outcome counts for nothing, but it is waited for like any other.
        right = await self._outcome(user, password, peer_of(host), identity, verifier)
        if right is None:
            # Not "wrong": it was not looked at, and clients that hear so come back by themselves.
            reason = f"too many logins wait for their turn (user {shown} from {peer_of(host)})"
            return Rejected(reason, code=ErrorCode.REQUEST_TIMED_OUT, text=NO_ROOM_TEXT)
        if identity is None:
            return Rejected(f"wrong password (unknown user {shown})")
        if not right:
            return Rejected(f"wrong password (user {shown})")
        current = self._users.identity(user)
        if current is None or current.credential != identity.credential:
            return Rejected(f"the credential of user {shown} was changed or removed during the login")
        return current

    async def work(self, derivation: Callable[[], Result]) -> Result:
        """Run another derivation on the same threads: a password that an administrator sets. Whoever may ask
        for this is trusted, so nothing bounds how many wait."""
        return await asyncio.get_running_loop().run_in_executor(self._threads(), derivation)

    def close(self) -> None:
        """Refuse what waits; a derivation that runs ends by itself."""
        while (attempt := self._lanes.next()) is not None:
            self._finish(attempt, None)
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    async def _outcome(
        self, user: str, password: str, peer: str, identity: Authenticated | None, verifier: PasswordVerifier
    ) -> bool | None:
        version = identity.credential.version if identity is not None else -1
        digest = self._digest(user, password, version)
        since = self._right.get(digest)
        if since is not None and self._clock.monotonic() - since < REMEMBERED_S:
            self._right.move_to_end(digest)
            return True
        attempt = self._attempts.get(digest)
        joined = attempt is not None
        if attempt is None:
            future: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()
            attempt = _Attempt(digest, peer, user, password, verifier, future)
            self._attempts[digest] = attempt
            for dropped in self._lanes.add(attempt, known=since is not None):
                self._finish(dropped, None)
            self._serve()
        outcome = await self._wait(attempt)
        if outcome is None and joined:  # it waited in the line of another address; this one has its own
            return await self._outcome(user, password, peer, identity, verifier)
        return outcome

    async def _wait(self, attempt: _Attempt) -> bool | None:
        attempt.logins += 1
        try:
            return await asyncio.shield(attempt.outcome)
        finally:
            attempt.logins -= 1
            if not attempt.logins and not attempt.outcome.done():  # the peers have gone: so has the need
                self._lanes.remove(attempt)

    def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while self._running < THREADS and (attempt := self._lanes.next()) is not None:
            self._running += 1
            self.derivations += 1
            work = loop.run_in_executor(self._threads(), attempt.verifier.check, attempt.password)
            work.add_done_callback(lambda done, attempt=attempt: self._served(attempt, done))  # type: ignore[misc]

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="rivven-passwords")
        return self._pool

    def _served(self, attempt: _Attempt, done: asyncio.Future[bool]) -> None:
        self._running -= 1
        if done.cancelled():
            self._finish(attempt, None)
            return
        failed = done.exception() is not None  # no memory for Argon2id: nobody gets in by that
        right = not failed and done.result()
        if right:
            self._right[attempt.digest] = self._clock.monotonic()
            self._right.move_to_end(attempt.digest)
            if len(self._right) > REMEMBERED_MAX:
                self._right.popitem(last=False)
        self._finish(attempt, right)
        self._serve()

    def _finish(self, attempt: _Attempt, outcome: bool | None) -> None:
        if self._attempts.get(attempt.digest) is attempt:
            del self._attempts[attempt.digest]
        self.refused_for_room += outcome is None
        if not attempt.outcome.done():
            attempt.outcome.set_result(outcome)

    def _digest(self, user: str, password: str, version: int) -> bytes:
        name, secret = user.encode(), password.encode()
        message = b"%d %d\0%s%s" % (version, len(name), name, secret)
        return hmac.digest(self._secret, message, "sha256")


def _plausible(text: str, characters_max: int) -> bool:
    if len(text) > characters_max or "\0" in text:  # HMAC takes a key with zeros behind it for the same key
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
