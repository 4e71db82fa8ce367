"""The HTTP face of the node: STOW-RS, health, metrics."""

from collections.abc import Callable
from http import HTTPStatus

from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import JSONResponse

from dicom_node.config.settings import WebSettings
from dicom_node.dicomweb.stow import StowLimits, stow_router
from dicom_node.pipeline.receiving import Reception
from dicom_node.web import problems
from dicom_node.web.bearer import token_of
from dicom_node.web.health import HealthReport, HealthState
from dicom_node.web.prometheus import CONTENT_TYPE, PrometheusMetrics

DICOMWEB_PATH = "/dicom-web"
API_PATH = "/api"


def make_app(
    reception: Reception,
    health: Callable[[], HealthReport],
    metrics: PrometheusMetrics,
    settings: WebSettings,
    limits: StowLimits | None = None,
    *,
    accessions: APIRouter | None = None,
) -> FastAPI:
    """Return the application: ``/healthz``, ``/metrics``, ``/dicom-web/studies`` and, where
    it is given, ``/api/accessions``.

    Parameters
    ----------
    health
        Called for each request of ``/healthz``, in a thread.

    Raises
    ------
    InvalidConfiguration
        The token file cannot be read, or is empty.
    """
    # No schema and no pages about it: they would tell strangers what is here.
    app = FastAPI(title="dicom-node", openapi_url=None, docs_url=None, redoc_url=None)
    problems.install(app)

    @app.get("/healthz")
    def healthz() -> JSONResponse:
        report = health()
        failing = report.state is HealthState.FAILING
        return JSONResponse(
            _health_document(report),
            HTTPStatus.SERVICE_UNAVAILABLE if failing else HTTPStatus.OK,
            {"Cache-Control": "no-store"},
        )

    @app.get("/metrics")
    def prometheus() -> Response:
        return Response(metrics.exposition(), media_type=CONTENT_TYPE)

    if settings.stow_enabled:
        router = stow_router(reception, metrics, token=_token(settings), limits=limits)
        app.include_router(router, prefix=DICOMWEB_PATH)
    if accessions is not None:
        app.include_router(accessions, prefix=API_PATH)
    return app


def _health_document(report: HealthReport) -> dict[str, object]:
    return {
        "status": report.state,
        "components": {
            name: {"status": component.state}
            | ({"detail": component.detail} if component.detail else {})
            for name, component in report.components.items()
        },
    }


def _token(settings: WebSettings) -> str | None:
    if settings.stow_token_file is None:
        return None
    return token_of(settings.stow_token_file, "web.stow_token_file").decode()
