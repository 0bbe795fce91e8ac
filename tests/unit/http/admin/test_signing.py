"""Rows about signing keys: which signer answers under which name, with encryption on and off."""

from __future__ import annotations

import pytest

from rivven.http.admin.problems import Problem
from tests.unit.http.admin.test_keys import Keys, World


@pytest.mark.parametrize("name", ["audit", "erasure"])
async def test_with_encryption_the_key_service_is_asked_for_both(name: str) -> None:
    keys = Keys()
    world = World(keys)
    assert [one.key_id for one in (await world("GET", "/signing/{name}", {"name": name})).items] == [
        "aa",
        "bb",
    ]
    assert (await world("POST", "/signing/{name}/rotate", {"name": name})).key_id == "cc"
    assert keys.asked == [("sign", name)]


@pytest.mark.parametrize("name", ["erasure", "token-hash", ""])
async def test_without_encryption_nothing_but_the_audit_trail_is_signed(name: str) -> None:
    world = World(None)
    for method, path in (("GET", "/signing/{name}"), ("POST", "/signing/{name}/rotate")):
        with pytest.raises(Problem) as caught:
            await world(method, path, {"name": name})
        assert caught.value.status == 501
