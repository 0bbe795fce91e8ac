"""API tokens decided: who gets which error, what ends when, what is kept and what is forgotten."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rivven.errors import ErrorCode, RivvenError
from rivven.metadata import tokens as t
from rivven.metadata.broker_values import BrokerValues
from rivven.metadata.controller import MetadataMachine
from rivven.metadata.token_records import TOKEN_CODECS, Token, TokenOrigin, TokensForgotten, TokenStored
from rivven.protocol.scram import ScramMechanism, derive_verifier
from rivven.types import Principal
from tests.unit.metadata.token_world import ALICE, BOB, DAY, NOW, issue, secret


@pytest.fixture
def machine() -> MetadataMachine:
    return MetadataMachine(BrokerValues(1, {}), 1)


def run(machine: MetadataMachine, command: Any, now_ms: int = NOW) -> Any:
    """Decide, write and read back each event, apply it; the reply."""
    outcome = machine.decide(command, 1, now_ms)
    for event in outcome.events:
        again = machine.decode(machine.encode(event))
        assert again == event
        machine.apply(again)
    return outcome.replies[0][1]


def tokens(machine: MetadataMachine) -> t.Tokens:
    return machine.image.of(t.Tokens)


def code_of(machine: MetadataMachine, command: Any, now_ms: int = NOW) -> ErrorCode:
    with pytest.raises(RivvenError) as caught:
        machine.decide(command, 1, now_ms)
    return caught.value.code


def test_issue_stores_everything_and_survives_a_snapshot(machine: MetadataMachine) -> None:
    command = issue(
        "one",
        label="service-a",
        renewers=(BOB,),
        scope=("topic:orders-*:produce",),
        allowed_cidrs=("10.0.0.0/8",),
        local_owner=True,
    )
    token = run(machine, command)
    assert isinstance(token, Token)
    assert (token.expires_at_ms, token.max_expires_at_ms) == (NOW + DAY, NOW + 7 * DAY)
    run(machine, t.RotateToken("one", secret(2), overlap_ms=DAY))
    run(machine, t.RecordTokenUses((("one", NOW + 5, "10.1.1.1"),)))
    copy = MetadataMachine(BrokerValues(1, {}), 1)
    for event in machine.snapshot():
        copy.apply(copy.decode(copy.encode(event)))
    assert list(tokens(copy)) == list(tokens(machine))
    kept = tokens(copy).find("one")
    assert kept is not None
    assert (kept.version, kept.last_used_ms, kept.last_used_from) == (2, NOW + 5, "10.1.1.1")
    assert kept.previous == secret(1)


JWT_ORIGIN = TokenOrigin("jwt", "id-1", "https://issuer", "alice", issued_at_ms=0)
CERTIFICATE_ORIGIN = TokenOrigin("certificate", "ab" * 32, "CN=CA", serial="a3f")


@pytest.mark.parametrize("origin", [JWT_ORIGIN, CERTIFICATE_ORIGIN, TokenOrigin("jwt")])
def test_the_identity_a_token_was_made_under_is_kept(machine: MetadataMachine, origin: TokenOrigin) -> None:
    assert run(machine, issue("one", origin=origin)).origin == origin
    assert run(machine, t.RotateToken("one", secret(2))).origin == origin
    assert run(machine, t.RenewToken(secret(2).digest, ALICE, 1)).origin == origin
    newer = replace(origin, id="newer")
    assert run(machine, t.RotateToken("one", secret(3), origin=newer)).origin == newer


def test_records_from_before_there_were_origins_are_read(machine: MetadataMachine) -> None:
    token = run(machine, issue("one"))
    codec = TOKEN_CODECS[0]
    document = codec.members(TokenStored(token))
    assert "origin" not in document
    assert codec.build(document) == TokenStored(token)


def test_an_identity_that_no_revocation_could_name_makes_no_token(machine: MetadataMachine) -> None:
    run(machine, issue("one", origin=replace(JWT_ORIGIN, subject="x" * t.ORIGIN_CHARACTERS_MAX)))
    long = replace(JWT_ORIGIN, subject="x" * (t.ORIGIN_CHARACTERS_MAX + 1))
    for command in (issue("two", number=2, origin=long), t.RotateToken("one", secret(3), origin=long)):
        assert code_of(machine, command) is ErrorCode.INVALID_REQUEST


def test_validity_never_exceeds_the_lifetime(machine: MetadataMachine) -> None:
    token = run(machine, issue("one", lifetime_ms=1000, validity_ms=DAY))
    assert token.expires_at_ms == token.max_expires_at_ms == NOW + 1000


def test_renewing_is_for_the_owner_and_renewers(machine: MetadataMachine) -> None:
    run(machine, issue("one", renewers=(BOB,)))
    digest = secret(1).digest
    assert run(machine, t.RenewToken(digest, BOB, 2 * DAY)).expires_at_ms == NOW + 2 * DAY
    assert run(machine, t.RenewToken(digest, ALICE, 99 * DAY)).expires_at_ms == NOW + 7 * DAY
    stranger = Principal("User", "eve")
    assert code_of(machine, t.RenewToken(digest, stranger, 1)) is ErrorCode.DELEGATION_TOKEN_OWNER_MISMATCH
    assert code_of(machine, t.ExpireToken(digest, stranger, -1)) is ErrorCode.DELEGATION_TOKEN_OWNER_MISMATCH
    assert code_of(machine, t.RenewToken(b"x" * 32, ALICE, 1)) is ErrorCode.DELEGATION_TOKEN_NOT_FOUND


def test_expiring(machine: MetadataMachine) -> None:
    run(machine, issue("one"))
    digest = secret(1).digest
    assert run(machine, t.ExpireToken(digest, ALICE, 10)).expires_at_ms == NOW + 10
    late = NOW + 10
    assert tokens(machine).find("one").state(late) == "expired"  # type: ignore[union-attr]
    for command in (t.RenewToken(digest, ALICE, 1), t.ExpireToken(digest, ALICE, 1)):
        assert code_of(machine, command, late) is ErrorCode.DELEGATION_TOKEN_EXPIRED
    assert run(machine, t.ExpireToken(digest, ALICE, -1), late).revoked_at_ms == late
    assert code_of(machine, t.ExpireToken(digest, ALICE, -1), late) is ErrorCode.DELEGATION_TOKEN_NOT_FOUND


def test_revoking_is_for_good_and_can_be_repeated(machine: MetadataMachine) -> None:
    run(machine, issue("one"))
    assert run(machine, t.RevokeToken("one")).state(NOW) == "revoked"
    assert machine.decide(t.RevokeToken("one"), 1, NOW + 9).events == ()
    assert code_of(machine, t.RevokeToken("two")) is ErrorCode.DELEGATION_TOKEN_NOT_FOUND
    again = t.RotateToken("one", secret(2))
    assert code_of(machine, again) is ErrorCode.DELEGATION_TOKEN_NOT_FOUND
    assert code_of(machine, t.RenewToken(secret(1).digest, ALICE, 1)) is ErrorCode.DELEGATION_TOKEN_NOT_FOUND


def test_the_tokens_of_an_owner_end_together(machine: MetadataMachine) -> None:
    run(machine, issue("one"))
    run(machine, issue("two", number=2))
    run(machine, issue("bobs", number=3, owner=BOB))
    assert run(machine, t.RevokeTokensOf(ALICE)) == 2
    assert {one.token_id for one in tokens(machine) if one.state(NOW) == "active"} == {"bobs"}
    assert run(machine, t.RevokeTokensOf(ALICE)) == 0


def test_rotation_with_and_without_overlap(machine: MetadataMachine) -> None:
    run(machine, issue("one"))
    rotated = run(machine, t.RotateToken("one", secret(2), overlap_ms=1000))
    assert rotated.secrets(NOW + 999) == ((2, secret(2)), (1, secret(1)))
    assert rotated.secrets(NOW + 1000) == ((2, secret(2)),)
    assert code_of(machine, t.RenewToken(secret(1).digest, ALICE, 1)) is ErrorCode.DELEGATION_TOKEN_NOT_FOUND
    again = run(machine, t.RotateToken("one", secret(3)))
    assert again.secrets(NOW) == ((3, secret(3)),)
    assert code_of(machine, t.RotateToken("one", secret(4), overlap_ms=-1)) is ErrorCode.INVALID_REQUEST
    late = NOW + 2 * DAY
    assert code_of(machine, t.RotateToken("one", secret(4)), late) is ErrorCode.DELEGATION_TOKEN_EXPIRED


def test_a_use_changes_no_version_and_unknown_ones_are_dropped(machine: MetadataMachine) -> None:
    run(machine, issue("one"))
    version = tokens(machine).version
    run(machine, t.RecordTokenUses((("one", 5, "h"), ("gone", 6, "h"))))
    assert tokens(machine).version == version
    assert machine.decide(t.RecordTokenUses((("gone", 6, "h"),)), 1, NOW).events == ()


@pytest.mark.parametrize(
    "wrong",
    [
        {"lifetime_ms": 0},
        {"lifetime_ms": t.LIFETIME_MAX_MS + 1},
        {"validity_ms": 0},
        {"label": "x" * 129},
        {"label": "a\nb"},
        {"renewers": (BOB,) * 33},
        {"allowed_cidrs": ("10.0.0.0/8",) * 33},
        {"scope": ()},
        {"scope": ("role:x",) * 65},
        {"scope": ("x" * 513,)},
    ],
)
def test_bounds(machine: MetadataMachine, wrong: dict[str, Any]) -> None:
    assert code_of(machine, issue("one", **wrong)) is ErrorCode.INVALID_REQUEST


def test_an_id_is_used_once(machine: MetadataMachine) -> None:
    run(machine, issue("one"))
    assert code_of(machine, issue("one", number=2)) is ErrorCode.INVALID_REQUEST


def test_an_owner_has_few_valid_tokens(machine: MetadataMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(t, "TOKENS_PER_OWNER_MAX", 2)
    run(machine, issue("one"))
    run(machine, issue("two", number=2))
    assert code_of(machine, issue("three", number=3)) is ErrorCode.POLICY_VIOLATION
    run(machine, issue("bobs", number=4, owner=BOB))
    run(machine, t.RevokeToken("one"))
    run(machine, issue("three", number=3))


def test_ended_tokens_are_listed_for_a_week_and_make_room_when_it_is_short(
    machine: MetadataMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(machine, issue("one", lifetime_ms=1000))
    run(machine, issue("two", number=2))
    week = NOW + 1000 + t.LISTED_AFTER_END_MS
    assert TokensForgotten(("one",)) not in machine.decide(issue("x", number=9), 1, week - 1).events
    outcome = machine.decide(issue("x", number=9), 1, week)
    assert outcome.events[0] == TokensForgotten(("one",))
    monkeypatch.setattr(t, "TOKENS_MAX", 2)
    run(machine, issue("three", number=3), NOW + 1000)
    assert [one.token_id for one in tokens(machine)] == ["two", "three"]
    assert code_of(machine, issue("four", number=4), NOW + 1000) is ErrorCode.POLICY_VIOLATION


def test_forgetting_leaves_no_trace_in_the_look_ups(machine: MetadataMachine) -> None:
    run(machine, issue("one"))
    machine.apply(TokensForgotten(("one", "never-was")))
    assert len(tokens(machine)) == 0
    assert tokens(machine).of_owner(ALICE) == []
    assert code_of(machine, t.RenewToken(secret(1).digest, ALICE, 1)) is ErrorCode.DELEGATION_TOKEN_NOT_FOUND


def test_secrets_do_not_show(machine: MetadataMachine) -> None:
    verifier = derive_verifier(ScramMechanism.SCRAM_SHA_256, "pw", b"saltsalt", 4096)
    hidden = replace(secret(1), digest=b"DIGEST-DIGEST", verifiers=(verifier,))
    token = replace(run(machine, issue("one")), secret=hidden)
    assert "DIGEST" not in repr(TokenStored(token))
    assert "saltsalt" not in repr(token)
    assert hidden.verifier(ScramMechanism.SCRAM_SHA_256) is verifier
    assert hidden.verifier(ScramMechanism.SCRAM_SHA_512) is None
