"""A provider with its calls counted, and its surprises turned into errors of the seam.

What an installed provider raises that is no KeyProviderError may hold secrets in its text (a URL with a
token, a request): only the type of such an exception is shown.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from rivven.security.keys.provider import (
    BuiltInProvider,
    Destruction,
    KekInfo,
    KekState,
    KeyGone,
    KeyMismatch,
    KeyProviderError,
    KeyRefused,
    ProviderUnavailable,
    WrappedKey,
)

OPERATIONS: Final = ("current_id", "wrap", "unwrap", "rotate", "destroy", "state", "describe")
OUTCOMES: Final = ("ok", "unavailable", "refused", "gone", "mismatch", "failed")
_OUTCOME_OF: Final = (
    (ProviderUnavailable, "unavailable"),
    (KeyRefused, "refused"),
    (KeyGone, "gone"),
    (KeyMismatch, "mismatch"),
)

T = TypeVar("T")


class ObservedProvider:
    """Both halves of the seam around another one. Thread-safe as that is."""

    def __init__(self, provider: BuiltInProvider) -> None:
        self._provider = provider
        self._calls: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return self._provider.name

    def calls(self, operation: str, outcome: str) -> int:
        """How often an operation had an outcome since start; see OPERATIONS and OUTCOMES."""
        return self._calls[operation, outcome]

    def current_id(self, key: str) -> str:
        return self._observed("current_id", lambda: self._provider.current_id(key))

    def wrap(self, key: str, plain: bytes, context: Mapping[str, str]) -> WrappedKey:
        return self._observed("wrap", lambda: self._provider.wrap(key, plain, context))

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        return self._observed("unwrap", lambda: self._provider.unwrap(wrapped, context))

    def rotate(self, key: str) -> str:
        return self._observed("rotate", lambda: self._provider.rotate(key))

    def destroy(self, key_id: str) -> Destruction:
        return self._observed("destroy", lambda: self._provider.destroy(key_id))

    def state(self, key_id: str) -> KekState:
        return self._observed("state", lambda: self._provider.state(key_id))

    def describe(self, key: str) -> list[KekInfo]:
        return self._observed("describe", lambda: self._provider.describe(key))

    def close(self) -> None:
        self._provider.close()

    def _observed(self, operation: str, call: Callable[[], T]) -> T:
        outcome = "failed"
        try:
            result = call()
            outcome = "ok"
            return result
        except KeyProviderError as error:
            outcome = next((name for kind, name in _OUTCOME_OF if isinstance(error, kind)), "failed")
            raise
        except AttributeError:
            # An installed provider may have the first half of the seam only.
            if not hasattr(self._provider, operation):
                raise KeyRefused(f"the key provider {self.name} cannot {operation}") from None
            raise ProviderUnavailable(f"the key provider {self.name} failed: AttributeError") from None
        except Exception as error:  # noqa: BLE001 - whatever a provider raises is that provider's failure
            kind = type(error).__name__
            raise ProviderUnavailable(f"the key provider {self.name} failed: {kind}") from None
        finally:
            with self._lock:
                self._calls[operation, outcome] += 1
