"""`vlp-jax data`: checking and converting region features from the shell."""

import json

import numpy as np
import pytest

from tests.data.regions.pictures import lxmert_line, oscar_line, random_pictures, write_lines
from tests.training.tiny import ROOT
from vlp_jax.cli.main import main
from vlp_jax.data.regions import open_regions

COCO = ROOT.parent / "shared/data/coco_regions/train2014_obj36.tsv"


@pytest.fixture
def pictures():
    return random_pictures(4)


@pytest.fixture
def tsv(tmp_path, pictures):
    return write_lines(tmp_path / "a.tsv", [lxmert_line(k, r) for k, r in pictures.items()])


def test_check_prints_what_was_found(tsv, capsys):
    assert main(["data", "check", "--store", "lxmert_tsv", "--features", str(tsv)]) == 0
    printed = capsys.readouterr().out
    assert "4 pictures with 5 to 5 regions, 5.0 on average" in printed
    assert "features 8 wide; also attribute_confidence, attributes, confidence, labels" in printed


def test_check_compares_with_a_published_file(tsv, capsys):
    given = ["data", "check", "--store", "lxmert_tsv", "--features", str(tsv), "--like"]
    assert main([*given, "bottom_up_36"]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "unlike bottom_up_36: pictures have 5 to 5 regions, published ones 36 to 36" in printed
    assert "of the numbers are 0" in printed and "% surest first" in printed
    assert main([*given, "botom_up_36"]) == 1
    assert "bottom_up_36" in capsys.readouterr().err


@pytest.mark.skipif(not COCO.is_file(), reason="the published rows are not here")
def test_a_published_file_is_like_itself(capsys):
    given = ["data", "check", "--store", "lxmert_tsv", "--features", str(COCO)]
    assert main([*given, "--like", "bottom_up_36"]) == 0
    assert "unlike" not in capsys.readouterr().out
    assert main([*given, "--like", "vinvl"]) == 1
    assert "100.0% of the pictures are not in descending order" in capsys.readouterr().out


def test_check_lists_what_is_wrong(tmp_path, pictures, capsys):
    lines = [oscar_line(k, r) for k, r in pictures.items()]
    path = write_lines(tmp_path / "b.tsv", [*lines[:3], lines[3][:-6]])
    assert main(["data", "check", "--store", "oscar_tsv", "--features", str(path)]) == 1
    printed = "".join(capsys.readouterr().out.split())
    assert "3pictures" in printed and "1picturescan'tberead" in printed
    assert f'picture"{list(pictures)[3]}":features' in printed


def test_convert(tmp_path, tsv, pictures, capsys):
    to = tmp_path / "out"
    given = ["--store", "lxmert_tsv", "--features", str(tsv), "--to", str(to)]
    assert main(["data", "convert", *given, "--half", "--option", "max_boxes=3"]) == 0
    assert "4 pictures with 3 to 3 regions" in capsys.readouterr().out
    store = open_regions("array_record", str(to))
    assert store.keys() == list(pictures) and len(store[store.keys()[0]]) == 3
    assert main(["data", "convert", *given]) == 1
    assert "exists already" in capsys.readouterr().err


def test_features_without_boxes(tmp_path, pictures, capsys):
    for key, regions in pictures.items():
        np.save(tmp_path / f"{key}.npy", regions.features)
    given = ["data", "check", "--store", "npz", "--features", str(tmp_path), "--option"]
    assert main([*given, "boxes=none", "--option", "max_boxes=none"]) == 0
    assert "4 pictures with 5 to 5 regions" in capsys.readouterr().out
    assert main([*given, "boxes=given"]) == 1
    assert 'the option boxes = "none"' in capsys.readouterr().err


def test_user_errors(tsv, capsys):
    given = ["data", "check", "--features", str(tsv), "--store"]
    assert main([*given, "lxmert"]) == 1
    assert 'vlp-jax data: unknown region store "lxmert"' in capsys.readouterr().err
    assert main([*given, "lxmert_tsv", "--option", "max_boxes"]) == 1
    assert 'option "max_boxes": expected the form name=value' in capsys.readouterr().err
    assert main([*given, "lxmert_tsv", "--option", "max_box=3"]) == 1
    assert 'Did you mean "max_boxes"' in capsys.readouterr().err
    for option, message in (
        ("min_confidence=abc", "min_confidence is 'abc', expected 0 to 1"),
        ("class_scores=yes", "class_scores is 'yes', expected true or false"),
        ("path=x", '"path" is no option of a store'),
        ("kind=x", '"kind" is no option of a store'),
    ):
        assert main([*given, "lxmert_tsv", "--option", option]) == 1
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["data", "chek"])


def test_records_of_a_config(tmp_path, capsys):
    lines = [
        json.dumps({"Flickr30K_ID": str(i), "sentence2": "a dog", "gold_label": label})
        for i, label in enumerate(("neutral", "entailment", "neutral"))
    ]
    (tmp_path / "dev.jsonl").write_text("\n".join(lines))
    (tmp_path / "0.jpg").touch()
    source = f"--config.data.source_args.annotated.path={tmp_path}/{{split}}.jsonl"
    pictures = f"--config.data.source_args.annotated.images={tmp_path}"
    config = ROOT / "configs/albef/finetune_entailment.py"
    arguments = ["data", "records", "--config", str(config), "--split", "validation"]
    assert main([*arguments, source, pictures]) == 1
    printed = capsys.readouterr().out
    assert "annotated, validation: 3 records with caption, image, label" in printed
    assert "labels of 1 of them: neutral 1" in printed and "captions ['a dog']" in printed
    assert f"record 1: the picture {tmp_path}/1.jpg does not exist" in printed
    assert main(["data", "check", "--store", "npz", "--features", "x", source]) == 1
