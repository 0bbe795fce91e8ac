"""The audit file: rotated, cut after a crash, removed by a stated rule, never lost in silence."""

import json
import random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rivven.audit.events import AuditEvent
from rivven.audit.file_sink import FileRules
from rivven.audit.sinks import RETRY_SECONDS, AuditUnavailable
from rivven.audit.verify import Verifier, chain_files
from rivven.testing.files import CrashFiles, Fault
from tests.unit.audit.world import LOG, HandClock, World, assert_chained, file_world

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PUBLIC = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
DAY = 86_400_000
CHANGE = AuditEvent("acl_change", "create", "topic:t", "intent")


async def write(world: World, count: int = 1) -> None:
    for _ in range(count):
        await world.done(world.trail.intent(CHANGE))


def all_lines(files: CrashFiles) -> list[bytes]:
    found: list[bytes] = []
    for path in chain_files(files, LOG):
        file = files.open(path, "read")
        found += file.read(file.size(), 0).splitlines()
    return found


async def test_a_full_file_is_renamed_and_the_next_begins_with_its_last_hash() -> None:
    world = await file_world(rules=FileRules(bytes_max=2000))
    await write(world, 20)
    names = sorted(world.files.list("/data/audit"))
    assert len(names) > 2 and names[0] == "audit.log" and names[1] == "audit.log." + "0" * 20
    assert_chained(all_lines(world.files))
    assert len(all_lines(world.files)) == 20
    assert all(world.files.size(f"/data/audit/{name}") <= 2000 for name in names)


async def test_a_file_is_rotated_by_age_of_its_first_line() -> None:
    world = await file_world(rules=FileRules(age_ms_max=DAY))
    await write(world)
    world.clock.ms += DAY - 1
    await write(world)
    assert world.files.list("/data/audit") == ["audit.log"]
    world.clock.ms += 2
    await write(world)
    assert len(world.files.list("/data/audit")) == 2


async def test_a_restart_knows_how_old_the_file_is() -> None:
    world = await file_world(rules=FileRules(age_ms_max=DAY))
    await write(world)
    later = await file_world(
        world.files, rules=FileRules(age_ms_max=DAY), clock=HandClock(world.clock.ms + 2 * DAY)
    )
    await write(later)
    assert len(world.files.list("/data/audit")) == 2


async def test_retention_removes_whole_files_and_says_so_first() -> None:
    world = await file_world(rules=FileRules(bytes_max=1000, keep_files_max=2))
    await write(world, 20)
    assert len(world.files.list("/data/audit")) > 4, "nothing is removed before its record can be signed"
    world.trail.sign_with(KEY.sign, "key")
    await write(world, 20)
    lines = all_lines(world.files)
    first = json.loads(lines[0])
    assert first["sequence"] > 0 and len(world.files.list("/data/audit")) <= 4
    removals = [json.loads(line) for line in lines if b'"retention"' in line]
    assert all(removal["signature"] for removal in removals)
    newest = removals[-1]["details"]
    assert newest["removed_below"] >= first["sequence"] and len(newest["last_hash"]) == 64
    assert_chained(lines, first["previous"], first["sequence"])
    report = Verifier(world.files, PUBLIC).verify(chain_files(world.files, LOG))
    assert report.intact, report.findings


async def test_retention_by_age_keeps_what_is_young() -> None:
    world = await file_world(rules=FileRules(bytes_max=600, keep_ms_max=10 * DAY))
    world.trail.sign_with(KEY.sign, "key")
    for _ in range(30):
        await write(world)
        world.clock.ms += DAY
    days = sorted({json.loads(line)["timestamp"][:10] for line in all_lines(world.files)})
    assert 10 <= len(days) <= 13
    assert Verifier(world.files, PUBLIC).verify(chain_files(world.files, LOG)).intact


async def test_files_that_vanish_without_a_record_are_found() -> None:
    world = await file_world(rules=FileRules(bytes_max=1000))
    await write(world, 10)
    world.files.remove("/data/audit/audit.log." + "0" * 20)
    report = Verifier(world.files).verify(chain_files(world.files, LOG))
    assert "no record says" in report.findings[0].reason


