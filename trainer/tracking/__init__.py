"""Tracking in MLflow. Only this room imports mlflow, and its settings are made here, before any module does."""

import os

# MLflow reads these at each call, and its defaults hold a call for minutes where the server is dead. A user's own
# values have priority. No retries: the sender repeats, and checks first whether a request without an answer succeeded.
for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}.items():
    os.environ.setdefault(_name, _value)
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"  # the URL may contain a password
