"""Whether a metric is better when it is small or when it is large."""

import pytest

from runner.metric_modes import mode_of


@pytest.mark.parametrize(
    ("monitor", "mode"),
    [
        ("val_loss", "min"),
        ("val/Loss", "min"),
        ("val_mse", "min"),
        ("val_mae", "min"),
        ("val_error", "min"),
        ("val_accuracy_error", "min"),
        ("val_top1_err", "min"),
        ("val_dice_loss", "min"),
        ("val_f1_loss", "min"),
        ("perplexity", "min"),
        ("val_acc", "max"),
        ("val_Acc", "max"),
        ("val/accuracy", "max"),
        ("val-accuracy", "max"),
        ("val_auroc", "max"),
        ("val_auc", "max"),
        ("val_f1", "max"),
        ("val_f1_macro", "max"),
        ("val_dice", "max"),
        ("val_iou", "max"),
        ("val_jaccard", "max"),
        ("val_precision", "max"),
        ("val_recall", "max"),
        ("val_r2", "max"),
        ("val_score", "max"),
        ("val_mAP", "max"),
    ],
)
def test_the_name_of_a_metric_says_which_way_is_better(monitor: str, mode: str) -> None:
    """auto means more for what is known to be better when greater, less for losses, errors and all else."""
    assert mode_of(monitor, "auto") == mode


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_mode_that_was_asked_for_holds(mode: str) -> None:
    """What the user says beats what the name says."""
    assert {mode_of(name, mode) for name in ("val_acc", "val_loss")} == {mode}
