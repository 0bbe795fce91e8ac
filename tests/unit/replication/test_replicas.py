"""What is hosted follows the committed metadata: created, grown, reconfigured, deleted, replaced."""

import dataclasses
import logging
from collections.abc import Mapping
from uuid import UUID, uuid4

import pytest

from rivven.config.broker_settings import topic_defaults
from rivven.errors import ErrorCode, RivvenError
from rivven.log.sealing import KeyUnavailable, Sealer, SegmentHeader
from rivven.testing.files import Fault
from tests.unit.replication.data_plane import DataPlane, Image, View, append


@pytest.fixture
def plane() -> DataPlane:
    return DataPlane()


async def test_what_is_hosted_can_be_found(plane: DataPlane) -> None:
    await plane.topic("t", 3)
    await plane.topic("inner", internal=True)
    replicas = plane.replicas
    assert [repr(one) for one in replicas.partitions_of("t")] == [f"Partition(t-{n})" for n in range(3)]
    assert replicas.partition("t", 2) is replicas.partitions_of("t")[2]
    assert replicas.partition("t", 3) is replicas.partition("t", -1) is replicas.partition("u", 0) is None
    assert replicas.partitions_of("u") == []
    assert (replicas.is_internal("inner"), replicas.is_internal("t"), replicas.is_internal("u")) == (
        True,
        False,
        False,
    )
    assert len(replicas) == len(list(replicas)) == 4


async def test_it_follows_the_image(plane: DataPlane) -> None:
    first, second = View("first"), View("second", 2)
    await plane.run(plane.replicas.sync_with(Image({"first": first, "second": second})))
    kept = plane.replicas.partition("second", 1)
    version = plane.replicas.version
    grown = dataclasses.replace(second, partitions=3, version=2, configs={"retention.ms": "5"})
    await plane.run(plane.replicas.sync_with(Image({"second": grown})))
    assert plane.replicas.partition("first", 0) is None
    assert plane.replicas.partition("second", 1) is kept
    assert [one.log.config.retention_ms for one in plane.replicas.partitions_of("second")] == [5, 5, 5]
    assert plane.replicas.version > version, "caches must notice"


async def test_a_recreated_topic_starts_empty(plane: DataPlane) -> None:
    old = View("t")
    await plane.run(plane.replicas.sync_with(Image({"t": old})))
    before = plane.replicas.partition("t", 0)
    assert before is not None
    append(before, b"old")
    await plane.settle()
    await plane.run(plane.replicas.sync_with(Image({"t": dataclasses.replace(old, topic_id=uuid4())})))
    after = plane.replicas.partition("t", 0)
    assert after is not None
    assert after is not before
    assert (after.high_watermark, before.deleted) == (0, True)


async def test_new_defaults_reach_topics_that_do_not_override_them(plane: DataPlane) -> None:
    plain = await plane.topic("plain")
    own = await plane.topic("own", retention_ms="7")
    plane.replicas.reconfigure_all(topic_defaults({"log.retention.ms": 99}), [plain, own])
    found = {one.topic_name: one.log.config.retention_ms for one in plane.replicas}
    assert found == {"plain": 99, "own": 7}


async def test_a_view_that_comes_late_takes_nothing_back(plane: DataPlane) -> None:
    """Or a topic that was switched off and on again could go on in plain."""
    first = await plane.topic("t")
    newest = dataclasses.replace(first, partitions=2, version=3, configs={"retention.ms": "3"})
    await plane.run(plane.replicas.ensure(newest))
    late = dataclasses.replace(first, version=2, configs={"retention.ms": "2"})
    await plane.run(plane.replicas.ensure(late))
    await plane.run(plane.replicas.sync_with(Image({"t": late})))
    assert [one.log.config.retention_ms for one in plane.replicas.partitions_of("t")] == [3, 3]


