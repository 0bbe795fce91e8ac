"""The policies in force: those of a directory as it last was when it could be used.

A driver. A change is read, parsed, validated and linted on a thread before it counts; what is refused is
logged and counted, and the policies from before stay. It must not decide anything.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Protocol

from rivven.clock import Clock
from rivven.security.authz.cedar.binding import CedarRefused
from rivven.security.authz.cedar.book import PoliciesRefused, PolicyProblem
from rivven.security.authz.cedar.engine import HOUR_MS, Rules
from rivven.security.authz.cedar.linter import lint
from rivven.security.authz.cedar.policies import load_policies, load_schema, policy_files
from rivven.watched_files import WatchedFiles

_log = logging.getLogger("rivven.policies")

Known = Callable[[], Mapping[str, Container[str]]]
"""The ids there are per entity type, for warnings about unknown ones."""


class ReloadObserver(Protocol):
    """What the store tells the metrics."""

    def policies_loaded(self, count: int, now_ms: int) -> None: ...
    def policy_reload_failed(self) -> None: ...


class PolicyStore:
    """Reads `directory` when made; raises PoliciesRefused, or CedarMissing, if that fails."""

    def __init__(
        self,
        directory: Path,
        schema: Path | None,
        observer: ReloadObserver,
        clock: Clock,
        known: Known = dict,
    ) -> None:
        self._directory = directory
        self._schema = schema
        self._observer = observer
        self._clock = clock
        self._known = known
        self.version = 1
        """Rises when other policies come into force."""
        self._files = WatchedFiles("policies", self._paths, self._changed)
        self._files.mark()
        self._rules = read_rules(directory, schema, known())
        observer.policies_loaded(len(self._rules.book.policies), clock.now_ms())

    @property
    def rules(self) -> Rules:
        """The policies in force."""
        return self._rules

    @property
    def stamp(self) -> tuple[int, int]:
        """Another value whenever the same question may have another answer: the version, and the hour where
        policies ask for the time."""
        return self.version, self._clock.now_ms() // HOUR_MS if self._rules.timed else 0

    async def watch(self) -> None:
        """Follow the directory until cancelled."""
        await self._files.run()

    async def look_once(self) -> bool:
        """One look at the directory; whether it had changed."""
        return await self._files.look_once()

    def _paths(self) -> list[Path]:
        schema = [self._schema] if self._schema is not None else []
        try:
            return [self._directory, *policy_files(self._directory), *schema]
        except PoliciesRefused:
            return [self._directory, *schema]

    async def _changed(self) -> None:
        known = self._known()
        try:
            rules = await asyncio.to_thread(read_rules, self._directory, self._schema, known)
        except PoliciesRefused as refused:
            self._observer.policy_reload_failed()
            for problem in refused.problems:
                _log.error("policies are refused, those from before stay in force: %s", problem)
            return
        self._rules = rules
        self.version += 1
        self._observer.policies_loaded(len(rules.book.policies), self._clock.now_ms())
        _log.info("%d policies of %s are in force", len(rules.book.policies), self._directory)


def read_rules(
    directory: Path, schema: Path | None = None, known: Mapping[str, Container[str]] | None = None
) -> Rules:
    """The policies of a directory ready to answer; warnings of the linter are logged.

    Raises PoliciesRefused, for what Cedar refuses and for errors of the linter.
    """
    book = load_policies(directory, load_schema(schema))
    findings = lint(book.policies.values(), known)
    errors = [finding.problem for finding in findings if finding.level == "error"]
    if errors:
        raise PoliciesRefused(errors)
    for finding in findings:
        _log.warning("%s", finding)
    try:
        return Rules(book)
    except CedarRefused as error:
        raise PoliciesRefused([PolicyProblem(str(directory), 0, str(error))]) from None
