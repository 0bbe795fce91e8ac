"""Kills a process that changes keys, again and again, and looks whether all it had used is still there.

`python -m tests.durability.keys_under_kill DIRECTORY RUNS SEED` prints what was lost, or one line of sums.
Each victim and each look is a fork of this process, so that a run takes milliseconds. The victim writes to a
ledger what it may rely on, after it was told so, and what it is about to give up, before it does.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import cryptography.hazmat.primitives.ciphers.aead
import cryptography.hazmat.primitives.kdf.hkdf  # noqa: F401 - loaded here, once for all forks

from rivven.clock import SystemClock
from rivven.config.storage import EncryptionConfig
from rivven.log.sealed_traces import Traces
from rivven.log.sealing import open_frame, parse_segment_header, seal_batch
from rivven.log.threads import LoopThreads
from rivven.security.keys.bootstrap import MetadataKey
from rivven.security.keys.key_file import PrivateFiles
from rivven.security.keys.key_store import open_key_store
from rivven.security.keys.keyring_file import open_keyring
from rivven.security.keys.provider import KeyContext, KeyGone
from rivven.security.keys.secrets import AUDIT_SIGNING, TOKEN_HASH, Secrets
from rivven.security.keys.topic_keys import KeySettings, TopicKeys
from rivven.tasks import Tasks
from tests.unit.log.harness import batch_of

TOPICS = [UUID(int=number) for number in range(1, 7)]
KILLED_WITHIN_S = 0.1
BATCH = batch_of(b"value of a record")
SECRETS = (TOKEN_HASH, AUDIT_SIGNING)


class Ledger:
    """Lines that survive the death of who wrote them."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, *words: str) -> None:
        os.write(self._fd, (" ".join(words) + "\n").encode())


class Keys:
    """Everything that holds keys, over one directory."""

    def __init__(self, directory: Path) -> None:
        files, data = PrivateFiles(), str(directory / "data")
        config = EncryptionConfig(key_directory=directory / "keys")
        self.provider = open_keyring(config)
        try:
            self.provider.current_id("")
        except KeyGone:
            self.provider.create()
        self.store = open_key_store(files, str(directory / "keys"), "c", may_create=True)
        self.metadata_key = MetadataKey.load_or_create(
            files, f"{data}/encryption.key", self.provider, "c", os.urandom
        )
        self.secrets = Secrets(files, data, os.urandom, self.store, self.metadata_key.secrets_key())

    @asynccontextmanager
    async def topics(self) -> Any:
        tasks = Tasks()
        keys = TopicKeys(
            store=self.store,
            provider=self.provider,
            metadata_key=self.metadata_key,
            context=KeyContext("c"),
            settings=KeySettings(),
            threads=LoopThreads(asyncio.get_running_loop()),
            tasks=tasks,
            clock=SystemClock(),
            entropy=os.urandom,
            traces_of=lambda _topics: Traces(),
        )
        await keys.open()
        yield keys
        await tasks.cancel_all()
        keys.close()


async def live(directory: Path, seed: int, ready: int) -> None:
    """The victim: changes keys until it is killed; writes to the pipe `ready` when it begins."""
    chance = random.Random(seed)
    ledger, mine = Ledger(directory / "ledger"), Keys(directory)
    async with mine.topics() as keys:
        await keys.prepare(dict.fromkeys(TOPICS, ""))
        os.write(ready, b"x")
        while True:
            topic = chance.choice(TOPICS)
            match chance.randrange(9):
                case 0:
                    await keys.renew(topic)
                case 1:
                    for key_id in keys.older(topic):
                        ledger.note("retired", str(topic), key_id.hex())
                    await keys.retire(topic, keys.older(topic))
                case 2:
                    mine.provider.rotate("")
                    report = await keys.rewrap()
                    assert not report.failed, report
                    for kek in report.retirable:
                        mine.provider.destroy(kek)
                        ledger.note("destroyed", kek)
                case 3:
                    ledger.note("forgotten", str(topic), "all")
                    await keys.forget(topic)
                    await keys.prepare({topic: ""})
                case 4:
                    name, value = chance.choice(SECRETS), os.urandom(16)
                    ledger.note("changing", name, value.hex())
                    mine.secrets.rotate(name, lambda value=value: value)
                    ledger.note("secret", name, value.hex())
                case 5:
                    ledger.note("unmarking", str(topic))
                    await keys.prepare({topic: None})
                    assert keys.may_begin_plain(topic)
                    ledger.note("plain", str(topic))
                    await keys.prepare({topic: ""})
                case 6:
                    ledger.note("marking", str(topic))
                    assert await keys.mark_only_sealed(topic)
                    ledger.note("marked", str(topic))
                case _:
                    header, sealer = keys.create(topic, 0)
                    frame = seal_batch(sealer, header, 128, BATCH)
                    ledger.note("sealed", str(topic), header.encode().hex(), frame.hex())


