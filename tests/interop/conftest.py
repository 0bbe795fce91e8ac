"""Fixtures of the interop suites: one shipped broker per worker, users with known rights, optional clients.

A client that is not installed skips its tests with the reason; `RIVVEN_REQUIRE_INTEROP=1` makes that fail.
"""

from __future__ import annotations

import gc
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.interop.reference import Reference
from tests.shipped.broker import ShippedBroker
from tests.shipped.connection import Account, Connection

USER_PREFIX = "open-"  # topics and groups the ordinary user may use
_names = itertools.count()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    # Sockets the clients forget to close after a refused connection are theirs to fix, not this suite's.
    forgiving = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.interop)
            item.add_marker(forgiving)


@pytest.fixture(autouse=True, scope="module")
def _forgotten_sockets() -> Iterator[None]:
    """Find the sockets clients forgot to close here, where that is forgiven, not in somebody else's test."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShippedBroker]:
    """The shipped broker, SASL_SSL only; it must survive all tests and end cleanly.

    Failed logins are answered at once: the default doubles a delay with each from one address, and here all
    clients have one. How that works is shown over the wire by conformance/, with brokers of its own.
    """
    settings = {"auto.create.topics.enable": False, "connection.failed.authentication.delay.ms": 1}
    broker = ShippedBroker(tmp_path_factory.mktemp("broker"), settings=settings)
    with broker:
        yield broker
        assert broker.running, f"the broker died: {broker.tail()}"
    assert "Traceback" not in broker.log.read_text(errors="replace"), broker.tail()


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[ShippedBroker]:
    """A broker of the test's own, to restart or kill."""
    with ShippedBroker(tmp_path / "own") as broker:
        yield broker


@pytest.fixture(scope="session")
def reference(broker: ShippedBroker) -> Reference:
    """The administrator of the session's broker."""
    return Reference(broker.connection())


@pytest.fixture(scope="session")
def user(broker: ShippedBroker, reference: Reference) -> Connection:
    """An ordinary user: all rights on names that start with USER_PREFIX, none on others."""
    account = reference.create_user("alice", "Wonder-land 42!")
    reference.allow_prefix(account.user, USER_PREFIX)
    return broker.connection(account=account)


@pytest.fixture(scope="session")
def stranger(broker: ShippedBroker, reference: Reference) -> Connection:
    """A user who can log in and may do nothing."""
    return broker.connection(account=reference.create_user("mallory", "Nothing-to-see 7?"))


@pytest.fixture(scope="session")
def wrong_password(user: Connection) -> Connection:
    return user.with_password("not the password")


@pytest.fixture(scope="session")
def wrong_ca(user: Connection, tmp_path_factory: pytest.TempPathFactory) -> Connection:
    """A client that trusts another authority of the same name."""
    from tests.shipped.pki import make_pki

    return user.with_ca(make_pki(tmp_path_factory.mktemp("other")).ca)


@pytest.fixture
def name() -> str:
    """A fresh name the ordinary user may use for a topic and a group."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    return f"{USER_PREFIX}{worker}-{next(_names)}"


@pytest.fixture
def make_topic(reference: Reference, name: str) -> Callable[..., str]:
    """Creates the test's topic, named like the `name` fixture plus an optional suffix."""

    def make(partitions: int = 1, suffix: str = "", **config: str) -> str:
        settings = {key.replace("_", "."): value for key, value in config.items()}
        return reference.create_topic(name + suffix, partitions, settings)

    return make


@pytest.fixture
def topic(make_topic: Callable[..., str]) -> str:
    """A topic with one partition."""
    return make_topic()


@pytest.fixture
def secret_topic(reference: Reference) -> str:
    """A topic the ordinary user has no right on."""
    return reference.create_topic(f"closed-{os.environ.get('PYTEST_XDIST_WORKER', 'gw0')}-{next(_names)}")


@pytest.fixture
def account_of(reference: Reference) -> Callable[[str, str], Account]:
    """Creates a user with a password and no rights."""
    return reference.create_user
