"""What peers may use before they have proved who they are."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from rivven.security import admission as module
from rivven.security.admission import Admission, peer_of


def admission(total: int = 10, each: int = 3) -> Admission:
    return Admission(
        max_connections=total,
        max_connections_per_ip=each,
        handshake_timeout_s=10.0,
        authentication_timeout_s=30.0,
    )


def test_connections_per_address() -> None:
    door = admission()
    assert [door.admit("10.0.0.1") for _ in range(3)] == [None] * 3
    assert door.admit("10.0.0.1") == "10.0.0.1 holds 3 connections already (limits.max_connections_per_ip)"
    assert door.admit("10.0.0.2") is None
    door.release("10.0.0.1")
    assert door.admit("10.0.0.1") is None


def test_connections_in_total() -> None:
    door = admission(total=4, each=4)
    assert [door.admit(f"10.0.0.{i}") for i in range(4)] == [None] * 4
    assert door.admit("10.0.0.9") == "all 4 connections are in use (limits.max_connections)"
    assert door.connections == 4
    door.release("10.0.0.2")
    assert door.admit("10.0.0.9") is None


def test_a_refused_connection_is_not_counted() -> None:
    door = admission(total=2, each=1)
    door.admit("10.0.0.1")
    for _ in range(5):
        assert door.admit("10.0.0.1") is not None
    assert door.connections == 1
    door.release("10.0.0.1")
    assert door.connections == 0
    with pytest.raises(ValueError, match="no connection"):
        door.release("10.0.0.1")


def test_nothing_is_remembered_of_peers_that_left() -> None:
    door = admission(total=1000)
    for i in range(300):
        host = f"10.0.{i // 250}.{i % 250}"
        door.admit(host)
        door.release(host)
    assert door._per_peer == {}


def test_one_ipv6_subscriber_is_one_peer() -> None:
    door = admission(each=2)
    assert door.admit("2001:db8:1:2::1") is None
    assert door.admit("2001:db8:1:2:ffff::99") is None
    assert door.admit("2001:db8:1:2::3") is not None
    assert door.admit("2001:db8:1:3::1") is None


def test_peer_of() -> None:
    assert peer_of("::ffff:10.0.0.1") == peer_of("10.0.0.1") == "10.0.0.1"
    assert peer_of("fe80::1%eth0") == "fe80::/64"
    assert peer_of("::1") == "::/64"
    assert peer_of("local") == "local"


def test_failed_logins_are_answered_later_and_later() -> None:
    door = admission()
    delays = [door.authentication_failed("10.0.0.1", now) for now in range(8)]
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 4.0, 4.0]
    assert door.authentication_failed("10.0.0.2", 8) == 0.1, "others are not punished"


def test_failures_are_forgotten_after_a_quiet_minute() -> None:
    door = admission()
    for _ in range(5):
        door.authentication_failed("10.0.0.1", 0.0)
    assert door.authentication_failed("10.0.0.1", 60.0) == 3.2
    assert door.authentication_failed("10.0.0.1", 120.1) == 0.1


def test_remembered_failures_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FAILING_PEERS_MAX", 100)
    door = admission()
    door.authentication_failed("192.0.2.1", 0.0)
    for i in range(150):
        door.authentication_failed(f"10.0.0.{i}", 1.0)
    assert len(door._failures) == 100
    assert door.authentication_failed("192.0.2.1", 2.0) == 0.1, "the longest silent one was forgotten"


def test_a_flood_of_failures_stays_cheap_and_bounded() -> None:
    door = admission()
    assert {door.authentication_failed("10.0.0.1", 0.0) for _ in range(10_000)} <= {
        0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 4.0,
    }  # fmt: skip


def test_failures_held_back_are_bounded_per_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that they cannot use up the connections of an address that others log in from."""
    monkeypatch.setattr(module, "FAILURES_HELD_PER_PEER_MAX", 2)
    door = admission()
    assert door.hold_failure("10.0.0.1")
    assert door.hold_failure("::ffff:10.0.0.1")
    assert not door.hold_failure("10.0.0.1")
    assert door.hold_failure("10.0.0.2")
    door.failure_answered("10.0.0.1")
    assert door.hold_failure("10.0.0.1")
    for host in ("10.0.0.1", "10.0.0.1", "10.0.0.2"):
        door.failure_answered(host)
    assert door._held == {}


@dataclass(eq=False)
class Guest:
    """A connection as admission sees it."""

    door: Admission
    host: str
    opened_at: float = 0.0
    authenticated: bool = False
    closed: str = ""

    def __post_init__(self) -> None:
        assert self.door.admit(self.host) is None
        self.door.entered(self, self.host)

    def abort(self, reason: str) -> None:
        self.closed = reason
        self.door.left(self, self.host)
        self.door.release(self.host)


def test_who_never_logs_in_gives_way_when_the_address_is_full() -> None:
    door = admission(each=3)
    user = Guest(door, "10.0.0.1", authenticated=True)
    early = Guest(door, "10.0.0.1")
    elsewhere = Guest(door, "10.0.0.2")
    late = Guest(door, "10.0.0.1", opened_at=1.5)
    assert door.admit("10.0.0.1") is not None
    assert not door.make_room("10.0.0.1", 1.9), "it may be logging in"
    assert door.make_room("10.0.0.1", 2.0)
    assert [bool(one.closed) for one in (user, early, elsewhere, late)] == [False, True, False, False]
    newcomer = Guest(door, "10.0.0.1", opened_at=2.0)
    assert not door.make_room("10.0.0.1", 3.0)
    assert door.make_room("10.0.0.1", 3.5)
    assert late.closed
    newcomer.authenticated = True
    assert not door.make_room("10.0.0.1", 9.0), "who has logged in stays"


def test_who_never_logs_in_gives_way_when_everything_is_full() -> None:
    door = admission(total=3)
    user, first, second = (Guest(door, f"10.0.0.{number}", opened_at=number) for number in range(3))
    user.authenticated = True
    assert door.admit("10.0.0.9") is not None
    assert door.make_room("10.0.0.9", 9.0)
    assert [bool(one.closed) for one in (user, first, second)] == [False, True, False]
    assert door.admit("10.0.0.9") is None


def test_nothing_is_remembered_of_strangers_that_left() -> None:
    door = admission()
    for number in range(100):
        guest = Guest(door, f"10.0.0.{number}", authenticated=number % 2 == 0)
        door.make_room(guest.host, 0.0)
        guest.abort("done")
    assert door.connections == 0
    assert not door._strangers
    assert not door._strangers_of
