"""The issuers of a broker: taken from configuration and file, followed, and what a change ends."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from rivven.app import oidc as oidc_module
from rivven.app.failures import ExitCode, StartFailed
from rivven.app.oidc import Oidc
from rivven.clock import SystemClock
from rivven.config.load import ConfigError, validate
from rivven.config.models import Config
from rivven.security.authn.authenticator import Credential
from rivven.security.authz.authorizer import Subject
from rivven.security.authz.roles import RoleDirectory
from rivven.security.sessions import Sessions
from rivven.tasks import Tasks
from rivven.types import Principal
from tests.unit.security.authn.test_external_names import NAMES

ONE, TWO = "https://localhost:1/one", "https://localhost:1/two"
SERVER = {"tls": {"cert_path": "c", "key_path": "k", "ca_path": "ca", "client_auth": "required"}}


LISTENER = {"name": "main", "bind": "127.0.0.1:1", "protocol": "sasl_ssl", "sasl": ["OAUTHBEARER"]}


def config(oidc: dict[str, Any], **keys: Any) -> Config:
    return validate({"listeners": [LISTENER], "server": SERVER, "auth": {"oidc": oidc}} | keys, "test")


def entry(issuer: str, prefix: str) -> dict[str, Any]:
    return {
        "issuer": issuer,
        "audiences": ["rivven"],
        "prefix": prefix,
        "groups_claim": "groups",
        "group_roles": {"dev": "producer"},
    }


class Observer:
    def keys_fetched(self, issuer: str, ok: bool) -> None:
        assert not ok  # nobody listens at port 1


@dataclass
class Live:
    """A session begun by a JWT."""

    id: str
    issuer: str
    version: int
    name: str = "kc-alice"
    token_id: str = ""
    ended: list[str] = field(default_factory=list)
    expires_at_ms: int | None = None
    connected_at_ms: int = 0
    client_software: str = ""

    @property
    def subject(self) -> Subject:
        return Subject(Principal("User", self.name), "10.0.0.1", groups=("kc-dev",))

    @property
    def credentials(self) -> tuple[Credential, ...]:
        return (Credential("jwt", self.token_id, issuer=self.issuer, version=self.version),)

    def still_trusted(self) -> str | None:
        return None

    def end(self, reason: str) -> None:
        self.ended.append(reason)


class World:
    def __init__(self, settings: Config) -> None:
        self.tasks = Tasks()
        self.roles = RoleDirectory()
        self.sessions = Sessions()
        self.revoked: dict[str, str] = {}
        self.oidc = Oidc(
            settings,
            names=NAMES,
            revoked=lambda credential: self.revoked.get(credential.id),
            clock=SystemClock(),
            tasks=self.tasks,
            observer=Observer(),
            roles=self.roles,
        )

    def live(self, issuer: str, **facts: Any) -> Live:
        found = self.oidc.issuers.find(issuer)
        assert found is not None
        live = Live(self.sessions.new_id(), issuer, found[1], **facts)
        self.sessions.add(live)
        return live


def write(path: Path, *issuers: str) -> None:
    lines = [f"- {{issuer: '{one}', audiences: [rivven], prefix: '{one[-3:]}-'}}\n" for one in issuers]
    path.write_text("issuers:\n" + "".join(lines))


async def test_groups_of_issuers_have_their_roles() -> None:
    world = World(config({"issuers": [entry(ONE, "one-"), entry(TWO, "two-")]}))
    world.oidc.start(world.sessions)
    assert world.oidc.issuers.names() == [ONE, TWO]
    assert world.roles.roles_of("one-alice", ("one-dev",)) == ("producer",)
    assert world.roles.roles_of("alice", ("dev",)) == ()
    [first, _] = world.roles.bindings()
    assert (first.member, first.role, first.source, first.where) == (
        "Group:one-dev",
        "producer",
        "issuer",
        ONE,
    )
    await world.tasks.cancel_all()


async def test_a_role_that_does_not_exist_is_named(caplog: pytest.LogCaptureFixture) -> None:
    issuer = entry(ONE, "one-")
    world = World(config({"issuers": [issuer | {"group_roles": {"dev": "producer", "ops": "porducer"}}]}))
    world.oidc.start(world.sessions)
    [warning] = [text for text in caplog.messages if "role" in text]
    assert warning == f"issuer {ONE}: the group one-ops has the role porducer, which does not exist"
    await world.tasks.cancel_all()


async def test_a_file_that_everybody_can_write_refuses_the_start(tmp_path: Path) -> None:
    path = tmp_path / "issuers.yaml"
    write(path, ONE)
    path.chmod(0o666)
    with pytest.raises(StartFailed, match="every user of this machine may change it: chmod o-w"):
        World(config({"issuers_file": str(path)})).oidc.start(Sessions())
    path.chmod(0o664)
    world = World(config({"issuers_file": str(path)}))
    world.oidc.start(world.sessions)
    await world.tasks.cancel_all()


async def test_a_session_ends_with_its_issuer_or_when_its_name_becomes_ours(tmp_path: Path) -> None:
    path = tmp_path / "issuers.yaml"
    write(path, ONE, TWO)
    world = World(config({"issuers_file": str(path)}))
    world.oidc.start(world.sessions)
    gone, stays = world.live(ONE), world.live(TWO)
    ours = world.live(TWO, name="alice")
    assert ours.ended == ["the user name 'alice' is that of a local user"]
    world.revoked["bad"] = "revoked: jwt-id bad"
    assert world.live(TWO, token_id="bad").ended == ["revoked: jwt-id bad"]
    write(path, TWO)
    async with asyncio.timeout(5):
        while not gone.ended:  # noqa: ASYNC110 - the watcher looks in its own time
            await asyncio.sleep(0.01)
    assert gone.ended == [f"the issuer {ONE} is no longer trusted"]
    assert stays.ended == []
    await world.tasks.cancel_all()


async def test_a_token_made_with_a_jwt_outlives_neither_its_issuer_nor_its_revocation(tmp_path: Path) -> None:
    """Other settings of the issuer do not concern it, nor which start of the broker it was made in."""
    path = tmp_path / "issuers.yaml"
    write(path, ONE)
    world = World(config({"issuers_file": str(path)}))
    world.oidc.start(world.sessions)
    made_with = Credential("jwt", "id-1", issuer=ONE)
    assert world.oidc.issuers.problem_of(made_with) is not None  # version 0: a JWT's session would end
    assert world.oidc.origin_problem(made_with) is None
    world.revoked["id-1"] = "revoked: jwt-id id-1"
    assert world.oidc.origin_problem(made_with) == "revoked: jwt-id id-1"
    other = Credential("jwt", "id-2", issuer=TWO)
    assert world.oidc.origin_problem(other) == f"the issuer {TWO} is no longer trusted"
    await world.tasks.cancel_all()


@pytest.mark.parametrize(
    "text", ["issuers: [", "issuers: 7", "issuers: [{issuer: 'https://x.example'}]", None]
)
async def test_a_file_that_cannot_be_used_changes_nothing(
    tmp_path: Path, text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "issuers.yaml"
    write(path, ONE)
    world = World(config({"issuers_file": str(path)}))
    world.oidc.start(world.sessions)
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    async with asyncio.timeout(5):
        while "not taken over" not in caplog.text:  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.01)
    assert world.oidc.issuers.names() == [ONE]
    await world.tasks.cancel_all()


@pytest.mark.parametrize(
    ("issuers", "keys", "reason"),
    [
        (
            [entry(ONE, "")],
            {"listeners": [LISTENER, {"name": "m", "bind": "127.0.0.1:2", "protocol": "ssl"}]},
            "prefix",
        ),
        ([entry(ONE, "a-"), entry(TWO, "a-b-")], {}, "can be mistaken"),
        ([entry("http://localhost:1", "")], {}, "must be https"),
        ([entry(ONE, "a-"), entry(ONE, "b-")], {}, "given twice"),
    ],
)
async def test_issuers_that_cannot_be_trusted_together_refuse_the_start(
    tmp_path: Path, issuers: list[dict[str, Any]], keys: dict[str, Any], reason: str
) -> None:
    """Wherever they stand: in the configuration file they are refused when it is read."""
    with pytest.raises(ConfigError, match=f"auth.oidc.issuers.*{reason}"):
        config({"issuers": issuers}, **keys)
    path = tmp_path / "issuers.yaml"
    path.write_text(yaml.safe_dump({"issuers": issuers}))
    world = World(config({"issuers_file": str(path)}, **keys))
    with pytest.raises(StartFailed, match=reason) as caught:
        world.oidc.start(world.sessions)
    assert caught.value.exit_code is ExitCode.CONFIG
    assert caught.value.reason.startswith("auth.oidc: ")


async def test_without_the_extra_only_a_start_with_issuers_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(oidc_module, "EXTRA_MODULES", ("jwt", "no_such_module"))
    World(config({})).oidc.start(Sessions())
    with pytest.raises(StartFailed, match="needs the Python modules no_such_module") as caught:
        World(config({"issuers": [entry(ONE, "one-")]})).oidc.start(Sessions())
    assert caught.value.hint == "install rivven[oidc]"
