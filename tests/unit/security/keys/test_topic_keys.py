"""Topic keys in the life of a topic: made, renewed, retired, forgotten, kept in memory for a while."""

from __future__ import annotations

from uuid import uuid4

import pytest

from rivven.log.sealing import FrameRefused, KeyUnavailable
from rivven.security.keys.key_store import FORMER_NAMES_MAX, KEYS_MAX
from rivven.security.keys.provider import KeyRefused
from rivven.testing.canary import leaks
from tests.unit.security.keys.key_world import PATH, TOPIC, World, opens, sealed


@pytest.fixture
async def world() -> World:
    return World()


# -- one topic -----------------------------------------------------------------------------------------------


async def test_what_was_sealed_opens_in_the_next_life_with_one_call(world: World) -> None:
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        segments = [sealed(keys) for _ in range(5)]
        assert world.provider.calls["wrap"] == 2, "the metadata key and the topic key"
    world.provider.calls.clear()
    async with world.broker() as keys:
        with pytest.raises(KeyUnavailable):
            opens(keys, segments[0])
        await keys.prepare({TOPIC: ""})
        await keys.prepare({TOPIC: ""})
        assert all(opens(keys, segment) for segment in segments)
    assert world.provider.calls == {"unwrap": 2}, "the metadata key and the topic key"


async def test_a_start_asks_the_provider_once_for_each_topic(world: World) -> None:
    topics = dict.fromkeys([uuid4() for _ in range(100)], "")
    async with world.broker() as keys:
        await keys.prepare(topics)
        for topic in list(topics)[::10]:
            await keys.renew(topic)
        segments = [sealed(keys, topic) for topic in topics for _ in range(3)]
    world.provider.calls.clear()
    async with world.broker() as keys:
        await keys.prepare(topics)
        assert all(opens(keys, segment) for segment in segments)
        for topic in topics:
            keys.create(topic, 1)
    assert world.provider.calls == {"unwrap": 101}, "and once for the metadata key"


async def test_every_segment_has_its_own_key_and_incarnation(world: World) -> None:
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        headers = [keys.create(TOPIC, 3)[0] for _ in range(50)]
        assert len({header.incarnation for header in headers}) == 50
        assert len({keys.export(header) for header in headers}) == 50
        assert {header.topic_key_id for header in headers} == {keys.newest(TOPIC)}


async def test_a_header_that_was_moved_or_changed_does_not_open(world: World) -> None:
    async with world.broker() as keys:
        await keys.prepare({TOPIC: "", uuid4(): ""})
        header, _ = keys.create(TOPIC, 3)
        for other in (
            header._replace(partition=4),
            header._replace(incarnation=bytes(16)),
            header._replace(wrapped_key=bytes(60)),
        ):
            with pytest.raises(FrameRefused):
                keys.sealer(other)
            with pytest.raises(FrameRefused):
                keys.export(other)
        with pytest.raises(KeyUnavailable):
            keys.sealer(header._replace(topic_key_id=bytes(16)))
        with pytest.raises(KeyUnavailable):
            keys.sealer(header._replace(topic_id=uuid4()))


async def test_without_prepare_nothing_is_sealed_and_a_topic_that_seals_nothing_gets_no_key(
    world: World,
) -> None:
    async with world.broker() as keys:
        with pytest.raises(KeyUnavailable):
            keys.create(TOPIC, 0)
        await keys.prepare({TOPIC: None})
        with pytest.raises(KeyUnavailable):
            keys.create(TOPIC, 0)
        assert not world.files.exists(PATH)
        assert keys.newest(TOPIC) is None and keys.waiting_topics == 0


async def test_a_topic_that_is_not_encrypted_any_more_still_opens(world: World) -> None:
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        segment = sealed(keys)
    async with world.broker() as keys:
        await keys.prepare({TOPIC: None})
        assert opens(keys, segment)


async def test_nothing_of_a_key_stands_in_any_file(world: World) -> None:
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        await keys.renew(TOPIC)
        header, _ = keys.create(TOPIC, 0)
        data_key = keys.export(header)
        secrets = [drawn for drawn in world.made if len(drawn) == 32]
        assert data_key in secrets and len(secrets) == 3
        content = {PATH: world.files.content(PATH), "header": header.encode()}
        assert not leaks(secrets, content)
        assert not leaks(secrets, {"repr": repr(vars(keys)) + repr(list(keys.wrapped()))})


# -- the life of a topic -------------------------------------------------------------------------------------


async def test_a_new_key_is_used_at_once_and_the_old_one_until_it_is_retired(world: World) -> None:
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        first, old = keys.newest(TOPIC), sealed(keys)
        second = await keys.renew(TOPIC)
        new = sealed(keys)
        assert (old[0].topic_key_id, new[0].topic_key_id) == (first, second)
        assert keys.older(TOPIC) == {first}
    world.provider.calls.clear()
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        assert world.provider.calls["unwrap"] == 2, "one for the metadata key, one for both topic keys"
        assert opens(keys, old) and opens(keys, new)
        await keys.retire(TOPIC, {first, second})
        assert keys.older(TOPIC) == set() and keys.newest(TOPIC) == second
        keys._data_keys.clear()
        with pytest.raises(KeyUnavailable):
            opens(keys, old)
        assert opens(keys, new)


