"""Where runs are tracked, and whether anybody answers there; without loading MLflow."""

import os
import urllib.error
import urllib.request
from urllib.parse import urlsplit, urlunsplit

from trainer import InputError
from trainer.config import MLRUNS

PROBE_SECONDS = 5.0


def tracking_uri() -> str:
    """The store in use: MLFLOW_TRACKING_URI, or sqlite in mlruns/."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{MLRUNS / 'mlflow.db'}"


def public(uri: str) -> str:
    """The URI without the user and password that it may hold."""
    parts = urlsplit(uri)
    if not parts.netloc or "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def probe() -> None:
    """Raise InputError at once where no server answers, instead of after MLflow's minutes of retries."""
    uri = tracking_uri()
    if uri.startswith(("http://", "https://")):
        parts = urlsplit(uri)
        # urllib takes no user and password in an address; the health check needs none.
        bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/") + "/health", "", ""))
        try:
            urllib.request.urlopen(bare, timeout=PROBE_SECONDS).close()
        except urllib.error.HTTPError:
            return  # something answers; what it wants, the first real call will say
        except (OSError, ValueError) as error:
            raise InputError(
                f"tracking server {public(uri)}: no answer ({getattr(error, 'reason', error)}). Start it, or set "
                "MLFLOW_TRACKING_URI to another one"
            ) from error
    elif not uri.startswith(("sqlite:", "postgresql", "mysql", "mssql", "databricks")):
        raise InputError(
            f"MLFLOW_TRACKING_URI: {public(uri)!r} is neither a server nor a database (MLflow no longer reads file "
            "stores); unset it, or give http://... or sqlite:///..."
        )


def look_command() -> str:
    """What to open or type to see the runs."""
    uri = tracking_uri()
    return public(uri) if uri.startswith("http") else "bash launch/ui.sh"
