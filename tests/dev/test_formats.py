"""docs/formats.md says what is on disk: a real data directory is read with the page and `struct` alone."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from crc32c import crc32c

from rivven.log import checkpoint, compaction_swap, epochs, index, producers, sealing
from rivven.machine import journal_frames
from rivven.metadata import records as metadata_records
from rivven.records.batch import crc_matches, parse_header, read_records
from tests.golden.storage.test_sealed_segment import open_by_the_page
from tests.shipped.dev import DevBroker

PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text()
RECORDS = 2000
FRAMED = struct.Struct(">4sHHI")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data directory of a broker that has served clients and was stopped cleanly."""
    with DevBroker(tmp_path_factory.mktemp("formats")) as dev:
        _use(dev.client_settings())
        assert dev.stop() == 0
        yield dev.directory / "data"


def _use(profile: dict[str, str]) -> None:
    """Several segments of an idempotent producer, a deleted topic, a committed offset."""
    admin = AdminClient(dict(profile))
    config = {"segment.bytes": "100000", "index.interval.bytes": "100"}
    for future in admin.create_topics(
        [NewTopic("formats", 1, 1, config=config), NewTopic("gone", 1, 1)]
    ).values():
        future.result(10)
    producer = Producer(profile | {"enable.idempotence": "true", "batch.num.messages": "50"})
    for number in range(RECORDS):
        producer.produce("formats", b"x" * 200, key=str(number).encode())
    assert producer.flush(20) == 0
    consumer = Consumer(profile | {"group.id": "formats", "auto.offset.reset": "earliest"})
    consumer.subscribe(["formats"])
    message = consumer.poll(20)
    assert message is not None
    consumer.commit(message, asynchronous=False)
    consumer.close()
    [future] = admin.delete_topics(["gone"]).values()
    future.result(10)


def drawn() -> list[re.Pattern[str]]:
    """The tree of the page as patterns of file names relative to the data directory."""
    block = PAGE.partition("    <data_dir>/\n")[2].partition("\n\n")[0]
    folder, patterns = "", []
    for line in block.splitlines():
        indent = len(line) - len(line.lstrip())
        for name in re.findall(r"\S+", re.split(r" {3,}", line.strip().replace("<topic id>", "<topic>"))[0]):
            pattern = re.sub(r"<\w+>", r"[0-9a-f-]+", name.replace(".", r"\."))
            if name.endswith("/") and indent == 6:
                folder = pattern
            patterns.append(re.compile(folder + pattern if indent > 6 else pattern))
    return patterns


def test_every_file_of_a_real_directory_is_drawn(data: Path) -> None:
    names = [path.relative_to(data).as_posix() for path in data.rglob("*") if path.is_file()]
    strange = [
        name for name in names if not name.startswith("dev/") and not any(p.fullmatch(name) for p in drawn())
    ]
    assert not strange
    assert len(drawn()) >= 14
    assert {"identity.json", "lock", "log-checkpoint", "metadata.journal", "scram-decoy.key"} <= set(names)


def test_names_magics_and_versions_are_those_of_the_code() -> None:
    table = dict(re.findall(r"^\| `([^`]+)` \| (`\w{4}` \| \d+) \|", PAGE, re.MULTILINE))
    assert table == {
        name: f"`{magic.decode()}` | {version}"
        for name, magic, version in (
            (checkpoint.CHECKPOINT_NAME, checkpoint.CHECKPOINT_MAGIC, checkpoint.CHECKPOINT_VERSION),
            ("leader-epochs", epochs.EPOCHS_MAGIC, epochs.EPOCHS_VERSION),
            ("<offset>.snapshot", producers.SNAPSHOT_MAGIC, producers.SNAPSHOT_VERSION),
            (
                compaction_swap.CHECKPOINT_NAME,
                compaction_swap.CHECKPOINT_MAGIC,
                compaction_swap.CHECKPOINT_VERSION,
            ),
        )
    }
    assert f'"{journal_frames.MAGIC.decode()}"' in PAGE
    kinds = {
        kind
        for row in re.findall(r"^\| (`[a-z-]+`(?:, `[a-z-]+`)*) \| `", PAGE, re.MULTILINE)
        for kind in re.findall(r"[\w-]+", row)
    }
    assert set(metadata_records._DECODERS) <= kinds
    assert f"{checkpoint.ENTRY_BYTES} bytes" in PAGE
    assert (
        f"{index.OFFSET_ENTRY_BYTES} bytes an entry" in PAGE
        and f"{index.TIME_ENTRY_BYTES} bytes an entry" in PAGE
    )


def test_the_sealed_segment_of_the_page_is_what_the_page_says() -> None:
    section = PAGE.partition("\n## Sealed segments\n")[2].partition("\n## ")[0]
    segment = bytes.fromhex("".join(re.findall(r"^    ([0-9a-f]{50,64})$", section, re.MULTILINE)))
    [batch] = open_by_the_page(segment, bytes(range(32)))
    header = parse_header(batch)
    assert crc_matches(batch, 0, header) and header.base_offset == 0
    assert [record.value for record in read_records(batch, 0, header)] == [b"first"]
    assert f'"{sealing.SEGMENT_MAGIC.decode()}"' in section and f'"{sealing.FRAME_MAGIC.decode()}"' in section
    assert f"segment header, {sealing.SEGMENT_HEADER_BYTES} bytes" in section
    assert f"frame, {sealing.FRAME_OVERHEAD_BYTES} bytes longer" in section
    for name, number in sealing.ALGORITHMS.items():
        assert f"{number} {name}".lower() in section.lower()