async def test_a_topic_has_no_more_keys_than_a_provider_can_wrap(world: World) -> None:
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        for _ in range(KEYS_MAX - 1):
            await keys.renew(TOPIC)
        with pytest.raises(KeyRefused, match="re-encrypt"):
            await keys.renew(TOPIC)
        await keys.retire(TOPIC, keys.older(TOPIC))
        await keys.renew(TOPIC)


async def test_a_forgotten_topic_opens_nothing_even_from_its_file(world: World) -> None:
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        segment = sealed(keys)
        ring = keys._held.topics[TOPIC].ring
        assert ring is not None
        await keys.forget(TOPIC)
        assert not world.files.exists(PATH)
        assert ring.newest.encoded()[16:] == bytes(32), "overwritten in memory"
        with pytest.raises(KeyUnavailable):
            opens(keys, segment)
        await keys.forget(TOPIC)
        assert keys.kek_ids() == {world.metadata_key.kek_id} and keys.open_topics == 0


async def test_what_was_asked_to_be_rewritten_is_known_after_a_restart(world: World) -> None:
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        await keys.set_rewriting(TOPIC, True)
        await keys.renew(TOPIC)
        assert keys.rewriting() == [TOPIC]
    async with world.broker() as keys:
        assert keys.rewriting() == [TOPIC]
        await keys.set_rewriting(TOPIC, False)
    async with world.broker() as keys:
        assert keys.rewriting() == []
        with pytest.raises(KeyUnavailable):
            await keys.set_rewriting(uuid4(), True)


async def test_a_topic_moves_to_the_key_its_setting_names(world: World) -> None:
    made = world.provider.keyring.rotate("payroll")
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        segment = sealed(keys)
        await keys.prepare({TOPIC: "payroll"})
        assert {one.wrapped.key_id for one in keys.wrapped()} == {made}
        assert opens(keys, segment)
        await keys.prepare({TOPIC: "no-such-key"})
        assert "no key 'no-such-key'" in keys.failure(TOPIC) and keys.waiting_topics == 1
        assert opens(keys, segment), "the old wrapping still holds"


# -- data keys in memory -------------------------------------------------------------------------------------


async def test_data_keys_are_bounded_and_live_for_a_while(world: World) -> None:
    async with world.broker(data_keys_max=16, data_key_lifetime_s=1_000.0) as keys:
        await keys.prepare({TOPIC: ""})
        segments = [sealed(keys) for _ in range(40)]
        assert keys.data_keys == 16
        world.provider.calls.clear()
        assert all(opens(keys, segment) for segment in segments)
        assert not world.provider.calls, "a data key that was dropped costs no call"
        world.clock.ms += 999_000
        assert opens(keys, segments[-1])
        world.clock.ms += 2_000
        keys._data_keys.sweep()
        assert keys.data_keys == 1
        world.clock.ms += 1_000_000
        keys._data_keys.sweep()
        assert keys.data_keys == 0 and opens(keys, segments[0])


# -- names ---------------------------------------------------------------------------------------------------


async def test_the_names_that_wrapped_its_keys_are_remembered(world: World) -> None:
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        for name in ("one", "two"):
            world.provider.rotate(name)
            await keys.prepare({TOPIC: name})
        await keys.renew(TOPIC)
    async with world.broker() as keys:
        await keys.prepare({TOPIC: "one"})
        stored = keys.stored()[TOPIC]
        assert (stored.key_name, set(stored.former_names)) == ("one", {"", "two"})


async def test_a_topic_that_had_too_many_names_keeps_the_one_it_has(world: World) -> None:
    async with world.broker() as keys:
        for number in range(FORMER_NAMES_MAX + 2):
            world.provider.rotate(f"name-{number}")
            await keys.prepare({TOPIC: f"name-{number}"})
        last = f"name-{FORMER_NAMES_MAX}"
        assert keys.stored()[TOPIC].key_name == last
        assert "set its encryption.key back" in keys.failure(TOPIC)
        assert opens(keys, sealed(keys))
        await keys.prepare({TOPIC: last})
        assert keys.waiting() == {}


async def test_keys_of_a_topic_that_is_being_shredded_are_not_wrapped_again(world: World) -> None:
    async with world.broker() as keys:
        await keys.prepare({TOPIC: ""})
        await keys.freeze(TOPIC)
        before = keys.stored()[TOPIC]
        world.provider.rotate("")
        with pytest.raises(KeyRefused, match="is being shredded"):
            await keys.renew(TOPIC)
        assert "is being shredded" in (await keys.rewrap()).failed[0]
        assert keys.stored()[TOPIC] == before
        keys.thaw(TOPIC)
        assert (await keys.rewrap()).failed == ()
        for unknown in (keys.freeze(uuid4()), keys.freeze(TOPIC)):
            await unknown
