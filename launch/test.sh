#!/usr/bin/env bash
# Installs and tests the program; --all adds the long tests. Other arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
extras=dev
[ "${1:-}" != --all ] || extras=dev,servers-tests
EXTRAS="[$extras]" source launch/venv.sh

# Two workers: most tests use one core, and a file's trainings are shared by its tests.
tier=(-m "not long" -n 2 --dist loadfile)
if [ "${1:-}" = --all ]; then
    tier=()
    shift
fi
ruff check trainer tests
ruff format --check trainer tests
mypy
exec pytest "${tier[@]}" "$@"
