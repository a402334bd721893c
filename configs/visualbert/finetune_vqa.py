"""VisualBERT on VQA v2 as published; arguments "" and "smoke".

Sources: visualbert/configs/vqa/fine-tune.json and dataloaders/vqa_dataset.py of
github.com/uclanlp/visualbert, which trains on train2014 and val2014. It starts from the model that
was pre-trained on the task.
"""

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

BATCH, EPOCHS = 64, 10  # train_batch_size; num_train_epochs
EPOCH = finetune.VQA // BATCH


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    return finetune.experiment(
        argument,
        family="visualbert",
        task="vqa",
        preset="visualbert_vqa",
        start=(
            dict(path="weights/vqa_pre_trained.th", kind="visualbert_vqa", exclude=("heads_vqa",)),
        ),
        verb="answer",
        source=finetune.vqa(
            answer_list="data/visualbert/answers_vqa.txt",
            store="npz",
            features="data/detectron_fix_100/fc6/vqa/{split}",
            store_args=dict(boxes="none"),
            key="COCO_{subset}_{id:012d}.npy",
        ),
        settings=dict(form="kl_unnormalised"),
        batch=BATCH,
        rate=2e-5,  # learning_rate
        steps=EPOCHS * EPOCH,
        epoch=EPOCH,
        optimizer=dict(groups=(dict(pattern="^pooler/", frozen=True),)),
    )
