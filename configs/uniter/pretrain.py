"""UNITER's pre-training as published; arguments "", "indomain", "large" and "smoke".

Sources: config/pretrain-alldata-base-8gpu.json, pretrain-indomain-base-8gpu.json and
pretrain-alldata-large-16gpu.json, pretrain.py, data/, model/ and optim/ of
github.com/ChenRocks/UNITER, and the paper, https://arxiv.org/abs/1909.11740.

What differs: **the batch**. The original fills each batch with examples of similar length up to a
number of tokens; here every batch has the same number of examples, each padded to the longest that
is allowed. Their number is chosen so that the tokens with padding are as many; as most examples are
shorter than the longest, a step of the original holds more pairs. Longer texts are cut, the
original leaves them out. Random words are drawn from the whole vocabulary, not from "!" onwards.
"""

from vlp_jax.config import import_beside

recipe = import_beside(__file__, "../common/recipe.py")

TEXT, REGIONS = 60 + 2, 100  # max_txt_len with [CLS] and [SEP]; max_bb

# GPUs, tokens a GPU (train_batch_size), gradient_accumulation_steps, num_train_steps
RECIPES = {
    "": (8, 10240, 6, 200_000),
    "indomain": (8, 10240, 2, 200_000),
    "large": (16, 6144, 4, 500_000),
}

# mix_ratio: itm, mlm, mrfr, mrckl = 6, 8, 4, 4 for COCO and SBU, 9, 12, 6, 6 for VG and CC, so all
# data sets have the same shares of tasks; in-domain 2, 2, 1, 1.
WEIGHTS = {"coco": 22.0, "sbu": 22.0, "vg": 33.0, "cc": 33.0}
GROUPS = ("itm+alignment", "mlm", "region_feature", "region_class")
MIX = {"": (3.0, 4.0, 2.0, 2.0), "indomain": (2.0, 2.0, 1.0, 1.0)}


def get_config(argument: str = "") -> dict:
    """Returns the base model on all data; in-domain data or the large model by argument."""
    recipe.check_argument(argument, "indomain", "large")
    variant = argument if argument in RECIPES else ""
    gpus, tokens, accumulate, steps = RECIPES[variant]
    bert = f"weights/bert-{'large' if variant == 'large' else 'base'}-cased"
    pairs = gpus * tokens * accumulate // (TEXT + REGIONS)
    config = dict(
        name="_".join(filter(None, ("uniter", variant))),
        model=recipe.published("uniter_large" if variant == "large" else "uniter"),
        # `checkpoint`: uniter-base-init.pt, which is BERT
        init_from=(dict(path=bert, kind="bert"),),
        data=_data(variant == "indomain", bert) | dict(batch_size=pairs - pairs % (8 * accumulate)),
        tasks=_tasks(),
        optimizer=_optimizer(accumulate),
        training=dict(
            steps=steps,
            schedule="sampled",  # data/loader.py, MetaLoader: one task a step, on all GPUs the same
            mix=dict(zip(GROUPS, MIX["indomain" if variant == "indomain" else ""])),
            accumulate=accumulate,
            dtype="bfloat16",  # fp16
            log_every=100,
            checkpoint_every=5000,  # valid_steps
        ),
    )
    return recipe.smoke(config) if argument == "smoke" else config


def _data(indomain: bool, vocabulary: str) -> dict:
    names = ["coco", "vg"] if indomain else list(WEIGHTS)
    return dict(
        source="::".join(names),
        # train_datasets: texts as JSON lists, features as the LMDB folders of the release
        source_args={name: _source(name) for name in names},
        weights={} if indomain else dict(WEIGHTS),
        vocabulary=vocabulary,
        text_length=TEXT,
        regions=REGIONS,  # the stored features were chosen by conf_th 0.2, min_bb 10, max_bb 100
        text_style="plain",  # prepro.py: as it is, cased
        add_sep=True,
        threads=8,
    )


def _source(name: str) -> dict:
    return recipe.HOLDOUT | dict(
        kind="regions",
        path=f"data/{name}.json",
        store="uniter_lmdb",
        features=f"data/features/{name}",
    )


def _tasks() -> dict:
    hidden = dict(masking="uniter", probability=0.15)  # data/mrm.py, mrm_prob: zeros, at least one
    return dict(
        # data/itm.py: the image is replaced with probability itm_neg_prob = 0.5
        itm=dict(weight=1.0, negatives="swapped"),
        alignment=dict(weight=0.1),  # itm_ot_lambda; model/ot.py: beta 0.5, 50 iterations
        mlm=dict(
            weight=1.0,
            probability=0.15,  # data/mlm.py
            at_least_one=True,
            evaluate=dict(mlm=recipe.HELD_OUT),
        ),
        region_feature=dict(weight=1.0, form="l2", text="clean", **hidden),  # mrfr, mean over 2048
        region_class=dict(weight=1.0, form="kl_mean", text="clean", **hidden),  # mrckl, over 1601
        retrieval=dict(evaluate=dict(matching=recipe.RANKED)),
    )


def _optimizer(accumulate: int) -> dict:
    """The AdamW of optim/, made equal to gradients that are summed over accumulation steps.

    pretrain.py never divides by their number, and here gradients are those of the mean. Adam
    divides by the gradient's own size, so that the difference is in the clipping and in epsilon.
    """
    return dict(
        learning_rate=5e-5,
        end_learning_rate=0.0,  # optim/sched.py: not below 1e-8
        schedule="linear",
        warmup_steps=10_000,
        weight_decay=0.01,
        beta1=0.9,  # betas
        beta2=0.98,
        epsilon=1e-6 / accumulate,  # optim/adamw.py
        clip_norm=5.0 / accumulate,  # grad_norm
        groups=(
            # optim/misc.py excepts "bias" and "LayerNorm.weight" by name; these norms are called
            # img_layer_norm, pos_layer_norm and net.2.
            dict(
                pattern="(vision/(feature|box)_norm|heads_region_(feature|classifier)/norm)/scale",
                decay_all=True,
            ),
        ),
    )
