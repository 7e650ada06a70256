"""Numbers of the service, as text that Prometheus reads."""

import threading
from bisect import bisect_left
from collections import defaultdict

PREFIX = "segtrainer_"

HELP = {
    "requests_total": ("counter", "Answers by path and status."),
    "pictures_total": ("counter", "Predicted images by version."),
    "refused_total": ("counter", "Requests that were refused, by status."),
    "swaps_total": ("counter", "Times that another version took over."),
    "alias_errors_total": ("counter", "Looks at the alias, or loads of its version, that failed."),
    "request_seconds": ("histogram", "Time from the first byte of a request to the last of its answer."),
    "batch_pictures": ("histogram", "Images that went through the network together."),
    "under_way": ("gauge", "Images under way: decoded, waiting, in the network, or encoded."),
    "body_bytes": ("gauge", "Bytes of the bodies in memory."),
    "model_info": ("gauge", "The version that answers now."),
}
"""Metric -> its type, and what it counts."""

BOUNDS = {
    "request_seconds": (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
    "batch_pictures": (1, 2, 4, 8, 16, 32, 64),
}
"""Upper bounds of the buckets of a histogram."""

MOST_SERIES = 1000
"""Series of a metric, beyond which its new labels are one: what clients send must not fill the memory."""

Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Counters, gauges and histograms. Any thread may call."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.values: defaultdict[str, dict[Labels, float]] = defaultdict(dict)
        self.buckets = {name: [0] * (len(bounds) + 1) for name, bounds in BOUNDS.items()}
        self.sums = dict.fromkeys(BOUNDS, 0.0)

    def count(self, name: str, **labels: str) -> None:
        """Add one to a counter."""
        with self.lock:
            series, key = self.values[name], tuple(sorted(labels.items()))
            if key not in series and len(series) >= MOST_SERIES:
                key = tuple((label, "other") for label, _ in key)
            series[key] = series.get(key, 0) + 1

    def observe(self, name: str, value: float) -> None:
        """Add a value to a histogram."""
        with self.lock:
            self.buckets[name][bisect_left(BOUNDS[name], value)] += 1
            self.sums[name] += value

    def text(self, gauges: dict[str, dict[Labels, float]]) -> str:
        """All numbers in Prometheus' text format 0.0.4; `gauges` are those of this moment."""
        with self.lock:
            values = {name: dict(series) for name, series in self.values.items()} | gauges
            buckets = {name: list(counts) for name, counts in self.buckets.items()}
            sums = dict(self.sums)
        lines = []
        for name, (kind, about) in HELP.items():
            lines += [f"# HELP {PREFIX}{name} {about}", f"# TYPE {PREFIX}{name} {kind}"]
            if kind == "histogram":
                total = 0
                for bound, count in zip((*BOUNDS[name], "+Inf"), buckets[name], strict=True):
                    total += count
                    lines.append(_line(f"{name}_bucket", (("le", f"{bound}"),), total))
                lines += [_line(f"{name}_sum", (), sums[name]), _line(f"{name}_count", (), total)]
            else:
                lines += [_line(name, labels, value) for labels, value in sorted(values.get(name, {}).items())]
        return "\n".join(lines) + "\n"


def _line(name: str, labels: Labels, value: float) -> str:
    shown = ",".join(f'{label}="{_escape(text)}"' for label, text in labels)
    return (
        f"{PREFIX}{name}{f'{{{shown}}}' if shown else ''} {value:g}"
        if value < 1e6
        else (f"{PREFIX}{name}{f'{{{shown}}}' if shown else ''} {value!r}")
    )


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