async def test_a_topic_the_disk_cannot_hold_fails_alone(
    plane: DataPlane, caplog: pytest.LogCaptureFixture
) -> None:
    broken, fine = View("broken"), View("fine")
    plane.files.faults.append(Fault("make_directory", path=str(broken.topic_id)))
    with pytest.raises(RivvenError) as caught:
        await plane.run(plane.replicas.ensure(broken))
    assert caught.value.code is ErrorCode.KAFKA_STORAGE_ERROR
    plane.files.faults.append(Fault("make_directory", path=str(broken.topic_id)))
    with caplog.at_level(logging.ERROR):
        await plane.run(plane.replicas.sync_with(Image({"broken": broken, "fine": fine})))
    assert "broken" in caplog.text
    assert plane.replicas.partition("broken", 0) is None


# -- keys ----------------------------------------------------------------------------------------------------


class RecordedKeys:
    """Implements `TopicKeys` without any key: what was asked, in order, and what stood on the disk then."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, object]] = []
        self.plane: DataPlane

    async def prepare(self, topics: Mapping[UUID, str | None]) -> None:
        self.asked.append(("prepare", dict(topics)))
        hosted = {one.topic_id for one in self.plane.replicas}
        self.asked += [("was hosted", topic_id) for topic_id in topics if topic_id in hosted]

    async def forget(self, topic_id: UUID) -> None:
        names = self.plane.files.list("/data/partitions")
        assert not any(name.startswith(str(topic_id)) and "deleted" not in name for name in names)
        self.asked.append(("forget", topic_id))

    def create(self, topic_id: UUID, partition: int) -> tuple[SegmentHeader, Sealer]:
        raise KeyUnavailable("there is none")

    def sealer(self, header: SegmentHeader) -> Sealer:
        raise KeyUnavailable("there is none")


@pytest.fixture
def keyed() -> tuple[DataPlane, RecordedKeys]:
    keys = RecordedKeys()
    plane = DataPlane(keys)
    keys.plane = plane
    return plane, keys


async def test_keys_are_prepared_before_partitions_are_opened_and_all_at_once_at_a_start(
    keyed: tuple[DataPlane, RecordedKeys],
) -> None:
    plane, keys = keyed
    plain, sealed = View("plain"), View("sealed", 2, {"encryption.enabled": "true"})
    own = View("own", configs={"encryption.enabled": "true", "encryption.key": "theirs"})
    image = Image({one.name: one for one in (plain, sealed, own)})
    await plane.run(plane.replicas.sync_with(image))
    wanted = {plain.topic_id: None, sealed.topic_id: "", own.topic_id: "theirs"}
    assert keys.asked == [("prepare", wanted)]
    await plane.run(plane.replicas.sync_with(image))
    assert len(keys.asked) == 1, "nothing changed"


async def test_a_topic_switched_on_is_prepared_before_its_logs_hear_of_it(
    keyed: tuple[DataPlane, RecordedKeys],
) -> None:
    plane, keys = keyed
    topic = await plane.topic("t")
    keys.asked.clear()
    changed = dataclasses.replace(topic, version=2, configs={"encryption.enabled": "true"})
    await plane.run(plane.replicas.ensure(changed))
    assert keys.asked == [("prepare", {topic.topic_id: ""}), ("was hosted", topic.topic_id)]


async def test_keys_are_destroyed_once_the_partitions_are_gone(
    keyed: tuple[DataPlane, RecordedKeys],
) -> None:
    plane, keys = keyed
    topic = await plane.topic("t", 3)
    await plane.run(plane.replicas.sync_with(Image({})))
    assert keys.asked[-1] == ("forget", topic.topic_id)


async def test_keys_of_partitions_that_could_not_be_removed_are_kept_for_the_next_start(
    keyed: tuple[DataPlane, RecordedKeys], caplog: pytest.LogCaptureFixture
) -> None:
    plane, keys = keyed
    topic = await plane.topic("t")
    plane.files.faults.append(Fault("rename", path=str(topic.topic_id)))
    with caplog.at_level(logging.ERROR):
        await plane.run(plane.replicas.sync_with(Image({})))
    assert "cannot delete t-0" in caplog.text
    assert ("forget", topic.topic_id) not in keys.asked
