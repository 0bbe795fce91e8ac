"""`rivven keys rotate`, `--secret` and `--signing audit`, as shipped, with encryption on and off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.keys_commands import KeysCommand, encrypted
from tests.conformance.test_users import challenge
from tests.conformance.web import Web, web_of
from tests.shipped.broker import ShippedBroker


@pytest.fixture(params=[False, True], ids=["plain", "encrypted"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ShippedBroker]:
    with ShippedBroker(tmp_path / "one", extra=encrypted(tmp_path) if request.param else {}) as made:
        yield made


def token(broker: ShippedBroker, name: str) -> Web:
    """Somebody who has nothing but a new token."""
    made = web_of(broker).post("/v1/tokens", {"name": name, "ttl_ms": 3_600_000})
    return web_of(broker).with_token(made.json["token"])


def admitted(broker: ShippedBroker, *callers: Web) -> list[bool]:
    """Addresses may have changed with a restart, tokens not."""
    url = web_of(broker).url
    return [
        Web(url, one.ca, one.authorization).get("/v1/whoami").json.get("principal") == "User:admin"
        for one in callers
    ]


def test_tokens_of_before_go_on_and_unknown_users_look_as_ever(broker: ShippedBroker) -> None:
    keys = KeysCommand(broker)
    before = token(broker, "before")
    unknown, known = challenge(broker, "nobody-here"), challenge(broker, broker.admin.user)
    made = [keys.json("rotate", "--secret", "token-hash") for _ in range(3)]
    assert [one["kept"] for one in made] == [1, 2, 3], "a token lives under the first"
    after = token(broker, "after")
    assert admitted(broker, before, after) == [True, True]
    assert challenge(broker, "nobody-here") == unknown, "the rotation tells nobody who exists"
    file = broker.data / "token-hash.key"
    assert file.exists() is not (broker.data / "encryption.key").exists()
    if file.exists():
        assert (file.stat().st_mode & 0o777, file.stat().st_size) == (0o600, 4 * 32)
    broker.kill()
    broker.start()
    assert admitted(broker, before, after) == [True, True]

    assert "a new key is in effect" in keys("rotate", "--secret", "scram-decoy")
    renewed = challenge(broker, "nobody-here")
    assert renewed != unknown and challenge(broker, broker.admin.user) == known
    broker.restart()
    assert challenge(broker, "nobody-here") == renewed
    refused = keys("rotate", "--secret", "token-hash", "--signing", "audit", code=2)
    assert "exclude each other" in refused
    audit = (broker.data / "audit" / "audit.log").read_text()
    assert '"secret:token-hash"' in audit and '"secret:scram-decoy"' in audit


def test_the_audit_trail_is_verified_across_rotations_of_its_key(broker: ShippedBroker) -> None:
    keys, encrypts = KeysCommand(broker), (broker.data / "encryption.key").exists()
    first = keys.json("export-public-key", "--signing", "audit")
    second = keys.json("rotate", "--signing", "audit")
    assert "old public keys are kept" in keys("rotate", "--signing", "audit")
    shown = keys.web.get("/v1/keys/signing/audit").json["items"]
    assert {first["key_id"], second["key_id"]} < {one["key_id"] for one in shown} and len(shown) == 3
    assert keys("export-public-key", "--signing", "audit", "--key-id", first["key_id"]) == first["pem"]
    file = broker.data / "audit" / "signing.key"
    assert file.exists() is not encrypts
    if not encrypts:
        assert file.stat().st_mode & 0o777 == 0o600
        assert "does not encrypt" in keys("rotate", "--signing", "erasure", code=1)
    assert web_of(broker).as_nobody().post("/v1/keys/signing/audit/rotate", {}).status == 401

    broker.restart()
    assert keys.web.get("/v1/keys/signing/audit").json["items"] == shown
    assert broker.stop() == 0
    log = broker.data / "audit"
    assert b'"signing-key:audit"' in (log / "audit.log").read_bytes()
    done = keys.run("audit", "verify", log, "-o", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    (broker.directory / "first.pem").write_text(first["pem"])
    alone = keys.run("audit", "verify", log, "--key", broker.directory / "first.pem")
    assert alone.returncode != 0, "some of it was signed with the keys that came after"


def test_who_may_not_alter_the_cluster_may_not_rotate(broker: ShippedBroker) -> None:
    place = "/v1/keys/secrets/token-hash/rotate"
    assert web_of(broker).as_nobody().post(place, {}).status == 401
    assert web_of(broker).post(place.replace("token-hash", "audit-signing"), {}).status == 404
