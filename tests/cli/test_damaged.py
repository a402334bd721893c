"""A hundred mistakes on the command line: one sentence, a status, and nothing written."""

import shutil
from pathlib import Path

import pytest

from tests.training.tiny import CONFIG
from vlp_jax.cli.main import main

LIGHT = f"{CONFIG}:light"

FILES = {
    "text.txt": b"a\nb\n",
    "broken.json": b"{",
    "list.json": b"[1, 2]",
    "latin.json": b'{"name": "caf\xe9"}',
    "wrong.json": b'{"trainig": {}}',
    "sizes.json": b'{"bert_config": {"hidden_size": 5}}',
    "odd_sizes.json": b'{"image_res": "big"}',
    "near_sizes.json": b'{"image_ress": 384}',
    "no_sizes.json": b'{"bert_config": 3}',
    "junk.pth": b"x" * 50,
    "empty.pth": b"",
    "page.pth": b"<html></html>",
    "zip.pth": b"PK\x03\x04 and no more",
    "big.safetensors": b"\xff" * 8 + b"{}",
    "picture.png": b"no picture",
    "plugin.py": b"raise RuntimeError('mine')\n",
    "syntax.py": b"def get_config(:\n",
    "import.py": b"import nowhere_at_all\n",
    "none.py": b"def get_config(): return None\n",
    "bytes.py": b"\xff\xfe\n",
    "data.json": b'[{"image": "gone.png", "caption": "a"}]',
    "column.json": b'[{"img": "gone.png"}]',
}

CONVERT = "convert --to out --model"
CHECK = "data check --features text.txt --store"
PREDICT = "predict --image picture.png --model"
ASK = f"{PREDICT} RUN"
EVALUATE = "evaluate --workdir"
TRAIN = f"train --workdir out --config {LIGHT} --config."

