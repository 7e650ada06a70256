"""Parts of all routes: descriptions for OpenAPI, bodies of JSON, headers, the line of the log."""

import json
from difflib import get_close_matches
from typing import Annotated, Any

from fastapi import Depends, Query, Request

from trainer.serving.answers import Predicted
from trainer.serving.guard import version_headers
from trainer.serving.limits import Refused
from trainer.serving.service import Service

BINARY = {"schema": {"type": "string", "format": "binary"}}
FORM = {"schema": {"type": "object", "properties": {"image": BINARY["schema"]}, "required": ["image"]}}
IMAGE_CONTENT: dict[str, Any] = {"image/*": BINARY, "multipart/form-data": FORM}
STUDIO_CONTENT: dict[str, Any] = {
    "application/json": {"schema": {"type": "object", "description": "tasks of Label Studio"}}
}
IMAGE_BODY: dict[str, Any] = {"requestBody": {"required": True, "content": IMAGE_CONTENT}}
PREDICT_BODY: dict[str, Any] = {"requestBody": {"required": True, "content": IMAGE_CONTENT | STUDIO_CONTENT}}
JSON_BODY = {"requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}}}

ERROR = {"description": "what is wrong, and the fix", "content": {"application/json": {"schema": {"type": "object"}}}}
ERRORS: dict[int | str, dict[str, Any]] = dict.fromkeys((400, 401, 403, 404, 406, 408, 413, 415, 422, 502, 503), ERROR)

AskedVersion = Annotated[str, Query(pattern="^[0-9a-z]{0,20}$", description="another version than the current")]
"""Number of a version in a query, or the beginning of a digest."""


async def _refuse_unknown_keys(request: Request) -> None:
    """Raise Refused where the query has a key that the route does not describe: a wish would be lost in silence."""
    described = request.app.openapi()["paths"][request.scope["route"].path][request.method.lower()]
    known = [one["name"] for one in described["parameters"]]
    if unknown := [key for key in request.query_params if key not in known]:
        near = get_close_matches(unknown[0][:50], known, n=1)
        advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise Refused(422, f"{unknown[0][:50]!r}: no such key in a query; {advice}")


KNOWN_KEYS = [Depends(_refuse_unknown_keys)]
"""Dependencies of routes with a query."""


def found_headers(found: Predicted) -> dict[str, str]:
    return version_headers(found.scored.served) | {"X-Batch": f"{found.batch}"}


def note_picture(request: Request, found: Predicted) -> None:
    """Add facts about an image to the line of the log."""
    facts = {"width": found.row["width"], "height": found.row["height"], "batch": found.batch}
    request.scope.setdefault("state", {})["facts"] = facts


async def read_json(service: Service, content: bytes) -> Any:
    """Parse a body in a thread: of megabytes it takes a while. Raises Refused where it is no JSON."""

    def parse() -> Any:
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise Refused(422, "not valid JSON") from None

    return await service.run(parse)
