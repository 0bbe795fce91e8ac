"""Write the files that are made from the code: docs/configuration.md, docs/metrics.md, config/rivven.yaml.

`python tools/write_docs.py` rewrites them; tests/unit/config/test_documentation.py fails while one is out
of date.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run from a checkout, installed or not


def generated() -> dict[str, str]:
    """Relative path -> text of every generated file."""
    from rivven.config.documentation import configuration_page, default_file
    from rivven.telemetry.documentation import metrics_page

    return {
        "config/rivven.yaml": default_file(),
        "docs/configuration.md": configuration_page(),
        "docs/metrics.md": metrics_page(),
    }


def main() -> None:
    for name, text in generated().items():
        (ROOT / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
