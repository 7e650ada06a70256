#!/usr/bin/env bash
# The MLflow UI on the default store. PORT changes the port.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/venv.sh
export MLFLOW_DISABLE_TELEMETRY=true
# Where the repository was moved, its pictures are found again. What others send to this server stays in mlruns/ too.
{ read -r store; read -r artifacts; } < <(python -m trainer.tracking.location)
[ ! -d mlartifacts ] || artifacts=mlartifacts # of earlier versions
exec python -m mlflow ui --host 127.0.0.1 --port "${PORT:-5000}" --backend-store-uri "$store" \
    --artifacts-destination "$artifacts" "$@"
