"""The runbooks of docs/encryption.md, each line typed against the shipped command; its promise looked at."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dev.runbook import Operator, blocks
from tests.shipped.kms import ScriptedKms, environment
from tests.shipped.on_disk import holding

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "encryption.md"
TLS_FIRST = "Runbook: the first authority and certificates"
FIRST, ROTATE, LOSE, RESTORE, SHRED = (
    "Runbook: the first key",
    "Runbook: rotate keys",
    "Runbook: lose a KMS",
    "Runbook: restore a backup",
    "Runbook: shred for a GDPR request",
)
MARKER = "Canary-4711-on-disk"
KEYS_FAILED = 8


def scripts(heading: str) -> list[str]:
    return [text for language, text in blocks(PAGE, heading) if language == "sh"]


def configuration(heading: str) -> str:
    [found] = [text for language, text in blocks(PAGE, heading) if language == "yaml"]
    return found


def test_every_block_is_typed() -> None:
    counts = {heading: len(scripts(heading)) for heading in (FIRST, ROTATE, LOSE, RESTORE, SHRED)}
    assert counts == {FIRST: 4, ROTATE: 5, LOSE: 3, RESTORE: 3, SHRED: 5}
    fences = re.findall(r"^```(\w+)$", PAGE.read_text(), re.MULTILINE)
    assert len(fences) == sum(counts.values()) + len([FIRST, LOSE]) + fences.count("text")


class Keeper(Operator):
    """An operator whose broker is the one of docs/tls.md, with and without encryption."""

    def prepares(self, certified: Operator) -> None:
        """Certificates and configuration, as docs/tls.md has them; the broker is not started."""
        self.goes_on_from(certified)
        tls = blocks(DOCS / "tls.md", TLS_FIRST)
        self.saves("/etc/rivven/rivven.yaml", next(text for language, text in tls if language == "yaml"))
        self.saves("admin.properties", next(text for language, text in tls if language == "properties"))

    def adds(self, settings: str) -> None:
        file = self.etc / "rivven.yaml"
        file.write_text(file.read_text() + self.adapted(settings))

    def starts(self) -> None:
        self.serves("rivven server --config /etc/rivven/rivven.yaml")

    def asks(self, command: str, *, code: int = 0) -> str:
        return self.types(f"rivven --command-config admin.properties {command}", code=code)

    def topics(self) -> dict[str, dict[str, object]]:
        return {one["topic"]: one for one in json.loads(self.asks("keys list --topics -o json"))}

    def files_with(self, text: str) -> list[str]:
        """Files of the data directory that hold it."""
        return holding(self.data, text.encode())


@pytest.fixture
def keeper(tmp_path: Path, certified: Operator) -> Iterator[Keeper]:
    made = Keeper(tmp_path)
    made.prepares(certified)
    yield made
    made.stops()


@pytest.fixture
def encrypted(keeper: Keeper) -> Keeper:
    """A broker with the first runbook's settings, and `customers` with one record."""
    keeper.adds(configuration(FIRST))
    keeper.types("echo admin.url=https://broker.example.com:9094 >> admin.properties")
    keeper.starts()
    keeper.asks("topic create customers")
    keeper.asks(f"produce customers '{MARKER}'")
    return keeper


def test_the_first_key(keeper: Keeper) -> None:
    keeper.starts()
    keeper.asks("topic create orders")
    keeper.asks(f"produce orders '{MARKER}'")
    keeper.stops()
    assert keeper.files_with(MARKER), "the control: in plain it is found"

    make, look, rewrite, more = scripts(FIRST)
    keeper.adds(configuration(FIRST))
    init, start = make.strip().splitlines()
    assert "keyring" in keeper.types(init)
    refused = keeper.types(init, code=5)
    assert "has keys already" in refused
    keeper.serves(start)
    assert "orders" in keeper.types(look)
    assert keeper.topics()["orders"]["plain_segments"] == 1
    assert keeper.files_with(MARKER)
    keeper.types(rewrite)
    orders = keeper.topics()["orders"]
    assert (orders["plain_segments"], orders["plaintext_history"], orders["newest_percent"]) == (
        0,
        True,
        100.0,
    )
    keeper.types(more)
    for topic in ("weather", "customers"):
        keeper.asks(f"produce {topic} 'Canary of {topic}'")
    assert keeper.asks("consume orders --from-beginning --count 1") == f"{MARKER}\n"
    keeper.stops()
    assert not keeper.files_with(MARKER)
    assert not keeper.files_with("Canary of customers")
    assert keeper.files_with("Canary of weather"), "the control: this topic is not encrypted"


