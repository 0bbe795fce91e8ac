"""The server's side of SCRAM: who gets in, and that outsiders cannot tell one refusal from another."""

from __future__ import annotations

import hmac
import itertools
import time
from collections.abc import Callable, Iterator

import pytest

from rivven.protocol import scram
from rivven.protocol.scram import ScramMechanism, ScramVerifier
from rivven.security.authn import scram as server
from rivven.security.authn.authenticator import Authenticated, Challenge, Credential, Rejected, Step
from rivven.security.authn.credentials import Shape
from rivven.types import Principal
from tests.unit.security.authn.directory import Store, Stored, services

SHA_256, SHA_512 = ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512
PASSWORD = "correct horse battery"


def seeded(seed: str = "seed") -> Callable[[int], bytes]:
    """Entropy that is the same in every run."""
    counter = itertools.count()

    def draw(size: int) -> bytes:
        blocks: Iterator[bytes] = (
            hmac.digest(seed.encode(), b"%d %d" % (next(counter), i), "sha256") for i in itertools.count()
        )
        out = b""
        while len(out) < size:
            out += next(blocks)
        return out[:size]

    return draw


class Directory(Store):
    """Users with one verifier each."""

    def __init__(self, *users: tuple[str, ScramVerifier]) -> None:
        super().__init__(*(Stored(name, groups=("staff",), verifiers=(one,)) for name, one in users))


SHAPES = (Shape(4096, 32),)


def verifier(
    mechanism: ScramMechanism = SHA_256, password: str = PASSWORD, iterations: int = 4096
) -> ScramVerifier:
    return scram.derive_verifier(mechanism, password, b"s" * 32, iterations)


def conversation(
    directory: Directory, mechanism: ScramMechanism = SHA_256, key: bytes = b"k" * 32
) -> server.ScramAuthenticator:
    return server.ScramAuthenticator(mechanism, services(directory, key, SHAPES), seeded())


def log_in(
    authenticator: server.ScramAuthenticator, user: str, password: str, mechanism: ScramMechanism = SHA_256
) -> Step:
    first = scram.client_first(user, "clientnonce")
    challenge = authenticator.step(first.message, 0)
    assert isinstance(challenge, Challenge)
    server_first = scram.parse_server_first(challenge.token, first)
    final, expected = scram.client_final(mechanism, password, first, server_first)
    step = authenticator.step(final, 0)
    if isinstance(step, Authenticated):
        scram.verify_server_final(step.token, expected)
    return step


@pytest.mark.parametrize("mechanism", list(ScramMechanism))
@pytest.mark.parametrize("user", ["alice", "a,b=c", "urn:x:y", "Ünï", "*"])
def test_the_right_password_authenticates_both_sides(mechanism: ScramMechanism, user: str) -> None:
    directory = Directory((user, verifier(mechanism)))
    step = log_in(conversation(directory, mechanism), user, PASSWORD, mechanism)
    assert isinstance(step, Authenticated)
    assert step.principal == Principal("User", user)
    assert step.expires_at_ms is None
    assert step.groups == ("staff",)
    assert step.credential == Credential("password", user, 2)


def test_a_wrong_password_is_rejected_with_a_reason_for_the_operator_only() -> None:
    step = log_in(conversation(Directory(("alice", verifier()))), "alice", "wrong")
    assert step == Rejected("client-final: wrong proof (user 'alice')")


def test_an_unknown_user_is_rejected_at_the_same_point() -> None:
    step = log_in(conversation(Directory(("alice", verifier()))), "mallory", PASSWORD)
    assert step == Rejected("client-final: wrong proof (unknown user 'mallory')")


def test_a_credential_of_the_other_mechanism_does_not_count() -> None:
    step = log_in(conversation(Directory(("alice", verifier(SHA_512)))), "alice", PASSWORD)
    assert isinstance(step, Rejected)


def test_a_disabled_user_is_rejected_as_an_unknown_one_is() -> None:
    directory = Directory(("alice", verifier()))
    directory.change("alice", enabled=False)
    step = log_in(conversation(directory), "alice", PASSWORD)
    assert step == Rejected("client-final: wrong proof (unknown user 'alice')")
    directory.change("alice", enabled=True)
    assert isinstance(log_in(conversation(directory), "alice", PASSWORD), Authenticated)


