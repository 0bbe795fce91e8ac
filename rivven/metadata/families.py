"""The families of the metadata, in the order of a snapshot. See `family`."""

from __future__ import annotations

from rivven.metadata.family import Family

FAMILIES: tuple[type[Family], ...] = ()
