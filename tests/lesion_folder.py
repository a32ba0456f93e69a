"""A made folder of skin lesions: small pictures, labels in a CSV file, several pictures of each patient."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def make_lesion_folder(folder: Path, number: int = 400, size: int = 64, seed: int = 0) -> Path:
    """Write *number* PNG files and ``labels.csv``: every fourth lesion is malignant, with a more ragged rim, and often
    a dark spot inside."""
    random = np.random.default_rng(seed)
    (folder / "pictures").mkdir(parents=True)
    rows = ["image;patient;label"]
    for index in range(number):
        is_malignant = index % 4 == 0
        picture = _lesion(random, size, is_malignant)
        Image.fromarray(picture).save(folder / "pictures" / f"lesion_{index:04d}.png")
        rows.append(
            f"lesion_{index:04d};P{random.integers(number // 4):03d};{'malignant' if is_malignant else 'benign'}"
        )
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def _lesion(random: np.random.Generator, size: int, is_malignant: bool) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[:size, :size] / size - random.uniform(0.4, 0.6, (2, 1, 1))
    angle, distance = np.arctan2(rows, columns), np.hypot(rows, columns)
    waves = sum(np.sin(k * angle + random.uniform(0, 6.3)) for k in (3, 5, 7))
    rim = random.uniform(0.2, 0.3) * (1 + random.uniform(*((0.08, 0.2) if is_malignant else (0, 0.08))) * waves)
    skin = np.array([0.85, 0.65, 0.55]) * random.uniform(0.85, 1.1)
    brown = np.array([0.45, 0.28, 0.2]) * random.uniform(0.8, 1.2)
    inside = np.clip((rim - distance) * size / 2, 0, 1)[..., None]
    spot = np.hypot(rows - random.uniform(-0.1, 0.1), columns - random.uniform(-0.1, 0.1)) < 0.07
    has_spot = random.uniform() < (0.8 if is_malignant else 0.1)
    color = np.where(spot[..., None] & has_spot, brown * 0.5, brown)
    picture = skin * (1 - inside) + color * inside + random.normal(0, 0.05, (size, size, 3))
    return np.asarray(picture.clip(0, 1) * 255, dtype=np.uint8)
