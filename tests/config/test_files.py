"""Tests of experiment files: reading them, overriding them, and writing what was resolved."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp_jax.config import load_config, write_config
from vlp_jax.config.files import parse_options, parse_override, set_path
from vlp_jax.model import build_model
from vlp_jax.tasks import build_tasks

ROOT = Path(__file__).parents[2]
FILES = sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "configs").rglob("*.py"))
SHIPPED = [path for path in FILES if not path.startswith("configs/common/")]

SMALL = """
import ml_collections

def get_config(argument=""):
    config = ml_collections.ConfigDict()
    config.name = argument or "small"
    config.model = dict(vision_args=dict(width=8), heads=dict(itc=dict(width=4), itm={}))
    config.data = dict(batch_size=8, source="emoji", weights=dict(emoji=2.0))
    config.optimizer = dict(groups=(ml_collections.ConfigDict(dict(pattern="text")),))
    config.training = dict(momentum=0.9)
    config.tasks = dict(vqa=dict(form="ce"), itc=dict())
    return config
"""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.py"
    path.write_text(SMALL)
    return str(path)


def mistake(spec: str, *overrides: str, kind: type[Exception] = ValueError) -> str:
    with pytest.raises(kind) as error:
        load_config(spec, overrides)
    return str(error.value)


def test_a_file_becomes_an_experiment(small):
    config = load_config(small)
    assert config.name == "small" and config.data.batch_size == 8
    assert config.model.heads == {"itc": {"width": 4}, "itm": {}}
    assert config.optimizer.groups == ({"pattern": "text"},)
    assert config.training.steps == 1000


def test_the_argument_reaches_the_file(small):
    assert load_config(f"{small}:large").name == "large"


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("seed=3", "seed", 3),
        ("optimizer.learning_rate=3e-4", "optimizer.learning_rate", 3e-4),
        ("optimizer.learning_rate=1", "optimizer.learning_rate", 1.0),
        ("data.flip=false", "data.flip", False),
        ("data.flip=False", "data.flip", False),
        ("data.tags=TRUE", "data.tags", True),
        ("training.momentum=None", "training.momentum", None),
        ("training.momentum=null", "training.momentum", None),
        ("training.momentum=none", "training.momentum", None),
        ("data.path=none", "data.path", None),
        ("data.augment=none", "data.augment", "none"),
        ("data.path=a/b=c.json", "data.path", "a/b=c.json"),
        ("data.source=emoji::easy_vqa", "data.source", "emoji::easy_vqa"),
        ("name='2024'", "name", "2024"),
        ("name=", "name", ""),
        ("optimizer.schedule=linear", "optimizer.schedule", "linear"),
        ("optimizer.groups=({'pattern': 'x'},)", "optimizer.groups", ({"pattern": "x"},)),
        ("optimizer.groups=[]", "optimizer.groups", ()),
        ("model.vision_args.pixel_mean=(0.5,1,0.5)", "model.vision_args.pixel_mean", (0.5, 1, 0.5)),
        ("model.vision_args.pixel_mean=[1,2]", "model.vision_args.pixel_mean", (1, 2)),
        ("model.text_args.layers=2", "model.text_args.layers", 2),
        ("model.heads={'mlm': {}}", "model.heads", {"mlm": {}}),
        ("model.heads.vqa.form=linear", "model.heads.vqa", {"form": "linear"}),
        ("tasks.itc.temperature_range=0.1,0.2", "tasks.itc.temperature_range", (0.1, 0.2)),
        ("tasks.mlm.evaluate.mlm.limit=None", "tasks.mlm.evaluate.mlm", {"limit": None}),
        ("tasks.vqa=None", "tasks.vqa", None),
        ("tasks.vqa=none", "tasks.vqa", None),
        ("mesh.tensor=2", "mesh.tensor", 2),
    ],
)
def test_an_override_sets_its_field(small, override, path, value):
    found = load_config(small, [f"--config.{override}"])
    for part in path.split("."):
        found = found[part] if isinstance(found, dict) else getattr(found, part)
    assert found == value and type(found) is type(value)


def test_a_later_override_wins_and_others_stay(small):
    config = load_config(small, ["--config.seed=1", "--config.data.threads=2", "--config.seed=2"])
    assert (config.seed, config.data.threads, config.data.batch_size) == (2, 2, 8)


@given(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.tuples(st.integers(), st.text())
    | st.text()
    | st.dictionaries(st.text(), st.integers())
)
def test_every_python_literal_can_be_given(value):
    assert parse_override(f"--config.a.b={value!r}") == ("a.b", value)


@given(st.from_regex(r"[a-zA-Z][a-z/_:. -]*", fullmatch=True))
def test_words_are_text(word):
    reserved = {"true": True, "false": False, "null": None}
    expected = None if word == "None" else reserved.get(word.lower(), word)
    assert parse_override(f"--config.a={word}") == ("a", expected)


@pytest.mark.parametrize("text", ["--config.seed", "config.seed=3", "-config.seed=3", "--cfg.a=1"])
def test_what_is_no_override(small, text):
    assert (
        mistake(small, text) == f'override "{text}": expected the form --config.group.field=value'
    )


@pytest.mark.parametrize(
    ("override", "starts", "contains"),
    [
        ("sed=3", "config.sed: no such field.", 'Did you mean "seed"?'),
        ("data.batchsize=3", "config.data.batchsize: no such field.", 'Did you mean "batch_size"?'),
        ("=3", "config.: no such field.", "Allowed: name, seed"),
        ("data.=3", "config.data.: no such field.", "Allowed: source"),
        ("data..batch_size=3", "config.data.: no such field.", "Allowed: source"),
        ("data.batch_size=x", "config.data.batch_size = 'x' (str): expected int", ""),
        ("training.momentum=x", "config.training.momentum = 'x' (str): expected float | None", ""),
        ("name=2024", "config.name = 2024 (int): expected str", ""),
        ("optimizer.schedule=cosin", "config.optimizer.schedule = 'cosin'.", '"cosine"'),
        ("mesh=3", "config.mesh = 3: expected a group of fields {data, fsdp, tensor}", ""),
    ],
)
def test_a_wrong_override(small, override, starts, contains):
    text = mistake(small, f"--config.{override}")
    assert text.startswith(starts) and contains in text


def test_a_group_is_not_overridden_by_a_value(small):
    assert mistake(small, "--config.data=3") == (
        "config.data = 3: this is a group of fields {batch_size, source, weights}; "
        "set one of them, or give a {...} literal"
    )
    assert "config.model.heads.itc = None: this is a group" in mistake(
        small, "--config.model.heads.itc=None"
    )


def test_only_tasks_are_switched_off(small):
    for first, then in (("=none", ".form=bce"), (".form=bce", "=3")):
        text = mistake(small, f"--config.tasks.vqa{first}", f"--config.tasks.vqa{then}")
        assert text.startswith("config.tasks.vqa")
    assert "config.tasks.vqa.form = None" in mistake_of_tasks(small, "--config.tasks.vqa.form=None")
    assert "config.tasks = None: this is a group" in mistake(small, "--config.tasks=None")


def mistake_of_tasks(spec: str, *overrides: str) -> str:
    with pytest.raises(ValueError) as error:
        build_tasks(load_config(spec, overrides))
    return str(error.value)


def test_a_path_through_a_value(small):
    assert mistake(small, "--config.data.batch_size.x=3") == (
        "config.data.batch_size.x: config.data.batch_size is a value (8), not a group of fields"
    )
    text = mistake(small, "--config.optimizer.groups.0.pattern=x")
    assert text.startswith("config.optimizer.groups.0.pattern: config.optimizer.groups is a value")
    assert mistake(small, "--config.seed.x=3") == "config.seed = {'x': 3} (dict): expected int"


def test_set_path_makes_the_groups_it_needs():
    values = {"a": {"b": 1}}
    set_path(values, "a.c.d", 2)
    assert values == {"a": {"b": 1, "c": {"d": 2}}}


def test_an_unknown_file_names_the_nearest(small):
    wrong = small.replace("small.py", "smal.py")
    text = mistake(wrong, kind=FileNotFoundError)
    assert text == f'no config file "{wrong}". Did you mean "small.py"?'


def test_an_unknown_file_in_a_folder_without_configs(tmp_path):
    text = mistake(f"{tmp_path}/x.py", kind=FileNotFoundError)
    assert text.startswith(f'no config file "{tmp_path}/x.py". `vlp-jax models --configs` lists')


def test_a_folder_is_no_config_file(tmp_path):
    assert "no config file" in mistake(str(tmp_path), kind=FileNotFoundError)


@pytest.mark.parametrize(
    ("name", "content", "argument", "expected"),
    [
        ("a.yaml", "seed: 1", "", "expected a .py file or the .json of an earlier run"),
        ("a.py", "seed = 1", "", "has no function get_config"),
        ("a.py", "def get_config(): return None", "", "gives None: expected a group of fields"),
        ("a.py", "def get_config(): return {}", ":smoke", 'takes no argument, got "smoke"'),
        ("a.json", "{}", ":smoke", 'takes no argument, got "smoke"'),
        ("a.json", "[1]", "", "gives (1,): expected a group of fields"),
        ("a.json", "{seed: 1}", "", "is no JSON: Expecting property name"),
    ],
)
def test_a_file_that_is_no_experiment(tmp_path, name, content, argument, expected):
    path = tmp_path / name
    path.write_text(content)
    for overrides in ([], ["--config.seed=1"]):
        text = mistake(f"{path}{argument}", *overrides)
        assert str(path) in text and expected in text


OVERRIDES = st.lists(
    st.sampled_from(
        [
            "--config.name='a \"name\" with – marks'",
            "--config.training.momentum=None",
            "--config.training.momentum=0.1",
            "--config.optimizer.learning_rate=1e-17",
            "--config.optimizer.groups=({'pattern': 'a', 'frozen': True}, {})",
            "--config.data.source_args={'emoji': {'size': 3, 'x': (1, (2, None))}}",
            "--config.model.vision_args.pixel_mean=(0.1, 0.2, 0.3)",
            "--config.model.heads.vqa.form=linear",
            "--config.tasks.mlm.evaluate.mlm.limit=None",
            "--config.data.augment=none",
        ]
    ),
    unique=True,
)


@given(OVERRIDES)
def test_written_and_read_is_the_same_experiment(tmp_path_factory, overrides):
    folder = tmp_path_factory.mktemp("round_trip")
    (folder / "small.py").write_text(SMALL)
    config = load_config(f"{folder}/small.py", overrides)
    write_config(config, folder / "config.json")
    assert load_config(f"{folder}/config.json") == config
    again = load_config(f"{folder}/config.json", ["--config.seed=5"])
    assert again.seed == 5 and again.model == config.model


@pytest.mark.parametrize("argument", ["", ":smoke"])
@pytest.mark.parametrize("path", SHIPPED)
def test_every_shipped_config_is_valid(tmp_path, path, argument):
    config = load_config(f"{ROOT / path}{argument}")
    build_model(config.model, config.training.dtype)
    build_tasks(config)
    write_config(config, tmp_path / "config.json")
    assert load_config(str(tmp_path / "config.json")) == config


@pytest.mark.parametrize("path", SHIPPED)
def test_an_unknown_argument_of_a_shipped_config(path):
    assert 'unknown argument "smok"' in mistake(f"{ROOT / path}:smok")


def test_there_are_shipped_configs():
    assert "configs/quickstart.py" in SHIPPED


def test_config_files_share_code(small, tmp_path):
    (tmp_path / "deep").mkdir()
    path = tmp_path / "deep" / "more.py"
    path.write_text(
        "from vlp_jax.config import import_beside\n"
        'small = import_beside(__file__, "../small.py")\n'
        "def get_config():\n"
        '    return small.get_config("shared")\n'
    )
    assert load_config(str(path)).name == "shared"
    path.write_text(path.read_text().replace("small.py", "smal.py"))
    assert '"../smal.py", and there is no' in mistake(str(path), kind=FileNotFoundError)


def test_options_are_name_and_value():
    texts = ["labels=a=b.tsv", "max_boxes=36", "class_scores=false", "dimension=null", "boxes=none"]
    assert parse_options(texts) == {
        "labels": "a=b.tsv", "max_boxes": 36, "class_scores": False, "dimension": None,
        "boxes": "none",
    }  # fmt: skip
    assert parse_options(["empty="]) == {"empty": ""}
    for text in ("max_boxes", "=3", ""):
        with pytest.raises(ValueError, match="expected the form name=value"):
            parse_options([text])
