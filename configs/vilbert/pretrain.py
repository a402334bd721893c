"""ViLBERT's pre-training on Conceptual Captions as published; arguments "" and "smoke".

Sources: train_concap.py, vilbert/ and config/bert_base_6layer_6conect.json of
github.com/facebookresearch/vilbert-multi-task (the second release), and the papers,
https://arxiv.org/abs/1908.02265 and https://arxiv.org/abs/1912.02315.
"""

from vlp_jax.config import import_beside

recipe = import_beside(__file__, "../common/recipe.py")

BATCH = 512  # --train_batch_size
PAIRS = 3_100_000  # the 3.1 to 3.3 M pairs of Conceptual Captions whose pictures were to be had
STEPS = 10 * PAIRS // BATCH  # --num_train_epochs


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    recipe.check_argument(argument)
    config = dict(
        name="vilbert",
        model=recipe.published("vilbert"),
        # --from_pretrained; its layers 6-11 are the text layers of the fusion
        init_from=(dict(path="weights/bert-base-uncased", kind="bert"),),
        data=_data(),
        tasks=_tasks(),
        optimizer=_optimizer(),
        # --fp16 is off
        training=dict(steps=STEPS, dtype="float32", log_every=100, checkpoint_every=5000),
    )
    return recipe.smoke(config) if argument == "smoke" else config


def _data() -> dict:
    features = dict(
        path="data/conceptual_captions.json",
        store="vilbert_lmdb",
        features="data/conceptual_captions/training_feat_all.lmdb",
    )
    return dict(
        source="regions",
        source_args=dict(regions=recipe.HOLDOUT | features),
        batch_size=BATCH,
        text_length=36,  # --max_seq_length
        regions=36,  # concept_cap_dataset.py, region_len 36 and one more
        global_region=True,  # that one: the mean of the others, after masking
        text_style="plain",
        add_sep=True,
        vocabulary="bert-base-uncased",
        threads=8,
    )


def _tasks() -> dict:
    """train_concap.py: the sum of three, from one pass over masked words and regions."""
    return dict(
        mlm=dict(
            weight=1.0,
            probability=0.15,  # concept_cap_dataset.py, random_word
            evaluate=dict(mlm=recipe.HELD_OUT),
        ),
        # --img_weight 1, --visual_target 0: KL to the detector's classes, summed over classes
        region_class=dict(
            weight=1.0,
            form="kl_sum",
            text="masked",
            head="regions",
            masking="vilbert",  # random_region: 90 % zeros, 10 % kept; overlap 0.4
            probability=0.15,
        ),
        # random_cap: another caption with probability 0.5. --objective 1, as the README runs it:
        # wrong pairs count for the alignment alone
        pair=dict(weight=1.0, text="masked", exchange="caption", predict_wrong_pairs=False),
        retrieval=dict(evaluate=dict(matching=recipe.RANKED)),
    )


def _optimizer() -> dict:
    return dict(
        learning_rate=1e-4,  # --learning_rate
        end_learning_rate=0.0,
        schedule="linear",  # WarmupLinearSchedule
        warmup_steps=STEPS // 10,  # --warmup_proportion
        weight_decay=0.01,
        beta1=0.9,  # betas
        beta2=0.98,
        epsilon=1e-8,  # --adam_epsilon
        clip_norm=None,
        groups=_groups(),
    )


def _groups() -> tuple[dict, ...]:
    """A tenth of the rate for what comes from BERT; LayerNorm1 and LayerNorm2 are decayed.

    train_concap.py compares parameter names from their 13th letter on with those of BERT, which
    fits a wrapped model, "module.bert."; the script of the second release compares before it wraps
    the model, so that none fits. The tenth is what the first release and the paper have.
    """
    return (
        dict(pattern=r"^text/|^fusion/.*/text_layer_", learning_rate=0.1),
        # Its exceptions are "bias" and "LayerNorm.weight" by name.
        dict(pattern=r"^fusion/.*/(image|text)_connection/norm/scale", decay_all=True),
    )
