"""Names in a configuration find built-in and installed implementations, through one loader."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from rivven.security import extensions
from rivven.security.authn.sources import AUTHENTICATORS, load_authenticators
from rivven.security.authz.acl import AclAuthorizer
from rivven.security.authz.sources import AUTHORIZERS, AuthorizerSettings, load_authorizers
from rivven.security.extensions import Extensions, UnknownExtension

THEIRS = """
def factory(settings, rules):
    return ("theirs", settings, rules)
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution in a directory of its own, found through the ordinary metadata machinery."""
    (tmp_path / "their_engine.py").write_text(THEIRS)
    info = tmp_path / "their_engine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-engine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[rivven.authorizers]\ntheirs = their_engine:factory\nacl = their_engine:factory\n"
        "gone = their_engine:missing\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("their_engine", None)


def test_the_built_in_authorizer() -> None:
    engines = load_authorizers(["acl"], AuthorizerSettings(True), lambda: (1, ()))
    assert isinstance(engines["acl"], AclAuthorizer)


def test_the_built_in_mechanisms() -> None:
    loaded = load_authenticators(["SCRAM-SHA-256", "SCRAM-SHA-512"])
    assert list(loaded) == ["SCRAM-SHA-256", "SCRAM-SHA-512"]
    assert all(callable(factory) for factory in loaded.values())


def test_unknown_names_are_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(
        UnknownExtension, match=r"'SCRAM-SHA-265' is not known; did you mean 'SCRAM-SHA-256'\?"
    ):
        AUTHENTICATORS.load("SCRAM-SHA-265")
    with pytest.raises(UnknownExtension, match="'zzz' is not known; known: acl"):
        AUTHORIZERS.load("zzz")


@pytest.mark.usefixtures("installed")
def test_an_installed_one_is_found_and_built_like_ours() -> None:
    settings = AuthorizerSettings()
    chain = load_authorizers(["acl", "theirs"], settings, lambda: (1, ()))
    assert isinstance(chain["acl"], AclAuthorizer), "a built-in name cannot be taken over"
    assert chain["theirs"][:2] == ("theirs", settings)  # type: ignore[index]
    assert AUTHORIZERS.names() == ["acl", "rbac", "cedar", "gone", "theirs"]


@pytest.mark.usefixtures("installed")
def test_an_installed_one_that_does_not_exist() -> None:
    with pytest.raises(UnknownExtension, match="their_engine:missing does not exist"):
        AUTHORIZERS.load("gone")


def test_a_missing_package_names_the_extra() -> None:
    ours = Extensions("rivven.authorizers", {"policy": "no_such_package_here:make"}, {"policy": "policies"})
    with pytest.raises(UnknownExtension, match=r"No module named .*; install rivven\[policies\]"):
        ours.load("policy")


def test_a_broken_target_without_an_extra() -> None:
    with pytest.raises(UnknownExtension, match="cannot be imported"):
        Extensions("rivven.authorizers", {"x": "no_such_package_here:make"}).load("x")


def test_two_packages_with_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def points(group: str, name: str) -> list[EntryPoint]:
        return [EntryPoint(name, f"{package}:make", group) for package in ("one", "two")]

    monkeypatch.setattr(extensions, "entry_points", points)
    with pytest.raises(UnknownExtension, match="registered twice"):
        AUTHORIZERS.load("policy")
