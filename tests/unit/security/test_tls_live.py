"""What takes the place of what is in force: sound parts, each for itself, in a context of its own."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rivven.config.tls import TlsConfig
from rivven.security.tls_files import TlsConfigError
from rivven.security.tls_live import Reload, TlsSection, chains_of
from rivven.security.tls_trust import Distrusted
from tests.shipped.authority import DAY_S, Authority, Issued, rsa_key


def now_ms() -> int:
    return int(time.time() * 1000)


class World:
    """A section whose files are in one directory."""

    def __init__(self, directory: Path, **more: object) -> None:
        self.directory = directory
        self.root = Authority()
        self.clients = Authority("clients")
        self.leaf = self.root.issue()
        self.leaf.write(directory, "leaf")
        self.ca = directory / "ca.crt"
        self.ca.write_bytes(self.clients.pem)
        self.crl = directory / "crl.pem"
        self.crl.write_bytes(self.clients.crl(begin=-600))
        settings = {
            "cert_path": directory / "leaf.crt",
            "key_path": directory / "leaf.key",
            "ca_path": self.ca,
            "client_auth": "required",
            "crl_path": self.crl,
            **more,
        }
        self.section = TlsSection(TlsConfig.model_validate(settings), "server.tls")
        self.section.load(now_ms())

    def again(self) -> Reload:
        reload = self.section.read_again(now_ms())
        self.section.take(reload)
        return reload

    def trusts(self, client: Issued) -> bool:
        return not isinstance(self.section.trust().judge(client.ders, now_ms()), Distrusted)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def served_by(context: ssl.SSLContext, name: str = "localhost", ciphers: str = "") -> bytes:
    """The certificate (DER) a client of this context is shown, without a network."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    if ciphers:
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        client.set_ciphers(ciphers)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = client.wrap_bio(to_client, to_server, server_hostname=name)
    ours = context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (theirs, ours):
            try:
                side.do_handshake()
            except ssl.SSLError:
                continue
    shown = theirs.getpeercert(binary_form=True)
    assert shown is not None
    return shown


def test_nothing_changes_while_nothing_changes(world: World) -> None:
    before = world.section.in_force
    reload = world.again()
    assert (reload.changed, reload.problems) == ((), ())
    assert world.section.in_force is before


def test_a_new_pair_is_a_new_context(world: World) -> None:
    before = world.section.context()
    leaf = world.root.issue()
    leaf.write(world.directory, "leaf")
    assert world.again().changed == ("server.tls.cert_path",)
    assert world.section.context() is not before
    assert served_by(before) == world.leaf.der, "the one in use is as it was"
    assert served_by(world.section.context()) == leaf.der
    assert chains_of(world.section)["server.tls.cert_path"] == leaf.ders


def broken_pairs() -> dict[str, tuple[Callable[[World], object], str]]:
    def write(stem: str, issued: Callable[[World], Issued]) -> Callable[[World], object]:
        return lambda world: issued(world).write(world.directory, stem)

    def half(name: str) -> Callable[[World], object]:
        def cut(world: World) -> None:
            path = world.directory / name
            path.write_bytes(path.read_bytes()[:-40])

        return cut

    return {
        "another key": (
            lambda world: (world.directory / "leaf.key").write_bytes(world.root.issue().key_pem),
            "is not the key of the certificate",
        ),
        "half a certificate": (half("leaf.crt"), "has no END line"),
        "half a key": (half("leaf.key"), "holds a damaged private key"),
        "an empty file": (
            lambda world: (world.directory / "leaf.crt").write_bytes(b""),
            "holds no PEM certificate",
        ),
        "no file": (lambda world: (world.directory / "leaf.key").unlink(), "No such file or directory"),
        "ended": (write("leaf", lambda world: world.root.issue(seconds=-60.0)), "certificate 1 ended at"),
        "not yet": (write("leaf", lambda world: world.root.issue(begin=DAY_S)), "certificate 1 begins at"),
        "a chain of strangers": (
            write(
                "leaf",
                lambda world: Issued(
                    world.leaf.certificate, world.leaf.key, (Authority("stranger").certificate,)
                ),
            ),
            "certificate 2 issued none of the others",
        ),
        "a weak key": (
            write("leaf", lambda world: world.root.issue(key=rsa_key(1024))),
            "ee key too small",
        ),
    }


@pytest.mark.parametrize("what", broken_pairs())
def test_a_broken_pair_changes_nothing_and_says_why(world: World, what: str) -> None:
    breaks, why = broken_pairs()[what]
    before = world.section.in_force
    breaks(world)
    reload = world.again()
    (problem,) = reload.problems
    assert problem.startswith("server.tls"), problem
    assert why in problem
    assert "\n" not in problem
    assert world.section.in_force is before
    assert served_by(world.section.context()) == world.leaf.der
    world.leaf.write(world.directory, "leaf")
    assert world.again().problems == ()


def test_the_parts_do_not_wait_for_each_other(world: World) -> None:
    """A broken certificate keeps no revocation and no authority from counting."""
    alice = world.clients.issue("alice")
    newcomers = Authority("newcomers")
    (world.directory / "leaf.crt").write_bytes(b"")
    world.crl.write_bytes(world.clients.crl(alice))
    assert world.trusts(alice)
    reload = world.again()
    assert reload.changed == ("server.tls.crl_path",)
    assert len(reload.problems) == 1
    assert not world.trusts(alice)
    world.ca.write_bytes(world.clients.pem + newcomers.pem)
    assert world.again().changed == ("server.tls.ca_path",)
    assert world.section.context().cert_store_stats()["x509"] == 2
    assert served_by(world.section.context()) == world.leaf.der
    assert world.trusts(newcomers.issue())


