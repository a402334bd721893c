"""A detector gives the same regions for a picture in whatever company, and refuses what it must."""

import io
import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import vlp_jax
import vlp_jax.inference as inference
from tests.detectors.oracle import GOLDENS
from tests.inference.published import ANSWERS, sizes_of, write_weights
from vlp_jax.cli.main import main
from vlp_jax.data.json_text import read_object
from vlp_jax.data.regions.checks import check_regions
from vlp_jax.data.regions.regions import PER_REGION

BUNDLE = GOLDENS / "detector-frcnn-a"
WEIGHTS = BUNDLE / "checkpoint.safetensors"
SIZES = read_object(BUNDLE / "config.json")
GIVEN = dict(np.load(BUNDLE / "inputs.npz"))
EXPECTED = dict(np.load(BUNDLE / "outputs.npz"))
PICTURES = [GIVEN["image0"], GIVEN["image1"]]


def made(**options):
    return vlp_jax.load_detector("frcnn_vg", WEIGHTS, sizes=SIZES, **options)


@pytest.fixture(scope="module")
def detector():
    return made()


@pytest.fixture(scope="module")
def alone(detector):
    """The regions of each picture on its own."""
    return [detector(picture)[0] for picture in PICTURES]


def test_regions_are_the_originals(alone):
    for i, regions in enumerate(alone):
        expected = lambda name, i=i: EXPECTED[f"single{i}/final/{name}"][0]
        assert (regions.height, regions.width) == PICTURES[i].shape[:2]
        assert regions.labels.tolist() == expected("obj_ids").tolist()
        assert regions.attributes.tolist() == expected("attr_ids").tolist()
        np.testing.assert_allclose(regions.features, expected("roi_features"), atol=2e-3)
        np.testing.assert_allclose(regions.boxes, expected("boxes"), atol=2e-2)
        np.testing.assert_allclose(regions.confidence, expected("obj_probs"), atol=1e-3)
        np.testing.assert_allclose(regions.attribute_confidence, expected("attr_probs"), atol=1e-3)
        np.testing.assert_allclose(regions.class_scores[:, 1:].argmax(axis=1), regions.labels)


@pytest.mark.drawn(2)
@pytest.mark.slow
@pytest.mark.parametrize("frame", [None, (208, 224)])
def test_company_and_frame_change_nothing(alone, frame):
    several = made(batch=3)
    several.frames = (frame,) if frame else several.frames
    together = several(PICTURES[::-1] + PICTURES)
    for found, expected in zip(together, [*alone[::-1], *alone], strict=True):
        for name in PER_REGION[:7]:
            np.testing.assert_allclose(
                getattr(found, name), getattr(expected, name), rtol=1e-5, atol=1e-4, err_msg=name
            )
        np.testing.assert_allclose(found.features, expected.features, rtol=1e-5, atol=1e-5)


def test_few_shapes_serve_all_sizes(detector):
    rng = np.random.default_rng()
    for height, width in rng.integers(20, 400, (300, 2)):
        assert detector.frame(min(height, 200), min(128, width)) in detector.frames
    assert len(detector.frames) <= 6
    assert all(min(frame) <= 128 and max(frame) <= 200 for frame in detector.frames)


def jpeg(image):
    file = io.BytesIO()
    image.save(file, "JPEG")
    return file.getvalue()


@pytest.mark.slow
def test_odd_pictures_have_regions_too(detector):
    grey = Image.fromarray(PICTURES[0]).convert("L")
    odd = [
        np.full((1, 1, 3), 90, np.uint8),
        jpeg(grey),
        jpeg(Image.fromarray(PICTURES[0]).convert("CMYK")),
        PICTURES[1].repeat(4, axis=1)[:12, :200],
    ]
    for regions in detector(odd):
        check_regions(regions, detector.feature_width)
        assert 1 <= len(regions) <= 22


@pytest.mark.parametrize(
    "picture, said",
    [
        (np.zeros((20, 10_000, 3), np.uint8), "image 1: .*10000 x 20 pixels is too narrow"),
        (b"\xff\xd8\xff\xe0 cut", "image 1 .*corrupt"),
    ],
)
def test_what_cannot_be_read_is_said_before_anything_is_computed(detector, picture, said):
    with pytest.raises(ValueError, match=said):
        detector([PICTURES[0], picture])


