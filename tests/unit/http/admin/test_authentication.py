"""Who a request comes from: three ways in, and one answer to everything that is wrong."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from rivven.errors import ErrorCode
from rivven.http.admin.authentication import CHALLENGES, RequestAuthentication
from rivven.http.admin.peer import Peer
from rivven.http.admin.problems import Problem
from rivven.security.authn.authenticator import Authenticated, Deferred, Rejected, Step
from rivven.security.authn.verification import NO_ROOM_TEXT
from rivven.types import ANONYMOUS
from tests.unit.http.admin.serving import ALICE, MALLORY, Doors, StillClock, new_admission


def make(doors: Doors, **options: Any) -> RequestAuthentication:
    verifiers: dict[str, Any] = {
        "passwords": doors.Passwords(),
        "bearer": doors.Tokens(),
        "certificates": doors.Certificates(),
    }
    return RequestAuthentication(new_admission(), StillClock(), doors, **(verifiers | options))


async def refused(authentication: RequestAuthentication, headers: Sequence[str], peer: Peer) -> Problem:
    with pytest.raises(Problem) as caught:
        await authentication.authenticate(headers, peer)
    return caught.value


@pytest.mark.parametrize(
    ("headers", "certificate", "mechanism"),
    [
        ([ALICE], None, "BASIC"),
        (["bearer rvn_alice"], None, "BEARER"),
        (["BEARER  rvn_alice "], None, "BEARER"),
        ([], b"alice", "MTLS"),
        ([ALICE], b"mallory", "BASIC"),
    ],
)
async def test_three_ways_in(headers: list[str], certificate: bytes | None, mechanism: str) -> None:
    doors, peer = Doors(), Peer("10.0.0.1", True, certificate)
    for _ in range(2):
        assert await make(doors).authenticate(headers, peer) == (Doors.alice, mechanism)
    assert peer.trusted
    assert doors.authenticated_by == [mechanism], "told once per connection"


WRONG = {
    "a wrong password": MALLORY,
    "an unknown user": "Basic " + b64encode(b"bob:correct horse").decode(),
    "no password": "Basic " + b64encode(b"alice").decode(),
    "an empty password": "Basic " + b64encode(b"alice:").decode(),
    "no base64": "Basic !!!",
    "no UTF-8": "Basic " + b64encode(b"\xff\xfe:x").decode(),
    "an unknown token": "Bearer rvn_mallory",
    "no token": "Bearer",
    "another scheme": "Digest username=alice",
    "nothing": "",
    "too long": "Bearer " + "x" * 30_000,
}


@pytest.mark.parametrize("header", WRONG.values(), ids=WRONG.keys())
async def test_everything_wrong_looks_the_same(header: str) -> None:
    doors = Doors()
    problem = await refused(make(doors), [header], Peer("10.0.0.1", True))
    nothing_sent = await refused(make(doors), [], Peer("10.0.0.1", True))
    assert problem.body() == nothing_sent.body()
    assert problem.headers == CHALLENGES
    assert len(doors.failed_by) == 1, "who sends nothing has not failed"


async def test_a_wrong_password_is_not_rescued_by_a_certificate() -> None:
    assert (await refused(make(Doors()), [MALLORY], Peer("10.0.0.1", True, b"alice"))).status == 401


async def test_a_password_nobody_had_time_for_is_not_called_wrong() -> None:
    class Full:
        async def verify(self, user: str, password: str, host: str) -> Rejected:
            return Rejected("no room", code=ErrorCode.REQUEST_TIMED_OUT, text=NO_ROOM_TEXT)

    problem = await refused(make(Doors(), passwords=Full()), [ALICE], Peer("10.0.0.1", True))
    assert (problem.status, problem.detail) == (503, NO_ROOM_TEXT)
    assert ("Retry-After", "1") in problem.headers


async def test_two_headers_are_one_too_many() -> None:
    assert (await refused(make(Doors()), [ALICE, ALICE], Peer("10.0.0.1", True))).status == 401


async def test_a_way_in_that_is_not_offered_is_wrong_too() -> None:
    closed = make(Doors(), passwords=None, bearer=None, certificates=None)
    for headers, certificate in (([ALICE], None), (["Bearer rvn_alice"], None), ([], b"alice")):
        assert (await refused(closed, headers, Peer("10.0.0.1", True, certificate))).status == 401


async def test_nothing_secret_is_taken_without_tls() -> None:
    problem = await refused(make(Doors()), [ALICE], Peer("10.0.0.1", False))
    assert (problem.status, "TLS" in problem.detail) == (400, True)
    assert (await refused(make(Doors()), [], Peer("10.0.0.1", False))).status == 401
    anonymous, mechanism = await make(Doors(), anonymous=True).authenticate([], Peer("10.0.0.1", False))
    assert (anonymous.principal, mechanism) == (ANONYMOUS, "none")
    # With TLS nobody is anonymous, insecure or not.
    assert (await refused(make(Doors(), anonymous=True), [], Peer("10.0.0.1", True))).status == 401


class Expiring:
    """Gives alice until a moment, after a wait when `deferred`."""

    def __init__(self, expires_at_ms: int, deferred: bool = False) -> None:
        self.identity = replace(Doors.alice, expires_at_ms=expires_at_ms)
        self.deferred = deferred

    def verify(self, text: str, host: str, now_ms: int) -> Step | Deferred:
        async def outcome() -> Step:
            return self.identity

        return Deferred(outcome) if self.deferred else self.identity


async def test_an_ended_credential_is_no_credential() -> None:
    now = StillClock().now_ms()
    for deferred in (False, True):
        peer = Peer("10.0.0.1", True)
        fresh = make(Doors(), bearer=Expiring(now + 1, deferred))
        identity, _ = await fresh.authenticate(["Bearer x"], peer)
        assert isinstance(identity, Authenticated)
        ended = make(Doors(), bearer=Expiring(now, deferred))
        assert (await refused(ended, ["Bearer x"], peer)).status == 401


async def test_failures_of_an_address_are_answered_later_and_later() -> None:
    admission, clock, doors = new_admission(failure_delay_s=0.001), StillClock(), Doors()
    authentication = RequestAuthentication(admission, clock, doors, passwords=doors.Passwords())
    for _ in range(3):
        await refused(authentication, [MALLORY], Peer("10.0.0.1", True))
    assert admission.authentication_failed("10.0.0.1", 0) == pytest.approx(0.008)
    assert admission.authentication_failed("10.0.0.2", 0) == pytest.approx(0.001)
