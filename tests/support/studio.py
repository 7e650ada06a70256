"""Label Studio as the service sees it: a host of images, and the front end that decodes brush labels."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

TOKEN = "studio-token-0123456789"


class Host:
    """A host that notes what it is asked for; `answers`: path -> status, headers, content."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.sent: list[bytes] = []
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                host.sent.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.do_GET()

            def do_GET(self) -> None:
                host.asked.append((self.path, self.headers.get("Authorization")))
                status, headers, content = host.answers.get(self.path, (200, {}, b"picture"))
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_arguments: object) -> None:
                """Print nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """End it; connections are refused then."""
        self.server.shutdown()
        self.server.server_close()


def decode_brush(rle: list[int]) -> np.ndarray:
    """Values of run lengths, as `decode` of @thi.ng/rle-pack reads them, bit by bit."""
    bits = "".join(f"{byte:08b}" for byte in rle)
    place = 0

    def read(size: int) -> int:
        nonlocal place
        place += size
        assert place <= len(bits)
        return int(bits[place - size : place], 2)

    count, value_bits = read(32), read(5) + 1
    widths = [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < count:
        repeated, length = read(1), read(widths[read(2)]) + 1
        if repeated:
            values += [read(value_bits)] * length
        else:
            values += [read(value_bits) for _ in range(length)]
    assert len(values) == count
    assert len(bits) - place < 8
    return np.array(values, np.uint8)
