"""ALBEF's pre-training as published; the arguments are "", "4m" and "smoke".

Sources: configs/Pretrain.yaml, Pretrain.py, models/model_pretrain.py, optim/ and dataset/ of
github.com/salesforce/ALBEF, and the paper, https://arxiv.org/abs/2107.07651.

What differs: masked words are averaged over the whole batch. docs/models/albef.md has the rest.
"""

from vlp_jax.config import import_beside

recipe = import_beside(__file__, "../common/recipe.py")

EPOCHS = 30  # Pretrain.yaml, schedular.epochs
BATCH = 8 * 64  # Pretrain.yaml, batch_size, on 8 GPUs (README)

# The lists of Pretrain.yaml, train_file, and how many pairs they have: section 3.5 of the paper
# counts 5.1 M pairs of 4.0 M images, and 14.1 M images with CC12M, whose images have one caption.
LISTS = ["coco", "vg", "cc3m_train", "cc3m_val", "sbu"]
PAIRS = {"4m": 5_100_000, "": 15_200_000}


def get_config(argument: str = "") -> dict:
    """Returns the experiment with the lists of 14 M images, or those of 4 M for "4m"."""
    recipe.check_argument(argument, "4m")
    small = argument == "4m"
    epoch = PAIRS["4m" if small else ""] // BATCH
    config = dict(
        name="albef_4m" if small else "albef",
        model=recipe.published("albef"),
        init_from=(
            # models/model_pretrain.py: DeiT-base, its positions resized from 224 to 256 pixels
            dict(path="weights/deit_base_patch16_224-b5f2ef4d.pth", kind="vit"),
            # bert-base-uncased; layers 6-11 become the fusion, whose cross-attention is fresh
            dict(path="weights/bert-base-uncased", kind="bert"),
        ),
        data=_data([*LISTS, *([] if small else ["cc12m"])]),
        tasks=_tasks(),
        optimizer=_optimizer(epoch),
        training=_training(epoch),
    )
    return recipe.smoke(config) if argument == "smoke" else config


def _tasks() -> dict:
    """models/model_pretrain.py: the sum of three."""
    return dict(
        # Candidates are the teacher's vectors of a GPU's 64 pairs, and the queue.
        itc=dict(
            weight=1.0,
            alpha=0.4,
            in_batch="teacher",
            local_batch=64,
            queue_size=65536,  # Pretrain.yaml, queue_size
        ),
        # Hard negatives are drawn by the similarities that the contrastive loss has, of a GPU's 64.
        itm=dict(weight=1.0, negatives="hard", local_batch=64, in_batch="teacher", hardness=1.0),
        mlm=dict(
            weight=1.0,
            alpha=0.4,
            probability=0.15,  # Pretrain.yaml, mlm_probability
            evaluate=dict(mlm=recipe.HELD_OUT),
        ),
        retrieval=dict(evaluate=dict(retrieval=recipe.HELD_OUT)),
    )


def _training(epoch: int) -> dict:
    return dict(
        steps=EPOCHS * epoch,
        momentum=0.995,  # Pretrain.yaml, momentum
        distillation_warmup=epoch,  # Pretrain.py: alpha rises over epoch 0
        dtype="float32",  # no mixed precision in Pretrain.py
        log_every=50,  # Pretrain.py, print_freq
        checkpoint_every=5000,
    )


def _data(lists: list[str]) -> dict:
    return dict(
        source="json",
        path=",".join(f"data/{name}.json" for name in lists),
        source_args=dict(json=recipe.HOLDOUT),
        batch_size=BATCH,
        image_size=256,  # Pretrain.yaml, image_res
        augment="albef",  # dataset/__init__.py: crop 0.2-1, flip, RandomAugment(2, 7)
        flip=True,
        text_length=25,  # Pretrain.py, max_length
        text_style="albef",  # dataset/utils.py, pre_caption
        max_words=30,
        add_sep=False,  # models/tokenization_bert.py
        vocabulary="bert-base-uncased",
        threads=8,
    )


def _optimizer(epoch: int) -> dict:
    """AdamW of Pretrain.yaml and optim/optim_factory.py, schedule of Pretrain.py."""
    return dict(
        learning_rate=1e-4,  # schedular.lr
        end_learning_rate=1e-5,  # schedular.min_lr
        schedule="cosine",
        # warmup_epochs 20 × step_size 100 iterations, inside epoch 0, from warmup_lr
        warmup_steps=2000,
        warmup_from=1e-5,
        warmup_stair=100,
        epoch_steps=epoch,  # scheduler.step(epoch + 20): once an epoch
        # optimizer.weight_decay. add_weight_decay leaves out biases and one-dimensional tensors:
        # positions, class token, embeddings and the temperature are decayed, as they are here.
        weight_decay=0.02,
        beta1=0.9,  # torch's defaults
        beta2=0.999,
        epsilon=1e-8,
        clip_norm=None,
    )