def expected(directory: Path) -> tuple[list[tuple[str, str]], dict[str, set[str]], dict[str, bool]]:
    """What has to open: (header, frame) of segments; for each secret the values it may have ("": none); for
    each topic whether it has to be marked as only sealed, or must not be."""
    segments: list[tuple[str, str, str, str]] = []
    secrets: dict[str, set[str]] = {}
    marks: dict[str, bool] = {}
    for line in (directory / "ledger").read_text().splitlines():
        match line.split():
            case ["sealed", topic, header, frame]:
                parsed = parse_segment_header(bytes.fromhex(header))
                assert parsed is not None
                segments.append((topic, parsed.topic_key_id.hex(), header, frame))
            case ["retired", topic, key_id]:
                segments = [one for one in segments if one[:2] != (topic, key_id)]
            case ["forgotten", topic, _]:
                segments = [one for one in segments if one[0] != topic]
                marks.pop(topic, None)
            case ["unmarking" | "marking", topic]:
                marks.pop(topic, None)
            case ["plain" | "marked" as word, topic]:
                marks[topic] = word == "marked"
            case ["changing", name, value]:
                secrets.setdefault(name, {""}).add(value)
            case ["secret", name, value]:
                secrets[name] = {value}
    return [(header, frame) for _, _, header, frame in segments], secrets, marks


async def look(directory: Path) -> None:
    """Whether everything the ledger says is there; raises what is not."""
    mine = Keys(directory)
    segments, secrets, marks = expected(directory)
    async with mine.topics() as keys:
        await keys.prepare(dict.fromkeys(TOPICS, ""))
        assert [keys.failure(topic) for topic in TOPICS] == [""] * len(TOPICS)
        assert {topic: keys.only_sealed(UUID(topic)) for topic in marks} == marks
        for header_text, frame_text in segments:
            header = parse_segment_header(bytes.fromhex(header_text))
            assert header is not None
            frame = memoryview(bytes.fromhex(frame_text))
            assert b"".join(open_frame(keys.sealer(header), header, 128, frame)) == BATCH
        await keys.rewrap()
        assert keys.kek_ids() == {mine.provider.current_id("")}
    for name, values in secrets.items():
        found = mine.secrets.load(name)
        assert (found or b"").hex() in values, name


def forked(body: Callable[[], Any]) -> int:
    """Run something in a fork; its process id."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            asyncio.run(body())
            status = 0
        except BaseException as error:  # noqa: BLE001 - said, and told by the exit status
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
        finally:
            sys.stderr.flush()
            os._exit(status)
    return pid


def main() -> int:
    directory, runs, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    (directory / "data").mkdir(mode=0o700)
    chance = random.Random(seed)
    read_end, ready = os.pipe()
    for run in range(runs):
        victim = forked(lambda run=run: live(directory, seed * 1_000 + run, ready))
        if run % 4:  # the others are killed while they begin
            os.read(read_end, 1)
        time.sleep(chance.random() * KILLED_WITHIN_S)
        os.kill(victim, signal.SIGKILL)
        _, status = os.waitpid(victim, 0)
        if not os.WIFSIGNALED(status):
            print(f"run {run}: the victim ended by itself")
            return 1
        if not (directory / "ledger").exists():
            continue
        _, status = os.waitpid(forked(lambda: look(directory)), 0)
        if status:
            print(f"run {run} of seed {seed}: something is lost")
            return 1
    words = [line.split()[0] for line in (directory / "ledger").read_text().splitlines()]
    print(*(f"{word}={words.count(word)}" for word in sorted(set(words))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