def test_a_user_disabled_during_the_login_does_not_get_in() -> None:
    directory = Directory(("alice", verifier()))
    authenticator = conversation(directory)
    first = scram.client_first("alice", "clientnonce")
    challenge = authenticator.step(first.message, 0)
    assert isinstance(challenge, Challenge)
    directory.change("alice", enabled=False)
    final, _ = scram.client_final(SHA_256, PASSWORD, first, scram.parse_server_first(challenge.token, first))
    assert isinstance(authenticator.step(final, 0), Rejected)


def test_a_user_removed_during_the_login_does_not_get_in() -> None:
    directory = Directory(("alice", verifier()))
    authenticator = conversation(directory)
    first = scram.client_first("alice", "clientnonce")
    challenge = authenticator.step(first.message, 0)
    assert isinstance(challenge, Challenge)
    directory.delete("alice")
    final, _ = scram.client_final(SHA_256, PASSWORD, first, scram.parse_server_first(challenge.token, first))
    assert isinstance(authenticator.step(final, 0), Rejected)


def test_a_password_changed_during_the_login_does_not_let_the_old_one_in() -> None:
    directory = Directory(("alice", verifier()))
    authenticator = conversation(directory)
    first = scram.client_first("alice", "clientnonce")
    challenge = authenticator.step(first.message, 0)
    assert isinstance(challenge, Challenge)
    directory.change("alice", verifiers=(verifier(password="another"),))
    final, _ = scram.client_final(SHA_256, PASSWORD, first, scram.parse_server_first(challenge.token, first))
    assert isinstance(authenticator.step(final, 0), Rejected)


def test_a_second_user_cannot_finish_the_first_ones_conversation() -> None:
    directory = Directory(("alice", verifier()), ("bob", verifier(password="bobs")))
    mine, other = conversation(directory), conversation(directory)
    first = scram.client_first("bob", "clientnonce")
    challenge = mine.step(first.message, 0)
    assert isinstance(challenge, Challenge)
    assert isinstance(other.step(scram.client_first("alice", "clientnonce").message, 0), Challenge)
    final, _ = scram.client_final(SHA_256, "bobs", first, scram.parse_server_first(challenge.token, first))
    assert isinstance(other.step(final, 0), Rejected)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: text.replace("c=biws", "c=eSws"), "channel binding"),
        (lambda text: text.replace("r=clientnonce", "r=clientnoncX"), "nonce"),
        (lambda text: text[: text.index(",p=")] + "x" + text[text.index(",p=") :], "nonce"),
        (lambda text: text + ",m=x", "client-final"),
        (lambda text: text.replace("r=", "r=x,r="), "client-final"),
    ],
)
def test_every_field_of_client_final_is_checked(change: Callable[[str], str], why: str) -> None:
    authenticator = conversation(Directory(("alice", verifier())))
    first = scram.client_first("alice", "clientnonce")
    challenge = authenticator.step(first.message, 0)
    assert isinstance(challenge, Challenge)
    final, _ = scram.client_final(SHA_256, PASSWORD, first, scram.parse_server_first(challenge.token, first))
    step = authenticator.step(change(final.decode()).encode(), 0)
    assert isinstance(step, Rejected)
    assert why in step.reason


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b"n,,n=alice",
        b"n,,m=x,n=alice,r=abc",
        b"n,,n=alice,r=abc,r=def",
        b"p=tls-unique,,n=alice,r=abc",
        b"y,,n=alice,r=abc",
        b"n,a=bob,n=alice,r=abc",
        b"n,,n=alice,r=abc,tokenauth=true",
        b"n,,n=,r=abc",
        b"\xff\xfe",
    ],
)
def test_a_bad_first_message_is_rejected_and_ends_the_conversation(token: bytes) -> None:
    authenticator = conversation(Directory(("alice", verifier())))
    assert isinstance(authenticator.step(token, 0), Rejected)
    assert isinstance(authenticator.step(scram.client_first("alice", "n").message, 0), Rejected)


def test_a_proof_can_be_tried_once() -> None:
    authenticator = conversation(Directory(("alice", verifier())))
    assert isinstance(log_in(authenticator, "alice", "wrong"), Rejected)
    assert authenticator.step(b"c=biws,r=x,p=AAAA", 0) == Rejected(
        "a token after the end of the conversation"
    )


