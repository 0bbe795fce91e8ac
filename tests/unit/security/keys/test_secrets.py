"""Secrets: made once, sealed when there is encryption, taken over from private files without a gap."""

from __future__ import annotations

import os
import random

import pytest

from rivven.security.keys.key_file import KeyFileRefused
from rivven.security.keys.key_store import KeyStore, open_key_store
from rivven.security.keys.provider import KeyRefused
from rivven.security.keys.secrets import AUDIT_SIGNING, PLAIN_FILES, TOKEN_HASH, Secrets
from rivven.testing.canary import leaks
from rivven.testing.files import CrashFiles, PowerCut

KEY = bytes(range(32))
SECRET = b"s" * 31 + b"t"
PLAIN = "/data/token-hash.key"


class World:
    def __init__(self) -> None:
        self.files = CrashFiles()
        self.files.make_directory("/data")
        self.store: KeyStore | None = None

    def plain(self) -> Secrets:
        return Secrets(self.files, "/data", os.urandom)

    def sealed(self, key: bytes = KEY) -> Secrets:
        if self.store is not None:
            self.store.close()
        self.store = open_key_store(self.files, "/keys", "c", may_create=True)
        return Secrets(self.files, "/data", os.urandom, self.store, key)


def never() -> bytes:
    raise AssertionError("there is one already")


@pytest.mark.parametrize("name", PLAIN_FILES)
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_secret_is_made_once(name: str, encrypted: bool) -> None:
    world = World()
    opened = world.sealed if encrypted else world.plain
    assert opened().load(name) is None
    assert opened().load_or_create(name, lambda: SECRET) == SECRET
    assert opened().load_or_create(name, never) == SECRET
    assert world.files.exists(f"/data/{PLAIN_FILES[name]}") is not encrypted


def test_sealed_secrets_are_in_no_file() -> None:
    world = World()
    secrets = world.sealed()
    secrets.load_or_create(TOKEN_HASH, lambda: SECRET)
    content = world.files.content("/keys/secrets/token-hash")
    assert not leaks([SECRET, KEY], {"file": content, "repr": repr(vars(secrets)["public"]) + repr(secrets)})
    assert leaks([SECRET], {"control": b"..." + SECRET})


def test_a_private_file_is_taken_over_when_encryption_is_switched_on() -> None:
    world = World()
    for name, path in PLAIN_FILES.items():
        world.plain().load_or_create(name, lambda: SECRET)
        assert world.sealed().load_or_create(name, never) == SECRET
        assert not world.files.exists(f"/data/{path}")
        assert world.sealed().load(name) == SECRET


def test_a_power_cut_at_any_step_of_the_takeover_leaves_the_secret() -> None:
    reached = 0
    for seed in range(4):
        for step in range(1, 16):
            world = World()
            world.plain().load_or_create(TOKEN_HASH, lambda: SECRET)
            secrets = world.sealed()
            world.files.sync_all("/")
            world.files.cut_power_at = world.files.operations + step
            try:
                secrets.load(TOKEN_HASH)
                continue
            except PowerCut:
                reached += 1
            world.files.crash(random.Random(seed))
            world.store = None
            assert world.sealed().load_or_create(TOKEN_HASH, never) == SECRET
            assert not world.files.exists(PLAIN)
    assert reached >= 20, "the power was cut nowhere"


def test_an_old_private_file_beside_another_sealed_secret_is_nobody_s_guess() -> None:
    world = World()
    world.sealed().load_or_create(TOKEN_HASH, lambda: SECRET)
    world.files.put(PLAIN, b"o" * 32)
    with pytest.raises(KeyFileRefused, match=r"^/data/token-hash.key: differs"):
        world.sealed().load(TOKEN_HASH)
    assert world.files.content(PLAIN) == b"o" * 32


@pytest.mark.parametrize("content", [b"", b"x" * 5_000])
def test_a_private_file_that_holds_no_secret_is_refused_by_name(content: bytes) -> None:
    world = World()
    world.files.put(PLAIN, content)
    for secrets in (world.plain(), world.sealed()):
        with pytest.raises(KeyFileRefused, match=r"^/data/token-hash.key"):
            secrets.load_or_create(TOKEN_HASH, never)
    assert world.files.content(PLAIN) == content


def test_a_sealed_secret_opens_with_its_key_and_under_its_name_only() -> None:
    world = World()
    world.sealed().load_or_create(TOKEN_HASH, lambda: SECRET)
    with pytest.raises(KeyFileRefused, match="token-hash key in the key store does not open"):
        world.sealed(bytes(32)).load(TOKEN_HASH)
    world.files.put("/keys/secrets/audit-signing", world.files.content("/keys/secrets/token-hash"))
    with pytest.raises(KeyFileRefused):
        world.sealed().load(AUDIT_SIGNING)
    for content in (b"", b"RVKS"):
        world.files.put("/keys/secrets/token-hash", content)
        with pytest.raises(KeyFileRefused, match=r"^/keys/secrets/token-hash"):
            world.sealed().load_or_create(TOKEN_HASH, never)


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_rotated_secret_is_another_one(encrypted: bool) -> None:
    world = World()
    opened = world.sealed if encrypted else world.plain
    opened().load_or_create(AUDIT_SIGNING, lambda: SECRET)
    assert opened().rotate(AUDIT_SIGNING, lambda: b"n" * 32) == b"n" * 32
    assert opened().load(AUDIT_SIGNING) == b"n" * 32


@pytest.mark.parametrize("encrypted", [False, True])
def test_every_public_key_there_ever_was_is_kept(encrypted: bool) -> None:
    world = World()
    opened = world.sealed if encrypted else world.plain
    assert opened().public.all(AUDIT_SIGNING) == {}
    for number in range(3):
        opened().public.keep(AUDIT_SIGNING, f"{number:016x}", b"PEM %d" % number)
        opened().public.keep("erasure-signing", f"{number:016x}", b"other")
    assert opened().public.all(AUDIT_SIGNING) == {f"{n:016x}": b"PEM %d" % n for n in range(3)}
    for name in ("../x", "", "A", "a" * 101):
        with pytest.raises(KeyRefused):
            opened().public.keep(AUDIT_SIGNING, name, b"PEM")
