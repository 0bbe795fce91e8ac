"""Order on a connection, and what one slow or stalled client costs the others: nothing."""

from __future__ import annotations

import contextlib
import re
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator

import pytest

from rivven.errors import ErrorCode as E
from rivven.protocol import messages as m
from rivven.protocol.api import ApiKey
from tests.conformance.client import Client, batch, fetch_request, fresh, produce_request, read_all
from tests.conformance.process import resident_bytes
from tests.conformance.wire import Closed, frame
from tests.shipped.broker import ShippedBroker
from tests.shipped.connection import Connection

MIB = 1 << 20
RESPONSE_MEMORY = 64 * MIB
REQUEST_MEMORY = 40 * MIB
FRAME_MAX = 20 * MIB
EXTRA = {
    "limits": {
        "response_memory_bytes": RESPONSE_MEMORY,
        "request_memory_bytes": REQUEST_MEMORY,
        "max_batch_size": FRAME_MAX,
    }
}
STALLED = 100

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def other(plain: Connection) -> Iterator[Client]:
    with Client(plain) as client:
        yield client


def slowest(client: Client, topic: str, count: int = 20) -> float:
    """The longest of some produce and fetch pairs, in seconds."""
    worst = 0.0
    for index in range(count):
        started = time.monotonic()
        offset = client.produced(topic, b"%d" % index)
        assert read_all(client.fetch(topic, offset).records)
        worst = max(worst, time.monotonic() - started)
    return worst


def memory_in_use(broker: ShippedBroker) -> dict[str, float]:
    """The memory budgets as /metrics shows them."""
    host, port = broker.metrics_address()
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = re.findall(
        r"^(rivven_\w*(?:request|response)\w*memory\w*|rivven_\w*memory\w*) (\S+)$", text, re.M
    )
    return {name: float(value) for name, value in found}


def wait_until_all_given_back(broker: ShippedBroker) -> None:
    deadline = time.monotonic() + 10
    while True:
        used = memory_in_use(broker)
        assert used, "the budgets are not in /metrics"
        if not any(used.values()):
            return
        assert time.monotonic() < deadline, used
        time.sleep(0.05)


# -- order ---------------------------------------------------------------------------------------------------


def test_answers_come_in_request_order(admin: Client) -> None:
    topic = admin.create_topic(partitions=3)
    sent: list[tuple[int, int, int]] = []
    for index in range(60):
        if index % 7 == 3:
            sent.append((ApiKey.METADATA, 12, admin.send(ApiKey.METADATA, 12, m.MetadataRequest(topics=[]))))
        elif index % 7 == 5:
            request = fetch_request(topic, 0, max_wait_ms=5)
            sent.append((ApiKey.FETCH, 12, admin.send(ApiKey.FETCH, 12, request)))
        else:
            request = produce_request(topic, batch(b"%d" % index), partition=index % 3)
            sent.append((ApiKey.PRODUCE, 9, admin.send(ApiKey.PRODUCE, 9, request)))
    for api, version, correlation in sent:
        admin.receive(api, version, correlation)


def test_requests_after_a_produce_see_it(admin: Client) -> None:
    topic = admin.create_topic()
    for index in range(30):
        produce = admin.send(ApiKey.PRODUCE, 9, produce_request(topic, batch(b"v")))
        fetch = admin.send(ApiKey.FETCH, 12, fetch_request(topic, index))
        admin.receive(ApiKey.PRODUCE, 9, produce)
        entry = admin.receive(ApiKey.FETCH, 12, fetch).responses[0].partitions[0]
        assert entry.high_watermark == index + 1


def test_a_parked_fetch_holds_up_its_own_connection_only(admin: Client, other: Client) -> None:
    topic, elsewhere = admin.create_topic(), admin.create_topic()
    fetch = admin.send(ApiKey.FETCH, 12, fetch_request(topic, 0, max_wait_ms=10_000))
    metadata = admin.send(ApiKey.METADATA, 12, m.MetadataRequest(topics=[]))
    assert slowest(other, elsewhere) < 2
    with pytest.raises(TimeoutError):
        admin.receive_frame(0.05)
    other.produced(topic, b"v")
    admin.receive(ApiKey.FETCH, 12, fetch)
    admin.receive(ApiKey.METADATA, 12, metadata)


