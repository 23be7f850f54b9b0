"""The HTTP side of a service: what is asked under which path, and every way in which that can go wrong."""

import contextlib
import math
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from smartml._version import __version__
from smartml.errors import (
    MissingDependencyError,
    PredictionError,
    QueueFullError,
    SampleError,
)
from smartml.extras import missing
from smartml.serving.access import TokenGate
from smartml.serving.description import example_sample
from smartml.serving.limits import ServerLimits
from smartml.serving.predictor import Predictor
from smartml.serving.reload import CheckpointWatch

try:
    import anyio
    from fastapi import FastAPI, Request
    from fastapi.responses import FileResponse, JSONResponse, Response
    from pydantic import ValidationError
    from starlette.requests import ClientDisconnect

    from smartml.serving.requests import (
        PROBLEMS_SCHEMA,
        PredictBody,
        answer_schema,
        encode_answers,
        list_problems,
        problem,
    )
    from smartml.serving.service import Service
except ImportError as error:
    raise MissingDependencyError(missing(error.name or "fastapi", "serving over HTTP", "serving")) from error

_PAGES = Path(__file__).with_name("pages")
# Pages run nothing but their own scripts, and ask nobody but this server.
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
# What people see before they have given a token; none of it says anything of the model.
_OPEN_PATHS = frozenset({"/", "/docs", "/health", "/static/page.js", "/static/docs.js", "/static/style.css"})
# What is read and thrown away of a body that is too large, so that its sender comes to read the answer.
_DISCARD_S = 1.0
_LONGEST_REASON = 500
# Of the name of a checkpoint, what stays as it is in a header.
_SAFE = " =+,:@"


