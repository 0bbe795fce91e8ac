"""The values broker settings have once dynamic ones are laid over the configuration file.

Pure. Order as Kafka's: this node's dynamic value, the cluster's dynamic value, the file, the built-in
default.
"""

from __future__ import annotations

from collections.abc import Mapping

from rivven.config.broker_settings import BROKER_SETTINGS, topic_defaults
from rivven.config.settings import SettingValue

CLUSTER_SCOPE = ""
"""Dynamic settings of every broker."""


class BrokerValues:
    """Static settings of this node plus the dynamic ones of an image; recomputed when those change."""

    def __init__(self, node_id: int, static: Mapping[str, SettingValue]) -> None:
        self.node_scope = str(node_id)
        self.static = static
        self._seen: tuple[Mapping[str, str] | None, Mapping[str, str] | None] | None = None
        self._values: Mapping[str, SettingValue] = static
        self._topic_defaults: Mapping[str, str] = {}

    def values(self, dynamic: Mapping[str, Mapping[str, str]]) -> Mapping[str, SettingValue]:
        """Every broker setting's value; `dynamic` is `MetadataImage.broker_configs`."""
        self._refresh(dynamic)
        return self._values

    def topic_defaults(self, dynamic: Mapping[str, Mapping[str, str]]) -> Mapping[str, str]:
        """The default of every topic setting as text. The same object until a dynamic setting changes."""
        self._refresh(dynamic)
        return self._topic_defaults

    def _refresh(self, dynamic: Mapping[str, Mapping[str, str]]) -> None:
        # Change replaces these mappings, so identity tells; holding them keeps identities unique.
        now = (dynamic.get(CLUSTER_SCOPE), dynamic.get(self.node_scope))
        if self._seen is not None and self._seen[0] is now[0] and self._seen[1] is now[1]:
            return
        values = dict(self.static)
        for scope in now:
            for name, text in (scope or {}).items():
                values[name] = BROKER_SETTINGS[name].parse(text)
        self._seen, self._values, self._topic_defaults = now, values, topic_defaults(values)
