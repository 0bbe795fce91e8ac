"""What the broker tells its operators: structured logs, metrics, and how long the event loop was held up.

Plain objects that are passed around; nothing here is global except Python's own logging tree. It decides
nothing and imports no third-party package: start-up must not pay for it (ADR 0008 has the measurements).
"""

from rivven.telemetry.logs import BoundLogger, configure_logging, get_logger
from rivven.telemetry.metrics import Metrics

__all__ = ["BoundLogger", "Metrics", "configure_logging", "get_logger"]
