"""The keys of all trusted issuers, fetched in the background and kept. A driver.

    start, every refresh_s    fetch; a failure keeps the last good set and is tried again soon
    a login with unknown kid  joins the issuer's next fetch, at most one per REFETCH_SECONDS_MIN

Strangers can name any kid, so what they cause is bounded: fetches by their interval, waiting logins by number
(per issuer and per address) and time, and a kid that a fetch has just not found is refused without another.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from rivven.clock import Clock
from rivven.security.authn.authenticator import Deferred, Rejected, Step
from rivven.security.authn.jwk_set import JwkSet, KeyRefused, VerificationKey
from rivven.security.authn.jwt_format import shown
from rivven.security.authn.oidc_fetch import FetchFailed, KeySource
from rivven.tasks import Tasks

REFETCH_SECONDS_MIN = 5.0
"""Between two fetches of one issuer, whoever asks for them: at worst twelve a minute reach the provider."""

RETRY_SECONDS_MAX = 60.0
"""The pause after failed fetches doubles from REFETCH_SECONDS_MIN up to this."""

WAIT_SECONDS_MAX = 12.0
"""A login waits no longer: one interval and one slow fetch. Clients give up after 30 s or more."""

WAITING_MAX = 64
"""Logins that wait for one issuer; each holds a token of up to 16 KiB."""

WAITING_PER_HOST_MAX = 8
"""Of those, from one address: one stranger cannot take all places."""

UNKNOWN_KIDS_MAX = 256
UNKNOWN_KID_SECONDS = 30.0
"""How many kids that a fetch did not find are remembered, and how long."""

_log = logging.getLogger("rivven.oidc")

Fetch = Callable[[KeySource], Awaitable[JwkSet]]


class FetchObserver(Protocol):
    """What the metrics hear."""

    def keys_fetched(self, issuer: str, ok: bool) -> None: ...


class IssuerKeys:
    """The keys of one issuer."""

    def __init__(
        self,
        source: KeySource,
        fetch: Fetch,
        clock: Clock,
        tasks: Tasks,
        observer: FetchObserver | None = None,
    ) -> None:
        self.source = source
        self.failures = 0
        """Failed fetches since the last good one."""
        self._fetch = fetch
        self._clock = clock
        self._tasks = tasks
        self._observer = observer
        self._keys = JwkSet(())
        self._next_fetch_at = 0.0
        self._fetching = False
        self._pending: asyncio.Task[None] | None = None
        self._waiting: Counter[str] = Counter()
        self._unknown: OrderedDict[str, float] = OrderedDict()

    def find(self, kid: str | None, algorithm: str) -> VerificationKey | None:
        """See `SigningKeys.find`."""
        return self._keys.choose(kid, algorithm)

    async def keep_fresh(self) -> None:
        """Fetch now and then, until cancelled."""
        while True:
            await asyncio.shield(self._next_fetch())
            failures = min(self.failures, 8)  # 2^8 is past every maximum; keeps the number small
            pause = min(REFETCH_SECONDS_MIN * 2**failures, RETRY_SECONDS_MAX)
            await asyncio.sleep(pause if failures else self.source.refresh_s)

    def refusal(self, kid: str | None, host: str) -> str | None:
        """Why a login must not wait for `kid`; None when it may."""
        if kid is not None and self._unknown.get(kid, 0.0) > self._clock.monotonic():
            return f"kid: {shown(kid)} was not a key of {self.source.issuer} a moment ago"
        if self._waiting[host] >= WAITING_PER_HOST_MAX or self._waiting.total() >= WAITING_MAX:
            return f"kid: {shown(kid)} is unknown, and too many logins wait for keys of {self.source.issuer}"
        return None

    async def wait(self, kid: str | None, host: str) -> None:
        """Return after a fetch that began later than this call, or when the time is up."""
        self._waiting[host] += 1
        try:
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                if self._fetching and self._pending is not None:  # may have read what was there before
                    await asyncio.shield(self._pending)
                if not self._knows(kid):
                    await asyncio.shield(self._next_fetch())
        except TimeoutError:
            return
        finally:
            self._waiting[host] -= 1
            if not self._waiting[host]:
                del self._waiting[host]
        if not self.failures and not self._knows(kid) and kid is not None:
            self._remember_unknown(kid)

    def _knows(self, kid: str | None) -> bool:
        return any(kid is None or key.kid == kid for key in self._keys.keys)

    def _next_fetch(self) -> asyncio.Task[None]:
        """The one fetch that is under way or due."""
        if self._pending is None or self._pending.done():
            self._pending = self._tasks.spawn(self._fetch_when_due(), f"keys of {self.source.issuer}")
        return self._pending

    async def _fetch_when_due(self) -> None:
        wait = self._next_fetch_at - self._clock.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        self._fetching = True
        try:
            keys = await self._fetch(self.source)
        except FetchFailed as error:
            self._failed(str(error))
        except Exception as error:  # noqa: BLE001 - keys that are no longer refreshed are an outage
            _log.exception("fetching the keys of %s failed in a way nobody thought of", self.source.issuer)
            self._failed(type(error).__name__)
        else:
            self._fetched(keys)
        finally:
            self._fetching = False
            self._next_fetch_at = self._clock.monotonic() + REFETCH_SECONDS_MIN

    def _fetched(self, keys: JwkSet) -> None:
        if self.failures or not self._keys.keys:
            _log.info("%d keys of %s fetched", len(keys.keys), self.source.issuer)
        if keys.left_out != self._keys.left_out:
            _log.warning("keys of %s left out: %s", self.source.issuer, "; ".join(keys.left_out[:5]))
        self._keys = keys
        self.failures = 0
        self._observe(True)

    def _failed(self, reason: str) -> None:
        self.failures += 1
        kept = len(self._keys.keys)
        _log.warning("the keys of %s cannot be fetched (%d kept): %s", self.source.issuer, kept, reason)
        self._observe(False)

    def _observe(self, ok: bool) -> None:
        if self._observer is not None:
            self._observer.keys_fetched(self.source.issuer, ok)

    def _remember_unknown(self, kid: str) -> None:
        self._unknown.pop(kid, None)
        self._unknown[kid] = self._clock.monotonic() + UNKNOWN_KID_SECONDS
        if len(self._unknown) > UNKNOWN_KIDS_MAX:
            self._unknown.popitem(last=False)


class Jwks:
    """Implements `jwt_verifier.SigningKeys`. Belongs to the event loop; `follow` needs a running one."""

    def __init__(
        self, fetch: Fetch, clock: Clock, tasks: Tasks, observer: FetchObserver | None = None
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._tasks = tasks
        self._observer = observer
        self._issuers: dict[str, tuple[IssuerKeys, asyncio.Task[None]]] = {}

    def follow(self, sources: Sequence[KeySource]) -> None:
        """Keep the keys of these sources and no others; one that has not changed keeps its keys."""
        wanted = {source.issuer: source for source in sources}
        for issuer, (keys, task) in list(self._issuers.items()):
            if wanted.get(issuer) != keys.source:
                task.cancel()
                del self._issuers[issuer]
        for issuer, source in wanted.items():
            if issuer not in self._issuers:
                keys = IssuerKeys(source, self._fetch, self._clock, self._tasks, self._observer)
                task = self._tasks.spawn(keys.keep_fresh(), f"refresh the keys of {issuer}")
                self._issuers[issuer] = (keys, task)

    def find(self, issuer: str, kid: str | None, algorithm: str) -> VerificationKey | None:
        """See `SigningKeys.find`."""
        found = self._issuers.get(issuer)
        if found is None:
            raise KeyRefused(f"the keys of {issuer} are not followed")
        return found[0].find(kid, algorithm)

    def wait(
        self, issuer: str, kid: str | None, host: str, resume: Callable[[int], Step]
    ) -> Deferred | Rejected:
        """See `SigningKeys.wait`."""
        keys = self._issuers[issuer][0]
        refusal = keys.refusal(kid, host)
        if refusal is not None:
            return Rejected(refusal)

        async def outcome() -> Step:
            await keys.wait(kid, host)
            return resume(self._clock.now_ms())

        return Deferred(outcome)
