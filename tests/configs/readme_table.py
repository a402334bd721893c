"""The README's table of tasks and families: one list, of which tests run every cell."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlp_jax.inference.model import Model

FAMILIES = {
    "albef": "ALBEF",
    "uniter": "UNITER",
    "vilbert": "ViLBERT",
    "lxmert": "LXMERT",
    "visualbert": "VisualBERT",
    "oscar": "OSCAR",
}
Shown = Mapping[str, Any]
_RECALLS = tuple(f"{way}_r{k}" for way in ("i2t", "t2i") for k in (1, 5, 10))


@dataclass(frozen=True)
class Row:
    """A task, in which a cell is a family that has a recipe for it and a published model.

    figures: what every measurement gives of it, behind its name. ask: called with a model, what
    shows it one picture (arguments of a verb), two pictures, and boxes of the first.
    presets: family -> the published model that answers as `use` says.
    """

    task: str
    title: str
    measured: str
    use: str
    figures: tuple[str, ...]
    ask: Callable[[Model, Shown, Shown, Any], Any]
    presets: Mapping[str, str]

    @property
    def verb(self) -> str:
        """The method of `Model` that it is asked with."""
        return self.use.partition("(")[0]


def _presets(names: str) -> dict[str, str]:
    return {name.partition("_")[0].removesuffix("plus"): name for name in names.split()}


ROWS = (
    Row(
        *("vqa", "VQA v2", "VQA accuracy", "answer(picture, question)", ("accuracy",)),
        lambda model, one, two, boxes: model.answer(questions="is it red?", **one),
        _presets("albef_vqa uniter_vqa vilbert_12in1 lxmert_vqa visualbert_vqa oscar_vqa"),
    ),
    Row(
        *("gqa", "GQA", "accuracy and the like", "answer(picture, question)"),
        ("accuracy", "official_accuracy", "official_distribution"),
        lambda model, one, two, boxes: model.answer(questions="is it red?", **one),
        _presets("vilbert_12in1 lxmert_gqa oscar_gqa"),
    ),
    Row(
        *("vg_qa", "Visual Genome QA", "VQA accuracy", "answer(picture, question)", ("accuracy",)),
        lambda model, one, two, boxes: model.answer(questions="is it red?", **one),
        _presets("vilbert_12in1"),
    ),
    Row(
        *("nlvr2", "NLVR2", "accuracy, consistency", "reason((left, right), text)"),
        ("accuracy", "consistency"),
        lambda model, one, two, boxes: model.reason(texts="both are red", **two),
        _presets(
            "albef_nlvr2 uniter_nlvr2 vilbert_12in1 lxmert_nlvr2 visualbert_nlvr2 oscar_nlvr2"
        ),
    ),
    Row(
        *("entailment", "SNLI-VE", "accuracy", "entail(picture, text)", ("accuracy",)),
        lambda model, one, two, boxes: model.entail(texts="it is red", **one),
        _presets("albef_ve uniter_ve vilbert_12in1"),
    ),
    Row(
        *("referring", "RefCOCO, +, g", "overlap above ½", "ground(regions=…, texts=…)"),
        ("accuracy",),
        lambda model, one, two, boxes: model.ground(texts="the left dog", **one),
        _presets("uniter_re vilbert_12in1"),
    ),
    Row(
        *("grounding", "RefCOCO+ without boxes", "overlap of ½ and more"),
        *("ground(picture, text, regions=…)", ("accuracy",)),
        lambda model, one, two, boxes: model.ground(texts="the left dog", regions=boxes, **one),
        _presets("albef_grounding"),
    ),
    Row(
        *("visual7w", "Visual7W, pointing", "accuracy"),
        *("ground(regions=…, texts=…, candidates=…)", ("accuracy",)),
        lambda model, one, two, boxes: model.ground(
            texts="is it a dog", candidates=two["regions"][1], **one
        ),
        _presets("vilbert_12in1"),
    ),
    Row(
        *("guesswhat", "GuessWhat, the object", "accuracy"),
        *("ground(regions=…, texts=…, candidates=…)", ("accuracy",)),
        lambda model, one, two, boxes: model.ground(
            texts="is it a dog", candidates=two["regions"][1], **one
        ),
        _presets("vilbert_12in1"),
    ),
    Row(
        *("entities", "Flickr30k Entities", "recall at 1, 5, 10"),
        *("ground(regions=…, texts=…, phrases=…)", ("r1", "r5", "r10", "upper_bound")),
        lambda model, one, two, boxes: model.ground(
            texts="the left dog and a cat", phrases=["left dog", "a cat"], **one
        ),
        _presets("visualbert_flickr"),
    ),
    Row(
        *("multiple_choice", "VCR", "Q→A, QA→R, Q→AR", "choose(picture, question, choices)"),
        ("accuracy", "q_to_a", "qa_to_r", "q_to_ar"),
        lambda model, one, two, boxes: model.choose(question="why?", choices=["a", "b"], **one),
        _presets("uniter_vcr vilbert_beta_vcr visualbert_vcr"),
    ),
    Row(
        *("captioning", "COCO captions", "BLEU, ROUGE-L, CIDEr-D", "caption(regions=…)"),
        ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider"),
        lambda model, one, two, boxes: model.caption(max_length=6, **one),
        _presets("oscar_caption"),
    ),
    Row(
        *("captioning_by_cider", "COCO captions by CIDEr", "BLEU, ROUGE-L, CIDEr-D"),
        *("caption(regions=…)", ("bleu_4", "rouge_l", "cider")),
        lambda model, one, two, boxes: model.caption(max_length=6, **one),
        _presets("oscar_caption"),
    ),
    Row(
        *("nocaps", "nocaps", "CIDEr-D and the like", "caption(regions=…, constraints=…)"),
        ("bleu_4", "rouge_l", "cider"),
        lambda model, one, two, boxes: model.caption(constraints=[["red"]], max_length=6, **one),
        _presets("oscarplus_caption"),
    ),
    Row(
        *("retrieval", "COCO, Flickr30k", "recall at 1, 5, 10", "retrieve(text, pictures)"),
        _RECALLS,
        lambda model, one, two, boxes: model.retrieve(
            "a red dog", **{kind: list(both) for kind, both in _as_candidates(two).items()}
        ),
        _presets("albef_retrieval uniter_retrieval vilbert_12in1 oscar_retrieval"),
    ),
)
CELLS = [(family, row) for row in ROWS for family in row.presets]


def _as_candidates(two: Shown) -> Shown:
    """Returns two pictures as `retrieve` names those that it searches."""
    return {"candidates" if kind == "images" else kind: both for kind, both in two.items()}


def presets_of(task: str) -> list[str]:
    """Returns the published models in the row of a task."""
    (row,) = (row for row in ROWS if row.task == task)
    return list(row.presets.values())


def recipe_of(family: str, row: Row) -> Path:
    """Returns where a cell's recipe stands in the repository."""
    return Path("configs") / family / f"finetune_{row.task}.py"


def readme_table() -> str:
    """Returns the table as it stands in the README."""
    head = ["task", "measured", "`model.…`", *FAMILIES.values()]
    lines = [head, ["---"] * len(head)]
    for row in ROWS:
        cells = [
            f"[train]({recipe_of(family, row)}), use" if family in row.presets else "–"
            for family in FAMILIES
        ]
        lines.append([row.title, row.measured, f"`{row.use}`", *cells])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
