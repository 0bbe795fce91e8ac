"""`python -m rivven` is the `rivven` command."""

from __future__ import annotations

from rivven_cli.main import main

if __name__ == "__main__":
    main()
