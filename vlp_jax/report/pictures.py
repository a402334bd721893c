"""Pictures that an evaluation saw, as files for whoever wants to try the model on them."""

from pathlib import Path

from vlp_jax.report.plots import png_bytes
from vlp_jax.tasks.outcome import Outcome


def write_pictures(folder: Path, outcome: Outcome, most: int = 8) -> None:
    """Writes up to `most` different pictures of the examples as `1.png`, `2.png` …

    Those that captions were found for come first, then those with an answer or a heat map.
    """
    asked = [example.query for example in outcome.retrieval if not example.query_is_text]
    others = [example.image for example in (*outcome.answers, *outcome.heat_maps)]
    images = {image.tobytes(): image for image in (*asked, *others)}
    folder.mkdir(exist_ok=True)
    for number, image in enumerate(list(images.values())[:most], start=1):
        (folder / f"{number}.png").write_bytes(png_bytes(image))
