"""A route that reads its body and writes its answer as bytes, on the short way where there is one."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

from app.api.dependencies import scoring_service


class JsonRoute(APIRoute):
    """A route of `endpoint(body, scoring, …) -> answer`, where body and answer are pydantic models.

    The document of the route is FastAPI's, made from the endpoint's signature, and so is the way of every request
    that is unusual: one with a query, or with a body that is not valid, which FastAPI then explains. A valid body
    takes a shorter way: pydantic reads it from the bytes and writes the answer to bytes, without the dictionaries
    between, and without resolving arguments whose names are known already.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        at_leisure = super().get_route_handler()
        endpoint: Callable[..., Coroutine[Any, Any, BaseModel]] = self.endpoint
        body_model: type[BaseModel] = next(iter(endpoint.__annotations__.values()))

        async def answer(request: Request) -> Response:
            if request.scope["query_string"]:
                return await at_leisure(request)
            try:
                body = body_model.model_validate_json(await request.body())
            except ValidationError:
                return await at_leisure(request)
            result = await endpoint(body, scoring_service(request))
            return Response(result.__pydantic_serializer__.to_json(result), media_type="application/json")

        return answer
