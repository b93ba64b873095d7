# SPDX-License-Identifier: Apache-2.0
"""The description of the server's paths, OpenAPI 3.1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from .answers import Json
from .tensors import INPUTS, OUTPUTS

if TYPE_CHECKING:
    from starlette.requests import Request

    from .app import Service

__all__ = ["description", "document"]

_ERRORS = {
    "400": "The request or a picture cannot be read; the sentence says which.",
    "401": "A token is asked for.",
    "403": "A page of another server asks.",
    "413": "The request is larger than this server takes.",
    "415": "The body is of another kind.",
    "421": "The server is not called by this name.",
    "429": "So many pictures wait already that this one would wait too long.",
    "503": "The server is going down.",
    "504": "There was no answer in time.",
}


def _schema(keypoints: int) -> dict[str, Any]:
    number = {"type": "number"}
    person = {
        "type": "object",
        "required": ["score", "class_id", "box", "keypoints"],
        "properties": {
            "score": {"type": "number", "minimum": 0, "maximum": 1},
            "class_id": {"type": "integer", "minimum": 0},
            "box": {
                "type": "array",
                "items": number,
                "minItems": 4,
                "maxItems": 4,
                "description": "left, top, right, bottom in pixels of the picture",
            },
            "keypoints": {
                "type": "array",
                "minItems": keypoints,
                "maxItems": keypoints,
                "items": {"type": "array", "items": number, "minItems": 3, "maxItems": 3},
                "description": "x and y in pixels of the picture, and confidence",
            },
        },
    }
    picture = {
        "type": "object",
        "required": ["source"],
        "properties": {
            "source": {"type": "string"},
            "width": {"type": "integer", "minimum": 1},
            "height": {"type": "integer", "minimum": 1},
            "poses": {"type": "array", "items": {"$ref": "#/components/schemas/Person"}},
            "error": {"type": "string", "description": "why this picture could not be read"},
        },
    }
    several = {
        "type": "object",
        "required": ["model", "images"],
        "properties": {
            "model": {"type": "string"},
            "images": {"type": "array", "items": {"$ref": "#/components/schemas/Picture"}},
        },
    }
    error = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
    return {"Person": person, "Picture": picture, "Pictures": several, "Error": error}


def _json(name: str, text: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}}


def _query() -> list[dict[str, Any]]:
    share = {"type": "number", "minimum": 0, "maximum": 1}
    known: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("conf", "least score of a pose", share),
        ("iou", "overlap above which the lesser pose goes", share),
        ("max_det", "most poses", {"type": "integer", "minimum": 1, "maximum": 30000}),
        ("agnostic", "suppress across classes", {"type": "boolean"}),
        ("name", "what the picture is called in the answer", {"type": "string"}),
    )
    return [{"name": n, "in": "query", "description": text, "schema": schema} for n, text, schema in known]


def _get(name: str, summary: str, kind: str = "application/json", *more: str) -> dict[str, Any]:
    """A path that is asked for; ``more`` are statuses beside those that every path may answer with."""
    answer: dict[str, Any] = {"description": summary}
    if kind:
        answer["content"] = {kind: {"schema": {}}}
    errors = {status: _json("Error", _ERRORS[status]) for status in ("401", "403", "413", "421", "504")}
    others = {status: {"description": _ERRORS[status]} for status in more}
    return {"get": {"operationId": name, "summary": summary, "responses": {"200": answer, **errors, **others}}}


def _tensors() -> dict[str, Any]:
    """What the KServe protocol sends, as far as it is JSON."""
    whole = {"type": "integer", "minimum": 0}
    side = {"type": "integer", "minimum": 1}
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": {"enum": [name for name, _, _ in INPUTS]},
            "shape": {"type": "array", "items": side, "minItems": 1, "maxItems": 4},
            "datatype": {"enum": ["UINT8", "BYTES"]},
            "data": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}},
            "parameters": {"type": "object", "properties": {"binary_data_size": whole}},
        },
    }
    wanted = {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"enum": list(OUTPUTS)},
            "parameters": {"type": "object", "properties": {"binary_data": {"type": "boolean"}}},
        },
    }
    asked = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": {"type": "object", "properties": {one["name"]: one["schema"] for one in _query()[:-1]}},
            "inputs": {"type": "array", "items": tensor, "minItems": 1, "maxItems": 1},
            "outputs": {"type": "array", "items": wanted},
        },
    }
    output = {
        "type": "object",
        "required": ["name", "datatype", "shape"],
        "properties": {
            "name": {"enum": list(OUTPUTS)},
            "datatype": {"enum": ["FP32", "INT32"]},
            "shape": {"type": "array", "items": whole},
            "data": {"type": "array", "items": {"type": "number"}},
        },
    }
    found = {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {"id": {"type": "string"}, "outputs": {"type": "array", "items": output}},
    }
    return {"InferenceRequest": asked, "InferenceResponse": found}


def _kserve(title: str, errors: dict[str, Any]) -> dict[str, Any]:
    """The paths of the KServe protocol."""
    found = _json("InferenceResponse", "The people, as tensors; those asked for as binary data stand behind the JSON.")
    found["content"]["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    request = {"application/json": {"schema": {"$ref": "#/components/schemas/InferenceRequest"}}}
    infer = {
        "operationId": "infer",
        "summary": "Find the people in the pictures of a tensor",
        "requestBody": {"required": True, "content": request},
        "responses": {"200": found, **errors, "400": _json("Error", _ERRORS["400"])},
    }
    model = f"/v2/models/{title}"
    return {
        "/v2": _get("server", "What serves"),
        "/v2/health/live": _get("live", "The server lives", ""),
        "/v2/health/ready": _get("ready", "The server takes requests", "", "503"),
        model: _get("metadata", "The model's inputs and outputs"),
        f"{model}/ready": _get("model_ready", "The model takes requests", "", "503"),
        f"{model}/infer": {"post": infer},
    }


def document(service: Service) -> dict[str, Any]:
    """The whole description."""
    import trtpose

    picture = {"schema": {"type": "string", "format": "binary"}}
    form = {
        "schema": {
            "type": "object",
            "required": ["image"],
            "properties": {"image": {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1}},
        }
    }
    found = _json("Picture", "The people in it; of several pictures sent as a form, those in each.")
    found["content"]["application/json"]["schema"] = {
        "anyOf": [{"$ref": "#/components/schemas/Picture"}, {"$ref": "#/components/schemas/Pictures"}]
    }
    found["content"]["image/jpeg"] = {"schema": {"type": "string", "format": "binary"}}
    errors = {status: _json("Error", text) for status, text in _ERRORS.items()}
    # Of several pictures none of which can be read, each says why.
    errors["400"]["content"]["application/json"]["schema"] = {
        "anyOf": [{"$ref": "#/components/schemas/Error"}, {"$ref": "#/components/schemas/Pictures"}]
    }
    poses = {
        "operationId": "poses",
        "summary": "Find the people in a picture, or in each of several",
        "parameters": _query(),
        "requestBody": {
            "required": True,
            "content": {"image/*": picture, "application/octet-stream": picture, "multipart/form-data": form},
        },
        "responses": {"200": found, **errors},
    }
    secured = bool(service.settings.token)
    schemes = {"token": {"type": "http", "scheme": "bearer"}} if secured else {}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"trtpose: {service.settings.title}",
            "version": trtpose.__version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            "/v1/poses": {"post": poses},
            "/v1/model": _get("model", "What runs, and its model spec"),
            "/metrics": _get("metrics", "Figures for Prometheus", "text/plain"),
            **_kserve(service.settings.title, errors),
        },
        "components": {"schemas": {**_schema(service.engine.spec.keypoints), **_tensors()}, "securitySchemes": schemes},
        **({"security": [{"token": []}]} if secured else {}),
    }


async def description(_: Request, service: Service) -> Response:
    """``GET /openapi.json``."""
    return Json(document(service))
