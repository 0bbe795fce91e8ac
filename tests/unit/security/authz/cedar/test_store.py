"""Changed policies come into force, or those from before stay and everybody is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from rivven.security.authz.cedar.book import PoliciesRefused
from rivven.security.authz.cedar.store import PolicyStore
from tests.unit.security.authz.cedar.policy_world import Standing, write

PERMIT = '@id("{}") permit(principal, action, resource is Topic);\n'


class Told:
    def __init__(self) -> None:
        self.loaded: list[tuple[int, int]] = []
        self.failed = 0

    def policies_loaded(self, count: int, now_ms: int) -> None:
        self.loaded.append((count, now_ms))

    def policy_reload_failed(self) -> None:
        self.failed += 1


def store(directory: Path, told: Told, schema: Path | None = None) -> PolicyStore:
    return PolicyStore(directory, schema, told, Standing(1), lambda: {"Role": ("known",)})


def ids(policies: PolicyStore) -> list[str]:
    return sorted(policies.rules.book.policies)


async def test_a_change_a_new_file_and_a_removal_come_into_force(tmp_path: Path) -> None:
    told = Told()
    write(tmp_path, PERMIT.format("one"))
    policies = store(tmp_path, told)
    before, stamps = policies.rules, {policies.stamp}
    assert not await policies.look_once()
    write(tmp_path, PERMIT.format("two"))
    assert await policies.look_once()
    assert ids(policies) == ["two"]
    assert policies.stamp not in stamps
    write(tmp_path, PERMIT.format("three"), "b.cedar")
    await policies.look_once()
    assert ids(policies) == ["three", "two"]
    (tmp_path / "a.cedar").unlink()
    await policies.look_once()
    assert ids(policies) == ["three"]
    assert policies.version == 4
    assert policies.rules is not before
    assert told.loaded == [(1, 3_600_000), (1, 3_600_000), (2, 3_600_000), (1, 3_600_000)]
    assert told.failed == 0


def test_the_stamp_covers_the_hour_where_policies_ask_for_it(tmp_path: Path) -> None:
    clock = Standing(1)
    for name, condition, timed in (
        ("tls", "context.tls", False),
        ("hour", "context.hour < 9", True),
        ("weekday", "context.weekday < 6", True),
    ):
        write(tmp_path / name, f'@id("x") permit(principal, action, resource) when {{ {condition} }};')
        policies = PolicyStore(tmp_path / name, None, Told(), clock)
        before = policies.stamp
        assert policies.stamp == before
        clock.hour += 1
        assert (policies.stamp != before) is timed


@pytest.mark.parametrize(
    "broken",
    [
        "permit(",
        "permit(principal, action, resource);",
        '@id("x") permit(principal is Person, action, resource);',
        '@id("x") forbid(principal, action, resource);',
    ],
)
async def test_what_is_refused_leaves_the_policies_from_before(
    tmp_path: Path, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()
    write(tmp_path, PERMIT.format("one"))
    policies = store(tmp_path, told)
    write(tmp_path, broken)
    assert await policies.look_once()
    assert ids(policies) == ["one"]
    assert (policies.version, told.failed, len(told.loaded)) == (1, 1, 1)
    assert "a.cedar:1" in caplog.text
    assert "those from before stay in force" in caplog.text
    write(tmp_path, PERMIT.format("two"))
    await policies.look_once()
    assert ids(policies) == ["two"]


async def test_a_directory_that_goes_away_drops_no_policy(tmp_path: Path) -> None:
    told = Told()
    directory = tmp_path / "policies"
    path = write(directory, PERMIT.format("one"))
    policies = store(directory, told)
    path.unlink()
    directory.rmdir()
    await policies.look_once()
    assert ids(policies) == ["one"]
    assert told.failed == 1


def test_at_the_start_a_refusal_is_raised(tmp_path: Path) -> None:
    write(tmp_path, '@id("x") forbid(principal, action, resource);')
    with pytest.raises(PoliciesRefused, match="unconditional forbid"):
        store(tmp_path, Told())


def test_warnings_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, '@id("x") permit(principal in Role::"unknown", action, resource);')
    store(tmp_path, Told())
    assert 'Role::"unknown" is not known' in caplog.text


async def test_the_schema_is_followed_too(tmp_path: Path) -> None:
    schema = tmp_path / "own.cedarschema"
    declared = 'entity User, Topic, Role; action "Read" appliesTo {{ principal: User, resource: {} }};'
    schema.write_text(declared.format("Topic"))
    told = Told()
    write(tmp_path / "policies", PERMIT.format("one"))
    policies = store(tmp_path / "policies", told, schema)
    schema.write_text(declared.format("Role"))
    assert await policies.look_once()
    assert told.failed == 1
    assert ids(policies) == ["one"]
