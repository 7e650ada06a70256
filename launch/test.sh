#!/usr/bin/env bash
# Installs and tests the program; --all adds the long tests. Other arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
EXTRAS='[dev]' source launch/venv.sh

tier=(-m "not long")
if [ "${1:-}" = --all ]; then
    tier=()
    shift
fi
ruff check trainer tests
ruff format --check trainer tests
mypy
exec pytest "${tier[@]}" "$@"
