"""A provider whose answers a test decides: a keyring in memory that counts, and can be out of reach."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping

from rivven.security.keys.keyring_file import KeyringFile
from rivven.security.keys.provider import Destruction, KekInfo, KekState, KeyProviderError, WrappedKey
from rivven.testing.files import CrashFiles


class ScriptedProvider:
    """`failure` decides what a call raises; `at_once` is the most calls that ran at the same time."""

    def __init__(self, files: CrashFiles | None = None) -> None:
        self.keyring = KeyringFile(files or CrashFiles(), "/keyring")
        if files is None or not files.exists("/keyring"):
            self.keyring.create()
        self.calls: Counter[str] = Counter()
        self.failure: Callable[[str, Mapping[str, str]], KeyProviderError | None] = lambda _call, _use: None
        self.states: dict[str, KekState] = {}
        """What is said of a KEK instead of the truth."""
        self.until_ms: int | None = None
        """Destruction takes until then, if it is set; it is said to, at least."""
        self.at_once = 0
        self._running = 0
        self._lock = threading.Lock()

    name = "file"

    def current_id(self, key: str) -> str:
        self._called("current_id", {})
        return self.keyring.current_id(key)

    def wrap(self, key: str, plain: bytes, context: Mapping[str, str]) -> WrappedKey:
        self._called("wrap", context)
        return self.keyring.wrap(key, plain, context)

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        self._called("unwrap", context)
        return self.keyring.unwrap(wrapped, context)

    def rotate(self, key: str) -> str:
        self._called("rotate", {})
        return self.keyring.rotate(key)

    def destroy(self, key_id: str) -> Destruction:
        self._called("destroy", {})
        made = self.keyring.destroy(key_id)
        if self.until_ms is None:
            return made
        self.states[key_id] = "pending-destruction"
        return Destruction(False, self.until_ms)

    def state(self, key_id: str) -> KekState:
        self._called("state", {})
        return self.states.get(key_id) or self.keyring.state(key_id)

    def describe(self, key: str) -> list[KekInfo]:
        self._called("describe", {})
        return self.keyring.describe(key)

    def close(self) -> None:
        self.keyring.close()

    def _called(self, call: str, context: Mapping[str, str]) -> None:
        with self._lock:
            self.calls[call] += 1
            self._running += 1
            self.at_once = max(self.at_once, self._running)
        failure = self.failure(call, context)
        with self._lock:
            self._running -= 1
        if failure is not None:
            raise failure
