"""Live sessions end when what they rest on is taken away, and only then."""

from __future__ import annotations

from dataclasses import dataclass, field

from rivven.security.authn.authenticator import NO_CREDENTIAL, Credential
from rivven.security.authz.authorizer import Subject
from rivven.security.sessions import Sessions
from rivven.types import Principal


@dataclass
class Live:
    id: str
    name: str = "alice"
    credentials: tuple[Credential, ...] = (NO_CREDENTIAL,)
    ended: list[str] = field(default_factory=list)
    expires_at_ms: int | None = None
    connected_at_ms: int = 0
    client_software: str = ""
    distrusted: str | None = None

    def still_trusted(self) -> str | None:
        return self.distrusted

    @property
    def subject(self) -> Subject | None:
        return Subject(Principal("User", self.name), "10.0.0.1") if self.name else None

    def end(self, reason: str) -> None:
        self.ended.append(reason)


def only_bob(subject: Subject, _credential: Credential) -> str | None:
    return None if subject.principal.name == "bob" else "not bob"


def no_jwt(_subject: Subject, credential: Credential) -> str | None:
    return "a JWT" if credential.kind == "jwt" else None


def test_a_chain_that_is_no_longer_trusted_ends_its_session() -> None:
    sessions = Sessions()
    alice, bob = Live("1"), Live("2", "bob")
    sessions.add(alice)
    sessions.add(bob)
    alice.distrusted = "no authority issued it"
    assert sessions.recheck() == 1
    assert alice.ended == ["the client certificate is refused: no authority issued it"]
    assert not bob.ended


def test_a_recheck_ends_what_is_no_longer_valid() -> None:
    sessions = Sessions()
    alice, bob = Live("1"), Live("2", "bob")
    sessions.add(alice)
    sessions.add(bob)
    assert sessions.recheck() == 0
    sessions.validators.append(only_bob)
    assert sessions.recheck() == 1
    assert (alice.ended, bob.ended) == (["not bob"], [])


def test_every_credential_counts_and_the_first_reason_is_enough() -> None:
    sessions = Sessions()
    sessions.validators += [no_jwt, only_bob]
    both = Live("1", "bob", (Credential("password"), Credential("jwt")))
    sessions.add(both)
    assert both.ended == ["a JWT"]


def test_who_comes_while_the_right_goes_ends_at_once() -> None:
    sessions = Sessions()
    sessions.validators.append(only_bob)
    late = Live("1")
    sessions.add(late)
    assert late.ended == ["not bob"]


def test_kill_ends_one_and_tells_whether_it_was_there() -> None:
    sessions = Sessions()
    alice, bob = Live(sessions.new_id()), Live(sessions.new_id(), "bob")
    sessions.add(alice)
    sessions.add(bob)
    assert sessions.kill(alice.id, "asked for")
    assert (alice.ended, bob.ended) == (["asked for"], [])
    sessions.remove(alice)
    assert not sessions.kill(alice.id, "asked for")
    assert list(sessions.all()) == [bob]
    assert len(sessions) == 1


def test_what_never_had_an_identity_may_be_removed() -> None:
    sessions = Sessions()
    sessions.remove(Live("9", ""))
    assert sessions.recheck() == len(sessions) == 0
