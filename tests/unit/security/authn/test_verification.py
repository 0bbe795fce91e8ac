"""Passwords in the clear: one derivation for a storm of logins, and a right one gets through an attack.

The verifiers here wait for the test, so that what runs and what waits is known exactly.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from rivven.errors import ErrorCode
from rivven.security.authn import verification
from rivven.security.authn.authenticator import Authenticated, Credential, Rejected
from rivven.security.authn.verification import NO_ROOM_TEXT, THREADS, PasswordVerifications
from rivven.testing.canary import leaks
from rivven.types import Principal
from tests.unit.replication.data_plane import StillClock

HERE, THERE = "10.0.0.1", "10.0.0.2"


@dataclass
class Gate:
    """Lets derivations through, or holds them until opened; counts them."""

    right: str
    checked: list[str] = field(default_factory=list)
    opened: threading.Event = field(default_factory=threading.Event)

    def check(self, password: str) -> bool:
        self.checked.append(password)
        assert self.opened.wait(10)
        return password == self.right


class Directory:
    def __init__(self) -> None:
        self.gate = Gate("right")
        self.gate.opened.set()
        self.decoy = Gate("no password at all")
        self.decoy.opened = self.gate.opened
        self.version = 1
        self.names = {"ann", "bob", *(f"user{i}" for i in range(50))}

    def identity(self, name: str) -> Authenticated | None:
        if name not in self.names:
            return None
        return Authenticated(Principal("User", name), credential=Credential("password", name, self.version))

    def password_verifier(self, name: str) -> Gate | None:
        return self.gate if name in self.names else None


class Clock(StillClock):
    """A clock the test moves."""

    seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


class World:
    def __init__(self, **limits: int) -> None:
        self.directory, self.clock = Directory(), Clock()
        self.passwords = PasswordVerifications(
            self.directory,
            lambda _user: self.directory.decoy,
            self.clock,
            lambda size: b"p" * size,
            **limits,
        )

    async def verify(self, user: str, password: str, host: str = HERE) -> Authenticated | Rejected:
        return await self.passwords.verify(user, password, host)

    def start(self, user: str, password: str, host: str = HERE) -> asyncio.Task[Authenticated | Rejected]:
        return asyncio.get_running_loop().create_task(self.verify(user, password, host))

    async def occupied(self) -> list[asyncio.Task[Authenticated | Rejected]]:
        """Both threads are busy until the gate opens."""
        self.directory.gate.opened.clear()
        tasks = [self.start(f"user{40 + i}", "guess", "192.0.2.9") for i in range(THREADS)]
        await settled()
        assert self.passwords.waiting == 0
        return tasks

    @property
    def checked(self) -> int:
        return len(self.directory.gate.checked) + len(self.directory.decoy.checked)


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World(per_address_max=4, total_max=8)
    yield made
    made.directory.gate.opened.set()
    made.passwords.close()


async def test_right_wrong_and_unknown(world: World) -> None:
    right = await world.verify("ann", "right")
    assert isinstance(right, Authenticated)
    assert right.principal == Principal("User", "ann")
    assert await world.verify("ann", "wrong") == Rejected("wrong password (user 'ann')")
    assert await world.verify("eve", "right") == Rejected("wrong password (unknown user 'eve')")
    assert (world.directory.gate.checked, world.directory.decoy.checked) == (["right", "wrong"], ["right"])


async def test_a_decoy_that_lets_somebody_in_lets_nobody_in(world: World) -> None:
    assert isinstance(await world.verify("eve", "no password at all"), Rejected)


async def test_a_right_password_is_remembered_for_a_minute_and_no_longer(world: World) -> None:
    for _ in range(5):
        assert isinstance(await world.verify("ann", "right"), Authenticated)
    assert world.checked == 1
    world.clock.seconds += 59.9
    assert isinstance(await world.verify("ann", "right", THERE), Authenticated)
    assert world.checked == 1
    world.clock.seconds += 0.2  # using it does not keep it
    assert isinstance(await world.verify("ann", "right"), Authenticated)
    assert world.checked == 2


async def test_what_is_remembered_is_of_one_user_one_password_and_one_version(world: World) -> None:
    await world.verify("ann", "right")
    await world.verify("bob", "right")
    assert isinstance(await world.verify("ann", "right "), Rejected)
    assert world.checked == 3
    world.directory.version += 1
    await world.verify("ann", "right")
    assert world.checked == 4
    world.directory.gate.right = "new"
    world.directory.version += 1
    assert isinstance(await world.verify("ann", "right"), Rejected)


async def test_a_disabled_user_does_not_get_in_by_memory(world: World) -> None:
    await world.verify("ann", "right")
    world.directory.names.remove("ann")
    assert isinstance(await world.verify("ann", "right"), Rejected)


async def test_wrong_passwords_are_not_remembered(world: World) -> None:
    for _ in range(3):
        await world.verify("ann", "wrong")
    assert world.checked == 3


async def test_memory_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "REMEMBERED_MAX", 2)
    for user in ("user1", "user2", "user3", "user3", "user2"):
        assert isinstance(await world.verify(user, "right"), Authenticated)
    assert world.checked == 3
    await world.verify("user1", "right")
    assert world.checked == 4


async def test_a_storm_of_one_login_is_one_derivation(world: World) -> None:
    busy = await world.occupied()
    storm = [world.start("ann", "right", f"10.1.0.{i}") for i in range(100)]
    await settled()
    assert world.passwords.waiting == 1
    world.directory.gate.opened.set()
    assert all(isinstance(one, Authenticated) for one in await asyncio.gather(*storm))
    await asyncio.gather(*busy)
    assert world.directory.gate.checked.count("right") == 1


async def test_guesses_at_one_name_push_each_other_out_not_the_login_of_another(world: World) -> None:
    busy = await world.occupied()
    guesses = [world.start("ann", f"guess{i}") for i in range(20)]
    await settled()
    login = world.start("bob", "right")
    more = [world.start("ann", f"more{i}") for i in range(20)]
    await settled()
    assert world.passwords.waiting == 4
    world.directory.gate.opened.set()
    assert isinstance(await login, Authenticated)
    refused = [await one for one in (*guesses, *more)]
    assert all(isinstance(one, Rejected) for one in refused)
    full = [one for one in refused if isinstance(one, Rejected) and "too many logins" in one.reason]
    assert len(full) == 37
    assert {(one.code, one.text) for one in full} == {(ErrorCode.REQUEST_TIMED_OUT, NO_ROOM_TEXT)}
    await asyncio.gather(*busy)
    assert world.passwords.refused_for_room == 37


async def test_a_password_that_was_right_before_goes_in_front_of_any_number_of_guesses(world: World) -> None:
    assert isinstance(await world.verify("ann", "right"), Authenticated)
    world.clock.seconds += 3600
    busy = await world.occupied()
    guesses = [world.start("ann", f"guess{i}") for i in range(20)]
    await settled()
    login = world.start("ann", "right")
    await settled()
    world.directory.gate.opened.set()
    assert isinstance(await login, Authenticated)
    await asyncio.gather(*guesses, *busy)
    order = world.directory.gate.checked[1:]
    assert "right" in order[THREADS : 2 * THREADS], "taken first; which thread says so first is open"


async def test_addresses_are_served_in_turn(world: World) -> None:
    busy = await world.occupied()
    crowd = [world.start("ann", f"guess{i}", HERE) for i in range(4)]
    await settled()
    alone = world.start("bob", "right", THERE)
    await settled()
    world.directory.gate.opened.set()
    await asyncio.gather(alone, *crowd, *busy)
    waited = world.directory.gate.checked[THREADS:]
    assert waited.index("right") <= 1
    assert isinstance(alone.result(), Authenticated)


async def test_all_addresses_together_are_bounded_and_the_fullest_gives_way(world: World) -> None:
    busy = await world.occupied()
    crowd = [world.start(f"user{i}", "guess", HERE) for i in range(4)]
    others = [world.start("ann", f"guess{i}", f"10.2.0.{i}") for i in range(4)]
    await settled()
    assert world.passwords.waiting == 8
    late = world.start("bob", "right", THERE)
    await settled()
    assert world.passwords.waiting == 8
    world.directory.gate.opened.set()
    assert isinstance(await late, Authenticated)
    outcomes = await asyncio.gather(*crowd)
    assert sum("too many" in one.reason for one in outcomes if isinstance(one, Rejected)) == 1
    await asyncio.gather(*others, *busy)


async def test_a_login_that_shared_a_place_lost_by_another_address_waits_in_its_own(world: World) -> None:
    busy = await world.occupied()
    guesses = [world.start("ann", f"guess{i}", HERE) for i in range(4)]
    await settled()
    shared = world.start("ann", "right", HERE)  # its address has no room: it is the one refused
    joined = world.start("ann", "right", THERE)
    await settled()
    world.directory.gate.opened.set()
    assert isinstance(await joined, Authenticated)
    await asyncio.gather(shared, *guesses, *busy)


async def test_who_hangs_up_gives_the_place_free(world: World) -> None:
    busy = await world.occupied()
    gone = [world.start("ann", f"guess{i}") for i in range(4)]
    await settled()
    for task in gone:
        task.cancel()
    await settled()
    assert world.passwords.waiting == 0
    login = world.start("ann", "right")
    await settled()
    world.directory.gate.opened.set()
    assert isinstance(await login, Authenticated)
    await asyncio.gather(*busy)
    assert not any("guess0" in one for one in world.directory.gate.checked)


async def test_a_credential_changed_during_the_login_does_not_let_the_old_one_in(world: World) -> None:
    busy = await world.occupied()
    login = world.start("ann", "right")
    await settled()
    world.directory.version += 1
    world.directory.gate.opened.set()
    outcome = await login
    assert isinstance(outcome, Rejected)
    assert "changed or removed" in outcome.reason
    await asyncio.gather(*busy)


async def test_a_derivation_that_fails_lets_nobody_in(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(_password: str) -> bool:
        raise MemoryError

    monkeypatch.setattr(world.directory.gate, "check", no_memory)
    assert isinstance(await world.verify("ann", "right"), Rejected)


@pytest.mark.parametrize(
    ("user", "password"),
    [("x" * 257, "right"), ("ann", "x" * 1025), ("ann", "\ud800"), ("\ud800", "right"), ("ann", "right\0")],
)
async def test_what_cannot_be_right_costs_nothing(world: World, user: str, password: str) -> None:
    assert isinstance(await world.verify(user, password), Rejected)
    assert world.checked == 0


async def test_a_token_in_place_of_the_password_goes_to_the_tokens_and_its_user_is_not_believed(
    world: World,
) -> None:
    class Tokens:
        asked: tuple[str, str, int] = ("", "", 0)

        def verify(self, text: str, *, host: str, now_ms: int) -> Authenticated | Rejected:
            self.asked = (text, host, now_ms)
            return Authenticated(Principal("User", "owner"))

    assert isinstance(
        await world.verify("ann", "rvn_abc"), Rejected
    )  # no tokens here: a password like others
    tokens = world.passwords.tokens = Tokens()
    step = await world.verify("ann", "rvn_abc")
    assert step == Authenticated(Principal("User", "owner"))
    assert tokens.asked == ("rvn_abc", HERE, world.clock.now_ms())
    assert world.checked == 1


async def test_closing_refuses_what_waits(world: World) -> None:
    busy = await world.occupied()
    waiting = world.start("ann", "right")
    await settled()
    world.passwords.close()
    outcome = await waiting
    assert isinstance(outcome, Rejected)
    world.directory.gate.opened.set()
    await asyncio.gather(*busy)


async def test_reasons_hold_no_password(world: World) -> None:
    outcomes = [await world.verify(user, "canary-Pa55word") for user in ("ann", "eve", "x" * 999)]
    assert not leaks(["canary-Pa55word"], {"reasons": repr(outcomes), "object": repr(vars(world.passwords))})
