"""Which quota applies to whom, and how long somebody over it must wait (KIP-13, 55, 124, 599, 612).

Pure: limits and times come in, waits go out. Nobody is refused: whoever used more than its share waits until
the share has caught up. Sleeping, closing and the fields of answers are the callers' business.

Kafka's order of precedence, for each key by itself: (user, client), (user, any client), user, (any user,
client), (any user, any client), any user, client, any client. The level that applies also says who shares
the allowance: a user's quota is shared by all its clients, a default is one allowance for each it applies to.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from rivven.types import QuotaEntity

BURST_S = 1.0
"""Seconds of a rate that may be used at once: what Kafka's sampling lets through between two samples."""

WAIT_MAX_S = 10.0
"""Longest wait told at once. Clients give up after 30 s without an answer; what is left of a debt is told
next time."""

ALLOWANCES_MAX = 50_000
"""Allowances remembered; client ids come from clients. The one unused for longest starts anew."""

RESOLVED_MAX = 20_000
"""Remembered (user, client id) pairs; as above."""

PRODUCE_BYTES = "producer_byte_rate"
FETCH_BYTES = "consumer_byte_rate"
REQUEST_PERCENT = "request_percentage"
MUTATIONS = "controller_mutation_rate"
CONNECTIONS = "connection_creation_rate"

QuotaSource = Callable[[], tuple[int, Mapping[QuotaEntity, Mapping[str, float]]]]
"""(version, quotas by entity); the version changes whenever they do."""


class RequestRate(NamedTuple):
    """Requests a second, and how many may come at once."""

    per_second: float
    burst: float


@dataclass(frozen=True, slots=True)
class RequestRates:
    """The configured limits on requests (``rate_limiting``, ``limits.rate_limit_per_ip``); None = none."""

    everybody: RequestRate | None = None
    per_client: RequestRate | None = None
    per_topic: RequestRate | None = None
    per_address: RequestRate | None = None

    @property
    def any(self) -> bool:
        return any((self.everybody, self.per_client, self.per_topic, self.per_address))


class Limit(NamedTuple):
    """A resolved quota: whose allowance is used, and its rate per second."""

    allowance: tuple[str, ...]
    rate: float


class _Allowance:
    __slots__ = ("at", "level", "rate")

    def __init__(self, level: float, at: float, rate: float) -> None:
        self.level = level
        self.at = at
        self.rate = rate


