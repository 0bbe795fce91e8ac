"""The live sessions of this broker: who is connected now, and whether they still may be.

One object for all listeners. Whoever takes something away - a user, a token, a certificate, an issuer - adds
a validator here and asks for a recheck when it has changed something; sessions that are no longer valid end.
It must not know connections (sessions end themselves), nor what makes a credential valid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from rivven.security.authn.authenticator import Credential
from rivven.security.authz.authorizer import Subject

Validator = Callable[[Subject, Credential], str | None]
"""Why an identity proved with a credential is no longer valid, None while it is. A few dictionary look-ups:
it is asked about every session at every change."""


class LiveSession(Protocol):
    """What an authenticated connection shows of itself."""

    @property
    def id(self) -> str: ...
    @property
    def subject(self) -> Subject | None: ...
    @property
    def credentials(self) -> tuple[Credential, ...]:
        """Everything the identity rests on: under SASL a client certificate may come beside the password."""
        ...

    @property
    def still_trusted(self) -> Callable[[], str | None]:
        """Why what the connection itself rests on - the chain of its client certificate - no longer counts,
        None while it does. Cheap unless authorities or revocation lists have changed."""
        ...

    @property
    def expires_at_ms(self) -> int | None: ...
    @property
    def connected_at_ms(self) -> int: ...
    @property
    def client_software(self) -> str: ...

    @property
    def host(self) -> str: ...
    @property
    def closing(self) -> str:
        """Why it ends or ended, as far as this side decided it."""
        ...

    def end(self, reason: str) -> None:
        """Take no more requests, let answers in flight leave, close."""
        ...


@dataclass(frozen=True, slots=True)
class Refusal:
    """A login that failed; `subject` is who the session was before, at a re-authentication. `reason` is for
    the operator."""

    session_id: str
    host: str
    listener: str
    mechanism: str
    reason: str
    subject: Subject | None = None


def _nobody_hears(_what: LiveSession | Refusal) -> None:
    """Until somebody wants to know."""


class Sessions:
    """Belongs to the event loop. Bounded by ``limits.max_connections``."""

    def __init__(self) -> None:
        self.validators: list[Validator] = []
        self.began: Callable[[LiveSession], None] = _nobody_hears
        """Called when a session got an identity, or a new one."""
        self.ended: Callable[[LiveSession], None] = _nobody_hears
        """Called when a session with an identity is over."""
        self.refused: Callable[[Refusal], None] = _nobody_hears
        """Called when a login failed."""
        self.recheck_soon: Callable[[str], object] = lambda _why: self.recheck()
        """Asks about every session, well within a second; `why` is for the log. Where there is an event loop
        it takes turns with requests."""
        self._live: dict[str, LiveSession] = {}
        self._numbers = count(1)

    def __len__(self) -> int:
        return len(self._live)

    def new_id(self) -> str:
        """An id that no other session of this process has or had."""
        return str(next(self._numbers))

    def add(self, session: LiveSession) -> None:
        """A session got an identity, or a new one. It ends at once if that was taken away while it came."""
        self._live[session.id] = session
        self.began(session)
        self._check(session)

    def remove(self, session: LiveSession) -> None:
        """A session's connection has closed, whether it ever had an identity or not."""
        if self._live.pop(session.id, None) is not None:
            self.ended(session)

    def all(self) -> Iterator[LiveSession]:
        """Every live session, the oldest first."""
        return iter(tuple(self._live.values()))

    def kill(self, session_id: str, reason: str) -> bool:
        """End one session; False when there is none of this id."""
        session = self._live.get(session_id)
        if session is None:
            return False
        session.end(reason)
        return True

    def recheck(self, some: Iterable[LiveSession] | None = None) -> int:
        """Ask every validator about every session, or some, and end those that are no longer valid; how
        many."""
        return sum(self._check(session) for session in (self.all() if some is None else some))

    def _check(self, session: LiveSession) -> bool:
        """Whether the session had to end."""
        subject = session.subject
        if subject is None:
            return False
        distrusted = session.still_trusted()
        if distrusted is not None:
            session.end(f"the client certificate is refused: {distrusted}")
            return True
        for credential in session.credentials:
            for validator in self.validators:
                reason = validator(subject, credential)
                if reason is not None:
                    session.end(reason)
                    return True
        return False
