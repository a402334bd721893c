"""Verification can fail: wrong weights, wrong values, damaged and incomplete bundles."""

import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from safetensors.numpy import save_file

from vlp_jax.verify import print_verdicts, read_bundle, verify
from vlp_jax.verify.bundle import _read_arrays
from vlp_jax.weights.state_dict import read_state_dict

BUNDLE = Path(__file__).parents[1] / "goldens" / "albef-interp-a"


@pytest.fixture
def bundle(tmp_path):
    """A copy of a bundle without gradients, with a checkpoint that can be rewritten."""
    folder = tmp_path / "bundle"
    shutil.copytree(BUNDLE, folder)
    (folder / "checkpoint.pth").unlink()
    write_checkpoint(folder, read_state_dict(BUNDLE / "checkpoint.pth"))
    return folder


def write_checkpoint(folder, state):
    arrays = {name: np.array(array) for name, array in state.items()}
    save_file(arrays, folder / "checkpoint.safetensors")


def edit_config(folder, **entries):
    config = json.loads((folder / "config.json").read_text()) | entries
    path = folder / "config.json"
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


def only(verdicts):
    (verdict,) = verdicts
    return verdict


def test_untouched_bundle_passes(bundle):
    verdict = only(verify([bundle]))
    assert verdict.passed and verdict.kind == "albef/interp" and len(verdict.rows) == 14
    assert verdict.worst.error < verdict.worst.tolerance


@pytest.mark.parametrize(
    "name, outputs",
    [
        ("visual_encoder.blocks.0.mlp.fc1.weight", {"image_embeds", "image_feat", "itm_logits"}),
        ("visual_encoder.blocks.0.attn.qkv.weight", {"image_embeds", "fusion_output"}),
        ("text_encoder.bert.embeddings.token_type_embeddings.weight", {"text_embeds", "text_feat"}),
        ("text_encoder.bert.encoder.layer.1.crossattention.self.value.bias", {"fusion_output"}),
        ("text_proj.bias", {"text_feat"}),
        ("visual_encoder_m.pos_embed", {"pos_embed_m"}),
    ],
)
def test_one_perturbed_weight_fails_what_depends_on_it(bundle, name, outputs):
    state = {k: np.array(v) for k, v in read_state_dict(bundle / "checkpoint.safetensors").items()}
    state[name].flat[0] += 0.05
    write_checkpoint(bundle, state)
    verdict = only(verify([bundle]))
    failed = {row.name for row in verdict.rows if not row.passed}
    assert outputs <= failed and "text_valid" not in failed and not verdict.passed
    if name.startswith("text"):
        assert not failed & {"image_embeds", "pos_embed"}


def test_not_a_number_in_the_checkpoint_fails(bundle):
    state = {k: np.array(v) for k, v in read_state_dict(bundle / "checkpoint.safetensors").items()}
    state["itm_head.bias"][0] = np.nan
    write_checkpoint(bundle, state)
    verdict = only(verify([bundle]))
    assert not verdict.passed and "itm_head.bias" in str(verdict)


def test_an_output_that_the_port_does_not_compute_fails(bundle):
    arrays = dict(np.load(bundle / "outputs.npz")) | {"mystery": np.zeros(3, np.float32)}
    np.savez(bundle / "outputs.npz", **arrays)
    failed = [row for row in only(verify([bundle])).rows if not row.passed]
    assert [(row.name, row.note) for row in failed] == [("mystery", "not computed")]


def test_values_at_padded_positions_do_not_count(bundle):
    arrays = dict(np.load(bundle / "outputs.npz"))
    padded = ~arrays["text_valid"]
    assert padded.any()
    arrays["text_embeds"][padded] += 100
    np.savez(bundle / "outputs.npz", **arrays)
    assert only(verify([bundle])).passed


def test_the_report_shows_each_output_and_sets_the_exit_status(bundle, tmp_path):
    text = io.StringIO()
    verdicts = verify([bundle, tmp_path / "nothing"])
    assert print_verdicts(verdicts, Console(file=text, width=400)) == 1
    report = text.getvalue()
    assert "image_embeds" in report and "1 of 2 bundles pass (14 outputs)" in report
    assert "nothing is not a folder" in report
    assert print_verdicts(verdicts[:1], Console(file=text)) == 0
    assert print_verdicts([], Console(file=text)) == 1


@pytest.mark.parametrize(
    "entries, message",
    [
        ({"model": "albeff"}, 'unknown kind of bundle "albeff/interp".*"albef/interp"'),
        ({"task": "interpolate"}, 'unknown kind of bundle "albef/interpolate".*Known: albef/'),
        ({"task": None}, 'has no "task"'),
        ({"bert_config": None}, "lacks 'bert_config', which albef needs"),
        ({"embed_dim": 17}, r"vision_proj.weight: the file has \(16, 32\), the model \(17, 32\)"),
        ({"embed_dim": "wide"}, "config.model.heads.itc.width = 'wide'"),
    ],
)
def test_a_wrong_config_says_what_is_wrong(bundle, entries, message):
    edit_config(bundle, **entries)
    verdict = only(verify([bundle]))
    assert not verdict.passed
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(verdict.problem)


@pytest.mark.parametrize(
    "name", ["config.json", "inputs.npz", "outputs.npz", "checkpoint.safetensors"]
)
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "text"])
def test_damaged_files_are_named_in_one_clear_error(bundle, name, damage):
    path = bundle / name
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        half = content[: len(content) // 2]
        path.write_bytes({"empty": b"", "truncated": half, "text": b"hi"}[damage])
    verdict = only(verify([bundle]))
    assert not verdict.passed and str(bundle) in verdict.problem
    assert "Traceback" not in verdict.problem and "cannot run" not in verdict.problem


def test_a_missing_input_names_those_that_are_there(bundle):
    arrays = dict(np.load(bundle / "inputs.npz"))
    arrays["input_idx"] = arrays.pop("input_ids")
    np.savez(bundle / "inputs.npz", **arrays)
    assert 'no array "input_ids". Did you mean "input_idx"?' in only(verify([bundle])).problem


def test_pickled_objects_are_refused(bundle):
    np.savez(bundle / "inputs.npz", image=np.array([{"a": 1}], dtype=object))
    assert "inputs.npz is damaged or not an .npz file" in only(verify([bundle])).problem


def test_the_named_checkpoint_is_read_and_any_other_only_without_it(bundle):
    assert read_bundle(bundle).checkpoint.name == "checkpoint.safetensors"
    shutil.copy(BUNDLE / "checkpoint.pth", bundle)
    assert read_bundle(bundle).checkpoint.name == "checkpoint.pth"
    edit_config(bundle, checkpoint_file="../../elsewhere.pth")
    assert read_bundle(bundle).checkpoint.parent == bundle


def test_a_header_that_ends_within_a_word_is_damage(tmp_path):
    """NumPy parses headers as Python, whose tokenizer has errors of its own."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'sha\n"
    with zipfile.ZipFile(tmp_path / "inputs.npz", "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(ValueError, match="inputs.npz is damaged"):
        _read_arrays(tmp_path / "inputs.npz")


@given(data=st.data())
def test_any_damage_to_an_archive_is_an_error_or_does_no_harm(tmp_path_factory, data):
    content = bytearray((BUNDLE / "inputs.npz").read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("fuzz") / "inputs.npz"
    path.write_bytes(content[: data.draw(st.sampled_from([len(content), at]))])
    try:
        arrays = _read_arrays(path)
    except ValueError as error:
        assert "inputs.npz is damaged" in str(error)
    else:
        assert all(isinstance(array, np.ndarray) for array in arrays.values())
