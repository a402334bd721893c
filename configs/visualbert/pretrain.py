"""VisualBERT's pre-training on COCO, with features for VQA, as published; "" and "smoke".

Sources: visualbert/configs/vqa/coco-pre-train.json, visualbert/models/, dataloaders/ and
pytorch_pretrained_bert/ of github.com/uclanlp/visualbert, and the paper,
https://arxiv.org/abs/1908.03557.
"""

from vlp_jax.config import import_beside

recipe = import_beside(__file__, "../common/recipe.py")

BERT = "weights/bert-base-uncased"
BATCH = 48  # train_batch_size
CAPTIONS = 591_753  # train2014 and val2014 without the 5000 pictures of exclude_minival, each one
STEPS = 10 * (CAPTIONS // BATCH)  # num_train_epochs; expand_coco makes every caption an example


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    recipe.check_argument(argument)
    config = dict(
        name="visualbert",
        model=recipe.published("visualbert"),
        init_from=_weights(),
        data=_data(),
        tasks=_tasks(),
        optimizer=_optimizer(),
        training=dict(steps=STEPS, dtype="float32", log_every=100, checkpoint_every=5000),
    )
    return recipe.smoke(config) if argument == "smoke" else config


def _weights() -> tuple[dict, ...]:
    # special_visual_initialize: the regions' type and position tables start as those of the text.
    tables = dict(
        include=("^vision/(type|position)/table$",),
        rename=(("^text/(type|position)/", r"vision/\1/"),),
    )
    return dict(path=BERT, kind="bert"), dict(path=BERT, kind="bert", **tables)


def _tasks() -> dict:
    """pytorch_pretrained_bert/modeling.py: the sum of two, no_next_sentence is off."""
    return dict(
        mlm=dict(
            weight=1.0,
            probability=0.15,  # masked_lm_prob
            evaluate=dict(mlm=recipe.HELD_OUT),
        ),
        sentence_image=dict(
            weight=1.0,
            text="masked",
            exchange="second_caption",  # two_sentence, false_caption_ratio 0.5
            predict_wrong_pairs=True,
        ),
    )


def _data() -> dict:
    features = dict(
        path="data/coco_captions.json",  # all captions of a picture in one entry
        # The published .npy files hold no boxes. The model reads none, and a store asks for them:
        # write the whole picture.
        store="npz",
        features="data/detectron_fix_100",
    )
    return dict(
        source="regions",
        source_args=dict(regions=recipe.HOLDOUT | features),
        batch_size=BATCH,
        text_length=128,  # max_seq_length
        regions=100,  # image_feature_type vqa_fix_100
        text_style="plain",
        add_sep=True,
        vocabulary="bert-base-uncased",
        threads=8,
    )


def _optimizer() -> dict:
    return dict(
        learning_rate=5e-5,
        end_learning_rate=0.0,
        schedule="linear",  # WarmupLinearSchedule
        warmup_steps=STEPS // 10,  # warmup_proportion
        weight_decay=0.01,  # models/model_wrapper.py, not on biases and norms
        beta1=0.9,  # BertAdam's defaults
        beta2=0.999,
        epsilon=1e-6,
        bias_correction=False,
        clip_norm=1.0,  # grad_norm
        # model_wrapper.py leaves the pooler out of the optimizer, though the sentence-image head
        # reads it: it stays as BERT has it.
        groups=(dict(pattern="^pooler/", frozen=True),),
    )