@pytest.mark.parametrize(("name", "key"), [("ca.crt", "ca_path"), ("crl.pem", "crl_path")])
def test_broken_authorities_and_lists_stay_as_they_were(world: World, name: str, key: str) -> None:
    alice = world.clients.issue("alice")
    world.crl.write_bytes(world.clients.crl(alice))
    world.again()
    for content in (b"", b"nonsense", (world.directory / name).read_bytes()[:-20]):
        (world.directory / name).write_bytes(content)
        (problem,) = world.again().problems
        assert problem.startswith(f"server.tls.{key}: ")
        assert not world.trusts(alice)
        assert world.trusts(world.clients.issue("bob"))


def test_a_forged_and_an_older_list_are_refused(world: World) -> None:
    alice = world.clients.issue("alice")
    world.crl.write_bytes(world.clients.crl(alice))
    assert world.again().changed == ("server.tls.crl_path",)
    for content, why in (
        (world.clients.crl(signed_by=Authority().key), "not signed by it"),
        (world.clients.crl(begin=-1200), "older than the one in force"),
    ):
        world.crl.write_bytes(content)
        (problem,) = world.again().problems
        assert why in problem
        assert not world.trusts(alice)


def test_a_list_does_not_vanish_while_its_authority_is_trusted(world: World) -> None:
    """As when a tool that knows one authority only writes a file that held the lists of two."""
    alice, other = world.clients.issue("alice"), Authority("other")
    world.ca.write_bytes(world.clients.pem + other.pem)
    world.crl.write_bytes(world.clients.crl(alice) + other.crl())
    assert world.again().problems == ()
    world.crl.write_bytes(other.crl(begin=-1))
    (problem,) = world.again().problems
    assert problem.endswith("has no list of CN=clients any more, which is still in ca_path")
    assert not world.trusts(alice)
    world.ca.write_bytes(other.pem)
    assert world.again().problems == (), "both go together"


def test_an_authority_may_go_before_its_list_does(world: World) -> None:
    other = Authority("other")
    world.ca.write_bytes(other.pem)
    assert world.again().changed == ("server.tls.ca_path",)
    assert not world.trusts(world.clients.issue())


def test_authorities_that_the_lists_contradict_are_not_taken(world: World) -> None:
    """The list in force is by its name and key id of an authority that did not sign it."""
    world.crl.write_bytes(world.clients.crl(signed_by=Authority().key, begin=-10))
    twin = Authority("clients", key=world.clients.key)
    world.ca.write_bytes(twin.pem)
    reload = world.again()
    assert "not signed by it" in reload.problems[0]
    assert reload.changed == ("server.tls.ca_path",), "the authorities alone are sound"


def test_a_key_password_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("canary-first")
    leaf = Authority().issue()
    leaf.write(tmp_path, "leaf")
    (tmp_path / "leaf.key").write_bytes(leaf.encrypted_key_pem("canary-first"))
    tls = {
        "cert_path": tmp_path / "leaf.crt",
        "key_path": tmp_path / "leaf.key",
        "key_password": f"file:{tmp_path / 'password'}",
    }
    section = TlsSection(TlsConfig.model_validate(tls), "server.tls")
    section.load(now_ms())
    (tmp_path / "leaf.key").write_bytes(leaf.encrypted_key_pem("canary-second"))
    (problem,) = section.read_again(now_ms()).problems
    assert "key_password does not open it" in problem
    assert "canary" not in problem.replace(str(tmp_path), "")
    assert "canary" not in repr(section.in_force)
    (tmp_path / "password").write_text("canary-second")
    reload = section.read_again(now_ms())
    assert (reload.changed, reload.problems) == (("server.tls.cert_path",), ())


def test_both_kinds_of_keys_and_names(tmp_path: Path) -> None:
    root = Authority()
    (tmp_path / "a").mkdir()
    rsa, named, wild = root.issue(key=rsa_key()), root.issue(), root.issue()
    settings: dict[str, dict[str, Path]] = {}
    for stem, issued in (("rsa", rsa), ("named", named), ("wild", wild)):
        certificate, key = issued.write(tmp_path, stem)
        settings[stem] = {"cert_path": certificate, "key_path": key}
    world = World(
        tmp_path,
        certificates=[settings["rsa"]],
        sni={"kafka.example": settings["named"], "*.kafka.example": settings["wild"]},
        client_auth="none",
        ca_path=None,
        crl_path=None,
    )
    context = world.section.context()
    assert served_by(context) == world.leaf.der
    assert served_by(context, ciphers="ECDHE+aRSA") == rsa.der
    assert served_by(context, ciphers="ECDHE+aECDSA") == world.leaf.der
    assert served_by(context, "KAFKA.example") == named.der
    assert served_by(context, "b1.kafka.example") == wild.der
    assert served_by(context, "x.b1.kafka.example") == world.leaf.der
    other = root.issue()
    other.write(tmp_path, "wild")
    assert world.again().changed == ("server.tls.sni.*.kafka.example.cert_path",)
    assert served_by(world.section.context(), "b1.kafka.example") == other.der
    root.issue().write(tmp_path, "rsa")
    assert "same kind of key" in world.again().problems[0]
    assert served_by(world.section.context(), ciphers="ECDHE+aRSA") == rsa.der


def test_an_unusable_list_refuses_the_start(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.crl.write_bytes(world.clients.crl(signed_by=Authority().key))
    with pytest.raises(TlsConfigError, match=r"server.tls.crl_path: .* CN=clients is not signed"):
        world.section.load(now_ms())
