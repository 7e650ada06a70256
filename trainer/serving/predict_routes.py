"""Routes that predict an image: the answer in any form, or a place in the labelling queue."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from trainer.inference.options import Options
from trainer.serving.answers import MEDIA_TYPES, Wanted, form_of
from trainer.serving.fetch import ImageHost
from trainer.serving.labelling_queue import put
from trainer.serving.limits import Refused
from trainer.serving.routes import (
    BINARY,
    ERROR,
    ERRORS,
    IMAGE_BODY,
    KNOWN_KEYS,
    PREDICT_BODY,
    AskedVersion,
    found_headers,
    note_picture,
    read_json,
)
from trainer.serving.service import Service
from trainer.serving.tool_routes import answer_studio
from trainer.serving.upload import read_upload

Form = Literal["mask", "overlay", "probabilities", "confidence", "npy", "labelme", "coco", "json"]


def read_wanted(
    request: Request,
    form: Annotated[Form | None, Query(alias="format", description="form of the answer; else by Accept")] = None,
    include: Annotated[str, Query(description="forms that the answer json has too, joined by commas")] = "",
    version: AskedVersion = "",
    threshold: Annotated[float | None, Query(ge=0, le=1, description="for one class; else the model's")] = None,
    min_area: Annotated[
        Annotated[int, Field(ge=0, le=2**40)] | Literal["auto"],
        Query(description="remove objects of fewer pixels; auto: far smaller ones than were labelled, and such holes"),
    ] = 0,
    largest_only: bool = False,
    tta: Literal["", "flips"] = "",
    overlay: Literal["contour", "blend"] = "contour",
    labelme: Literal["polygons", "masks"] = "polygons",
    class_id: Annotated[int | None, Query(alias="class", ge=0, le=254, description="whose probabilities")] = None,
    bits: Annotated[Literal["8", "16"], Query(description="of a level of probabilities")] = "16",
) -> Wanted:
    """Read what a request asks for in its query and its Accept. Raises Refused."""
    included = tuple(dict.fromkeys(filter(None, include.split(","))))
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


def add_prediction(app: FastAPI, service: Service, images: ImageHost | None) -> None:
    contents: dict[str, Any] = dict.fromkeys(MEDIA_TYPES.values(), BINARY) | {"application/json": {"schema": {}}}

    @app.post(
        "/predict",
        summary="Predict a picture; or Label Studio's tasks, as JSON",
        dependencies=KNOWN_KEYS,
        response_class=Response,
        responses=ERRORS | {200: {"description": "in the form asked for", "content": contents}},
        openapi_extra=PREDICT_BODY,
    )
    async def predict(request: Request, wanted: Asked, name: str = "") -> Response:
        service.check_room()
        async with service.bodies.receive(request) as content:
            media_type = request.headers.get("content-type", "")
            if media_type.partition(";")[0].strip().lower() == "application/json":
                return await answer_studio(service, images, await read_json(service, content), wanted)
            upload = read_upload(content, media_type, name)
            answer, found = await service.answer(upload, wanted)
        note_picture(request, found)
        return Response(answer, 200, found_headers(found), MEDIA_TYPES[wanted.form])


def add_queue(app: FastAPI, service: Service, queue: Path | None) -> None:
    @app.post(
        "/wrong",
        summary="Put a picture and what was predicted into the labelling queue",
        dependencies=KNOWN_KEYS,
        status_code=201,
        responses=ERRORS | {200: {"description": "it was there already"}, 409: ERROR, 507: ERROR},
        openapi_extra=IMAGE_BODY,
    )
    async def wrong(request: Request, wanted: Asked, name: str = "") -> Response:
        if queue is None:
            raise Refused(409, "there is no labelling queue; start serve.py with --queue DIR")
        service.check_room()
        form = request.query_params.get("labelme", "polygons")
        options = dataclasses.replace(wanted.options, labelme=form, coco=False)
        if "min_area" not in request.query_params:  # nobody wants to delete them one by one
            options = dataclasses.replace(options, min_area="auto")
        asked = Wanted("labelme", (), options, wanted.version)
        async with service.bodies.receive(request) as content:
            upload = read_upload(content, request.headers.get("content-type", ""), name)
            async with service.predict(upload, asked) as found:
                placed = await service.run(lambda: put(queue, upload, found, form))
        note_picture(request, found)
        answer = {"image": placed.image, "annotation": placed.annotation, "new": placed.new}
        return JSONResponse(answer | {"model": found.scored.facts}, 201 if placed.new else 200, found_headers(found))
