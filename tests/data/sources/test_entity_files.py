"""Files of Flickr30k Entities: marked sentences, boxes of pictures, and what is wrong with them."""

import numpy as np
import pytest

from vlp_jax.data.sources import SOURCES
from vlp_jax.data.sources.entity_files import read_entity_boxes, read_sentences

SENTENCES = """[/EN#1/people Two men] in [/EN#2/clothing/other shirts] see [/EN#0/notvisual it] .
[/EN#3/scene The yard] is [ ] empty .
"""
SIZE = "<size><width>200</width><height>100</height><depth>3</depth></size>"
CORNERS = "<xmin>20</xmin><ymin>10</ymin><xmax>200</xmax><ymax>60</ymax>"
OTHER = "<xmin>1</xmin><ymin>1</ymin><xmax>100</xmax><ymax>100</ymax>"
OBJECTS = f"""
<object><name>1</name><name>2</name><bndbox>{CORNERS}</bndbox></object>
<object><name>1</name><bndbox>{OTHER}</bndbox></object>
<object><name>3</name><scene>1</scene><nobox>1</nobox></object>
"""
BOXES = f"<annotation><filename>7.jpg</filename>{SIZE}{OBJECTS}</annotation>"
FIRST, SECOND = [0.1, 0.1, 1.0, 0.6], [0.005, 0.01, 0.5, 1.0]


@pytest.fixture
def opened(tmp_path):
    """Opens the split "train" of pictures 7 with some of its files replaced."""

    def open_it(sentences=SENTENCES, boxes=BOXES, pictures="7\n"):
        for path, content in (("Sentences/7.txt", sentences), ("Annotations/7.xml", boxes)):
            file = tmp_path / path
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        (tmp_path / "train.txt").write_text(pictures)
        path = tmp_path / "{split}.txt"
        return SOURCES["annotated"](form="flickr30k_entities", path=path, images=tmp_path)

    return open_it


def test_sentences_without_their_marks(tmp_path):
    (tmp_path / "7.txt").write_text(SENTENCES)
    (text, phrases), (second, (yard,)) = read_sentences(tmp_path / "7.txt")
    assert text == "Two men in shirts see it ."
    ends = [(phrase["entity"], text[: phrase["end"]]) for phrase in phrases]
    assert ends == [
        ("1", "Two men"), ("2", "Two men in shirts"), ("0", text.removesuffix(" ."))
    ]  # fmt: skip
    assert second == "The yard is [ ] empty ." and yard == {"entity": "3", "end": 8}


def test_boxes_as_shares_of_the_picture(tmp_path):
    (tmp_path / "7.xml").write_text(BOXES)
    found = read_entity_boxes(tmp_path / "7.xml")
    assert found.keys() == {"1", "2"}  # the scene has no box
    np.testing.assert_allclose(found["1"], [FIRST, SECOND])
    np.testing.assert_allclose(found["2"], [FIRST])


def test_phrases_without_boxes_are_left_out(opened, tmp_path):
    source = opened()
    (record,) = (source[i] for i in range(len(source)))  # the second sentence has no other phrase
    assert record["name"] == "7#0" and record["image"] == str(tmp_path / "7.jpg")
    assert [phrase["end"] for phrase in record["phrases"]] == [7, 17]
    assert source.provides == {"image", "caption", "phrases"}
    assert list(source.texts()) == record["captions"]


DECLARED = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sentences": " \n"}, "7.txt: there are no sentences"),
        ({"sentences": "a\n[/EN#1 a man] is"}, r'7.txt: line 2: "\[/EN#1 a man\] is", expected'),
        ({"sentences": "[/EN#1/people a man is"}, "line 1: .* expected phrases as"),
        ({"sentences": b"\xff\xfe["}, "7.txt: UnicodeDecodeError"),
        ({"boxes": DECLARED + BOXES}, "7.xml: the XML has a document type .* not read"),
        ({"boxes": (DECLARED + BOXES).encode("utf-16")}, "7.xml: UnicodeDecodeError"),
        ({"boxes": BOXES[:-9]}, "7.xml: not valid XML: "),
        ({"boxes": BOXES.replace("&", "").replace("7.jpg", "&b;")}, "7.xml: not valid XML: undef"),
        ({"boxes": "<annotation/>"}, "7.xml: <width> is missing, expected a number"),
        ({"boxes": BOXES.replace(">200</width", ">0</width")}, "is 0 × 100 pixels large"),
        ({"boxes": BOXES.replace("<xmin>20", "<xmin>nan")}, '<xmin> is "nan", expected a number'),
        ({"boxes": BOXES.replace("<xmin>20", "<xmin>201")}, r"box \[201.0, .* is reversed"),
        ({"boxes": BOXES.replace("<name>2", "<name>two")}, r"called \['1', 'two'\], expected num"),
        ({"pictures": "7\n../7"}, 'after 1 entries: "../7", expected the id of a picture'),
        ({"pictures": "8"}, r"8.xml: .*boxes of a picture .*8.xml does not exist"),
        ({"pictures": ""}, "no usable entries"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(opened, changed, message):
    with pytest.raises(ValueError, match=message) as error:
        opened(**changed)
    assert "\n" not in str(error.value)