MISTAKES = [
    *(f"{CONVERT} albef --weights {file}" for file in FILES if file.endswith((".pth", "sors"))),
    *(f"{CONVERT} albef --weights junk.pth --sizes {f}" for f in FILES if f.endswith("sizes.json")),
    f"{CONVERT} albef --weights gone.pth",
    f"{CONVERT} albef --weights .",
    f"{CONVERT} albeff --weights junk.pth",
    f"{CONVERT} albef --weights junk.pth --sizes gone.json",
    f"{CONVERT} albef --weights junk.pth --sizes list.json",
    f"{CONVERT} albef --weights junk.pth --format huggingfase",
    f"{CHECK} lxmert_tsv",
    f"{CHECK} lxmert_tsv --option path=3",
    f"{CHECK} lxmert_tsv --option dimension",
    f"{CHECK} lxmert_tsv --option nothing=1",
    f"{CHECK} oscar_tsv --option labels=3",
    f"{CHECK} lxmert_tvs",
    f"{CHECK} hdf5",
    f"{CHECK} npz",
    f"{CHECK} uniter_lmdb",
    "data check --store lxmert_tsv --features gone.tsv",
    "data check --store lxmert_tsv",
    "data convert --store lxmert_tsv --features text.txt --to out",
    "data convert --store lxmert_tsv --features text.txt --to out --pictures-per-file 0",
    "data convert --store lxmert_tsv --features text.txt --to out --pictures-per-file many",
    "data",
    f"{ASK} --text a",
    f"{ASK} --text a --question b",
    f"{ASK} --question a --top x",
    f"{ASK} --text a --choices b",
    f"{ASK} --caption",
    f"{ASK} --reason a",
    f"{ASK} --entail a",
    f"{ASK} --ground a",
    "predict --model RUN --image gone.png --text a",
    "predict --model RUN --regions gone.tsv:1 --text a",
    "predict --model RUN --regions text.txt:1 --store nope --text a",
    "predict --model RUN --text a",
    f"{PREDICT} gone --text a",
    f"{PREDICT} albef --text a",
    f"{PREDICT} . --text a",
    f"{PREDICT} albef --weights junk.pth --text a",
    f"{PREDICT} albef --weights empty.pth --text a",
    f"{PREDICT} albef_vqa --weights junk.pth --answers broken.json --question a",
    f"{PREDICT} albef_vqa --weights junk.pth --answers gone.json --question a",
    f"{ASK} --text a --store npz",
    f"{ASK} --text a --top 0",
    f"{ASK} --text a --answers text.txt",
    f"{ASK} --text a --tokenizer text.txt",
    "explain --model RUN --image picture.png --text a --out text.txt/a.html",
    "export --model RUN --out text.txt/a",
    "data regions --detector frcnn_vg --weights junk.pth --images . --out s3://bucket/a.tsv",
    "data regions --detector frcnn_vg --weights junk.pth --images . --out ../",
    "data regions --detector frcnn_vg --weights junk.pth --images text.txt --out a.tsv",
    f"{EVALUATE} gone",
    f"{EVALUATE} .",
    f"{EVALUATE} text.txt",
    f"{EVALUATE} RUN --step 7",
    f"{EVALUATE} RUN --step x",
    f"{EVALUATE} RUN --plugin gone.py",
    f"{EVALUATE} RUN --plugin text.txt",
    f"{EVALUATE} RUN --plugin plugin.py",
    f"{EVALUATE} RUN --config.model.vision=resnet",
    f"{EVALUATE} RUN --config.tasks.vqa.evaluate.vqa.limit=0",
    f"{EVALUATE} RUN --config.tasks.nope.weight=1",
    f"{EVALUATE} RUN --config.data.source=nope",
    f"{EVALUATE} RUN --config.data.path=3",
    f"{EVALUATE} RUN --config.evaluation.batch_size=-1",
    f"{EVALUATE} RUN --teachr",
    "verify gone",
    "verify .",
    "verify text.txt",
    "verify",
    "models --nope",
    *(f"train --workdir out --config {file}" for file in FILES if file.endswith((".json", "x.py"))),
    *(f"train --workdir out --config {name}.py" for name in ("import", "none", "bytes", "plugin")),
    "train --workdir out --config gone.py",
    "train --workdir out --config text.txt",
    "train --workdir out --config .",
    f"train --workdir out --config {CONFIG}:nope",
    f"train --workdir text.txt --config {LIGHT}",
    f"train --workdir text.txt/out --config {LIGHT}",
    f"train --workdir out --config {LIGHT} --config",
    f"train --workdir out --config {LIGHT} --configs.seed=1",
    *(
        TRAIN + override
        for override in (
            "training.steps", "=1", "a..b=1", "model=3", "tasks=none", "tasks.vqa=none", "seed=x",
            "name=3", "plugins=gone.py", "plugins=plugin.py", "plugins=text.txt",
            "init_from=gone.pth", "init_from=junk.pth", "init_from={'kind':'bert'}",
            "data.vocabulary=gone", "data.vocabulary=broken.json", "data.source=",
            "data.source=emoji::emoji", "data.source_args.emoji_scenes.canvas=-4",
            "data.source_args.emoji_scenes=3",
            "data.source_args.emoji_scenes.split=test", "data.batch_size=100000",
            "data.image_size=33",
            "data.path=3", "data.path=gone", "mesh.data=7", "mesh.data=0", "mesh.fsdp=-1",
            "optimizer.groups=[{'pattern':'('}]", "optimizer.groups=[{'pattern':'zzz'}]",
            "optimizer.learning_rate=nan", "model.text_args.width=17", "model.fusion=nope",
            "model.vision_args.patch_size=12", "model.vision_args.dropout=10",
            "model.fusion=two_image_cross_attention", "model.heads.vqa.kind=pair_classifier",
        )
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    here = tmp_path_factory.mktemp("damaged")
    for name, content in FILES.items():
        (here / name).write_bytes(content)
    return here


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_one_sentence_and_leaves_nothing(folder, run, line, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    try:
        status = main([str(run) if word == "RUN" else word for word in line.split()])
    except SystemExit as end:  # argparse shows how the verb is used above its sentence
        status = end.code
    out, err = capsys.readouterr()
    assert status in (1, 2) and "Traceback" not in err
    said = [text for text in err.splitlines() if text.startswith("vlp-jax")]
    assert len(said) == 1 or (line.startswith("verify") and out), (out, err)
    left = {path.name for path in folder.iterdir()} - FILES.keys() - {"__pycache__"}
    shutil.rmtree(folder / "out", ignore_errors=True)
    assert left == set()


def test_there_are_a_hundred():
    assert len(set(MISTAKES)) >= 100
