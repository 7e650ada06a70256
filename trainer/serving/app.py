"""The application: errors, what is served, the page; the other routes are in predict_routes.py and tool_routes.py."""

import asyncio
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException

from trainer.drawing.palette import palette
from trainer.serving.fetch import ImageHost
from trainer.serving.guard import FAULT, version_headers
from trainer.serving.limits import Refused
from trainer.serving.predict_routes import add_prediction, add_queue
from trainer.serving.routes import ERROR, ERRORS, KNOWN_KEYS, AskedVersion
from trainer.serving.service import Service
from trainer.serving.static_files import PageFile
from trainer.serving.tool_routes import add_anylabeling, add_label_studio
from trainer.system.provenance import program_version


def make_app(
    service: Service, page: dict[str, PageFile], queue: Path | None = None, images: ImageHost | None = None
) -> FastAPI:
    """Make the routes. `page`: its files; `queue`: folder of the labelling queue; `images`: Label Studio."""
    app = FastAPI(title="segtrainer", version=program_version(), docs_url=None, redoc_url=None, redirect_slashes=False)
    _add_errors(app)
    _add_state(app, service, queue)
    add_prediction(app, service, images)
    add_queue(app, service, queue)
    add_anylabeling(app, service)
    add_label_studio(app, service)
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

    @app.exception_handler(Exception)
    async def fault(_request: Request, _error: Exception) -> Response:  # raised again, for the log
        return JSONResponse({"error": FAULT}, 500)


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

    @app.get(
        "/version",
        summary="The model that answers, or another version, and what it knows",
        dependencies=KNOWN_KEYS,
        responses=ERRORS,
    )
    async def describe(version: AskedVersion = "") -> Response:
        described = await service.find(version)
        extra, contract = versions.extra, described.model.segmenter.contract
        said = {
            **described.at(None).facts,
            "colours": contract.colours,
            "mask_colours": palette()[: len(contract.class_names)].tolist(),
            "extra": extra.version if extra else None,
            "moves": versions.moves,
            "fault": versions.fault,
            "queue": queue is not None,
            "limits": {"body_bytes": service.limits.body_bytes, "pixels": service.limits.pixels},
        }
        return JSONResponse(said, headers=version_headers(described))

    @app.get("/versions", summary="Versions that ?version= can ask for", responses={503: ERROR})
    async def listing() -> dict[str, Any]:
        found = await asyncio.get_running_loop().run_in_executor(service.loaders, versions.listing)
        return {"versions": [one["version"] for one in found], "details": found}


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
