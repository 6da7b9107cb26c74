"""Every error answer is a problem detail (RFC 9457); none repeats what was sent, so that no card data comes back."""

import http
from collections.abc import Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from app.scoring.errors import ScoringError, TransactionError

MEDIA_TYPE = "application/problem+json"

_UNREADABLE_BODY = 400
_log = structlog.get_logger(__name__)


class NotReadyError(Exception):
    """The model is not loaded, or the process is stopping."""


_STATUS_OF: dict[type[Exception], int] = {TransactionError: 422, ScoringError: 500, NotReadyError: 503}


class FieldError(BaseModel):
    """One thing that is wrong with a request body."""

    location: list[str | int] = Field(description="Where in the body, from the outside in")
    message: str


class Problem(BaseModel):
    """An error answer by RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str = Field(description="The path that was asked")
    errors: list[FieldError] | None = None


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How a route's error answers stand in the OpenAPI document."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": http.HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


def install_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    for kind in _STATUS_OF:
        app.add_exception_handler(kind, _known_error)
    app.add_exception_handler(Exception, _unknown_error)


def _problem(request: Request, status: int, detail: str, errors: Sequence[FieldError] | None = None) -> JSONResponse:
    problem = Problem(
        title=http.HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=request.url.path,
        errors=list(errors) if errors else None,
    )
    return JSONResponse(problem.model_dump(exclude_none=True), status_code=status, media_type=MEDIA_TYPE)


async def _invalid_request(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    errors = [
        FieldError(location=[part for part in item["loc"] if part != "body"], message=item["msg"])
        for item in error.errors()
    ]
    return _problem(request, 422, "The body is not what this address takes; see errors.", errors)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == _UNREADABLE_BODY:
        # FastAPI says 400 where a body cannot even be parsed (invalid UTF-8, nesting without end).
        return _problem(request, 422, "The body cannot be read as JSON.")
    response = _problem(request, error.status_code, error.detail)
    response.headers.update(error.headers or {})
    return response


async def _known_error(request: Request, error: Exception) -> JSONResponse:
    status = next(status for kind, status in _STATUS_OF.items() if isinstance(error, kind))
    return _problem(request, status, str(error))


async def _unknown_error(request: Request, error: Exception) -> JSONResponse:
    _log.error("request failed", path=request.url.path, error=type(error).__name__)
    return _problem(request, 500, "Something went wrong here; it is logged.")
