"""The SASL conversation of a connection, as transcripts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rivven.errors import ErrorCode
from rivven.protocol.api import ApiKey
from rivven.protocol.scram import ScramMechanism, ScramVerifier
from rivven.security.authn.authenticator import (
    AuthContext,
    Authenticated,
    Authenticator,
    Challenge,
    Credentials,
    Entropy,
    Rejected,
    Step,
)
from rivven.security.authn.sasl import (
    TOKEN_BYTES_MAX,
    TOKENS_MAX,
    SaslExchange,
    SaslState,
    Session,
    refusal_text,
)
from rivven.types import Principal

ALICE, BOB = Principal("User", "alice"), Principal("User", "bob")
CONTEXT = AuthContext("main", "10.0.0.1", True)


class Spoken:
    """A mechanism whose tokens say what shall happen: ``alice``, ``alice until 500``, ``more``, else no."""

    def step(self, token: bytes, now_ms: int) -> Step:
        match token.decode().split():
            case ["more"]:
                return Challenge(b"go on")
            case [("alice" | "bob") as name]:
                return Authenticated(Principal("User", name), b"welcome")
            case [("alice" | "bob") as name, "until", end]:
                return Authenticated(Principal("User", name), b"welcome", int(end))
        return Rejected(f"no such word {token!r}")


def spoken(context: AuthContext, credentials: Credentials, entropy: Entropy) -> Authenticator:
    return Spoken()


class NoUsers:
    def scram_verifier(self, user: str, mechanism: ScramMechanism) -> ScramVerifier | None:
        return None

    def decoy_verifier(self, user: str, mechanism: ScramMechanism) -> ScramVerifier:
        raise AssertionError("not asked in these tests")

    def identity(self, user: str) -> Authenticated | None:
        return None


def exchange(max_reauth_ms: int = 0, entropy: Entropy = bytes) -> SaslExchange:
    return SaslExchange(
        ["ONE", "TWO"], {"ONE": spoken, "TWO": spoken, "HIDDEN": spoken}, CONTEXT, NoUsers(), entropy,
        max_reauth_ms=max_reauth_ms,
    )  # fmt: skip


def logged_in(max_reauth_ms: int = 0, token: bytes = b"alice") -> SaslExchange:
    sasl = exchange(max_reauth_ms)
    assert sasl.handshake("ONE", 1_000) == (ErrorCode.NONE, ["ONE", "TWO"])
    assert isinstance(sasl.authenticate(token, 1_000), Authenticated)
    return sasl


def test_a_login() -> None:
    sasl = exchange()
    assert sasl.state is SaslState.OPENING
    assert sasl.handshake("ONE", 1_000) == (ErrorCode.NONE, ["ONE", "TWO"])
    assert sasl.state is SaslState.TOKENS
    assert sasl.authenticate(b"more", 1_001) == Challenge(b"go on")
    assert sasl.authenticate(b"alice", 1_002) == Authenticated(ALICE, b"welcome", None)
    assert sasl.state is SaslState.AUTHENTICATED
    assert sasl.session == Session(ALICE, "ONE", 1_002, None)
    assert not sasl.expired(10**15)


def test_an_unknown_mechanism_gets_the_list_and_fails() -> None:
    sasl = exchange()
    assert sasl.handshake("PLAIN", 0) == (ErrorCode.UNSUPPORTED_SASL_MECHANISM, ["ONE", "TWO"])
    assert sasl.state is SaslState.FAILED


def test_a_mechanism_of_another_listener_is_unknown_here() -> None:
    assert exchange().handshake("HIDDEN", 0)[0] is ErrorCode.UNSUPPORTED_SASL_MECHANISM


def test_a_refused_token_ends_it() -> None:
    sasl = exchange()
    sasl.handshake("ONE", 0)
    step = sasl.authenticate(b"mallory", 0)
    assert isinstance(step, Rejected)
    assert step.code is ErrorCode.SASL_AUTHENTICATION_FAILED
    assert sasl.state is SaslState.FAILED
    assert sasl.error_text(step) == refusal_text("ONE")
    assert "mallory" not in sasl.error_text(step)
    assert sasl.session is None
    again = sasl.authenticate(b"alice", 0)
    assert isinstance(again, Rejected)
    assert sasl.state is SaslState.FAILED
    assert sasl.handshake("ONE", 0)[0] is ErrorCode.ILLEGAL_SASL_STATE


def test_tokens_before_a_handshake_end_it() -> None:
    sasl = exchange()
    step = sasl.authenticate(b"alice", 0)
    assert isinstance(step, Rejected)
    assert step.code is ErrorCode.ILLEGAL_SASL_STATE
    assert "alice" not in sasl.error_text(step)
    assert sasl.state is SaslState.FAILED


def test_a_second_handshake_before_the_first_is_done_ends_it() -> None:
    sasl = exchange()
    sasl.handshake("ONE", 0)
    assert sasl.handshake("ONE", 0)[0] is ErrorCode.ILLEGAL_SASL_STATE
    assert sasl.state is SaslState.FAILED


def test_an_endless_conversation_ends() -> None:
    sasl = exchange()
    sasl.handshake("ONE", 0)
    for _ in range(TOKENS_MAX - 1):
        assert isinstance(sasl.authenticate(b"more", 0), Challenge)
    assert isinstance(sasl.authenticate(b"more", 0), Rejected)
    assert sasl.state is SaslState.FAILED


def test_a_huge_token_never_reaches_the_mechanism() -> None:
    sasl = exchange()
    sasl.handshake("ONE", 0)
    assert sasl.authenticate(b"x" * (TOKEN_BYTES_MAX + 1), 0) == Rejected(
        "a token larger than any mechanism needs"
    )


def test_raw_tokens_after_handshake_v0() -> None:
    sasl = exchange()
    sasl.handshake("ONE", 0, version=0)
    assert sasl.raw_tokens
    assert not any(sasl.permits(key) for key in ApiKey)
    sasl.authenticate(b"alice", 0)
    assert not sasl.raw_tokens
    assert sasl.permits(ApiKey.METADATA)


class TestWhatIsLegalWhen:
    def legal(self, sasl: SaslExchange) -> set[ApiKey]:
        return {key for key in ApiKey if sasl.permits(key)}

    def test_at_first(self) -> None:
        assert self.legal(exchange()) == {ApiKey.API_VERSIONS, ApiKey.SASL_HANDSHAKE}

    def test_after_the_handshake(self) -> None:
        sasl = exchange()
        sasl.handshake("ONE", 0)
        assert self.legal(sasl) == {ApiKey.API_VERSIONS, ApiKey.SASL_AUTHENTICATE}

    def test_after_success(self) -> None:
        assert self.legal(logged_in()) == set(ApiKey)

    def test_after_failure(self) -> None:
        sasl = exchange()
        sasl.handshake("NOPE", 0)
        assert self.legal(sasl) == set()

    def test_during_a_reauthentication(self) -> None:
        sasl = logged_in(max_reauth_ms=60_000)
        sasl.handshake("ONE", 2_000)
        assert self.legal(sasl) == {ApiKey.API_VERSIONS, ApiKey.SASL_AUTHENTICATE}


class TestSessions:
    def test_connections_max_reauth_ms_ends_a_session(self) -> None:
        sasl = logged_in(max_reauth_ms=60_000)
        assert sasl.session == Session(ALICE, "ONE", 1_000, 61_000)
        assert not sasl.expired(60_999)
        assert sasl.expired(61_000)

    def test_the_earlier_of_credential_and_limit_counts(self) -> None:
        assert logged_in(60_000, b"alice until 5000").session == Session(ALICE, "ONE", 1_000, 5_000)
        assert logged_in(60_000, b"alice until 99000").session == Session(ALICE, "ONE", 1_000, 61_000)
        assert logged_in(0, b"alice until 5000").session == Session(ALICE, "ONE", 1_000, 5_000)

    def test_the_answer_carries_the_effective_end(self) -> None:
        sasl = exchange(60_000)
        sasl.handshake("ONE", 1_000)
        assert sasl.authenticate(b"alice", 1_000) == Authenticated(ALICE, b"welcome", 61_000)

    def test_an_expired_credential_is_refused(self) -> None:
        sasl = exchange()
        sasl.handshake("ONE", 1_000)
        assert isinstance(sasl.authenticate(b"alice until 1000", 1_000), Rejected)

    def test_lifetimes_are_shortened_by_up_to_a_tenth_so_that_clients_do_not_come_back_together(self) -> None:
        ends = set()
        for byte in (0x00, 0x80, 0xFF):
            sasl = exchange(60_000, entropy=bytes([byte]).__mul__)
            sasl.handshake("ONE", 1_000)
            sasl.authenticate(b"alice", 1_000)
            assert sasl.session is not None
            ends.add(sasl.session.expires_at_ms)
        assert max(ends) == 61_000
        assert min(ends) == 55_001
        assert len(ends) == 3

    def test_who_renews_is_known_but_may_do_nothing_else(self) -> None:
        sasl = logged_in(max_reauth_ms=60_000)
        assert not sasl.renewing
        sasl.handshake("ONE", 2_000)
        assert sasl.renewing
        sasl.authenticate(b"alice", 2_001)
        assert not sasl.renewing
        assert not exchange().renewing


class TestReauthentication:
    def test_renews_the_session(self) -> None:
        sasl = logged_in(max_reauth_ms=60_000)
        assert sasl.handshake("ONE", 50_000)[0] is ErrorCode.NONE
        assert sasl.authenticate(b"alice", 50_001) == Authenticated(ALICE, b"welcome", 110_001)
        assert sasl.session == Session(ALICE, "ONE", 50_001, 110_001)

    def test_works_after_the_session_has_ended(self) -> None:
        sasl = logged_in(max_reauth_ms=60_000)
        assert sasl.handshake("ONE", 70_000)[0] is ErrorCode.NONE
        assert isinstance(sasl.authenticate(b"alice", 70_000), Authenticated)
        assert not sasl.expired(70_001)

    def test_is_out_of_turn_when_sessions_do_not_end(self) -> None:
        sasl = logged_in()
        assert sasl.handshake("ONE", 90_000)[0] is ErrorCode.ILLEGAL_SASL_STATE
        step = sasl.authenticate(b"alice", 90_000)
        assert isinstance(step, Rejected)
        assert step.code is ErrorCode.ILLEGAL_SASL_STATE
        assert sasl.state is SaslState.AUTHENTICATED
        assert sasl.session == Session(ALICE, "ONE", 1_000, None)

    def test_happens_at_most_once_a_second(self) -> None:
        sasl = logged_in(max_reauth_ms=60_000)
        sasl.handshake("ONE", 1_100)
        sasl.authenticate(b"alice", 1_100)
        assert sasl.handshake("ONE", 2_099)[0] is ErrorCode.ILLEGAL_SASL_STATE
        assert sasl.state is SaslState.AUTHENTICATED
        assert sasl.handshake("ONE", 2_100)[0] is ErrorCode.NONE

    @pytest.mark.parametrize(("mechanism", "token"), [("ONE", b"bob"), ("TWO", b"alice"), ("ONE", b"nobody")])
    def test_as_somebody_else_or_another_way_fails(self, mechanism: str, token: bytes) -> None:
        sasl = logged_in(max_reauth_ms=60_000)
        assert sasl.handshake(mechanism, 50_000)[0] is ErrorCode.NONE
        step = sasl.authenticate(token, 50_000)
        assert isinstance(step, Rejected)
        assert step.code is ErrorCode.SASL_AUTHENTICATION_FAILED
        assert sasl.state is SaslState.FAILED

    def test_with_a_mechanism_not_offered_fails(self) -> None:
        sasl = logged_in(max_reauth_ms=60_000)
        assert sasl.handshake("HIDDEN", 50_000)[0] is ErrorCode.UNSUPPORTED_SASL_MECHANISM
        assert sasl.state is SaslState.FAILED


def test_every_refusal_reads_the_same() -> None:
    """KIP-152: the text depends on the mechanism only."""
    texts = set()
    tokens: list[Callable[[], bytes]] = [lambda: b"nobody", lambda: b"alice until 0", lambda: b"x" * 70_000]
    for token in tokens:
        sasl = exchange()
        sasl.handshake("ONE", 1_000)
        step = sasl.authenticate(token(), 1_000)
        assert isinstance(step, Rejected)
        texts.add((sasl.error_text(step), step.token, step.code))
    assert texts == {(refusal_text("ONE"), b"", ErrorCode.SASL_AUTHENTICATION_FAILED)}
