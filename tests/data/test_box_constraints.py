"""What a caption is to hold by a detector's boxes: literal cases, and files that hold else."""

import json

import pytest

from vlp_jax.cli.main import main
from vlp_jax.data.box_constraints import (
    OVERLAP,
    Boxes,
    Hierarchy,
    constraints_of,
    phrases_of,
    read_boxes,
)

TREE = {
    "LabelName": "Entity",
    "Subcategory": [
        {
            "LabelName": "Animal",
            "Subcategory": [{"LabelName": "Dog"}, {"LabelName": "Cat"}, {"LabelName": "Mammal"}],
        },
        {"LabelName": "Fire hydrant"},
        {"LabelName": "Person", "Subcategory": [{"LabelName": "Man"}]},
        {"LabelName": "Kitchen & dining room table"},
    ],
}


@pytest.fixture
def hierarchy(tmp_path):
    file = tmp_path / "classes.json"
    file.write_text(json.dumps(TREE))
    return Hierarchy.read(str(file))


def box(name, share, *corners):
    return {"rect": list(corners or (0, 0, 99, 99)), "class": name, "conf": share}


def named(hierarchy, *found, overlap=OVERLAP):
    return constraints_of(Boxes.of(list(found)), hierarchy, overlap)


def test_levels_are_those_below_a_class(hierarchy):
    assert dict(hierarchy.heights) == {
        "entity": 2, "animal": 1, "dog": 0, "cat": 0, "mammal": 0, "fire hydrant": 0, "person": 1,
        "man": 0, "kitchen & dining room table": 0,
    }  # fmt: skip
    assert hierarchy.height("hot dog") == 0
    with pytest.raises(ValueError, match='class "hydrant" is not in the hierarchy'):
        hierarchy.height("hydrant")


def test_the_surest_classes_are_asked_for(hierarchy):
    apart = [(200 * i, 0, 200 * i + 50, 50) for i in range(5)]
    found = [box("Cat", 0.5, *apart[0]), box("Man", 0.99, *apart[1]), box("Dog", 0.6, *apart[2])]
    found += [box("Fire hydrant", 0.4, *apart[3]), box("Kitchen & dining room table", 0.7)]
    assert named(hierarchy, *found) == ["table", "dog", "cat"]
    assert named(hierarchy, box("Dog", 0.6), box("Dog", 0.5, *apart[4])) == ["dog"]
    assert named(hierarchy, box("Dog", 0.0)) == named(hierarchy) == []


def test_the_more_general_of_two_boxes_goes(hierarchy):
    animal = box("Animal", 0.9)
    assert named(hierarchy, animal, box("Dog", 0.5)) == ["dog"]
    assert named(hierarchy, animal, box("Dog", 0.5), overlap=1.0) == ["animal", "dog"]
    assert named(hierarchy, box("Cat", 0.9), box("Dog", 0.5)) == ["cat", "dog"]
    # Of 100 × 100 pixels 85 and 86 rows; the last pixel counts.
    assert named(hierarchy, animal, box("Dog", 0.5, 0, 0, 99, 84)) == ["animal", "dog"]
    assert named(hierarchy, animal, box("Dog", 0.5, 0, 0, 99, 85)) == ["dog"]


def test_all_forms_of_all_words_are_phrases():
    forms = {"dog": ["dog", "dogs"], "hydrant": ["hydrant", "hydrants"]}
    assert phrases_of("dog", forms) == ["dog", "dogs"]
    assert phrases_of("fire hydrant", forms) == ["fire hydrant", "fire hydrants"]


@pytest.fixture
def files(tmp_path):
    contents = {
        "boxes.tsv": f"a1\t{json.dumps([box('Dog', 0.9), box('Animal', 0.95)])}\nb2\t[]\n",
        "classes.json": json.dumps(TREE),
        "forms.tsv": "dog\tdog,dogs\n",
        "ids.json": json.dumps({"images": [{"open_images_id": "a1", "id": 17}]}),
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    return tmp_path


def made(files, *more):
    paths = {n: str(files / f) for n, f in (("boxes", "boxes.tsv"), ("hierarchy", "classes.json"))}
    given = [x for name, path in paths.items() for x in (f"--{name}", path)]
    status = main(["data", "constraints", *given, "--out", str(files / "out.json"), *more])
    out = files / "out.json"
    return status, json.loads(out.read_text()) if out.exists() else None


def test_a_file_of_constraints(files, capsys):
    assert made(files) == (0, {"a1": [["dog"]], "b2": []})
    more = "--forms", str(files / "forms.tsv"), "--ids", str(files / "ids.json")
    assert made(files, *more) == (1, {"17": [["dog", "dogs"]]})
    shown = capsys.readouterr().out
    assert made(files, "--overlap", "1")[1] == {"a1": [["animal"], ["dog"]], "b2": []}
    assert "1 pictures, 1 of them with words to hold" in shown and '"b2" has no id in' in shown


BAD = {
    "no tab": ("boxes.tsv", "a1 []\n", "line 1: expected two columns"),
    "no JSON": ("boxes.tsv", "a1\t[{\n", 'picture "a1": not valid JSON'),
    "no list": ("boxes.tsv", 'a1\t{"rect": 1}\n', "expected a list of boxes"),
    "no class": ("boxes.tsv", 'a1\t[{"rect": [0, 0, 1, 1]}]\n', 'has no "class"'),
    "three numbers": (
        "boxes.tsv",
        'a1\t[{"rect": [0, 0, 1], "class": "Dog", "conf": 1}]\n',
        'a "rect" that is not [x1, y1, x2, y2]',
    ),
    "reversed": (
        "boxes.tsv",
        'a1\t[{"rect": [9, 0, 1, 1], "class": "Dog", "conf": 1}]\n',
        "expected x1, y1, x2, y2",
    ),
    "unknown class": (
        "boxes.tsv",
        'a1\t[{"rect": [0, 0, 1, 1], "class": "Dgo", "conf": 1}]\n',
        'class "dgo" is not in the hierarchy. Did you mean "dog"',
    ),
    "a list of classes": ("classes.json", "[]", "expected"),
    "a class without a name": ("classes.json", '{"Subcategory": []}', '"LabelName"'),
}


@pytest.mark.parametrize(("name", "content", "message"), BAD.values(), ids=BAD)
def test_other_files_are_refused_before_anything_is_written(files, name, content, message, capsys):
    (files / name).write_text(content)
    status, out = made(files)
    shown = capsys.readouterr().err
    assert status != 0 and out is None and "Traceback" not in shown
    assert message in shown


def test_boxes_are_read_one_picture_after_the_other(files):
    (key, boxes), (_, none) = read_boxes(str(files / "boxes.tsv"))
    assert key == "a1" and boxes.classes == ("dog", "animal") and boxes.corners.shape == (2, 4)
    assert none.corners.shape == (0, 4)


@pytest.mark.parametrize("overlap", ["-0.1", "1.5", "nan"])
def test_an_overlap_is_a_share(files, overlap, capsys):
    status, out = made(files, f"--overlap={overlap}")
    assert status != 0 and out is None
    assert "expected a share from 0 to 1" in capsys.readouterr().err