def test_server_nonces_differ_between_conversations() -> None:
    credentials = services(Directory(("alice", verifier())))
    entropy = seeded()
    message = scram.client_first("alice", "clientnonce").message
    steps = [server.ScramAuthenticator(SHA_256, credentials, entropy).step(message, 0) for _ in range(50)]
    nonces = {step.token.split(b",")[0] for step in steps if isinstance(step, Challenge)}
    assert len(nonces) == 50
    assert min(len(nonce) for nonce in nonces) >= len("r=clientnonce") + 32


def test_a_hostile_name_reaches_the_log_short_and_escaped() -> None:
    step = log_in(conversation(Directory()), "x\n" * 500, "y")
    assert isinstance(step, Rejected)
    assert "\n" not in step.reason
    assert len(step.reason) < 250


class TestUnknownUsers:
    """What somebody without a password can observe."""

    def challenge(self, directory: Directory, user: str, key: bytes = b"k" * 32) -> scram.ServerFirst:
        first = scram.client_first(user, "clientnonce")
        step = conversation(directory, key=key).step(first.message, 0)
        assert isinstance(step, Challenge)
        return scram.parse_server_first(step.token, first)

    def test_the_salt_is_the_same_at_every_try_and_after_a_restart(self) -> None:
        salts = {self.challenge(Directory(("alice", verifier())), "mallory").salt for _ in range(5)}
        assert len(salts) == 1

    def test_the_salt_depends_on_the_name_the_mechanism_and_the_secret_key(self) -> None:
        directory = Directory(("alice", verifier()))
        one = self.challenge(directory, "mallory")
        assert self.challenge(directory, "mallorx").salt != one.salt
        assert self.challenge(directory, "mallory", key=b"z" * 32).salt != one.salt
        credentials = services(directory)
        assert (
            credentials.decoy_verifier("m", SHA_256).salt
            != credentials.decoy_verifier("m", SHA_512).salt[:32]
        )

    def test_it_looks_like_a_stored_verifier(self) -> None:
        directory = Directory(("alice", verifier()))
        known, unknown = self.challenge(directory, "alice"), self.challenge(directory, "mallory")
        assert (len(unknown.salt), unknown.iterations) == (len(known.salt), known.iterations)

    def test_a_user_without_the_mechanism_shows_the_shape_it_has_in_the_other(self) -> None:
        """Unknown users show one shape in both mechanisms, so a known one must not show two."""
        for salt_bytes in (18, 26, 40):
            known = ScramVerifier(SHA_512, b"s" * salt_bytes, 5000, b"a" * 64, b"b" * 64)
            shown = self.challenge(Directory(("alice", known)), "alice")
            assert (len(shown.salt), shown.iterations) == (salt_bytes, 5000)
            assert shown.salt != known.salt

    def test_the_same_work_is_done(self) -> None:
        """Calls of the primitives, not seconds: exact on every machine."""
        calls: dict[str, int] = {}

        def count(user: str) -> int:
            directory = Directory(
                ("alice", verifier()), ("disabled", verifier()), ("other", verifier(SHA_512))
            )
            directory.change("disabled", enabled=False)
            authenticator = conversation(directory)
            made = 0
            original = hmac.digest

            def digest(*args: object) -> bytes:
                nonlocal made
                made += 1
                return original(*args)  # type: ignore[arg-type]

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(hmac, "digest", digest)
                first = scram.client_first(user, "clientnonce")
                assert isinstance(authenticator.step(first.message, 0), Challenge)
                final = b"c=biws,r=clientnonce" + b"x" * 32 + b",p=" + b"AAAA" * 10 + b"AAA="
                assert isinstance(authenticator.step(final, 0), Rejected)
            return made

        for user in ("alice", "mallory", "disabled", "other"):
            calls[user] = count(user)
        assert len(set(calls.values())) == 1
        assert calls["alice"] > 0

    def test_the_time_is_about_the_same(self) -> None:
        directory = Directory(*((f"user{i}", verifier()) for i in range(3)))
        credentials = services(directory)

        def best(user: str) -> float:
            message = scram.client_first(user, "clientnonce").message
            times = []
            for _ in range(200):
                authenticator = server.ScramAuthenticator(SHA_256, credentials, seeded())
                start = time.perf_counter()
                authenticator.step(message, 0)
                times.append(time.perf_counter() - start)
            return min(times)

        known, unknown = best("user1"), best("user9")
        assert 0.5 < known / unknown < 2.0
