"""Routes of the service."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException

from trainer.inference.options import Options
from trainer.serving import anylabeling, label_studio
from trainer.serving.answers import MEDIA_TYPES, Predicted, Wanted, form_of
from trainer.serving.fetch import ImageHost
from trainer.serving.guard import version_headers
from trainer.serving.label_config import read_label_config
from trainer.serving.labelling_queue import put
from trainer.serving.limits import Refused
from trainer.serving.service import Service
from trainer.serving.static_files import PageFile
from trainer.serving.upload import Upload, read_upload
from trainer.serving.versions import Served
from trainer.system.provenance import program_version

Form = Literal["mask", "overlay", "probabilities", "confidence", "npy", "labelme", "coco", "json"]

IMAGE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"image": {"type": "string", "format": "binary"}}}
            },
        },
    }
}
STUDIO_BODY = {"application/json": {"schema": {"type": "object", "description": "tasks of Label Studio"}}}
JSON_BODY = {"requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}}}

ERROR = {"description": "what is wrong, and the fix", "content": {"application/json": {"schema": {"type": "object"}}}}
ERRORS: dict[int | str, dict[str, Any]] = dict.fromkeys((400, 401, 403, 404, 406, 408, 413, 415, 422, 502, 503), ERROR)


def read_wanted(
    request: Request,
    form: Annotated[Form | None, Query(alias="format", description="form of the answer; else by Accept")] = None,
    include: Annotated[str, Query(description="forms that the answer json has too, joined by commas")] = "",
    version: Annotated[str, Query(pattern="^[0-9a-z]{0,20}$", description="another version than the current")] = "",
    threshold: Annotated[float | None, Query(ge=0, le=1, description="for one class; else the model's")] = None,
    min_area: Annotated[int, Query(ge=0, le=2**40, description="remove objects of fewer pixels")] = 0,
    largest_only: bool = False,
    tta: Literal["", "flips"] = "",
    overlay: Literal["contour", "blend"] = "contour",
    labelme: Literal["polygons", "masks"] = "polygons",
    class_id: Annotated[int | None, Query(alias="class", ge=0, le=254, description="whose probabilities")] = None,
    bits: Annotated[Literal["8", "16"], Query(description="of a level of probabilities")] = "16",
) -> Wanted:
    """Read what a request asks for in its query and its Accept. Raises Refused."""
    included = tuple(filter(None, include.split(",")))
    if unknown := [one for one in included if one not in MEDIA_TYPES or one == "json"]:
        raise Refused(422, f"include: {unknown[0][:50]!r} is none of {', '.join(MEDIA_TYPES)}")
    chosen = form or form_of(request.headers.get("accept", ""))
    if included and chosen != "json":
        raise Refused(422, "include: for format=json alone")
    forms = (chosen, *included)
    options = Options(
        threshold=threshold,
        min_area=min_area,
        largest_only=largest_only,
        tta=tta,
        overlay=overlay,
        labelme=labelme if "labelme" in forms else "",
        coco="coco" in forms,
    )
    return Wanted(chosen, included, options, version, class_id, int(bits))


Asked = Annotated[Wanted, Depends(read_wanted)]


def make_app(
    service: Service, page: dict[str, PageFile], queue: Path | None = None, images: ImageHost | None = None
) -> FastAPI:
    """Make the routes. `page`: its files; `queue`: folder of the labelling queue; `images`: Label Studio."""
    app = FastAPI(title="segtrainer", version=program_version(), docs_url=None, redoc_url=None, redirect_slashes=False)
    _add_errors(app)
    _add_state(app, service, queue)
    _add_prediction(app, service, images)
    _add_queue(app, service, queue)
    _add_anylabeling(app, service)
    _add_label_studio(app, service)
    _add_page(app, page)
    return app


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    async def refused(_request: Request, error: Refused) -> Response:
        headers = {"Retry-After": f"{error.retry_s}"} if error.retry_s else {}
        return JSONResponse({"error": error.text}, error.status, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        texts = [f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors()]
        return JSONResponse({"error": "; ".join(texts)[:1000]}, 422)

    @app.exception_handler(HTTPException)
    async def http(_request: Request, error: HTTPException) -> Response:
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)


# ---------------------------------------------------------------- what is served


def _add_state(app: FastAPI, service: Service, queue: Path | None) -> None:
    versions = service.versions

    @app.get("/health", summary="The process answers; as Label Studio asks for it")
    async def health() -> dict[str, str]:
        return {"status": "UP", "model_class": versions.current.name, "model_version": versions.current.version}

    @app.get("/ready", summary="Pictures are predicted now", responses={503: ERROR})
    async def ready() -> Response:
        return JSONResponse({"ready": service.ready}, 200 if service.ready else 503)

    @app.get("/metrics", summary="Numbers for Prometheus", response_class=PlainTextResponse)
    async def metrics() -> Response:
        current = versions.current
        info = tuple({"name": current.name, "version": current.version, "alias": current.alias}.items())
        text = service.metrics.text(
            {
                "under_way": {(): service.under_way},
                "body_bytes": {(): service.bodies.held},
                "model_info": {info: 1},
            }
        )
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/version", summary="The model that answers, and what it knows")
    async def version() -> dict[str, Any]:
        current, extra = versions.current, versions.extra
        contract = current.model.segmenter.contract
        return {
            **current.at(None).facts,
            "colours": contract.colours,
            "extra": extra.version if extra else None,
            "moves": versions.moves,
            "fault": versions.fault,
            "queue": queue is not None,
            "limits": {"body_bytes": service.limits.body_bytes, "pixels": service.limits.pixels},
        }

    @app.get("/versions", summary="Versions that ?version= can ask for", responses={503: ERROR})
    async def listing() -> dict[str, Any]:
        found = await asyncio.get_running_loop().run_in_executor(service.loaders, versions.listing)
        return {"versions": [one["version"] for one in found], "details": found}


# ---------------------------------------------------------------- prediction


def _add_prediction(app: FastAPI, service: Service, images: ImageHost | None) -> None:
    binary = {"schema": {"type": "string", "format": "binary"}}
    contents = dict.fromkeys(MEDIA_TYPES.values(), binary) | {"application/json": {"schema": {}}}
    body = {"requestBody": {**IMAGE_BODY["requestBody"]}}
    body["requestBody"]["content"] = {**IMAGE_BODY["requestBody"]["content"], **STUDIO_BODY}  # type: ignore[dict-item]

    @app.post(
        "/predict",
        summary="Predict a picture; or Label Studio's tasks, as JSON",
        response_class=Response,
        responses=ERRORS | {200: {"description": "in the form asked for", "content": contents}},
        openapi_extra=body,
    )
    async def predict(request: Request, wanted: Asked, name: str = "") -> Response:
        service.check_room()
        async with service.bodies.receive(request) as content:
            media_type = request.headers.get("content-type", "")
            if media_type.partition(";")[0].strip().lower() == "application/json":
                return await _studio(service, images, await read_json(service, content), wanted)
            upload = read_upload(content, media_type, name)
            answer, found = await service.answer(upload, wanted)
        _note(request, service, found)
        return Response(answer, 200, _headers(found), MEDIA_TYPES[wanted.form])


def _add_queue(app: FastAPI, service: Service, queue: Path | None) -> None:
    @app.post(
        "/wrong",
        summary="Put a picture and what was predicted into the labelling queue",
        status_code=201,
        responses=ERRORS | {200: {"description": "it was there already"}, 409: ERROR, 507: ERROR},
        openapi_extra=IMAGE_BODY,
    )
    async def wrong(request: Request, wanted: Asked, name: str = "") -> Response:
        if queue is None:
            raise Refused(409, "there is no labelling queue; start serve.py with --queue DIR")
        service.check_room()
        form = request.query_params.get("labelme", "polygons")
        options = Options(**{**wanted.options.__dict__, "labelme": form})
        asked = Wanted("labelme", (), options, wanted.version)
        async with service.bodies.receive(request) as content:
            upload = read_upload(content, request.headers.get("content-type", ""), name)
            async with service.predict(upload, asked) as found:
                placed = await service.run(lambda: put(queue, upload, found, form))
        _note(request, service, found)
        answer = {"image": placed.image, "annotation": placed.annotation, "new": placed.new}
        return JSONResponse(answer | {"model": found.scored.facts}, 201 if placed.new else 200, _headers(found))


def _headers(found: Predicted) -> dict[str, str]:
    return version_headers(found.scored.served) | {"X-Batch": f"{found.batch}"}


def _note(request: Request, service: Service, found: Predicted) -> None:
    """Count an image, and add facts about it to the line of the log."""
    service.metrics.count("pictures_total", version=found.scored.served.version)
    facts = {"width": found.row["width"], "height": found.row["height"], "batch": found.batch}
    request.scope.setdefault("state", {})["facts"] = facts


async def read_json(service: Service, content: bytes) -> Any:
    """Parse a body in a thread: of megabytes it takes a while. Raises Refused where it is no JSON."""

    def parse() -> Any:
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise Refused(422, "no valid JSON") from None

    return await service.run(parse)


# ---------------------------------------------------------------- labelling tools


def _add_anylabeling(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models", summary="Models, as X-AnyLabeling asks for them")
    async def models() -> dict[str, Any]:
        return anylabeling.list_models(service.versions.current)

    @app.post("/v1/predict", summary="Shapes for X-AnyLabeling", responses=ERRORS, openapi_extra=JSON_BODY)
    async def shapes(request: Request) -> Response:
        service.check_room()
        async with service.bodies.receive(request) as content:
            parsed = await read_json(service, content)
            upload, numbers = await service.run(lambda: anylabeling.read_request(parsed, service.versions.current))
            asked = Wanted("coco", options=Options(labelme="polygons"))
            async with service.predict(upload, asked) as found:
                answer = await service.run(lambda: json.dumps(anylabeling.shapes(found, numbers)).encode())
        _note(request, service, found)
        return Response(answer, 200, _headers(found), "application/json")


def _add_label_studio(app: FastAPI, service: Service) -> None:
    @app.post("/setup", summary="Label Studio names a project", responses=ERRORS, openapi_extra=JSON_BODY)
    async def setup(request: Request) -> dict[str, str]:
        async with service.bodies.receive(request) as content:
            parsed = await read_json(service, content)
        schema = parsed.get("schema") if isinstance(parsed, dict) else None
        current = service.versions.current
        if isinstance(schema, str) and schema.strip():
            read_label_config(schema, current.model.segmenter.contract.class_names[1:])
        return {"model_version": studio_version(current)}

    async def taken(request: Request) -> Response:
        """Take what Label Studio tells of, which changes nothing here."""
        async with service.bodies.receive(request):
            return JSONResponse({"status": "ok"}, 201)

    handler: Callable[[Request], Awaitable[Response]] = taken
    for path in ("/webhook", "/train"):
        app.post(path, summary="Label Studio tells of a change", status_code=201, responses=ERRORS)(handler)


def studio_version(served: Served) -> str:
    """Name and version as Label Studio shows them beside a prediction."""
    return f"{served.name} {served.version}"


async def _studio(service: Service, images: ImageHost | None, content: Any, wanted: Wanted) -> Response:
    """Predict tasks of Label Studio, a few at a time. Raises Refused, naming the task, where one fails."""
    tasks = label_studio.read_tasks(content)
    served = await service.find(wanted.version)
    names = served.model.segmenter.contract.class_names[1:]
    control = read_label_config(content["label_config"], names)
    asked = Wanted("coco", options=Options(labelme="polygons"), version=wanted.version)
    turns = asyncio.Semaphore(max(1, min(service.limits.batch_size, service.limits.queue // 2)))

    async def predict(task: dict[str, Any]) -> tuple[dict[str, Any], Served]:
        async with turns:
            # In a pool of its own: a host that is slow must not keep pictures from being decoded.
            fetch = asyncio.to_thread(label_studio.fetch_image, task, control, images)
            upload: Upload = await fetch
            async with service.predict(upload, asked) as found:
                regions = await service.run(lambda: label_studio.regions(found, control))
            version = studio_version(found.scored.served)
            return {"result": regions, "score": found.row["confidence"], "model_version": version}, found.scored.served

    made = await asyncio.gather(*map(predict, tasks))
    last = made[-1][1] if made else served
    answer = {"results": [one for one, _ in made], "model_version": studio_version(last)}
    return JSONResponse(answer, 200, version_headers(last))


# ---------------------------------------------------------------- the page


def _add_page(app: FastAPI, page: dict[str, PageFile]) -> None:
    """Serve the files of the page; without one, `/` says what there is."""

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        if "" in page:
            return Response(page[""].content, media_type=page[""].media_type)
        return JSONResponse({"service": "segtrainer", "predict": "POST /predict", "routes": "GET /openapi.json"})

    @app.get("/{path:path}", include_in_schema=False)
    async def file(path: str) -> Response:
        if path not in page:
            raise Refused(404, "there is nothing here; GET /openapi.json lists the routes")
        return Response(page[path].content, media_type=page[path].media_type)
