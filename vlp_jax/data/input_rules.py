"""How a model is given its inputs when it is used: texts, regions, tags, pairs of pictures."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from vlp_jax.config import nearest
from vlp_jax.data.regions.regions import Rules
from vlp_jax.data.text_encoder import TextEncoder
from vlp_jax.data.tokenizer import Tokenizer


@dataclass(frozen=True)
class TextRules:
    """How a model reads the texts of one verb.

    style: a name in TEXT_STYLES, which cleans a text, cuts it at `max_words` and makes word pieces.
    length: most tokens of a text, further ones are dropped; None takes as many as the model has
        positions and refuses longer texts, as the original does.
    add_sep: ends a single text with [SEP].
    task: row of the table of tasks that is shown (ViLBERT 12-in-1); None for the model's own.
    """

    style: str = "plain"
    max_words: int = 30
    length: int | None = None
    add_sep: bool = True
    task: int | None = None

    def encoder(self, tokenizer: Tokenizer) -> TextEncoder:
        """Returns what makes tokens of a text."""
        return TextEncoder(tokenizer, self.style, self.max_words, self.add_sep)


@dataclass(frozen=True)
class InputRules:
    """How a model is given all of its inputs.

    Attributes:
      text: how it reads texts. texts: exceptions, by verb ("answer", "match", "retrieve", "reason",
        "entail", "ground", "point" for `ground` among candidates, "choose", "caption") or by the
        head that is read.
      regions: which of a picture's regions are shown.
      global_region: whether a region for the whole picture stands before them (ViLBERT).
      tags: whether the names of the regions are the text's second part (OSCAR).
      cut: which part of such a pair is cut, see `vlp_jax.data.text.encode_pair`.
      pair_types: types of the regions of the first and the second picture of a pair.
      pictures_joined: whether the regions of a pair are one list (VisualBERT).
      choice_types: segments of a question and of a choice of its answer. With `separator_follows`
        a [SEP] between two parts has the segment of what follows it (UNITER).
      tag_position: where the tags begin behind a caption that is being written (OSCAR).
      entailment: names of the classes of visual entailment, in the order of the head.
      aligned: whether training drew words near to their regions in optimal transport (UNITER).
      tasks: how it reads texts of each task by name, if it has several; by verb or head as `texts`.
    """

    text: TextRules = TextRules()
    texts: Mapping[str, TextRules] = field(default_factory=dict)
    regions: Rules = Rules()
    global_region: bool = False
    tags: bool = False
    cut: Literal["longer", "second"] = "longer"
    pair_types: tuple[int, int] | None = None
    pictures_joined: bool = False
    choice_types: tuple[int, int] = (0, 1)
    separator_follows: bool = False
    tag_position: int = 40
    entailment: tuple[str, ...] = ("contradiction", "neutral", "entailment")
    aligned: bool = False
    tasks: Mapping[str, Mapping[str, TextRules]] = field(default_factory=dict)

    def with_length(self, verb: str, length: int) -> "InputRules":
        """Returns the same with another length of the texts of a verb."""
        return self.with_text(verb, replace(self.text_of(verb), length=length))

    def with_text(self, verb: str, text: TextRules) -> "InputRules":
        """Returns the same with other rules for the texts of a verb."""
        return replace(self, texts={**self.texts, verb: text})

    def with_task(self, verb: str, name: str, text: TextRules) -> "InputRules":
        """Returns the same with a task of a verb in front of those that it has."""
        own = {name: text, **self.tasks.get(verb, {})}
        return replace(self, tasks={**self.tasks, verb: own})

    def text_of_task(self, verb: str, name: str) -> TextRules:
        """Returns how texts are read for a task of a verb; ValueError if there is no such one."""
        known = self.tasks.get(verb, {})
        if not known:
            raise ValueError(f"task is {name!r}, and this model has no tasks to name: give none")
        if not isinstance(name, str) or name not in known:
            raise ValueError(
                f"task is {name!r}.{nearest(str(name), known)} Known: {', '.join(known)}"
            )
        return known[name]

    def text_of(self, verb: str, head: str = "") -> TextRules:
        """Returns how the texts of a verb are read, by a head that may have its own rules."""
        return self.texts.get(head) or self.texts.get(verb) or self.text
