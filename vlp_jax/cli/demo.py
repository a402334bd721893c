"""Try a model on a page in the browser: search a folder, ask, match, caption, see each word's map.

vlp-jax demo --model runs/quickstart --images runs/quickstart/pictures
vlp-jax demo --model albef_vqa --weights vqa.pth --answers answers.json --port 8000

The page has what the model can do and nothing else. It is served to this machine alone, unless
--host says otherwise: it asks for no password. Nothing is fetched from the internet.
"""

import argparse
import os
import socket

from vlp_jax.cli.arguments import add_model, load_model
from vlp_jax.cli.indexing import say, update_index

_LOOPBACK = ("127.0.0.1", "localhost")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_model(parser)
    add = parser.add_argument
    add("--images", metavar="DIR", help="folder of pictures to search, at any depth")
    add("--index", metavar="FILE", help="where the vectors are kept (by default in the folder)")
    add("--host", default="127.0.0.1", help="address to serve at; 0.0.0.0 lets in everyone")
    add("--port", type=int, default=7860, help="port to serve at")


def run(args: argparse.Namespace) -> int:
    """Serves the page until it is stopped; what is wrong with the arguments is told before."""
    from vlp_jax.cli.web.album import Album
    from vlp_jax.cli.web.tabs import left_out, tabs_of

    _check_address(args.host, args.port)
    album = Album(args.images, args.index) if args.images else None
    _need_gradio()
    model = load_model(args)
    tabs = tabs_of(model, album)
    for line in left_out(model):
        say(f"no tab {line}")
    if album:
        update_index(album.index(model))
    if args.host not in _LOOPBACK:
        say(f"whoever reaches {args.host} can use the page: it asks for no password")
    from vlp_jax.cli.web.server import serve

    serve(model, tabs, f"vlp_jax: {args.model}", args.host, args.port)
    return 0


def _check_address(host: str, port: int) -> None:
    """Raises ValueError for a port that is taken, and for a host that is not of this machine."""
    if not 1 <= port <= 65535:
        raise ValueError(f"--port is {port}; expected 1 to 65535")
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        raise ValueError(
            f"nothing can be served at --host {host} --port {port} ({error}): give another one"
        ) from None


def _need_gradio() -> None:
    """Imports Gradio with its telemetry off; ValueError where it is not installed."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f'the demo needs the package "gradio": pip install "vlp_jax[demo]" ({error})'
        ) from None