def test_rotate(encrypted: Keeper) -> None:
    before = encrypted.topics()["customers"]["keks"]
    rotate, rewrap, reencrypt, signing, secrets = scripts(ROTATE)
    assert "In effect now" in encrypted.types(rotate)
    assert encrypted.topics()["customers"]["keks"] == before
    assert re.search(r"\bk1-\w+ .* yes$", encrypted.types(rewrap), re.MULTILINE), "retirable"
    assert encrypted.topics()["customers"]["keks"] != before
    assert "newest topic key" in encrypted.types(reencrypt)
    assert "intact" in encrypted.types(signing)
    assert encrypted.types(secrets).count("a new key is in effect") == 2
    assert encrypted.asks("consume customers --from-beginning --count 1") == f"{MARKER}\n"


def test_restore_a_backup(encrypted: Keeper) -> None:
    encrypted.stops()
    back_up, put_back, read = scripts(RESTORE)
    encrypted.types(back_up)
    encrypted.types(put_back)
    start, consume = read.strip().splitlines()
    encrypted.serves(start)
    assert encrypted.types(consume) == f"{MARKER}\n"
    encrypted.stops()

    for missing in ("data-keys/keyring", "data-keys", "data/encryption.key"):
        encrypted.types("\n".join(put_back.splitlines()[:4]))
        away = encrypted.directory / missing
        shutil.rmtree(away) if away.is_dir() else away.unlink()
        said = encrypted.types("rivven server --config /etc/rivven/rivven.yaml", code=KEYS_FAILED)
        assert missing.rpartition("/")[2] in said
        assert not away.exists(), "nothing is made in the place of what is missing"


def test_shred(encrypted: Keeper) -> None:
    encrypted.asks("topic create customer-4711")
    encrypted.asks("produce customer-4711 'forget me'")
    encrypted.stops()
    keep, put_back, read = scripts(RESTORE)
    encrypted.types(keep)
    start, consume = read.strip().splitlines()
    encrypted.serves(start)
    look, shred, certificate, without_rivven, back_up = scripts(SHRED)
    assert "customer-4711" in encrypted.types(look)
    assert "is shredded: complete" in encrypted.types(shred)
    assert re.search(r"^state: +complete$", encrypted.types(certificate), re.MULTILINE)
    assert "Verified Successfully" in encrypted.types(without_rivven)
    file = encrypted.directory / "erasure-customer-4711.json"
    file.write_text(file.read_text().replace("complete", "completed"))
    encrypted.types(certificate.strip().splitlines()[1], code=16)
    assert "Failure" in encrypted.types(without_rivven, code=1)
    encrypted.types(back_up)
    assert "customer-4711" not in encrypted.topics()
    encrypted.stops()

    # Data from before, keys from after: everything else is there again.
    encrypted.types(put_back)
    encrypted.serves(start)
    assert encrypted.types(consume) == f"{MARKER}\n"
    assert "forget me" not in encrypted.types(
        "timeout 3 rivven --command-config admin.properties consume customer-4711 --from-beginning || true"
    )


@pytest.fixture
def kms() -> Iterator[ScriptedKms]:
    with ScriptedKms() as server:
        yield server


def test_lose_a_kms(keeper: Keeper, kms: ScriptedKms) -> None:
    keeper.environment |= environment() | {
        "RIVVEN_STORAGE__ENCRYPTION__KMS__ENDPOINT_URL": kms.url,
        "RIVVEN_STORAGE__ENCRYPTION__PROVIDER_TIMEOUT_SECS": "1",
    }
    keeper.adds(configuration(LOSE))
    keeper.types("echo admin.url=https://broker.example.com:9094 >> admin.properties")
    keeper.starts()
    keeper.asks("topic create customers")
    keeper.asks(f"produce customers '{MARKER}'")
    running, restarted, back = scripts(LOSE)
    kms.stop()
    assert MARKER in keeper.types(running)
    keeper.asks("topic create late")
    hurried = "rivven --timeout 2 --command-config admin.properties"
    for refused in ("produce late x", "keys rotate"):
        keeper.types(f"{hurried} {refused} && exit 1 || true")
    keeper.stops()
    said = keeper.types(restarted, code=KEYS_FAILED)
    assert "the key provider kms gave no keys within 1 s" in said
    kms.start()
    start, consume, look = back.strip().splitlines()
    keeper.serves(start)
    assert keeper.types(consume) == f"{MARKER}\n"
    [first] = kms.keys
    assert first in keeper.types(look)
    keeper.asks("produce late 'what waited'")

    keeper.stops()
    kms.keys[first].state = "Disabled"
    assert first in keeper.types(restarted, code=KEYS_FAILED), "step 4"
    kms.keys[first].state = "Enabled"
    keeper.serves(start)

    kms.keys[first].state = "PendingDeletion"  # step 5
    keeper.asks("keys rotate")
    keeper.asks("keys rewrap")
    del kms.keys[first]
    keeper.stops()
    keeper.serves(start)
    assert keeper.types(consume) == f"{MARKER}\n"
