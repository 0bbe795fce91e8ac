"""The C client by its batch functions: confluent-kafka's librdkafka without Python's cost per record.

Driver. A million records a second from Python objects would measure Python. `rd_kafka_produce_batch` and
`rd_kafka_consume_callback_queue` work on many at once: every broker meets the same C code at its full speed.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

import confluent_kafka

P = ParamSpec("P")
R = TypeVar("R")

CLIENT_NICENESS = 10
BATCH_RECORDS = 1000  # records handed over in one call
QUEUE_KBYTES = 262_144  # what the client may hold in memory; the same for every broker
_PRODUCER, _CONSUMER = 0, 1
_FLAG_PARTITION = 0x8
_ERROR_BYTES = 512


class Message(ctypes.Structure):
    """`rd_kafka_message_t`."""

    _fields_ = [
        ("err", ctypes.c_int),
        ("rkt", ctypes.c_void_p),
        ("partition", ctypes.c_int32),
        ("payload", ctypes.c_void_p),
        ("len", ctypes.c_size_t),
        ("key", ctypes.c_void_p),
        ("key_len", ctypes.c_size_t),
        ("offset", ctypes.c_int64),
        ("_private", ctypes.c_void_p),
    ]


_P = ctypes.c_void_p
_SIGNATURES: dict[str, tuple[object, list[object]]] = {
    "conf_new": (_P, []),
    "conf_set": (ctypes.c_int, [_P, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t]),
    "new": (_P, [ctypes.c_int, _P, ctypes.c_char_p, ctypes.c_size_t]),
    "destroy": (None, [_P]),
    "topic_new": (_P, [_P, ctypes.c_char_p, _P]),
    "topic_destroy": (None, [_P]),
    "produce_batch": (
        ctypes.c_int,
        [_P, ctypes.c_int32, ctypes.c_int, ctypes.POINTER(Message), ctypes.c_int],
    ),
    "flush": (ctypes.c_int, [_P, ctypes.c_int]),
    "poll": (ctypes.c_int, [_P, ctypes.c_int]),
    "queue_new": (_P, [_P]),
    "queue_destroy": (None, [_P]),
    "consume_start_queue": (ctypes.c_int, [_P, ctypes.c_int32, ctypes.c_int64, _P]),
    "consume_stop": (ctypes.c_int, [_P, ctypes.c_int32]),
    "consume_callback_queue": (ctypes.c_int, [_P, ctypes.c_int, _P, _P]),
}


def _load() -> ctypes.CDLL:
    """The library that confluent-kafka brings in its wheel."""
    folder = Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs"
    [path] = list(folder.glob("librdkafka-*.so*"))
    library = ctypes.CDLL(str(path))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, f"rd_kafka_{name}")
        function.restype, function.argtypes = result, arguments
    return library


_lib = _load()


class _Client:
    """A handle with one topic."""

    def __init__(self, kind: int, conf: Mapping[str, object], topic: str) -> None:
        error = ctypes.create_string_buffer(_ERROR_BYTES)
        settings = _lib.rd_kafka_conf_new()
        for name, value in conf.items():
            if _lib.rd_kafka_conf_set(settings, name.encode(), str(value).encode(), error, _ERROR_BYTES):
                raise ValueError(error.value.decode())
        self._handle = _lib.rd_kafka_new(kind, settings, error, _ERROR_BYTES)
        if not self._handle:
            raise ValueError(error.value.decode())
        self._topic = _lib.rd_kafka_topic_new(self._handle, topic.encode(), None)

    def close(self) -> None:
        _lib.rd_kafka_topic_destroy(self._topic)
        _lib.rd_kafka_destroy(self._handle)


def _yielding(measure: Callable[P, R]) -> Callable[P, R]:
    """Run on a thread of low priority, which the C library's own threads inherit.

    A client at full speed and its broker share two cores here. Without this the broker's latency is the
    scheduler's: its loop waits in the run queue while the client prepares ever more records. The same for
    every broker.
    """

    @functools.wraps(measure)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        def niced() -> R:
            if sys.platform == "linux":
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), CLIENT_NICENESS)
            return measure(*args, **kwargs)

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(niced).result()

    return run


@_yielding
def produce_for(
    conf: Mapping[str, object], topic: str, *, partitions: int, record_bytes: int, seconds: float
) -> tuple[int, float]:
    """Produce equal records round robin for `seconds`; returns (records, seconds until all are answered)."""
    limits = {"queue.buffering.max.kbytes": QUEUE_KBYTES, "queue.buffering.max.messages": 10_000_000}
    client = _Client(_PRODUCER, {"acks": "all", **limits, **conf}, topic)
    payload = ctypes.create_string_buffer(b"x" * record_bytes, record_bytes)
    batch = (Message * BATCH_RECORDS)()
    for index, message in enumerate(batch):
        message.payload, message.len = ctypes.addressof(payload), record_bytes
        message.partition = index % partitions
    sent, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        taken = _lib.rd_kafka_produce_batch(client._topic, 0, _FLAG_PARTITION, batch, BATCH_RECORDS)
        sent += taken
        if taken < BATCH_RECORDS:  # the client's queue is full: that is the broker's speed
            _lib.rd_kafka_poll(client._handle, 2)
    unanswered = _lib.rd_kafka_flush(client._handle, 60_000)
    elapsed = time.perf_counter() - started
    if unanswered:
        raise RuntimeError(f"records were not answered within a minute (error {unanswered})")
    client.close()
    return sent, elapsed


@_yielding
def consume_all(
    conf: Mapping[str, object], topic: str, *, partitions: int, records: int, seconds_max: float = 60.0
) -> tuple[int, float]:
    """Fetch up to `records` from the beginning; returns (records, seconds from the first to the last)."""
    queueing = {"queued.max.messages.kbytes": QUEUE_KBYTES, "queued.min.messages": 1_000_000}
    client = _Client(_CONSUMER, {"group.id": "bench", "check.crcs": "false", **queueing, **conf}, topic)
    queue = _lib.rd_kafka_queue_new(client._handle)
    # The callback only has to be cheap and in C; the library counts the records and frees them itself.
    look_at = ctypes.cast(_lib.rd_kafka_message_status, _P)
    for partition in range(partitions):
        _lib.rd_kafka_consume_start_queue(client._topic, partition, 0, queue)
    got, first = 0, 0.0
    deadline = time.perf_counter() + seconds_max
    while got < records and time.perf_counter() < deadline:
        count = _lib.rd_kafka_consume_callback_queue(queue, 100, look_at, None)
        if count < 0:
            raise RuntimeError("fetching failed")
        if count and not first:
            first = time.perf_counter()
        got += count
    elapsed = time.perf_counter() - first
    for partition in range(partitions):
        _lib.rd_kafka_consume_stop(client._topic, partition)
    _lib.rd_kafka_queue_destroy(queue)
    client.close()
    return got, elapsed