def unframed(path: Path, magic: bytes) -> tuple[int, bytes]:
    """(flags, payload) of a framed file, read as the page draws it."""
    content = path.read_bytes()
    found, version, flags, length = FRAMED.unpack_from(content)
    assert (found, version) == (magic, 1)
    assert len(content) == FRAMED.size + length + 4
    assert struct.unpack(">I", content[-4:])[0] == crc32c(content[:-4])
    return flags, content[12 : 12 + length]


def test_identity_and_checkpoint(data: Path) -> None:
    identity = json.loads((data / "identity.json").read_text())
    assert set(identity) == {"format", "cluster_id", "node_id", "directory_id"}
    assert identity["format"] == 1 and len(identity["cluster_id"]) == 22
    flags, payload = unframed(data / "log-checkpoint", b"RVCP")
    assert flags & 1, "the shutdown was clean"
    folders = {path.name for path in (data / "partitions").iterdir()}
    sizes = {}
    for entry in struct.iter_unpack(">16siiqqqqq", payload):
        if entry[0] != bytes(16):
            name = entry[0].hex()
            spelled = "-".join([name[:8], name[8:12], name[12:16], name[16:20], name[20:]])
            sizes[f"{spelled}-{entry[1]}"] = entry
    assert set(sizes) == folders
    for name, (_, _, epoch, start, recovery, end, size, _) in sizes.items():
        logs = list((data / "partitions" / name).glob("*.log"))
        assert size == sum(path.stat().st_size for path in logs)
        assert epoch >= 0 and 0 <= start <= recovery <= end


def busiest(data: Path) -> Path:
    return max(
        (data / "partitions").iterdir(), key=lambda folder: sum(p.stat().st_size for p in folder.iterdir())
    )


def batches(path: Path) -> Iterator[tuple[int, tuple[int, ...]]]:
    content, position = path.read_bytes(), 0
    while position < len(content):
        fields = struct.unpack_from(">qiibIhiqqqhii", content, position)
        end = position + 12 + fields[1]
        assert fields[3] == 2
        assert fields[4] == crc32c(content[position + 21 : end])
        yield position, fields
        position = end


def test_segments_and_indexes(data: Path) -> None:
    folder = busiest(data)
    logs = sorted(folder.glob("*.log"))
    assert len(logs) >= 3
    expected = 0
    for path in logs:
        base = int(path.stem)
        assert re.fullmatch(r"\d{20}\.log", path.name) and base == expected
        ends, times = {}, {}
        for position, fields in batches(path):
            assert fields[0] == expected
            expected += fields[6] + 1
            ends[expected - 1 - base] = position
            times[expected - 1 - base] = fields[8]
        if path.with_suffix(".index").exists():
            for relative, position in struct.iter_unpack(">II", path.with_suffix(".index").read_bytes()):
                assert ends[relative] == position
            for timestamp, relative in struct.iter_unpack(">qI", path.with_suffix(".timeindex").read_bytes()):
                assert times[relative] == timestamp
    assert expected == RECORDS
    assert list(folder.glob("*.index"))


def test_producer_snapshot(data: Path) -> None:
    newest = max(busiest(data).glob("*.snapshot"))
    _, payload = unframed(newest, b"RVPS")
    producer_id, _epoch, active_ms, count = struct.unpack_from(">qhqB", payload)
    assert producer_id >= 0 and active_ms > 1_600_000_000_000 and 1 <= count <= 5
    assert len(payload) == 19 + 32 * count
    last = list(struct.iter_unpack(">iiqqq", payload[19:]))[-1]
    assert last[3] + 1 == int(newest.stem)


def test_metadata_journal(data: Path) -> None:
    content = (data / "metadata.journal").read_bytes()
    assert content[:8] == b"RVNJ\x01\0\0\0"
    position, kinds, marks = 8, set(), 0
    while position < len(content):
        length, crc, durable = struct.unpack_from(">IIQ", content, position)
        payload = content[position + 16 : position + 16 + length]
        assert crc == crc32c(
            content[position : position + 4] + content[position + 8 : position + 16] + payload
        )
        assert durable <= position
        [count] = struct.unpack_from(">I", payload)
        marks += count == 0
        at = 4
        for _ in range(count):
            fields = []
            for _field in ("key", "value"):
                [size] = struct.unpack_from(">i", payload, at)
                fields.append(payload[at + 4 : at + 4 + max(size, 0)])
                at += 4 + max(size, 0)
            assert fields[1][0] == 1
            document = json.loads(fields[1][1:])
            assert fields[0].decode().startswith(document["kind"])
            kinds.add(document["kind"])
        position += 16 + length
    assert position == len(content) and marks > 0
    assert {"cluster", "topic", "topic-deleted", "scram", "acls", "producer-ids"} <= kinds
