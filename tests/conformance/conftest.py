"""One shipped broker per test module: a TLS listener, a plain one on loopback, both with SCRAM."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.client import Client
from tests.shipped.broker import ShippedBroker
from tests.shipped.connection import Account, Connection

PLAIN = "sasl_plaintext"


@pytest.fixture(scope="module")
def settings(request: pytest.FixtureRequest) -> dict[str, object]:
    """Broker settings of the module: its `SETTINGS`, if it has any."""
    return dict(getattr(request.module, "SETTINGS", {}))


@pytest.fixture(scope="module")
def extra(request: pytest.FixtureRequest) -> dict[str, object]:
    """Other keys of the configuration file: the module's `EXTRA`."""
    return dict(getattr(request.module, "EXTRA", {}))


@pytest.fixture(scope="module")
def broker(
    tmp_path_factory: pytest.TempPathFactory, settings: dict[str, object], extra: dict[str, object]
) -> Iterator[ShippedBroker]:
    """It must survive every test, log no traceback and end cleanly."""
    directory = tmp_path_factory.mktemp("broker")
    made = ShippedBroker(directory, settings=settings, protocols=("sasl_ssl", PLAIN), extra=extra)
    with made:
        yield made
        assert made.running, f"the broker died: {made.tail()}"
        assert made.stop() == 0, made.tail()
    assert "Traceback" not in made.log.read_text(errors="replace"), made.tail()


@pytest.fixture(scope="module")
def plain(broker: ShippedBroker) -> Connection:
    """The administrator's way in, without TLS."""
    return broker.connection(PLAIN)


@pytest.fixture
def admin(plain: Connection) -> Iterator[Client]:
    """A connection of the administrator."""
    with Client(plain) as client:
        yield client


@pytest.fixture
def user(admin: Client) -> Account:
    """A user who may do nothing."""
    return admin.create_user()


@pytest.fixture
def own_directory(tmp_path: Path) -> Path:
    """Where a broker of the test's own may live."""
    tmp_path.chmod(0o700)
    return tmp_path / "own"
