"""ViLBERT on VQA v2 alone: "" the second release (task 1), "beta" the first one, and "smoke".

Sources: vilbert_tasks.yml, train_tasks.py and vilbert/datasets/vqa_dataset.py of
github.com/facebookresearch/vilbert-multi-task, and vlbert_tasks.yml and the README of
github.com/jiasenlu/vilbert_beta. Both learn from most of val2014, too.

What differs in "beta": the rate falls linearly after the warm-up, by 0.1 at epochs 12 and 16 there;
the norm of the whole gradient is clipped at 1.0, there that of each parameter.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

EPOCHS = 20  # num_epoch
# preset, file, its kind, batch_size, learning rate
RECIPES = {
    "": ("vilbert_12in1", "weights/pretrained_model.bin", "vilbert", 128, 4e-5),
    "beta": ("vilbert_beta_vqa", "weights/pytorch_model_9.bin", "vilbert_beta", 256, 4e-5),
}


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    beta = argument == "beta"
    preset, path, kind, batch, rate = RECIPES["beta" if beta else ""]
    published = finetune.recipe.published(preset)
    epoch = finetune.VQA // batch
    new = ("heads_vqa",) if beta else ("heads_vqa", "text/task_token")
    own = dict(heads=dict(vqa=published["heads"]["vqa"]))
    return finetune.experiment(
        argument,
        variants=("beta",),
        family="vilbert",
        task="vqa",
        preset=preset,
        model=own if beta else finetune.one_of_twelve("vqa", 1),
        start=(dict(path=path, kind=kind, exclude=new),),
        verb="answer",
        source=finetune.vqa(
            answer_list="data/vilbert/vqa/trainval_label2ans.pkl",
            store="vilbert_lmdb",
            features="data/vilbert/coco/COCO_trainval_resnext152_faster_rcnn_genome.lmdb",
            key="{id}",
        ),
        settings=dict(form="bce"),
        batch=batch,
        rate=rate,
        steps=EPOCHS * epoch,
        epoch=epoch,
        optimizer=finetune.vilbert_heads("vqa", rate) | (dict(clip_norm=1.0) if beta else {}),
    )
