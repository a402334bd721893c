"""Tests of decoding, resizing and crop windows."""

import io
import struct
import tracemalloc
import zlib

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
    """In the order of its versions before 13, rows first."""
    rows = Image.fromarray(rgb).resize((5, len(rgb)), Image.Resampling.BICUBIC)
    expected = rows.resize((5, 5), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(resize(rgb, 5), np.asarray(expected))
    square = rgb[:, :6]
    assert resize(square, 6) is square


def test_memory_of_pictures_is_used_again():
    image = np.zeros((300, 300, 3), np.uint8)
    resize(image, 64)
    before = Image.core.get_stats()
    resize(image, 64)
    after = Image.core.get_stats()
    assert after["reused_blocks"] > before["reused_blocks"]
    assert after["allocated_blocks"] == before["allocated_blocks"]


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


def exif_with(data):
    """Returns a PNG that carries `data` as its EXIF."""
    picture = Image.fromarray(np.zeros((4, 6, 3), np.uint8))
    return encoded(picture, "PNG", exif=b"Exif\0\0" + data)


@pytest.mark.parametrize(
    "data",
    [
        b"II*\0",
        b"II*\0\x08\0\0\0\xff\xff",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x0b\0\x02\0\0\0\xff\xff\xff\x7f\0\0\0\0",
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x01abcd\0\0\0\0",
        b"garbage",
        b"",
    ],
)
def test_damaged_exif_is_a_value_error_or_no_matter(data, tmp_path):
    path = tmp_path / "damaged.png"
    path.write_bytes(exif_with(data))
    try:
        assert decode(path).shape == (4, 6, 3)
    except ValueError as error:
        assert "damaged.png" in str(error)


@pytest.mark.parametrize("error", [TypeError("x"), KeyError(1), struct.error("s"), MemoryError()])
def test_whatever_pillow_raises_names_the_file(error, monkeypatch, tmp_path):
    def fail(image):
        raise error

    monkeypatch.setattr("vlp_jax.data.picture_objects.ImageOps.exif_transpose", fail)
    path = tmp_path / "turned.png"
    path.write_bytes(exif_with(b"II*\0\x08\0\0\0\0\0\0\0\0\0"))
    with pytest.raises(ValueError, match=f"turned.png.*{type(error).__name__}"):
        decode(path)
    with pytest.raises(ValueError, match=f"image 3: {type(error).__name__}"):
        decode(Image.new("RGB", (3, 3)), "image 3")


def bomb(kind, width, height):
    """Returns the start of a picture's file whose header says that it is large."""
    if kind == "PNG":
        head = struct.pack(">II5B", width, height, 8, 2, 0, 0, 0)
        chunks = ((b"IHDR", head), (b"eXIf", b"II*\0"), (b"IDAT", zlib.compress(bytes(99))))
        parts = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d))
                 for n, d in chunks]  # fmt: skip
        return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
    data = bytearray(encoded(Image.new("RGB", (8, 8)), kind))
    places = {"JPEG": (data.find(b"\xff\xc0") + 5, ">HH"), "GIF": (6, "<HH"), "BMP": (18, "<ii")}
    place, form = places[kind]
    size = (height, width) if kind == "JPEG" else (width, height)
    struct.pack_into(form, data, place, *size)
    return bytes(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP"])
@pytest.mark.parametrize("size", [(20_000, 20_000), (65_000, 1_400), (10_000, 9_000)])
def test_bombs_are_refused_by_their_header(kind, size, tmp_path):
    path = tmp_path / "bomb"
    path.write_bytes(bomb(kind, *size))
    tracemalloc.start()
    with pytest.raises(ValueError, match='bomb" has .*pixels.* 89,478,485 that are decoded$'):
        decode(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_bombs_among_pillow_images_are_refused():
    class Large:
        size = (20_000, 20_000)

    picture = Image.new("L", (1, 1))
    picture._size = Large.size
    with pytest.raises(ValueError, match="^Pillow image has 20000 x 20000 pixels, more than"):
        decode(picture)


@pytest.mark.parametrize(
    "numbers, message",
    [
        (np.full((2, 2, 3), 0.5), r"float64 \[2, 2, 3\] from 0.5 to 0.5; multiply by 255"),
        (np.full((2, 2), 200, np.float32), "float32 .* from 200 to 200; convert it to uint8"),
        (np.full((2, 2, 3), -1.0), "from -1 to -1; convert it to uint8"),
        (np.full((2, 2, 3), np.nan), "not finite"),
        (np.array([[1.0, np.inf]], np.float16), "not finite"),
        (np.ones((2, 2), np.int64), "int64 .*expected uint8 or uint16"),
        (np.ones((2, 2), bool), "bool"),
        (np.full((2, 2), "a"), "<U1"),
        (np.zeros((0, 2)), "float64"),
    ],
)
def test_arrays_without_an_agreed_range_are_refused(numbers, message):
    with pytest.raises(ValueError, match=message):
        decode(numbers)


def test_pillow_modes():
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    for mode in ("L", "RGB", "RGBA", "LA", "P", "1", "CMYK", "YCbCr", "HSV", "RGBX"):
        assert decode(Image.fromarray(grey).convert(mode)).shape == (3, 4, 3), mode
    wide = Image.fromarray(grey.astype(np.uint16) * 257)
    np.testing.assert_array_equal(decode(wide)[..., 0], grey)
    for picture in (
        Image.fromarray(grey.astype(np.float32) / 255),
        Image.fromarray(grey.astype(np.float32)),
        Image.fromarray(grey.astype(np.int32)),
        Image.new("LAB", (2, 2)),
    ):
        with pytest.raises(ValueError, match=f'Pillow image: .*mode "{picture.mode}"'):
            decode(picture)


def test_addresses_and_impossible_names():
    for path in ("https://example.org/a.jpg", "hdfs://host/a.jpg"):
        with pytest.raises(ValueError, match="is an address; local files and gs:// and s3://"):
            decode(path)
    for path in ("a\0b.jpg", "x" * 5000 + ".jpg"):
        with pytest.raises(ValueError, match="cannot be read") as caught:
            decode(path)
        assert len(str(caught.value)) < 600


KINDS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_pictures_are_value_errors(kind):
    rng = np.random.default_rng(KINDS.index(kind))
    picture = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x112] = 6
    given = [encoded(picture, kind)]
    given += [] if kind in ("GIF", "BMP") else [encoded(picture, kind, exif=exif)]
    for turn in range(400):
        data = bytearray(given[turn % len(given)])
        for place in rng.integers(len(data) if turn % 3 else 200, size=rng.integers(1, 6)):
            data[min(place, len(data) - 1)] = rng.integers(256)
        data = bytes(data[: rng.integers(len(data))]) if turn % 4 == 0 else bytes(data)
        try:
            assert decode(data, "the picture").shape[2] == 3
        except ValueError as error:
            assert str(error).startswith("the picture") and len(str(error)) < 600
