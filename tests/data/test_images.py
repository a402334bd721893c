"""Tests of decoding, resizing and crop windows."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.data.fakes import png
from vlp_jax.data.images import NORMALISATIONS, crop_window, decode, resize


@pytest.fixture
def rgb():
    return np.random.default_rng().integers(0, 256, (6, 9, 3), dtype=np.uint8)


def encoded(picture, kind, **options):
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def test_array_bytes_and_path_agree(rgb, tmp_path):
    path = tmp_path / "bild ü.png"
    path.write_bytes(png(rgb))
    for image in (rgb, png(rgb), memoryview(png(rgb)), path, str(path), png(rgb, ".bmp")):
        np.testing.assert_array_equal(decode(image), rgb)


def test_grey_alpha_and_sixteen_bits(rgb):
    grey = rgb[..., 0]
    for image in (grey, grey[..., None], png(grey), png(grey.astype(np.uint16) * 257)):
        np.testing.assert_array_equal(decode(image), np.repeat(grey[..., None], 3, axis=2))
    alpha = np.zeros((6, 9, 1), np.uint8)
    alpha[:, 3:] = 255
    alpha[0, 0] = 51  # a fifth
    for image in (np.concatenate([rgb, alpha], 2), png(np.concatenate([rgb, alpha], 2))):
        out = decode(image)
        np.testing.assert_array_equal(out[:, 3:], rgb[:, 3:])
        assert (out[1:, :3] == 255).all()
        np.testing.assert_allclose(out[0, 0], 204 + rgb[0, 0] / 5, atol=1)


def test_palette_with_transparency_is_laid_on_white():
    picture = Image.new("P", (4, 4), 0)
    picture.putpalette([10, 20, 30, 200, 0, 0])
    picture.putpixel((1, 2), 1)
    out = decode(encoded(picture, "PNG", transparency=0))
    assert out[2, 1].tolist() == [200, 0, 0] and out[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_applied(kind):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :8] = 250  # bright left half; orientation 6 turns it to the top
    exif = Image.Exif()
    exif[0x112] = 6
    out = decode(encoded(Image.fromarray(pixels), kind, exif=exif))
    assert out.shape == (16, 8, 3) and out[:6].mean() > 200 > 50 > out[10:].mean()


def test_jpeg_is_rgb_not_bgr():
    red = np.full((16, 16, 3), (250, 10, 10), np.uint8)
    out = decode(png(red, ".jpg"))
    assert out[..., 0].mean() > 200 and out[..., 2].mean() < 60


@pytest.mark.parametrize("extension", [".png", ".jpg", ".webp"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95])
def test_a_cut_file_is_named(tmp_path, extension, share):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = png(pixels, extension)
    path = tmp_path / f"cut{extension}"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ValueError, match=f"cut{extension}"):
        decode(path)


def test_bad_input_is_explained(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.jpg"):
        decode(tmp_path / "nowhere.jpg")
    with pytest.raises(ValueError, match="cannot be read"):
        decode(tmp_path)
    with pytest.raises(ValueError, match="not a picture"):
        decode(b"hello, I am no picture at all")
    with pytest.raises(ValueError, match=r"float64 \[2, 2, 3\]"):
        decode(np.zeros((2, 2, 3)))
    with pytest.raises(ValueError, match="no pixels"):
        decode(np.zeros((0, 2, 3), np.uint8))
    with pytest.raises(ValueError, match="is a int"):
        decode(3)


def test_resize_is_pillows_bicubic(rgb):
    expected = Image.fromarray(rgb).resize((5, 5), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(resize(rgb, 5), np.asarray(expected))
    square = rgb[:, :6]
    assert resize(square, 6) is square


@given(
    st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32 - 1),
    st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(sorted),
)  # fmt: skip
def test_crop_windows_lie_inside(height, width, seed, scale):
    top, left, h, w = crop_window(height, width, np.random.default_rng(seed), tuple(scale))
    assert 0 <= top and 0 <= left and h >= 1 and w >= 1
    assert top + h <= height and left + w <= width


def test_crop_areas_and_ratios_follow_the_settings():
    rng = np.random.default_rng(0)
    windows = np.array([crop_window(300, 300, rng, (0.2, 0.5)) for _ in range(2000)])
    area = windows[:, 2] * windows[:, 3] / 90000
    ratio = windows[:, 3] / windows[:, 2]
    assert 0.19 < area.min() and area.max() < 0.51 and abs(area.mean() - 0.35) < 0.01
    assert 0.74 < ratio.min() and ratio.max() < 1.35 and abs(np.log(ratio).mean()) < 0.02
    assert crop_window(10, 100, rng, (1.0, 1.0)) == (0, 43, 10, 13)


def test_normalisation_constants():
    assert NORMALISATIONS["clip"][0] == (0.48145466, 0.4578275, 0.40821073)
    assert NORMALISATIONS["imagenet"][1] == (0.229, 0.224, 0.225)