def test_more_requests_than_may_be_in_flight_are_all_answered(admin: Client) -> None:
    topic = admin.create_topic()
    correlations = [
        admin.send(ApiKey.PRODUCE, 9, produce_request(topic, batch(b"%d" % index))) for index in range(500)
    ]
    offsets = [
        admin.receive(ApiKey.PRODUCE, 9, one).responses[0].partition_responses[0].base_offset
        for one in correlations
    ]
    assert offsets == list(range(500))


def test_frames_in_pieces_of_any_size(admin: Client) -> None:
    topic = admin.create_topic()
    for size in (1, 2, 3, 5, 61, 4096):
        whole = frame(ApiKey.PRODUCE, 9, produce_request(topic, batch(b"v" * 300)), 7)
        for start in range(0, len(whole), size):
            admin.send_raw(whole[start : start + size])
        admin.receive(ApiKey.PRODUCE, 9, 7)
    assert len(admin.values(topic)) == 6


@pytest.mark.parametrize("protocol", ["sasl_plaintext", "sasl_ssl"])
def test_large_answers_and_requests_arrive_whole(broker: ShippedBroker, protocol: str) -> None:
    with Client(broker.connection(protocol)) as client:
        topic = client.create_topic(max_message_bytes=str(16 * MIB))
        value = bytes(range(256)) * (12 * MIB // 256)
        assert client.produced(topic, value) == 0
        assert client.produced(topic, value[::-1]) == 1
        assert client.values(topic) == [value, value[::-1]]


# -- stalled readers -----------------------------------------------------------------------------------------


@needs_proc
def test_a_hundred_stalled_consumers_cost_nobody_anything(
    broker: ShippedBroker, plain: Connection, admin: Client
) -> None:
    """Each asks for 50 MiB, as Java does, and never reads; 5 GB would be held without a budget."""
    topic, elsewhere = admin.create_topic(), admin.create_topic()
    for _ in range(60):
        admin.produced(topic, b"v" * 1_000_000)
    slowest(admin, elsewhere)
    before = resident_bytes(broker)
    with contextlib.ExitStack() as stack:
        for _ in range(STALLED):
            client = stack.enter_context(Client(plain, receive_buffer=4096))
            client.send(ApiKey.FETCH, 12, fetch_request(topic, 0))
        worst = slowest(admin, elsewhere, 50)
        grown = resident_bytes(broker) - before
        print(f"{grown / MIB:.0f} MiB held, slowest of the others {worst * 1000:.0f} ms")
        assert grown <= RESPONSE_MEMORY + STALLED * 2 * MIB
        assert worst < 1
    wait_until_all_given_back(broker)
    assert len(bytes(admin.fetch(topic, 0).records)) > RESPONSE_MEMORY // 5, "a quarter of it is free again"


def test_a_stalled_reader_gets_everything_once_it_reads(admin: Client, plain: Connection) -> None:
    topic = admin.create_topic()
    for _ in range(8):
        admin.produced(topic, b"v" * 1_000_000)
    with Client(plain, receive_buffer=4096) as client:
        sent = [client.send(ApiKey.FETCH, 12, fetch_request(topic, 0)) for _ in range(3)]
        time.sleep(0.2)
        for correlation in sent:
            entry = client.receive(ApiKey.FETCH, 12, correlation).responses[0].partitions[0]
            assert len(read_all(entry.records)) == 8


def test_memory_of_fetches_whose_client_went_away_is_given_back(
    broker: ShippedBroker, admin: Client, plain: Connection
) -> None:
    topic = admin.create_topic()
    admin.produced(topic, b"v" * 1_000_000)
    for offset, wait in ((0, 0), (1, 10_000)):
        clients = [Client(plain, receive_buffer=4096) for _ in range(20)]
        for client in clients:
            client.send(ApiKey.FETCH, 12, fetch_request(topic, offset, max_wait_ms=wait))
        for client in clients:
            client.close()
    wait_until_all_given_back(broker)


# -- slow and large senders ----------------------------------------------------------------------------------


def test_a_slow_sender_of_a_large_frame_costs_the_others_nothing(
    broker: ShippedBroker, admin: Client, other: Client
) -> None:
    topic, elsewhere = admin.create_topic(max_message_bytes=str(16 * MIB)), admin.create_topic()
    whole = frame(ApiKey.PRODUCE, 9, produce_request(topic, batch(b"v" * (12 * MIB))), 7)
    done = threading.Event()

    def send_slowly() -> None:
        for start in range(0, len(whole), MIB):
            admin.send_raw(whole[start : start + MIB])
            time.sleep(0.03)
        done.set()

    sender = threading.Thread(target=send_slowly)
    sender.start()
    worst = 0.0
    while not done.is_set():
        worst = max(worst, slowest(other, elsewhere, 3))
        other.produced(elsewhere, b"large" * 100_000)
    sender.join()
    entry = admin.receive(ApiKey.PRODUCE, 9, 7).responses[0].partition_responses[0]
    assert entry.error_code == 0
    assert worst < 1
    wait_until_all_given_back(broker)


@needs_proc
def test_large_frames_are_admitted_by_memory(broker: ShippedBroker, plain: Connection, admin: Client) -> None:
    """Eight frames of 15 MiB at once do not fit 40 MiB: some wait, all are answered."""
    value = b"v" * (15 * MIB)
    limit = str(8 * MIB)
    topic = admin.create_topic(max_message_bytes=limit)
    request = produce_request(topic, batch(value))
    before = resident_bytes(broker)
    codes: list[int] = []

    def produce() -> None:
        with Client(plain) as client:
            answer = client.call(ApiKey.PRODUCE, 9, request)
            codes.append(answer.responses[0].partition_responses[0].error_code)

    threads = [threading.Thread(target=produce) for _ in range(8)]
    for thread in threads:
        thread.start()
    highest = 0
    while any(thread.is_alive() for thread in threads):
        highest = max(highest, resident_bytes(broker) - before)
        time.sleep(0.005)
    print(f"{highest / MIB:.0f} MiB at most")
    assert codes == [E.MESSAGE_TOO_LARGE] * 8
    assert highest <= 2 * REQUEST_MEMORY, "a growing frame is copied once: twice its size for a moment"
    wait_until_all_given_back(broker)


@needs_proc
def test_frames_queued_behind_a_parked_fetch_count_too(
    broker: ShippedBroker, plain: Connection, admin: Client
) -> None:
    """One client pipelines 20 x 5 MiB behind a long poll: its memory is bounded by the budget."""
    topic, quiet = admin.create_topic(max_message_bytes=str(1 * MIB)), admin.create_topic()
    before = resident_bytes(broker)
    with Client(plain) as client:
        fetch = client.send(ApiKey.FETCH, 12, fetch_request(quiet, 0, max_wait_ms=1500))
        large = frame(ApiKey.PRODUCE, 9, produce_request(topic, batch(b"v" * (5 * MIB))), 9)
        sender = threading.Thread(target=lambda: [client.send_raw(large) for _ in range(20)])
        sender.start()
        time.sleep(0.7)
        grown = resident_bytes(broker) - before
        print(f"{grown / MIB:.0f} MiB held")
        assert grown <= 2 * REQUEST_MEMORY
        client.receive(ApiKey.FETCH, 12, fetch)
        for _ in range(20):
            answer = client.receive(ApiKey.PRODUCE, 9, 9)
            assert answer.responses[0].partition_responses[0].error_code == E.MESSAGE_TOO_LARGE
        sender.join()
    wait_until_all_given_back(broker)


def test_an_announced_frame_that_never_comes_is_given_back(broker: ShippedBroker, plain: Connection) -> None:
    with Client(plain) as client:
        client.send_raw((15 * MIB).to_bytes(4, "big") + bytes(200_000))
        time.sleep(0.1)
    wait_until_all_given_back(broker)


def test_answers_accepted_before_a_malformed_frame_are_still_sent(admin: Client) -> None:
    topic = admin.create_topic()
    produce = frame(ApiKey.PRODUCE, 9, produce_request(topic, batch(b"v")), 1)
    admin.send_raw(produce + b"\x80\0\0\0")
    assert admin.receive(ApiKey.PRODUCE, 9, 1).responses[0].partition_responses[0].error_code == 0
    with pytest.raises(Closed):
        admin.receive_frame()


def test_unknown_names_do_not_pile_up(admin: Client) -> None:
    """Metadata of a thousand names that do not exist leaves the table of topics as it was."""
    names = [fresh("none") for _ in range(1000)]
    assert {topic.error_code for topic in admin.metadata(*names).topics} == {E.UNKNOWN_TOPIC_OR_PARTITION}
    listed = {topic.name for topic in admin.call(ApiKey.METADATA, 12, m.MetadataRequest(topics=None)).topics}
    assert not listed & set(names)