def test_a_picture_without_regions_is_named(detector, monkeypatch):
    far = {"bias": np.tile(np.float32([1e4, 0, 0, 0]), 12)}
    head = detector.params["proposal_head"]
    head = head | {"deltas": head["deltas"] | far}
    monkeypatch.setattr(detector, "params", detector.params | {"proposal_head": head})
    with pytest.raises(ValueError, match="image 0: the detector found nothing in 120 x 90 pixels"):
        detector(PICTURES[0])


def test_names_of_classes_become_names_of_regions(tmp_path, detector, alone, monkeypatch):
    words = [f"thing {i},other name" for i in range(12)]
    file = tmp_path / "objects_vocab.txt"
    file.write_text("\n".join(words))
    monkeypatch.setattr(detector, "classes", made(classes=file).classes)
    assert detector(PICTURES[0])[0].names == tuple(f"thing {i}" for i in alone[0].labels)
    with pytest.raises(ValueError, match="3 names of classes were given, and the detector has 12"):
        made(classes=["a", "b", "c"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "convention, most", [("transformers_rgb", 22), ("detectron2", 22), ("caffe", 36)]
)
def test_conventions_can_be_chosen(convention, most, alone):
    (regions,) = made(convention=convention)(PICTURES[0])
    check_regions(regions, 128)
    assert 0 < len(regions) <= most
    rows = min(len(regions), len(alone[0]))
    assert np.abs(regions.features[:rows] - alone[0].features[:rows]).max() > 1e-3


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(ValueError, match="frcnn_vg"):
        vlp_jax.load_detector("frcnn-vg", WEIGHTS)
    with pytest.raises(ValueError, match="caffe_adaptive"):
        made(convention="cafe_adaptive")
    with pytest.raises(ValueError, match="batch = 0: must be at least 1"):
        made(batch=0)


@pytest.mark.slow
def test_verbs_of_region_models_take_pictures(tmp_path, detector, alone, monkeypatch, capsys):
    file, width = tmp_path / "w", detector.feature_width
    file.mkdir()
    wide = {"visual_feat_dim": width}
    path = write_weights(file, "lxmert_vqa", sizes=wide)
    given = {"sizes": sizes_of("lxmert_vqa") | wide, "answers": ANSWERS}
    model = vlp_jax.load("lxmert_vqa", path, detector=detector, **given)
    picture = tmp_path / "photo.png"
    Image.fromarray(PICTURES[0]).save(picture)
    expected = model.answer(alone[0], "what is it?")
    assert model.answer(picture, "what is it?") == expected
    twice = model.answer([str(picture)] * 2, "what is it?")
    assert [best.text for (best,) in twice] == [expected[0].text] * 2
    monkeypatch.chdir(tmp_path)
    Image.fromarray(PICTURES[0]).save("other.png")
    page = (Path(__file__).parents[2] / "docs/detectors.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    shown = SimpleNamespace(load_detector=lambda *_, **__: detector, load=lambda *_, **__: model)
    exec(code, {"vlp_jax": shown})
    (command,) = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    Path("answers.json").write_text(json.dumps(ANSWERS))
    loaded, load = {}, inference.load
    tiny = lambda *_, detector, **__: load("lxmert_vqa", path, detector=detector, **given)
    monkeypatch.setattr(inference, "load", tiny)
    found = lambda *names, **options: loaded.update(options, names=names) or detector
    monkeypatch.setattr(inference, "load_detector", found)
    assert main(shlex.split(command)[1:]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["answers"][0]["answer"] == expected[0].text
    assert loaded["names"] == ("frcnn_vg", "frcnn-vg-finetuned")
    assert loaded["convention"] == "caffe"
    monkeypatch.undo()
    without = vlp_jax.load("lxmert_vqa", path, **given)
    with pytest.raises(ValueError, match="or a `detector` to `load`"):
        without.answer(str(picture), "what is it?")


@pytest.mark.slow
def test_a_detector_that_does_not_fit_is_refused_at_once(tmp_path, detector):
    for name, said in (("lxmert_vqa", "128 wide and the model reads 12"), ("albef_vqa", "pixels")):
        path = write_weights(tmp_path, name)
        with pytest.raises(ValueError, match=said):
            vlp_jax.load(name, path, sizes=sizes_of(name), answers=ANSWERS, detector=detector)
