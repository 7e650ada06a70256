#!/usr/bin/env bash
# A shared MLflow server for several machines: PostgreSQL, a store of artifacts, users with passwords.
#
#     bash launch/server.sh user anna admin           the first user; asks for the password
#     bash launch/server.sh                           starts it on this machine alone, http://127.0.0.1:5000
#     bash launch/server.sh start --host 0.0.0.0 --allowed-hosts "mlflow.lab:5000"
#     bash launch/server.sh backup FILE | restore FILE
#
# MLFLOW_BACKEND_STORE_URI is the database (postgresql:///segtrainer), MLFLOW_ARTIFACTS_DESTINATION the artifacts (a
# folder or s3://bucket/path). All commands: bash launch/server.sh --help, and "A shared server" in .github/USING.md.
set -euo pipefail
here=$PWD
cd "$(dirname "$0")/.."
EXTRAS='[server]' source launch/venv.sh
cd "$here" # where files that are named without their folder belong
[ $# -gt 0 ] || set -- start
exec python -m trainer.tracking.shared "$@"
