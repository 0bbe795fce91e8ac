"""What is hosted follows the committed metadata: created, grown, reconfigured, deleted, replaced."""

import dataclasses
import logging
from uuid import uuid4

import pytest

from rivven.config.broker_settings import topic_defaults
from rivven.errors import ErrorCode, RivvenError
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
