"""UNITER's published models by name: both sizes, every task, and their parameter counts."""

from dataclasses import replace

from vlp_jax.weights.zoo import uniter
from vlp_jax.weights.zoo.base import Published, register

BASE = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 768,
    "img_dim": 2048,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "type_vocab_size": 2,
    "vocab_size": 28996,
}
LARGE = BASE | {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
}

_PRETRAIN = {"img_label_dim": 1601}
_VCR = {"num_special_tokens": 81}

# The name without its size, the task, and what the task adds to the published config.
_TASKS = (
    ("", "pretrain", _PRETRAIN, uniter.pretrain_config, uniter.pretrain_table),
    ("_vqa", "vqa", {"num_answer": 3129}, uniter.vqa_config, uniter.vqa_table),
    ("_ve", "ve", {"num_answer": 3}, uniter.entailment_config, uniter.entailment_table),
    ("_nlvr2", "nlvr2", {}, uniter.nlvr2_config, uniter.nlvr2_table),
    ("_retrieval", "itm", {}, uniter.retrieval_config, uniter.retrieval_table),
    ("_re", "re", {"mlp": 1}, uniter.expression_config, uniter.expression_table),
    ("_re_mlp", "re", {"mlp": 2}, uniter.expression_config, uniter.expression_table),
    ("_vcr", "vcr", _VCR, uniter.vcr_config, uniter.vcr_table),
    (
        "_vcr_pretrain",
        "vcr_pretrain",
        _VCR | _PRETRAIN,
        uniter.vcr_pretrain_config,
        uniter.pretrain_table,
    ),
)

_PARAMETERS = {
    "uniter": 112_938_887,
    "uniter_vqa": 115_892_281,
    "uniter_ve": 111_087_619,
    "uniter_nlvr2": 115_808_515,
    "uniter_retrieval": 109_901_059,
    "uniter_re": 109_899_521,
    "uniter_re_mlp": 110_491_649,
    "uniter_vcr": 111_149_826,
    "uniter_vcr_pretrain": 113_002_712,
    "uniter_large": 340_524_935,
    "uniter_large_vqa": 344_210_489,
    "uniter_large_ve": 337_805_315,
    "uniter_large_nlvr2": 346_196_995,
    "uniter_large_retrieval": 335_698_947,
    "uniter_large_re": 335_696_897,
    "uniter_large_re_mlp": 336_748_545,
    "uniter_large_vcr": 337_888_258,
    "uniter_large_vcr_pretrain": 340_610_008,
}

# How a file that starts a task is completed.
_ADAPT = {"nlvr2": uniter.more_types, "itm": uniter.start_of_ranking}

_INPUTS = {"re": replace(uniter.INPUTS, regions=uniter.EVERY_REGION)}

for _size, _sizes in (("uniter", BASE), ("uniter_large", LARGE)):
    for _name, _task, _added, _build, _table in _TASKS:
        register(
            Published(
                name=_size + _name,
                family="uniter",
                task=_task,
                sizes=_sizes | _added,
                from_published=_build,
                key_table=_table,
                parameters=_PARAMETERS[_size + _name],
                paper=uniter.PAPER,
                conventions=uniter.CONVENTIONS,
                inputs=_INPUTS.get(_task, uniter.INPUTS),
                adapt=_ADAPT.get(_task, Published.adapt),
            )
        )
