"""The page in Gradio, which only the [demo] extra installs: a tab for each thing to ask."""

from collections.abc import Callable
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from vlp_jax.cli.web.tabs import Result, Tab, answered
from vlp_jax.inference import Model

_CLEAN = (600, 3600)  # seconds from one cleaning to the next, and for which a file is kept
_RESULTS = {
    "chances": lambda: gr.Label(label="Result"),
    "pictures": lambda: gr.Gallery(
        label="Pictures", columns=4, object_fit="contain", elem_classes="found"
    ),
    "text": lambda: gr.Textbox(label="Caption", interactive=False),
}
_COLUMNS = (2, 3)  # widths of what is asked and of the result
CSS = """
.line p {margin: 0; overflow-wrap: anywhere}
.line p.wrong {color: #b91c1c; font-weight: 600}
.dark .line p.wrong {color: #fca5a5}
.found .grid-wrap {max-height: none !important; overflow: visible !important}
"""


def build_page(model: Model, tabs: list[Tab], title: str, uploads: Path) -> gr.Blocks:
    """Returns the page, ready to be served; its functions are `/title of a tab` of the API.

    uploads: the folder in which Gradio keeps what visitors upload.
    """
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=_CLEAN) as page:
        gr.HTML(f"<h1>{escape(title)}</h1>")
        for tab in tabs:
            with gr.Tab(tab.title):
                _fill(model, tab, uploads.resolve())
    return page


def _fill(model: Model, tab: Tab, uploads: Path) -> None:
    """Adds a tab's fields, its button and the place of its result."""
    gr.HTML(f"<p>{escape(tab.hint)}</p>", elem_classes="line")
    with gr.Row() if tab.pictures else gr.Column():
        with gr.Column(scale=_COLUMNS[0]):
            given = _pictures(tab, uploads)
            texts = [gr.Textbox(label=tab.text, max_lines=3)] if tab.text else []
            button = gr.Button(tab.title, variant="primary")
            line = gr.HTML(elem_classes="line")
        with gr.Column(scale=_COLUMNS[1]):
            result = _RESULTS[tab.result]()
    gr.on(
        [button.click, *(text.submit for text in texts)],
        lambda *values: _shown(*answered(model, tab, *values)),
        [*given, *texts],
        [result, line],
        api_name=tab.title.lower(),
        concurrency_id="model",  # one question at a time
        concurrency_limit=1,
    )


def _pictures(tab: Tab, uploads: Path) -> list[gr.Image]:
    """Returns fields for a tab's pictures, side by side."""
    if not tab.pictures:
        return []
    with gr.Row():
        return [_picture(name, uploads) for name in tab.pictures]


def _picture(name: str, uploads: Path) -> gr.Image:
    """Returns a field that gives the path of an uploaded file, which nobody has decoded yet.

    Its methods are replaced here because Gradio writes a file beside the source of a subclass.
    """
    field = gr.Image(label=name, sources=["upload", "clipboard"], height=280)
    field.preprocess = lambda payload: payload and payload.path
    field.async_move_resource_to_block_cache = partial(
        _uploaded, field.async_move_resource_to_block_cache, uploads
    )
    return field


async def _uploaded(move: Callable, uploads: Path, path: Any) -> str | None:
    """Takes over an uploaded file; Gradio would also open others of this machine and addresses."""
    if not Path(path).resolve().is_relative_to(uploads):
        raise gr.Error("only a file that has been uploaded is read", print_exception=False)
    return await move(path)


def _shown(result: Result | None, line: str) -> tuple[Result | None, str]:
    """Returns a result beside its line as HTML; the line is red where there is no result."""
    look = ' class="wrong"' if result is None else ""
    return result, f"<p{look}>{escape(line)}</p>"
