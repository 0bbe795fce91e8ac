"""A session is nobody until it becomes somebody, and somebody only until its end."""

from rivven.api.session import Session
from rivven.security.authn.authenticator import Authenticated
from rivven.types import ANONYMOUS, Principal
from tests.unit.api.requests import LISTENER, context


def test_identity_and_its_end() -> None:
    session = Session(LISTENER, "10.0.0.1", None)
    assert not session.authenticated
    assert not session.expects_raw_token
    session.become(Authenticated(Principal("User", "alice"), expires_at_ms=1000), "PLAIN")
    assert session.authenticated
    assert session.subject is not None
    assert (str(session.subject.principal), session.subject.host) == ("User:alice", "10.0.0.1")
    assert [session.expired(now) for now in (999, 1000)] == [False, True]
    session.become(Authenticated(Principal("User", "alice")), "PLAIN")
    assert not session.expired(10**15)


def test_a_listener_without_sasl_knows_one_principal() -> None:
    session = Session(LISTENER, "10.0.0.1", None)
    session.become_anonymous()
    assert session.subject is not None
    assert session.subject.principal == ANONYMOUS


def test_a_request_holds_no_memory_until_its_answer_does() -> None:
    assert context().lease is None
