"""Routes of the labelling tools: X-AnyLabeling's remote server, and Label Studio's backend."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from trainer.inference.options import Options
from trainer.serving import anylabeling, label_studio
from trainer.serving.answers import Wanted
from trainer.serving.fetch import ImageHost
from trainer.serving.guard import version_headers
from trainer.serving.label_config import read_label_config
from trainer.serving.limits import Refused
from trainer.serving.routes import ERRORS, JSON_BODY, found_headers, note_picture, read_json
from trainer.serving.service import Service
from trainer.serving.upload import Upload
from trainer.serving.versions import Served


def add_anylabeling(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models", summary="Models, as X-AnyLabeling asks for them")
    async def models() -> dict[str, Any]:
        return anylabeling.list_models(service.versions.current)

    @app.post("/v1/predict", summary="Shapes for X-AnyLabeling", responses=ERRORS, openapi_extra=JSON_BODY)
    async def shapes(request: Request) -> Response:
        service.check_room()
        async with service.bodies.receive(request) as content:
            parsed = await read_json(service, content)
            upload, numbers = await service.run(lambda: anylabeling.read_request(parsed, service.versions.current))
            asked = Wanted("confidence", options=Options(labelme="polygons"))
            async with service.predict(upload, asked) as found:
                answer = await service.run(lambda: json.dumps(anylabeling.shapes(found, numbers)).encode())
        note_picture(request, service, found)
        return Response(answer, 200, found_headers(found), "application/json")


def add_label_studio(app: FastAPI, service: Service) -> None:
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


async def answer_studio(service: Service, images: ImageHost | None, content: Any, wanted: Wanted) -> Response:
    """Predict tasks of Label Studio, a few at a time. Raises Refused, naming the task, where one fails."""
    tasks = label_studio.read_tasks(content)
    served = await service.find(wanted.version)
    names = served.model.segmenter.contract.class_names[1:]
    control = read_label_config(content["label_config"], names)
    asked = Wanted("confidence", options=Options(labelme="polygons"), version=wanted.version)
    turns = asyncio.Semaphore(max(1, min(service.limits.batch_size, service.limits.queue // 2)))

    async def predict(task: dict[str, Any]) -> tuple[dict[str, Any], Served]:
        async with turns:
            # Not in the threads that decode: a host that is slow must not keep other pictures waiting.
            upload: Upload = await asyncio.to_thread(label_studio.fetch_image, task, control, images)
            with service.bodies.count(len(upload.content)):
                async with service.predict(upload, asked) as found:
                    regions = await service.run(lambda: label_studio.regions(found, control))
            answering = found.scored.served
            row = {"result": regions, "score": found.row["confidence"], "model_version": studio_version(answering)}
            return row, answering

    failed: Refused | None = None
    try:
        async with asyncio.TaskGroup() as group:  # the others end where one fails
            made = [group.create_task(predict(task)) for task in tasks]
    except* Refused as refusals:
        (failed, *_) = (one for one in refusals.exceptions if isinstance(one, Refused))
    if failed is not None:
        raise failed
    done = [task.result() for task in made]
    last = done[-1][1] if done else served
    answer = {"results": [one for one, _ in done], "model_version": studio_version(last)}
    return JSONResponse(answer, 200, version_headers(last))
