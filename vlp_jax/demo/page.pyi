"""The page in Gradio, which only the [demo] extra installs: a tab for each thing to ask."""

from html import escape
from typing import Any

import gradio as gr

from vlp_jax.demo.tabs import Result, Tab, answered
from vlp_jax.inference import Model

_KEPT = 3600  # seconds for which files of visitors are kept
_RESULTS = {
    "chances": lambda: gr.Label(label="Answer", num_top_classes=5),
    "pictures": lambda: gr.Gallery(
        label="Pictures", columns=4, object_fit="contain", height="auto"
    ),
    "text": lambda: gr.Textbox(label="Caption", interactive=False),
}
_COLUMNS = (2, 3)  # widths of what is asked and of the result
CSS = """
.line p {margin: 0; color: var(--body-text-color-subdued)}
.line p.wrong {color: #b91c1c; font-weight: 600; overflow-wrap: anywhere}
.dark .line p.wrong {color: #fca5a5}
"""

class Picture(gr.Image):
    """A picture as a file that a visitor has uploaded, which nobody has decoded yet."""

    is_template = True  # its look is that of gr.Image

    def preprocess(self, payload: Any) -> str | None:
        """Returns the path of the file."""
        return payload and payload.path

    async def async_move_resource_to_block_cache(self, url_or_file_path: Any) -> str | None:
        """Does as Gradio does, but downloads nothing for those who send an address."""
        if str(url_or_file_path).lower().startswith(("http:", "https:")):
            raise gr.Error("an address is no uploaded picture", print_exception=False)
        return await super().async_move_resource_to_block_cache(url_or_file_path)
    from typing import TYPE_CHECKING, Any, Callable, Literal, Sequence

    from gradio.blocks import Block

    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component

def build_page(model: Model, tabs: list[Tab], title: str) -> gr.Blocks:
    """Returns the page, ready to be served; its functions are `/title of a tab` of the API."""
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(_KEPT, _KEPT)) as page:
        gr.HTML(f"<h1>{escape(title)}</h1>")
        for tab in tabs:
            with gr.Tab(tab.title):
                _fill(model, tab)
    return page

def _fill(model: Model, tab: Tab) -> None:
    """Adds a tab's fields, its button and the place of its result."""
    gr.HTML(f"<p>{escape(tab.hint)}</p>", elem_classes="line")
    with gr.Row() if tab.pictures else gr.Column():
        with gr.Column(scale=_COLUMNS[0]):
            with gr.Row():
                given = [
                    Picture(label=name, sources=["upload", "clipboard"], height=280)
                    for name in tab.pictures
                ]
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

def _shown(result: Result | None, line: str) -> tuple[Result | None, str]:
    """Returns a result beside its line as HTML; the line is red where there is no result."""
    look = ' class="wrong"' if result is None else ""
    return result, f"<p{look}>{escape(line)}</p>"
