"""Decoys for unknown users: stable, shaped like what is stored, and no more costly with many users."""

from __future__ import annotations

from rivven.protocol import scram
from rivven.protocol.scram import ScramMechanism, ScramVerifier
from rivven.security.authn.credentials import SCANNED_USERS_MAX, SHAPES_MAX, StoredCredentials

SHA_256, SHA_512 = ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512


def verifier(
    salt_bytes: int = 32, iterations: int = 8192, mechanism: ScramMechanism = SHA_256
) -> ScramVerifier:
    size = mechanism.key_bytes
    return ScramVerifier(mechanism, b"s" * salt_bytes, iterations, b"a" * size, b"b" * size)


class Directory:
    def __init__(self, users: dict[str, ScramVerifier]) -> None:
        self.users = users
        self.version = 0
        self.scans = 0

    def scram_verifier(self, user: str, mechanism: ScramMechanism) -> ScramVerifier | None:
        found = self.users.get(user)
        return found if found is not None and found.mechanism is mechanism else None

    def scram_users(self) -> list[str]:
        self.scans += 1
        return sorted(self.users)


def shape(one: ScramVerifier) -> tuple[int, int]:
    return len(one.salt), one.iterations


def test_without_users_the_configured_iterations_are_shown() -> None:
    credentials = StoredCredentials(lambda: Directory({}), b"k" * 32, iterations=10_000)
    assert shape(credentials.decoy_verifier("anyone", SHA_256)) == (32, 10_000)
    assert shape(credentials.decoy_verifier("anyone", SHA_512)) == (32, 10_000)


def test_each_mechanism_has_its_own_shapes() -> None:
    users = {"a": verifier(26, 4096), "b": verifier(40, 600_000, SHA_512)}
    credentials = StoredCredentials(lambda: Directory(users), b"k" * 32)
    assert shape(credentials.decoy_verifier("anyone", SHA_256)) == (26, 4096)
    assert shape(credentials.decoy_verifier("anyone", SHA_512)) == (40, 600_000)


def test_decoys_spread_over_the_shapes_in_use() -> None:
    users = {"a": verifier(26, 4096), "b": verifier(32, 8192), "c": verifier(32, 600_000)}
    credentials = StoredCredentials(lambda: Directory(users), b"k" * 32)
    shapes = [shape(credentials.decoy_verifier(f"user{i}", SHA_256)) for i in range(600)]
    counts = {one: shapes.count(one) for one in {(26, 4096), (32, 8192), (32, 600_000)}}
    assert sum(counts.values()) == 600
    assert all(120 < count < 280 for count in counts.values())


def test_a_new_shape_changes_only_the_decoys_that_take_it() -> None:
    directory = Directory({"a": verifier(32, 8192), "b": verifier(32, 16384)})
    credentials = StoredCredentials(lambda: directory, b"k" * 32)
    before = [credentials.decoy_verifier(f"user{i}", SHA_256) for i in range(300)]
    directory.users["c"] = verifier(32, 4096)
    directory.version += 1
    after = [credentials.decoy_verifier(f"user{i}", SHA_256) for i in range(300)]
    changed = [new for old, new in zip(before, after, strict=True) if new != old]
    assert 50 < len(changed) < 150
    assert {shape(new) for new in changed} == {(32, 4096)}


def test_a_user_of_a_known_shape_changes_no_decoy() -> None:
    directory = Directory({"a": verifier(32, 8192)})
    credentials = StoredCredentials(lambda: directory, b"k" * 32)
    before = credentials.decoy_verifier("mallory", SHA_256)
    directory.users["b"] = verifier(32, 8192)
    directory.version += 1
    assert credentials.decoy_verifier("mallory", SHA_256) == before


def test_the_directory_is_scanned_once_per_change() -> None:
    directory = Directory({"a": verifier()})
    credentials = StoredCredentials(lambda: directory, b"k" * 32)
    for i in range(20):
        credentials.decoy_verifier(f"user{i}", SHA_256)
    assert directory.scans == 1
    directory.version += 1
    credentials.decoy_verifier("x", SHA_256)
    assert directory.scans == 2


def test_a_replaced_directory_is_noticed_whatever_its_version() -> None:
    current = [Directory({"a": verifier(26, 4096)})]
    credentials = StoredCredentials(lambda: current[0], b"k" * 32)
    assert shape(credentials.decoy_verifier("x", SHA_256)) == (26, 4096)
    current[0] = Directory({"a": verifier(32, 8192)})
    assert shape(credentials.decoy_verifier("x", SHA_256)) == (32, 8192)
    assert credentials.scram_verifier("a", SHA_256) == verifier(32, 8192)


def test_scan_and_shapes_are_bounded() -> None:
    many = {f"u{i:05}": verifier(16 + i % 40, 4096 + i) for i in range(SCANNED_USERS_MAX + 500)}
    credentials = StoredCredentials(lambda: Directory(many), b"k" * 32)
    shapes = {shape(credentials.decoy_verifier(f"x{i}", SHA_256)) for i in range(500)}
    assert len(shapes) <= SHAPES_MAX


def test_no_password_satisfies_a_decoy() -> None:
    credentials = StoredCredentials(lambda: Directory({}), b"k" * 32, iterations=4096)
    decoy = credentials.decoy_verifier("mallory", SHA_256)
    for password in ("", "mallory", "k" * 32):
        guess = scram.derive_verifier(SHA_256, password, decoy.salt, decoy.iterations)
        assert guess.stored_key != decoy.stored_key
    assert len(decoy.stored_key) == len(decoy.server_key) == 32
    assert decoy.stored_key != decoy.server_key


def test_any_name_has_a_decoy() -> None:
    credentials = StoredCredentials(lambda: Directory({}), b"k" * 32)
    for name in ("", "\ud800", "\0", "x" * 10_000):
        assert credentials.decoy_verifier(name, SHA_256).salt
