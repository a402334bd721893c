"""OSCAR's and OSCAR+'s pre-training as published; arguments "", "plus" and "smoke".

Sources: VinVL_MODEL_ZOO.md ("Oscarplus pretraining"), oscar/run_oscarplus_pretrain.py and
oscar/datasets/oscar_tsv.py of github.com/microsoft/Oscar; for OSCAR, whose script was not released,
section 3 of the paper, https://arxiv.org/abs/2004.06165.
"""

from vlp_jax.config import import_beside

recipe = import_beside(__file__, "../common/recipe.py")

# OSCAR: section 3, "at least" 1 M steps. OSCAR+: --max_iters; the script shows 8 examples a
# process, the paper, https://arxiv.org/abs/2101.00529, 1024 (with a learning rate of 1e-4).
BATCH = {"": 768, "plus": 1024}
STEPS = {"": 1_000_000, "plus": 2_000_000}


def get_config(argument: str = "") -> dict:
    """Returns the experiment of OSCAR base, or of OSCAR+ (VinVL) base for "plus"."""
    recipe.check_argument(argument, "plus")
    variant = "plus" if argument == "plus" else ""
    config = dict(
        name=f"oscar{variant}",
        model=recipe.published(f"oscar{variant}"),
        init_from=(dict(path="weights/bert-base-uncased", kind="bert"),),  # --model_name_or_path
        data=_data() | dict(batch_size=BATCH[variant]),
        tasks=_tasks("oscarplus" if variant else "oscar"),
        optimizer=_optimizer(),
        training=dict(
            steps=STEPS[variant],
            dtype="float32",
            log_every=100,  # --log_period
            checkpoint_every=10_000,  # --ckpt_period
        ),
    )
    return recipe.smoke(config) if argument == "smoke" else config


def _tasks(exchange: str) -> dict:
    """oscar/modeling/modeling_bert.py: the sum of two.

    Half of the triples get something of another image. In Oscar it is the tags; in Oscar+ it is,
    each as often, the tags or the caption (--textb_sample_mode 1, --texta_false_prob 0.25).
    """
    return dict(
        mlm=dict(
            weight=1.0,
            probability=0.15,  # oscar_tsv.py, random_word: of words and tags
            evaluate=dict(mlm=recipe.HELD_OUT),
        ),
        contrastive_tags=dict(
            weight=1.0,
            text="masked",
            exchange=exchange,
            predict_wrong_pairs=True,  # --mask_loss_for_unmatched 1
        ),
    )


def _data() -> dict:
    features = dict(
        path="data/oscar_corpus.json",
        store="oscar_tsv",
        features="data/features.tsv",
        store_args=dict(labels="data/predictions.tsv"),  # the tags
    )
    return dict(
        source="regions",
        source_args=dict(regions=recipe.HOLDOUT | features),
        text_length=35,  # --max_seq_length; section 3 of the paper has both lengths, too
        regions=50,  # --max_img_seq_length
        tags=True,  # --use_b 1: the object tags are the second text
        text_style="plain",
        add_sep=True,
        vocabulary="bert-base-uncased",  # --do_lower_case
        threads=8,
    )


def _optimizer() -> dict:
    return dict(
        learning_rate=5e-5,  # section 3; --learning_rate
        end_learning_rate=0.0,
        schedule="linear",  # WarmupLinearSchedule
        warmup_steps=0,  # --warmup_steps
        weight_decay=0.01,  # run_oscarplus_pretrain.py, not on biases and norms
        beta1=0.9,  # AdamW of pytorch-transformers
        beta2=0.999,
        epsilon=1e-8,  # --adam_epsilon
        clip_norm=10.0,  # --max_grad_norm
    )
