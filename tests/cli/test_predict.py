"""Tests of `vlp-jax predict`."""

import json

import pytest

from vlp_jax.cli.main import main


@pytest.fixture
def predict(run, pictures, capsys):
    """Runs the command on three pictures and returns the JSON lines."""

    def call(*arguments: str, images: list[str] = pictures) -> list[dict]:
        assert main(["predict", "--model", str(run), "--image", *images, *arguments]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return call


def test_match(predict, pictures):
    lines = predict("--text", "a red apple")
    assert [line["image"] for line in lines] == pictures
    for line in lines:
        assert set(line) == {"image", "text", "match_probability"}
        assert 0 < line["match_probability"] < 1 and line["text"] == "a red apple"


def test_answer(predict, pictures):
    lines = predict("--question", "how many things are there?", "--top", "3")
    assert [line["image"] for line in lines] == pictures
    for line in lines:
        probabilities = [answer["probability"] for answer in line["answers"]]
        assert len(probabilities) == 3 and probabilities == sorted(probabilities, reverse=True)
        assert set(line["answers"][0]) == {"answer", "probability"}


def test_retrieve(predict, pictures):
    lines = predict("--query", "a dog", "--top", "2")
    assert len(lines) == 2 and {line["image"] for line in lines} < set(pictures)
    assert lines[0]["score"] >= lines[1]["score"]


def test_bad_input(run, pictures, capsys):
    start = ["predict", "--model", str(run), "--image"]
    assert main([*start, "gone.png", "--text", "a dog"]) == 1
    assert 'vlp-jax predict: image 0 ("gone.png") does not exist' in capsys.readouterr().err
    assert main([*start, *pictures, "--text", "..."]) == 1
    assert "expected a string with words in it" in capsys.readouterr().err
    assert main(["predict", "--model", "nowhere", "--image", pictures[0], "--text", "a"]) == 1
    assert '"nowhere"' in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["--text", "a", "--query", "b"]], ids=["nothing asked", "two things asked"]
)
def test_exactly_one_thing_is_asked(run, pictures, arguments):
    with pytest.raises(SystemExit) as ended:
        main(["predict", "--model", str(run), "--image", pictures[0], *arguments])
    assert ended.value.code == 2


UNREAD = {
    "no answer": (["--question", "a", "--top", "0"], "--top = 0: must be at least 1"),
    "all but three": (["--query", "a", "--top", "-3"], "--top = -3: must be at least 1"),
    "store": (["--text", "a", "--store", "npz"], "--store is the format of --regions"),
    "reason": (["--reason", "a", "--tags", "dog"], "--tags are for --text, --query"),
    "choices": (["--question", "a", "--choices", "b", "--tags", "dog"], "--tags are for --text"),
}


@pytest.mark.parametrize(("more", "message"), UNREAD.values(), ids=UNREAD)
def test_what_would_not_be_read_is_refused_before_the_model_is(more, message, capsys):
    assert main(["predict", "--model", "gone", "--image", "gone.png", *more]) == 1
    assert message in capsys.readouterr().err
