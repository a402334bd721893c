"""Tests of the source "emoji"."""

import numpy as np
import pytest

from vlp_jax.data.sources import Emoji
from vlp_jax.data.sources.emoji_sprites import load_sprite, paste, picture_file, picture_folder


def captions(split, **options):
    source = Emoji(split=split, **options)
    return {source[i]["emoji"]: source[i]["captions"][0] for i in range(len(source))}


def test_splits_are_disjoint_by_concept_and_cover_all():
    splits = [captions(split, image_size=8) for split in ("train", "validation", "test")]
    assert [len(s) > 100 for s in splits] == [True] * 3
    assert len(splits[0]) > 6 * len(splits[1])
    merged = splits[0] | splits[1] | splits[2]
    assert len(merged) == sum(map(len, splits))
    assert merged["🍎"] == "red apple" and merged["🐶"] == "dog face"
    assert not [name for name in merged.values() if "skin tone" in name or "_" in name]


def test_other_languages_and_their_nearest():
    merged = {}
    for split in ("train", "validation", "test"):
        merged |= captions(split, image_size=8, language="de")
    assert merged["🍎"] == "roter apfel"
    with pytest.raises(ValueError, match='unknown language "dee".*Did you mean "de"'):
        Emoji(language="dee")


def test_picture_is_composited_on_white_at_the_asked_size():
    image = Emoji(image_size=40)[3]["image"]
    assert image.shape == (40, 40, 3)
    apple = picture_file(picture_folder(None), "🍎")
    sprite = load_sprite(apple, 30)
    canvas = np.full((40, 40, 3), 200, np.uint8)
    paste(canvas, sprite, 5, 5)
    red, green, blue = canvas[22, 20].tolist()
    assert red > 180 and green < 90 and blue < 110
    assert (canvas[:5] == 200).all() and (canvas[:, 36:] == 200).all()


def test_pasting_matches_floating_point_blending():
    sprite = load_sprite(picture_file(picture_folder(None), "🌈"), 27)
    background = np.random.default_rng().integers(0, 256, (27, 27, 3), dtype=np.uint8)
    height, width = sprite.transparency.shape[:2]
    canvas = background.copy()
    paste(canvas, sprite, 0, 0)
    share = sprite.transparency.astype(float) / 255
    expected = background[:height, :width] * share + (sprite.premultiplied - 127.0) / 255
    np.testing.assert_allclose(canvas[:height, :width], expected, atol=0.51)


def test_folder_without_emoji_and_broken_picture(tmp_path):
    with pytest.raises(FileNotFoundError, match="1f34e.png"):
        Emoji(path=str(tmp_path))
    (tmp_path / "1f34e.png").write_bytes(b"not a picture")
    sources = [Emoji(split=s, path=str(tmp_path)) for s in ("train", "validation", "test")]
    source = next(s for s in sources if len(s))
    with pytest.raises(ValueError, match="1f34e.png can't be decoded"):
        source[0]
