"""Whether a metric is better when it is small or when it is large, by the words in its name."""

from __future__ import annotations

import re

_GOOD_WORDS = (
    "acc accuracy auc auroc auprc rocauc prauc f1 f1score fbeta dice iou miou jaccard precision recall r2 score ap map "
    "map50 psnr ssim kappa mcc sensitivity specificity correlation pearson spearman top1 top5"
)
MORE_IS_BETTER = frozenset(_GOOD_WORDS.split())
"""Words in the name of a metric that say that more is better; all other metrics are taken for errors."""

_WORD = re.compile(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*")


def mode_of(monitor: str, asked: str = "auto") -> str:
    """Return ``min`` or ``max``: what was asked for, or for ``auto`` what the name of the metric says."""
    if asked != "auto":
        return asked
    words = [word.lower() for word in _WORD.findall(monitor)]
    is_error = any(word in ("loss", "error", "err") for word in words)
    more = any(word in MORE_IS_BETTER or word.startswith(("acc", "auc", "auroc")) for word in words)
    return "max" if more and not is_error else "min"