async def test_a_torn_last_line_is_cut_kept_and_recorded() -> None:
    world = await file_world()
    await write(world, 3)
    file = world.files.open(LOG, "write")
    file.write([b'{"timestamp":"2026-'], file.size())
    again = await file_world(world.files)
    await write(again)
    events = again.events()
    assert [event["action"] for event in events] == ["create"] * 3 + ["recovered", "create"]
    details = events[3]["details"]
    assert details["cut_bytes"] == 19
    kept = again.content(f"/data/audit/{details['kept_as']}")
    assert kept == b'{"timestamp":"2026-'
    assert_chained(again.content().splitlines())


@pytest.mark.parametrize("seed", range(60))
async def test_after_a_power_loss_the_chain_is_whole_and_holds_every_intent(seed: int) -> None:
    """Unsynced pages are lost in any combination; what `intent` had confirmed is there."""
    print(f"seed {seed}")
    dice = random.Random(seed)
    world = await file_world(rules=FileRules(bytes_max=4000))
    confirmed = 0
    for _ in range(dice.randrange(1, 30)):
        if dice.random() < 0.3:
            await write(world)
            confirmed = world.trail.head.next_sequence
        else:
            world.trail.event(AuditEvent("authentication", "login"))
            await world.run()
    world.files.crash(dice)
    again = await file_world(world.files, rules=FileRules(bytes_max=4000))
    await write(again)
    report = Verifier(again.files).verify(chain_files(again.files, LOG))
    assert report.intact, report.findings
    actions = [json.loads(line)["action"] for line in all_lines(again.files)]
    assert actions.count("create") + actions.count("login") - 1 >= confirmed


async def test_a_file_whose_end_is_nothing_of_ours_is_kept_aside() -> None:
    files = CrashFiles()
    files.make_directory("/data")
    files.make_directory("/data/audit")
    files.open(LOG, "create").write([b"\0" * 5000], 0)
    world = await file_world(files)
    await write(world)
    events = world.events()
    assert (events[0]["action"], events[0]["result"]) == ("recovered", "failure")
    assert world.content(f"/data/audit/{events[0]['details']['kept_as']}") == b"\0" * 5000


@pytest.mark.parametrize("how", ["removed", "truncated", "appended"])
async def test_a_file_that_somebody_changes_is_noticed_at_the_next_line(how: str) -> None:
    world = await file_world()
    await write(world, 3)
    if how == "removed":
        world.files.remove(LOG)
    else:
        file = world.files.open(LOG, "write")
        file.truncate(100) if how == "truncated" else file.write([b"forged\n"], file.size())
    await write(world)
    await write(world)
    events = world.events()
    assert [event["action"] for event in events] == ["create", "file_changed", "create"]
    assert events[1]["details"]["found_bytes"] == {"removed": -1, "truncated": 100}.get(
        how, events[1]["details"]["expected_bytes"] + 7
    )
    assert ("kept_as" in events[1]["details"]) is (how != "removed")


async def test_a_full_disk_refuses_changes_and_leaves_no_half_line() -> None:
    world = await file_world()
    await write(world)
    world.files.faults.append(Fault("write", written=30, times=1))
    with pytest.raises(AuditUnavailable):
        await write(world)
    assert len(world.content().splitlines()) == 1 and world.content().endswith(b"\n")
    world.threads.advance(RETRY_SECONDS)
    await write(world)
    assert_chained(world.content().splitlines())
    assert len(world.events()) == 3


async def test_a_failed_fsync_is_final() -> None:
    world = await file_world()
    world.files.faults.append(Fault("sync"))
    with pytest.raises(AuditUnavailable):
        await write(world)
    world.threads.advance(60)
    with pytest.raises(AuditUnavailable):
        await write(world)
    assert "could not be synced" in world.trail.queues[0].failure
