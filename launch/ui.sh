#!/usr/bin/env bash
# The MLflow UI on the default store. PORT changes the port.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/venv.sh
export MLFLOW_DISABLE_TELEMETRY=true
exec mlflow ui --host 127.0.0.1 --port "${PORT:-5000}" --backend-store-uri "sqlite:///$PWD/mlruns/mlflow.db" "$@"
