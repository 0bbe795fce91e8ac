"""Encryption settings of topics: refused where they could not be honoured, in every API that takes them."""

from __future__ import annotations

from typing import Any

import pytest

from rivven.errors import ErrorCode, InvalidConfig, StorageFailed
from rivven.protocol.api import ApiKey
from rivven.tasks import Tasks
from rivven.types import Operation, PatternType, ResourceType
from tests.unit.api.administration import World
from tests.unit.api.test_configs import DELETE, SET, changing, replacing
from tests.unit.api.test_topics import codes, creation, new

CREATE, ALTER, INCREMENT = (
    ApiKey.CREATE_TOPICS,
    ApiKey.ALTER_CONFIGS,
    ApiKey.INCREMENTAL_ALTER_CONFIGS,
)
REFUSED = int(ErrorCode.INVALID_CONFIG)


class Keys:
    """Knows one key, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.down = False

    async def check(self, name: str) -> None:
        self.asked.append(name)
        if self.down:
            raise StorageFailed("the provider is out of reach")
        if name != "theirs":
            raise InvalidConfig("no such key")


@pytest.fixture
async def keyed() -> World:
    world = World(Tasks())
    world.key_names = Keys()
    return await world.start()


async def alter(world: World, request: Any, api: ApiKey = INCREMENT) -> tuple[int, str | None]:
    (answer,) = (await world.call(api, 1, request)).responses
    return answer.error_code, answer.error_message


@pytest.mark.parametrize("setting", ["encryption_enabled", "encryption_key"])
@pytest.mark.parametrize("validate_only", [False, True])
async def test_without_keys_no_topic_is_told_that_it_is_encrypted(
    world: World, setting: str, validate_only: bool
) -> None:
    wanted = creation(new("t", **{setting: " True "}), new("fine"), validate_only=validate_only)
    answer = await world.call(CREATE, 7, wanted)
    assert codes(answer.topics) == {"t": REFUSED, "fine": 0}
    refused = next(one for one in answer.topics if one.name == "t")
    assert "this broker has no keys" in refused.error_message
    assert "t" not in world.metadata.image.topics
    await world.topic("u")
    name = setting.replace("_", ".")
    assert (await alter(world, changing("u", (name, SET, "true"))))[0] == REFUSED
    assert (await alter(world, replacing("u", **{setting: "true"}), ALTER))[0] == REFUSED
    assert world.metadata.image.topics["u"].configs == {}


async def test_without_keys_what_asks_for_nothing_is_taken(world: World) -> None:
    await world.topic("t")
    harmless = (("encryption.enabled", SET, "false"), ("encryption.key", SET, ""))
    assert await alter(world, changing("t", *harmless)) == (0, None)
    cleared = (("encryption.enabled", DELETE, None), ("encryption.key", DELETE, None))
    assert await alter(world, changing("t", *cleared)) == (0, None)


async def test_with_keys_a_topic_gets_them_at_creation_or_later(keyed: World) -> None:
    wanted = new("t", encryption_enabled="true", encryption_key="theirs")
    assert codes((await keyed.call(CREATE, 7, creation(wanted))).topics) == {"t": 0}
    await keyed.topic("u")
    changes = (("encryption.enabled", SET, "true"), ("encryption.key", SET, "theirs"))
    assert await alter(keyed, changing("u", *changes)) == (0, None)
    for name in ("t", "u"):
        config = keyed.metadata.topic_config(keyed.metadata.image.topics[name])
        assert (config.encryption_enabled, config.encryption_key) == (True, "theirs")


async def test_a_key_the_provider_does_not_have_is_refused(keyed: World) -> None:
    answer = await keyed.call(CREATE, 7, creation(new("t", encryption_key="nobodys")))
    assert codes(answer.topics) == {"t": REFUSED}
    await keyed.topic("u")
    assert await alter(keyed, changing("u", ("encryption.key", SET, "nobodys"))) == (REFUSED, "no such key")
    assert keyed.metadata.image.topics["u"].configs == {}


async def test_while_the_provider_cannot_say_the_change_is_refused_for_now(keyed: World) -> None:
    assert isinstance(keyed.key_names, Keys)
    keyed.key_names.down = True
    answer = await keyed.call(CREATE, 7, creation(new("t", encryption_key="theirs")))
    assert codes(answer.topics) == {"t": int(ErrorCode.KAFKA_STORAGE_ERROR)}


async def test_who_may_not_alter_asks_the_provider_nothing(keyed: World) -> None:
    await keyed.topic("t")
    await keyed.allow("bob", Operation.DESCRIBE, ResourceType.TOPIC, "t", PatternType.LITERAL)
    request = changing("t", ("encryption.key", SET, "theirs"))
    (answer,) = (await keyed.call(INCREMENT, 1, request, user="bob")).responses
    assert answer.error_code == ErrorCode.TOPIC_AUTHORIZATION_FAILED
    created = await keyed.call(CREATE, 7, creation(new("v", encryption_key="theirs")), user="bob")
    assert codes(created.topics) == {"v": int(ErrorCode.TOPIC_AUTHORIZATION_FAILED)}
    assert isinstance(keyed.key_names, Keys)
    assert keyed.key_names.asked == []
