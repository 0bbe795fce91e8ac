"""Finds an implementation of a seam by the name a configuration uses: built-in rows first, then entry points.

A name that is built in cannot be taken over by an installed package. Failures are raised at start-up, in one
line that says what to install or which names exist. It must not be used while serving requests.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any


class UnknownExtension(Exception):
    """No implementation of that name, or none that can be loaded; one line for the operator."""


class Extensions:
    """The implementations of one seam.

    `built_in` maps a name to ``module:attribute``; `extras` maps a name to the extra of the distribution that
    brings its optional packages; other names are looked up in the entry point group `group`.
    """

    def __init__(
        self, group: str, built_in: Mapping[str, str], extras: Mapping[str, str] | None = None
    ) -> None:
        self._group = group
        self._built_in = dict(built_in)
        self._extras = dict(extras or {})

    def names(self) -> list[str]:
        """Every name that can be loaded, built-in ones first."""
        installed = sorted(point.name for point in entry_points(group=self._group))
        return list(dict.fromkeys((*self._built_in, *installed)))

    def load(self, name: str) -> Any:
        """The object registered under `name`; raises UnknownExtension."""
        target = self._built_in.get(name) or self._installed(name)
        module_name, _, attribute = target.partition(":")
        try:
            found: Any = importlib.import_module(module_name)
            for part in attribute.split("."):
                found = getattr(found, part)
        except ImportError as error:
            extra = self._extras.get(name)
            hint = f"install rivven[{extra}]" if extra else f"{target} cannot be imported"
            raise UnknownExtension(f"{self._group} {name!r}: {error}; {hint}") from error
        except AttributeError as error:
            raise UnknownExtension(f"{self._group} {name!r}: {target} does not exist") from error
        return found

    def _installed(self, name: str) -> str:
        points = {point.value for point in entry_points(group=self._group, name=name)}
        if len(points) > 1:
            raise UnknownExtension(f"{self._group} {name!r} is registered twice: {sorted(points)}")
        if points:
            return points.pop()
        known = self.names()
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        raise UnknownExtension(f"{self._group} {name!r} is not known; {hint}")