class Allowances:
    """Token buckets that may go into debt: the debt is what somebody waits for."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, ...], _Allowance] = OrderedDict()

    def use(self, key: tuple[str, ...], rate: float, burst: float, amount: float, now: float) -> float:
        """Take `amount`; returns the seconds until the allowance is out of debt (0 = go on).

        With another rate it starts anew: whoever changes a quota forgives the debt under the old one, and
        nobody else's.
        """
        known = self._known
        one = known.get(key)
        if one is None or one.rate != rate:
            one = known[key] = _Allowance(burst, now, rate)
            if len(known) > ALLOWANCES_MAX:
                known.popitem(last=False)
        else:
            known.move_to_end(key)
        one.level = min(burst, one.level + max(0.0, now - one.at) * rate) - amount
        one.at = now
        if one.level >= 0:
            return 0.0
        return min(-one.level / rate, WAIT_MAX_S) if rate > 0 else WAIT_MAX_S


class Quotas:
    """Charges what requests used. `active` is False while no limit of any kind exists."""

    def __init__(self, source: QuotaSource, rates: RequestRates) -> None:
        self._source = source
        self._rates = rates
        self._version = -1
        self._table: Mapping[QuotaEntity, Mapping[str, float]] = {}
        self._resolved: dict[tuple[str, str, str], Limit | None] = {}
        self._allowances = Allowances()
        self._requests = Allowances()
        self._active = rates.any
        self._keys: frozenset[str] = frozenset()

    @property
    def active(self) -> bool:
        """Whether anything is limited; the one check on the hot path while nothing is."""
        self._refresh()
        return self._active

    def limits(self, key: str) -> bool:
        """Whether some quota of this key exists, for anybody."""
        self._refresh()
        return key in self._keys

    def use(self, key: str, user: str, client_id: str, amount: float, now: float) -> float:
        """Charge a user's client; returns the seconds it must wait."""
        self._refresh()
        limit = self._limit(key, user, client_id)
        return 0.0 if limit is None else self._take(limit, key, amount, now)

    def use_topic(self, key: str, topic: str, amount: float, now: float) -> float:
        """Charge a topic; returns the seconds whoever used it must wait."""
        self._refresh()
        if key not in self._keys:
            return 0.0
        limit = _of_one("topic", topic, key, self._table)
        return 0.0 if limit is None else self._take(limit, key, amount, now)

    def use_connection(self, address: str, now: float) -> float:
        """Charge a new connection to its address; returns the seconds it must wait."""
        self._refresh()
        if CONNECTIONS not in self._keys:
            return 0.0
        limit = _of_one("ip", address, CONNECTIONS, self._table)
        return 0.0 if limit is None else self._take(limit, CONNECTIONS, 1, now)

    def use_request(self, user: str, address: str, topics: Iterable[str], now: float) -> float:
        """Charge one request to the configured request rates; returns the seconds to wait."""
        rates = self._rates
        wait = 0.0
        if rates.everybody is not None:
            wait = self._request(("*",), rates.everybody, now)
        if rates.per_client is not None:
            wait = max(wait, self._request(("client", user), rates.per_client, now))
        if rates.per_address is not None:
            wait = max(wait, self._request(("ip", address), rates.per_address, now))
        if rates.per_topic is not None:
            for topic in topics:
                wait = max(wait, self._request(("topic", topic), rates.per_topic, now))
        return wait

    def _request(self, key: tuple[str, ...], rate: RequestRate, now: float) -> float:
        return self._requests.use(key, rate.per_second, max(rate.burst, 1.0), 1, now)

    def _take(self, limit: Limit, key: str, amount: float, now: float) -> float:
        return self._allowances.use((key, *limit.allowance), limit.rate, limit.rate * BURST_S, amount, now)

    def _limit(self, key: str, user: str, client_id: str) -> Limit | None:
        if key not in self._keys:
            return None
        place = (key, user, client_id)
        try:
            return self._resolved[place]
        except KeyError:
            if len(self._resolved) >= RESOLVED_MAX:
                self._resolved.clear()
            found = self._resolved[place] = resolve(self._table, key, user, client_id)
            return found

    def _refresh(self) -> None:
        version, table = self._source()
        if version == self._version:
            return
        self._version = version
        self._table = dict(table)
        self._keys = frozenset(key for values in table.values() for key in values)
        self._resolved = {}
        self._active = bool(table) or self._rates.any


def resolve(
    table: Mapping[QuotaEntity, Mapping[str, float]], key: str, user: str, client_id: str
) -> Limit | None:
    """The quota of `key` that applies to a user's client, None without one."""
    pair, of_user, of_client = ("both", user, client_id), ("user", user), ("client-id", client_id)
    levels: tuple[tuple[QuotaEntity, tuple[str, ...]], ...] = (
        ((("client-id", client_id), ("user", user)), pair),
        ((("client-id", None), ("user", user)), pair),
        ((("user", user),), of_user),
        ((("client-id", client_id), ("user", None)), pair),
        ((("client-id", None), ("user", None)), pair),
        ((("user", None),), of_user),
        ((("client-id", client_id),), of_client),
        ((("client-id", None),), of_client),
    )
    for entity, allowance in levels:
        rate = table.get(entity, {}).get(key)
        if rate is not None:
            return Limit(allowance, rate)
    return None


def _of_one(kind: str, name: str, key: str, table: Mapping[QuotaEntity, Mapping[str, float]]) -> Limit | None:
    """The quota of an entity that has only one type: its own, else the default."""
    for entity in (((kind, name),), ((kind, None),)):
        rate = table.get(entity, {}).get(key)
        if rate is not None:
            return Limit((kind, name), rate)
    return None
