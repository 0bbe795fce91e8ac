"""What every key provider must keep to, wherever its keys are. A provider's test file subclasses
`Conformance` and gives the fixture `subject`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from uuid import UUID

import pytest

from rivven.security.keys.provider import (
    BLOB_BYTES_MAX,
    PLAIN_BYTES_MAX,
    BuiltInProvider,
    KeyContext,
    KeyGone,
    KeyMismatch,
    KeyProviderError,
    KeyRefused,
    ProviderUnavailable,
    WrappedKey,
)
from rivven.testing.canary import leaks

TOPIC = UUID("11111111-2222-4333-8444-555555555555")
OTHER_TOPIC = UUID("99999999-2222-4333-8444-555555555555")
CONTEXT = KeyContext("cluster-a").topic(TOPIC)
PLAIN = b"a topic key: 32 bytes of entropy"
ELSEWHERE = (
    KeyContext("cluster-a").topic(OTHER_TOPIC),
    KeyContext("cluster-b").topic(TOPIC),
    KeyContext("cluster-a").metadata(),
    {**CONTEXT, "more": "x"},
    {},
)


@dataclass
class Subject:
    """A provider under test. `outage` is entered to put it out of reach; `unknown_id` has the form of its
    ids but names no KEK; `secrets` are what it must never say; `completes`: destroying is done at once."""

    provider: BuiltInProvider
    outage: Callable[[], AbstractContextManager[object]]
    unknown_id: str
    secrets: tuple[str | bytes, ...] = ()
    completes: bool = True
    unknown_name: str = "no-such-key"
    said: list[str] = field(default_factory=list)

    def refused(self, kind: type[KeyProviderError], call: Callable[[], object]) -> None:
        """The call is refused as it must be, in one line; what it says is kept for the search of secrets."""
        with pytest.raises(KeyProviderError) as caught:
            call()
        assert isinstance(caught.value, kind), repr(caught.value)
        text = str(caught.value)
        assert text and "\n" not in text
        self.said += [text, repr(caught.value), repr(self.provider)]
        chained = caught.value.__cause__
        self.said.append(repr(chained))


class Conformance:
    """Inherit, and give `subject`."""

    def test_what_was_wrapped_comes_back(self, subject: Subject) -> None:
        for plain in (PLAIN, b"x", bytes(PLAIN_BYTES_MAX)):
            wrapped = subject.provider.wrap("", plain, CONTEXT)
            assert wrapped.provider == subject.provider.name
            assert wrapped.key_id == subject.provider.current_id("")
            assert len(wrapped.blob) <= BLOB_BYTES_MAX
            assert subject.provider.unwrap(wrapped, CONTEXT) == plain
            assert subject.provider.unwrap(wrapped, dict(reversed(CONTEXT.items()))) == plain

    def test_a_wrapped_key_shows_nothing_and_is_never_the_same_twice(self, subject: Subject) -> None:
        first, second = (subject.provider.wrap("", PLAIN, CONTEXT) for _ in range(2))
        assert not leaks([PLAIN], {"blob": first.blob})
        assert first.blob != second.blob

    def test_a_key_opens_for_its_own_use_only(self, subject: Subject) -> None:
        wrapped = subject.provider.wrap("", PLAIN, CONTEXT)
        for other in ELSEWHERE:
            subject.refused(KeyMismatch, lambda other=other: subject.provider.unwrap(wrapped, other))

    def test_changed_bytes_do_not_open(self, subject: Subject) -> None:
        wrapped = subject.provider.wrap("", PLAIN, CONTEXT)
        blob = wrapped.blob
        for at in (len(blob) // 2, len(blob) - 5):
            changed = bytearray(blob)
            changed[at] ^= 0x01
            other = wrapped._replace(blob=bytes(changed))
            subject.refused(KeyMismatch, lambda other=other: subject.provider.unwrap(other, CONTEXT))
        for cut in (b"", blob[:5], blob[:-1]):
            other = wrapped._replace(blob=cut)
            subject.refused(KeyMismatch, lambda other=other: subject.provider.unwrap(other, CONTEXT))

    def test_an_unknown_key_is_gone(self, subject: Subject) -> None:
        provider = subject.provider
        wrapped = provider.wrap("", PLAIN, CONTEXT)._replace(key_id=subject.unknown_id)
        subject.refused(KeyGone, lambda: provider.unwrap(wrapped, CONTEXT))
        subject.refused(KeyGone, lambda: provider.current_id(subject.unknown_name))
        subject.refused(KeyGone, lambda: provider.wrap(subject.unknown_name, PLAIN, CONTEXT))
        subject.refused(KeyGone, lambda: provider.describe(subject.unknown_name))
        subject.refused(KeyGone, lambda: provider.destroy(subject.unknown_id))

    def test_what_it_does_not_do_is_refused(self, subject: Subject) -> None:
        provider = subject.provider
        foreign = WrappedKey("another-provider", provider.current_id(""), b"blob")
        subject.refused(KeyRefused, lambda: provider.unwrap(foreign, CONTEXT))
        subject.refused(KeyRefused, lambda: provider.wrap("", bytes(PLAIN_BYTES_MAX + 1), CONTEXT))
        subject.refused(KeyRefused, lambda: provider.destroy(provider.current_id("")))
        assert provider.unwrap(provider.wrap("", PLAIN, CONTEXT), CONTEXT) == PLAIN

    def test_rotation_keeps_the_old_key_and_wraps_with_the_new_one(self, subject: Subject) -> None:
        provider = subject.provider
        old_id, old = provider.current_id(""), provider.wrap("", PLAIN, CONTEXT)
        made = provider.rotate("")
        assert made == provider.current_id("") != old_id
        new = provider.wrap("", PLAIN, CONTEXT)
        assert (old.key_id, new.key_id) == (old_id, made)
        assert provider.unwrap(old, CONTEXT) == provider.unwrap(new, CONTEXT) == PLAIN
        subject.refused(KeyMismatch, lambda: provider.unwrap(old._replace(key_id=made), CONTEXT))

    def test_every_kek_is_described_oldest_first(self, subject: Subject) -> None:
        provider = subject.provider
        ids = [provider.current_id(""), provider.rotate(""), provider.rotate("")]
        described = provider.describe("")
        assert [one.key_id for one in described][-3:] == ids
        assert [one.key_id for one in described if one.current] == [ids[-1]]
        assert {one.state for one in described[-3:]} == {"enabled"}
        assert {provider.state(one.key_id) for one in described[-3:]} == {"enabled"}
        now_ms = time.time_ns() // 1_000_000
        for one in described:
            assert one.created_ms is None or abs(now_ms - one.created_ms) < 86_400_000

    def test_a_destroyed_key_opens_nothing_and_the_others_do(self, subject: Subject) -> None:
        provider = subject.provider
        old_id, old = provider.current_id(""), provider.wrap("", PLAIN, CONTEXT)
        provider.rotate("")
        new = provider.wrap("", PLAIN, CONTEXT)
        destruction = provider.destroy(old_id)
        assert destruction.complete is subject.completes
        if destruction.complete:
            assert destruction.until_ms is None
            subject.refused(KeyGone, lambda: provider.unwrap(old, CONTEXT))
        else:
            assert destruction.until_ms is not None and destruction.until_ms > time.time_ns() // 1_000_000
            subject.refused(KeyProviderError, lambda: provider.unwrap(old, CONTEXT))
        assert provider.unwrap(new, CONTEXT) == PLAIN
        assert provider.destroy(old_id) == destruction, "asking again tells the same"
        states = {one.key_id: one.state for one in provider.describe("")}
        gone = "destroyed" if destruction.complete else "pending-destruction"
        assert states.get(old_id, "destroyed") == gone
        assert provider.state(old_id) == gone

    def test_an_outage_is_told_from_a_refusal_and_ends(self, subject: Subject) -> None:
        provider = subject.provider
        wrapped = provider.wrap("", PLAIN, CONTEXT)
        key_id = wrapped.key_id
        with subject.outage():
            subject.refused(ProviderUnavailable, lambda: provider.wrap("", PLAIN, CONTEXT))
            subject.refused(ProviderUnavailable, lambda: provider.unwrap(wrapped, CONTEXT))
            subject.refused(ProviderUnavailable, lambda: provider.rotate(""))
            subject.refused(ProviderUnavailable, lambda: provider.describe(""))
            subject.refused(ProviderUnavailable, lambda: provider.state(key_id))
        assert provider.current_id("") == key_id, "a rotation that failed changed nothing"
        assert provider.unwrap(wrapped, CONTEXT) == PLAIN

    def test_threads_do_not_disturb_each_other(self, subject: Subject) -> None:
        provider = subject.provider
        failures: list[BaseException] = []

        def use(number: int) -> None:
            try:
                plain = bytes([number]) * 32
                for _ in range(5):
                    assert provider.unwrap(provider.wrap("", plain, CONTEXT), CONTEXT) == plain
            except BaseException as error:  # noqa: BLE001 - handed to the test
                failures.append(error)

        threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        provider.rotate("")
        for thread in threads:
            thread.join()
        assert not failures

    def test_no_secret_is_said(self, subject: Subject, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        provider = subject.provider
        for check in (
            self.test_a_key_opens_for_its_own_use_only,
            self.test_changed_bytes_do_not_open,
            self.test_an_unknown_key_is_gone,
            self.test_what_it_does_not_do_is_refused,
            self.test_an_outage_is_told_from_a_refusal_and_ends,
        ):
            check(subject)
        described = [repr(one) for one in provider.describe("")]
        outputs = {"errors": "\n".join(subject.said), "log": caplog.text, "described": "\n".join(described)}
        assert len(subject.said) > 20
        assert not leaks([PLAIN, *subject.secrets], outputs)
        assert leaks([PLAIN], {"control": f"... {PLAIN!r}"})

    def test_closing_twice_is_fine(self, subject: Subject) -> None:
        subject.provider.wrap("", PLAIN, CONTEXT)
        subject.provider.close()
        subject.provider.close()
