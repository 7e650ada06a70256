"""Images of Label Studio's tasks, from the one host that was configured, with its token.

Whatever a task names, no other host, port or path gets a request, and no other host gets the token.
"""

import http.client
import time
from urllib.parse import quote, unquote, urljoin, urlsplit

from trainer.serving.limits import Limits, Refused
from trainer.system.text import show

FOLDERS = ("/data/", "/storage-data/", "/tasks/", "/projects/")
"""Beginnings of the paths at which Label Studio has images."""

KEPT = "/%:@!$&'()*+,;=?~"
"""Signs of an address that stay as they are; Label Studio names local files as they are called."""

MOST_REDIRECTS = 3
CHUNK_BYTES = 2**18
SOCKET_SECONDS = 10.0
"""Longest silence of the host, in seconds."""


class ImageHost:
    """Label Studio, as the place that images are fetched from."""

    def __init__(self, address: str, token: str, limits: Limits) -> None:
        """`address`: http://HOST:PORT, with a path where Label Studio is below one."""
        self.base, self.token, self.limits = urlsplit(address), token, limits
        self.prefix = self.base.path.rstrip("/")

    def fetch(self, address: str) -> bytes:
        """Fetch an image. Raises Refused where the address is another host's, or the host does not give it."""
        for _ in range(MOST_REDIRECTS + 1):
            path = self._own_path(address)
            status, place, content = self._get(path)
            if status not in (301, 302, 303, 307, 308):
                return content
            address = urljoin(f"{self.base.scheme}://{self.base.netloc}{path}", place)
        raise Refused(502, f"{show(address)}: Label Studio redirects more than {MOST_REDIRECTS} times")

    def _own_path(self, address: str) -> str:
        """Path and query of an address of the host. Raises Refused for every other one."""
        shown = show(address, 200)
        try:
            parts = urlsplit(address)
            there = parts.scheme, (parts.hostname or "").lower(), parts.port or _port(parts.scheme)
        except ValueError:
            raise Refused(422, f"{shown}: no address") from None
        base = self.base
        here = base.scheme, (base.hostname or "").lower(), base.port or _port(base.scheme)
        relative = not parts.scheme and not parts.netloc
        if (not relative and there != here) or "@" in parts.netloc:
            raise Refused(422, f"{shown}: not on {base.scheme}://{base.netloc}, the only host that pictures come from")
        decoded = unquote(parts.path)
        path, query = quote(parts.path, safe=KEPT), quote(parts.query, safe=KEPT)
        inside = decoded.removeprefix(self.prefix) if decoded.startswith(f"{self.prefix}/") else decoded
        if "\\" in decoded or ".." in decoded.split("/") or not inside.startswith(FOLDERS):
            raise Refused(422, f"{shown}: not one of Label Studio's pictures ({', '.join(FOLDERS)})")
        if relative and self.prefix and not decoded.startswith(f"{self.prefix}/"):
            path = self.prefix + path
        return f"{path}?{query}" if query else path

    def _get(self, path: str) -> tuple[int, str, bytes]:
        """Status, place of a redirection, and content at a path of the host."""
        secure = self.base.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        host, port = self.base.hostname or "", self.base.port or _port(self.base.scheme)
        connection = kind(host, port, timeout=min(SOCKET_SECONDS, self.limits.seconds))
        deadline_s = time.monotonic() + self.limits.seconds
        try:
            headers = {"Authorization": f"Token {self.token}"} if self.token else {}
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            if answer.status >= 400:
                hint = "; set LABEL_STUDIO_API_KEY" if answer.status in (401, 403) else ""
                raise Refused(502, f"{show(path, 200)}: Label Studio answers {answer.status}{hint}")
            content = bytearray()
            while answer.status == 200 and (chunk := answer.read1(CHUNK_BYTES)):
                content += chunk
                if len(content) > self.limits.body_bytes:
                    raise Refused(413, f"{show(path, 200)}: more than {self.limits.body_bytes / 2**20:g} MB")
                if time.monotonic() > deadline_s:
                    raise Refused(502, f"{show(path, 200)}: not there within {self.limits.seconds:g} s")
            return answer.status, answer.getheader("Location", ""), bytes(content)
        except (OSError, http.client.HTTPException) as error:
            text = f"{error}" or type(error).__name__
            raise Refused(502, f"{show(path, 200)}: Label Studio gives no answer ({show(text)})") from error
        finally:
            connection.close()


def _port(scheme: str) -> int:
    return 443 if scheme == "https" else 80
