"""LXMERT's pre-training as published; arguments "" and "smoke".

Sources: run/lxmert_pretrain.bash, src/pretrain/ and src/lxrt/ of github.com/airsplay/lxmert, and
the paper, https://arxiv.org/abs/1908.07490.

What differs: the original asks its questions in the one pass over a sentence that may be masked and
of another image, and trains the answer where it is not; here the answer is trained in a pass of its
own, over the unmasked question of each image. Answers are learned by their scores, not by one drawn
in proportion to them. Both give the same on average.
"""

from vlp_jax.config import import_beside

recipe = import_beside(__file__, "../common/recipe.py")

BATCH = 256  # --batchSize
STEPS = 670_000  # 20 epochs, as the model's card on Hugging Face counts them


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    recipe.check_argument(argument)
    config = dict(
        name="lxmert",
        model=recipe.published("lxmert"),
        init_from=(),  # --fromScratch
        data=_data(),
        tasks=_tasks(),
        optimizer=_optimizer(),
        training=dict(steps=STEPS, dtype="float32", log_every=100, checkpoint_every=5000),
    )
    return recipe.smoke(config) if argument == "smoke" else config


def _tasks() -> dict:
    """src/lxrt/modeling.py: the sum of six losses, three of them of regions."""
    captions = recipe.HELD_OUT | dict(source="captions")
    questions = recipe.HELD_OUT | dict(source="questions")
    return dict(
        mlm=dict(
            weight=1.0,
            probability=0.15,  # --wordMaskRate
            evaluate=dict(mlm=captions),
        ),
        # lxmert_data.py: another sentence with probability 0.5
        pair=dict(weight=1.0, text="masked", exchange="caption", predict_wrong_pairs=True),
        # --visualLosses obj,attr,feat: objects and attributes of every region, by confidence
        region_labels=dict(
            weight=1.0,
            head="regions",
            text="masked",
            masked_only=False,
            masking="lxmert",  # random_feat: 80 % zeros, 10 % another image's, 10 % kept
            probability=0.15,  # --objMaskRate
        ),
        vqa=dict(weight=1.0, form="ce", question_length=20, evaluate=dict(vqa=questions)),
        retrieval=dict(evaluate=dict(matching=recipe.RANKED | dict(source="captions"))),
    )


def _optimizer() -> dict:
    return dict(
        learning_rate=1e-4,  # --lr
        end_learning_rate=0.0,
        schedule="linear",  # lxrt/optimization.py, warmup_linear
        warmup_steps=STEPS // 20,  # lxmert_pretrain.py, warmup_ratio 0.05
        weight_decay=0.01,  # lxrt/optimization.py, BertAdam
        beta1=0.9,
        beta2=0.999,
        epsilon=1e-6,
        bias_correction=False,
        clip_norm=1.0,  # lxmert_pretrain.py, clip_grad_norm_
        # BertAdam is given all parameters in one group, biases and norms as well.
        groups=(dict(pattern=".*", decay_all=True),),
    )


def _data() -> dict:
    """Captions of COCO and Visual Genome, and questions of VQA, GQA and Visual Genome.

    The entries of questions have the question as their caption, too. The original draws from all
    sentences alike; here a batch comes from one of the two, evenly. `weights` in the proportion of
    the lists' lengths draw like the original. The answers' loss is in the batches of questions
    alone; `tasks.vqa.weight` can make up for it (docs/recipes.md).
    """
    names = ("captions", "questions")
    return dict(
        source="::".join(names),
        source_args={
            name: recipe.HOLDOUT
            | dict(
                kind="regions",
                path=f"data/lxmert_{name}.json",
                store="lxmert_tsv",
                features="data/mscoco_imgfeat/*.tsv,data/vg_gqa_imgfeat/*.tsv",
            )
            for name in names
        },
        batch_size=BATCH,
        text_length=20,  # lxmert_pretrain.py, max_seq_length
        regions=36,
        text_style="plain",
        add_sep=True,
        vocabulary="bert-base-uncased",
        threads=8,
    )
