"""Serves a page to this machine, or to whom a host lets in; it fetches and sends nothing else."""

import os
import signal
from pathlib import Path
from tempfile import TemporaryDirectory

import fastapi
import gradio as gr
import uvicorn

from vlp_jax.cli.web.page import CSS, build_page
from vlp_jax.cli.web.tabs import Tab
from vlp_jax.inference import Model

_MOST_BYTES = 20 * 2**20  # of a file that is uploaded
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:"
)
"""What a browser may load: Gradio's files, which the server has, and nothing of another place."""


def serve(model: Model, tabs: list[Tab], title: str, host: str, port: int) -> None:
    """Serves the page until the process is stopped; files that visitors upload go with it."""
    with TemporaryDirectory(prefix="vlp_jax_demo_") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # read when the page is built
        app = gr.mount_gradio_app(
            _confined_app(),
            build_page(model, tabs, title, Path(folder)),
            path="/",
            max_file_size=_MOST_BYTES,
            show_error=False,
            footer_links=[],
            run_history=False,
            ssr_mode=False,
            mcp_server=False,
            css=CSS,
        )
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # the folder is removed then too
        uvicorn.run(app, host=host, port=port, access_log=False)


def _confined_app() -> fastapi.FastAPI:
    """Returns an app whose pages load nothing from elsewhere."""
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def confined(request, call_next):
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = _POLICY
        return response

    return app
