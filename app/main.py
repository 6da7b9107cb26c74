"""The composition root of `python -m app serve`."""

import contextlib
import functools
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import structlog
import uvicorn
from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import ValidationError
from starlette.responses import Response
from starlette.routing import Route

from app import __version__, logs
from app.api.dependencies import LifespanState, ScoringService
from app.api.errors import Problem, install_error_handlers
from app.api.limits import BodyLimits
from app.api.overload import ConcurrencyLimit
from app.api.quick_score import QuickScore
from app.api.request_metrics import RequestMetrics
from app.api.routes import install_routes
from app.api.schemas import request_models
from app.garbage import collect_rarely
from app.metrics import Metrics, shown_registry
from app.scoring.errors import ArtifactError
from app.scoring.manifest import Manifest
from app.scoring.scorer import Scorer
from app.settings import Settings
from app.source import ArtifactFiles, artifact_files
from app.workers import WorkersError, serve_with_workers

_BATCHES_AT_ONCE = 2  # they run in threads, and more of them would only wait for each other

_log = structlog.get_logger(__name__)


def create_app(
    settings: Settings, files: ArtifactFiles | None = None, workers_directory: Path | None = None
) -> FastAPI:
    """The application; its model is loaded in the lifespan, its routes are made for the features of the manifest.

    Args:
        settings: of the service.
        files: those of the artifact, where they are not in the directory that the settings name.
        workers_directory: where several workers keep what they count; None when this is the only process.

    Raises:
        ArtifactError: there is no manifest to make routes from.
    """
    files = files or ArtifactFiles(settings.artifact)
    manifest = files.manifest()
    registry = CollectorRegistry()
    metrics = Metrics(registry, manifest.model_version)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[LifespanState]:
        try:
            artifact = await anyio.to_thread.run_sync(files.load, settings.artifact_sha256)
        except ArtifactError as error:
            app.state.startup_error = error
            # The server would log a traceback; one sentence is said when it has ended.
            logging.getLogger("uvicorn.error").disabled = True
            raise
        if workers_directory is None:  # otherwise the next worker needs them
            files.discard()
        scorer = Scorer(artifact, settings.threshold)
        limiter = anyio.CapacityLimiter(_BATCHES_AT_ONCE)
        searcher = ThreadPoolExecutor(1, thread_name_prefix="search")
        scoring = ScoringService(scorer, metrics, limiter, searcher, files.registered_as)
        collect_rarely()
        with searcher:
            yield {"scoring": scoring}
            scoring.is_stopping = True

    app = FastAPI(
        title="Neighborwatch",
        version=__version__,
        summary="Fraud scores for card transactions, by nearest neighbours",
        description=_description(manifest),
        lifespan=lifespan,
    )
    models = request_models(manifest, settings.max_batch)
    install_routes(app, models)
    install_error_handlers(app)
    app.add_middleware(QuickScore, manifest=manifest)
    app.add_middleware(BodyLimits, max_body_bytes=settings.max_body_bytes)
    app.add_middleware(
        RequestMetrics,
        addresses=[route.path for route in app.routes if isinstance(route, Route) and "{" not in route.path],
        excluded=["/metrics", "/health/.*"],
        registry=registry,
    )
    app.add_middleware(ConcurrencyLimit, max_concurrency=settings.max_concurrency, refused=metrics.refused)
    _expose(app, shown_registry(registry, workers_directory))
    _document_problems(app)
    return app


def serve() -> int:
    """Serve until SIGTERM or Ctrl+C.

    Returns:
        The exit code: 0 when stopped, 1 when the settings, the artifact or the port cannot be used.
    """
    try:
        settings = Settings()
        logs.configure(settings.log_level)
        with artifact_files(settings.artifact) as files:
            return _serve(settings, files)
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            print(f"APP_{name}: {problem['msg']}.", file=sys.stderr)  # noqa: T201 - why it does not start
    except (ArtifactError, WorkersError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - why it does not start
    return 1


def _serve(settings: Settings, files: ArtifactFiles) -> int:
    app = create_app(settings, files)
    try:
        listener = socket.create_server(
            (settings.host, settings.port), family=socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        )
    except OSError as error:
        print(  # noqa: T201 - why it does not start
            f"The port {settings.host}:{settings.port} cannot be used ({error.strerror}); set APP_HOST or APP_PORT.",
            file=sys.stderr,
        )
        return 1
    address = f"http://{settings.host}:{listener.getsockname()[1]}"
    _log.info("service runs", address=address, workers=settings.workers)
    if settings.workers == 1:
        _serve_alone(app, listener)
    else:
        _serve_together(settings, files, listener)
    _log.info("service stopped")
    return 0


def _serve_alone(app: FastAPI, listener: socket.socket) -> None:
    # uvicorn ends in order at a signal and then raises it again; being stopped is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    try:
        server.run(sockets=[listener])
    except SystemExit:  # how uvicorn ends when the lifespan does not start
        raise app.state.startup_error from None


def _serve_together(settings: Settings, files: ArtifactFiles, listener: socket.socket) -> None:
    try:
        serve_with_workers(functools.partial(_worker_app, settings, files), settings.workers, listener)
    except WorkersError:
        # They have left it to this process to say why, once.
        files.load(settings.artifact_sha256)
        raise


def _worker_app(settings: Settings, files: ArtifactFiles, workers_directory: Path) -> FastAPI:
    logs.configure(settings.log_level)
    return create_app(settings, files, workers_directory)


def _expose(app: FastAPI, registry: CollectorRegistry) -> None:
    def metrics() -> Response:
        """What the service counts and times, for Prometheus."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    app.get("/metrics", tags=["metrics"], response_class=Response)(metrics)


def _description(manifest: Manifest) -> str:
    return (
        f"Model {manifest.model_version}, {len(manifest.feature_names)} features. Send finite numbers for every one of "
        "them; other fields are ignored."
    )


def _document_problems(app: FastAPI) -> None:
    """Put the schema of error answers where the routes' documents refer to, in place of FastAPI's own."""
    document = app.openapi()
    schemas = document["components"]["schemas"]
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs"))
    schemas["Problem"] = problem
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
