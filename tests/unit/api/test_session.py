"""A session is nobody until it becomes somebody, and somebody only until its end."""

from rivven.api.session import CLIENT_ID_CHARACTERS_MAX, Session
from rivven.security.authn.authenticator import Authenticated, Credential
from rivven.security.sessions import Sessions
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


def test_what_the_client_is_told_of_its_end() -> None:
    session = Session(LISTENER, "10.0.0.1", None)
    session.become(Authenticated(Principal("User", "alice"), expires_at_ms=1000), "PLAIN")
    assert [session.lifetime_ms(now) for now in (0, 999, 1000, 2000)] == [1000, 1, 1, 1]
    session.become(Authenticated(Principal("User", "alice")), "PLAIN")
    assert session.lifetime_ms(0) == 0
    session.certificate_expires_at_ms = 500
    session.become(Authenticated(Principal("User", "alice"), expires_at_ms=1000), "PLAIN")
    assert session.expires_at_ms == 500, "not longer than the certificate below it"
    assert session.lifetime_ms(0) == 1000, "a new login renews no certificate"


def test_it_lives_among_the_sessions_and_ends_once() -> None:
    sessions, closed = Sessions(), []
    session = Session(LISTENER, "10.0.0.1", None, sessions)
    session.closer = closed.append
    assert list(sessions.all()) == []
    session.become(Authenticated(Principal("User", "alice")), "PLAIN")
    assert list(sessions.all()) == [session]
    session.certificate = Credential("certificate", "f")
    assert [one.kind for one in session.credentials] == ["none", "certificate"]
    sessions.validators.append(lambda _, credential: "f is over" if credential.id == "f" else None)
    assert sessions.recheck() == 1
    sessions.recheck()
    assert (closed, session.closing) == (["f is over"], "f is over")


def test_a_listener_without_sasl_knows_one_principal() -> None:
    session = Session(LISTENER, "10.0.0.1", None)
    session.become_anonymous()
    assert session.subject is not None
    assert session.subject.principal == ANONYMOUS


def test_a_request_holds_no_memory_until_its_answer_does() -> None:
    assert context().lease is None


def test_a_client_names_itself_with_so_many_characters() -> None:
    session = Session(LISTENER, "10.0.0.1", None)
    assert session.subject_of("x") is None
    session.become(Authenticated(Principal("User", "alice")), "PLAIN")
    subject = session.subject_of("x" * 30_000)
    assert subject is not None
    assert subject.client_id == "x" * CLIENT_ID_CHARACTERS_MAX
    assert session.subject_of("x" * 30_000) is subject