class _Refusal(Exception):
    """A request is answered without having been understood."""

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def create_app(
    predictor: Predictor,
    limits: ServerLimits | None = None,
    *,
    token: str | None = None,
    watch: CheckpointWatch | None = None,
    reload_interval_s: float = 1.0,
) -> FastAPI:
    """Return an application that answers POST /predict by the predictor; its lifespan must be run.

    GET /info tells of inputs and outputs, /health whether it works, /metrics (Prometheus) how it goes, /openapi.json
    and /docs of all this; / is a page for people. With a token, requests must carry it; pages and /health are open.
    With a watch, better checkpoints are taken into use.
    """
    limits = limits or ServerLimits()
    service = Service(predictor, limits.batches, watch=watch, reload_interval_s=reload_interval_s)
    endpoint = _Predict(service, limits)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(
        title="smartml",
        version=__version__,
        description="A trained model that answers.",
        # Its own page would load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )

    app.add_api_route(
        "/predict",
        endpoint,
        methods=["POST"],
        summary="Answer samples",
        description="Takes a list of samples, each with every input by name; answers them in their order.",
        operation_id="predict",
        response_class=Response,
        responses=_predict_responses(service),
        openapi_extra=endpoint.openapi(),
    )

    @app.get("/info", summary="Tell of the inputs and outputs", operation_id="info")
    async def info() -> dict[str, Any]:
        described = service.predictor.description.describe()
        return {
            **described,
            "checkpoint": service.predictor.name,
            "limits": {"max_body_size": limits.max_body_size, "max_samples": limits.max_samples},
            "example": [example_sample(service.predictor.description.inputs)],
        }

    @app.get("/health", summary="Tell whether requests are answered", operation_id="health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get(
        "/metrics",
        summary="Tell how it goes, for Prometheus",
        operation_id="metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    _add_pages(app)
    _complete_openapi(app, endpoint, has_token=token is not None)
    if token is not None:
        app.add_middleware(TokenGate, token=token, open_paths=_OPEN_PATHS)
    return app


def _add_pages(app: FastAPI) -> None:
    def add(path: str, name: str) -> None:
        async def page() -> Response:
            return FileResponse(_PAGES / name, headers=_PAGE_HEADERS)

        app.add_api_route(path, page, include_in_schema=False, name=name)

    add("/", "index.html")
    add("/docs", "docs.html")
    for name in ("page.js", "docs.js", "style.css"):
        add(f"/static/{name}", name)


class _Predict:
    """The handler of /predict."""

    def __init__(self, service: Service, limits: ServerLimits) -> None:
        self._service = service
        self._limits = limits
        self._body = PredictBody(service.predictor.description, limits.max_samples)
        # Bytes of bodies that are being read or wait for their answer.
        self._held = 0

    async def __call__(self, request: Request) -> Response:
        began = time.perf_counter()
        response = await self._respond(request)
        metrics = self._service.metrics
        metrics.requests.labels(str(response.status_code)).inc()
        metrics.request_seconds.observe(time.perf_counter() - began)
        return response

    async def _respond(self, request: Request) -> Response:
        pieces: list[bytes] = []
        try:
            # Unlike asyncio.wait_for, this needs no task of its own.
            with anyio.fail_after(self._limits.body_timeout_s):
                await self._read(request, pieces)
            samples = self._body.parse(b"".join(pieces))
            reply = await self._service.predict(samples)
        except ValidationError as error:
            return JSONResponse({"detail": list_problems(error)}, 422)
        except SampleError as error:
            location = [part for part in (error.sample, error.field) if part is not None]
            return JSONResponse({"detail": [problem("sample", location, str(error)[:_LONGEST_REASON])]}, 422)
        except _Refusal as refusal:
            if refusal.status == 413:
                await self._discard(request)
            return _refused(refusal.status, str(refusal), refusal.headers)
        except TimeoutError:
            reason = f"the body did not arrive within {self._limits.body_timeout_s:g} s"
            return _refused(408, reason, {"connection": "close"})
        except QueueFullError as error:
            return _refused(503, str(error), {"retry-after": self._retry_after()})
        except PredictionError as error:
            return _refused(500, str(error)[:_LONGEST_REASON], {})
        except ClientDisconnect:
            # Nobody reads it; it is counted.
            return Response(status_code=499)
        finally:
            self._held -= sum(map(len, pieces))
        self._service.metrics.samples.inc(len(samples))
        body = encode_answers(reply.answers)
        return Response(
            body, media_type="application/json", headers={"smartml-checkpoint": quote(reply.checkpoint, safe=_SAFE)}
        )

    async def _read(self, request: Request, pieces: list[bytes]) -> None:
        """Read a body, piece by piece, as far as it is allowed."""
        limit, size = self._limits.max_body_size, 0
        announced = request.headers.get("content-length", "0")
        if announced.isdecimal() and int(announced) > limit:
            raise self._too_large()
        async for piece in request.stream():
            size += len(piece)
            if size > limit:
                raise self._too_large()
            if self._held + len(piece) > self._limits.max_bodies_size:
                raise _Refusal(
                    503,
                    f"bodies of {self._held} bytes are being worked on: ask again later",
                    retry_after=self._retry_after(),
                    connection="close",
                )
            pieces.append(piece)
            self._held += len(piece)

    def _too_large(self) -> _Refusal:
        return _Refusal(413, f"a body may have {self._limits.max_body_size} bytes at most", connection="close")

    async def _discard(self, request: Request) -> None:
        with contextlib.suppress(ClientDisconnect), anyio.move_on_after(_DISCARD_S):
            await _read_out(request)

    def _retry_after(self) -> str:
        # RFC 9110, section 10.2.3: whole seconds.
        return str(max(1, math.ceil(self._service.backlog_s)))

    def openapi(self) -> dict[str, Any]:
        """Describe what is taken."""
        schema, _ = self._body.schemas()
        example = [example_sample(self._service.predictor.description.inputs)]
        return {
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}
        }

    def referred_schemas(self) -> dict[str, Any]:
        """Return the schemas that the description refers to, by name."""
        return self._body.schemas()[1]


async def _read_out(request: Request) -> None:
    # What was read of the stream stays read; the rest comes by the channel below it.
    while (await request.receive()).get("more_body"):
        pass


def _refused(status: int, detail: str, headers: dict[str, str]) -> Response:
    return JSONResponse({"detail": detail}, status, headers)


# The description


_DETAIL_SCHEMA = {"type": "object", "required": ["detail"], "properties": {"detail": {"type": "string"}}}


def _predict_responses(service: Service) -> dict[int | str, dict[str, Any]]:
    def of(schema: dict[str, Any], description: str, **headers: str) -> dict[str, Any]:
        described = {
            name.replace("_", "-"): {"description": text, "schema": {"type": "string"}}
            for name, text in headers.items()
        }
        return {
            "description": description,
            "content": {"application/json": {"schema": schema}},
            **({"headers": described} if described else {}),
        }

    answer = answer_schema(service.predictor.description)
    return {
        200: of(answer, "An answer per sample, in their order", smartml_checkpoint="Which checkpoint gave all answers"),
        408: of(_DETAIL_SCHEMA, "The body did not arrive in time"),
        413: of(_DETAIL_SCHEMA, "The body is too large"),
        422: of(PROBLEMS_SCHEMA, "What is wrong, field by field"),
        500: of(_DETAIL_SCHEMA, "The model failed on these samples"),
        503: of(_DETAIL_SCHEMA, "Too many requests wait", retry_after="Seconds to wait before asking again"),
    }


def _complete_openapi(app: FastAPI, endpoint: _Predict, *, has_token: bool) -> None:
    """Add what is known of bodies, and of the token, to the description that FastAPI makes."""
    description = app.openapi()
    components = description.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas.update(endpoint.referred_schemas())
    if has_token:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path, operations in description["paths"].items():
            if path not in _OPEN_PATHS:
                for operation in operations.values():
                    operation["security"] = [{"token": []}]
                    operation["responses"]["401"] = {
                        "description": "No token, or a wrong one",
                        "content": {"application/json": {"schema": _DETAIL_SCHEMA}},
                    }
