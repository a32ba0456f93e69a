"""Checkpoints: written atomically, read without running code, chosen with a stated reason."""

from __future__ import annotations

import logging
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning import LightningModule

from runner.atomic_files import is_disk_full
from runner.checkpoint_files import check_checkpoint_file, write_checkpoint_file
from runner.errors import CheckpointError, RunFailedError
from runner.run_folder import RunFolder

log = logging.getLogger(__name__)

# what torch and pickle raise on bytes that are no checkpoint
_DAMAGED = (
    *(RuntimeError, EOFError, LookupError, ValueError, OSError, TypeError, AttributeError, struct.error),
    *(zipfile.BadZipFile, zlib.error, NotImplementedError),
)
_HYPER_PARAMETERS = ("hyper_parameters", "datamodule_hyper_parameters")


def read_checkpoint(path: Path, *, trust: bool = False, device: str = "cpu") -> dict[str, Any]:
    """Read a checkpoint.

    Args:
        path: The file.
        trust: Let the file run code while it is read (pickle); only for files whose author you trust.
        device: Where tensors are put.

    Raises:
        CheckpointError: the file is missing, damaged, no checkpoint, or needs *trust*.
    """
    try:
        _refuse_forced_pickle(trust=trust)
        check_checkpoint_file(path)
        checkpoint = torch.load(path, map_location=device, weights_only=not trust)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise CheckpointError(f"There is no checkpoint file {path}.") from error
    except pickle.UnpicklingError as error:
        if not zipfile.is_zipfile(path):
            raise CheckpointError(f"{path} is damaged or no checkpoint.") from error
        reason = str(error).partition("WeightsUnpickler error: ")[2].partition("\n")[0] or str(error).partition("\n")[0]
        raise CheckpointError(
            f"{path} holds more than tensors and plain values and would have to run code to be read ({reason}). "
            "If you trust its author: --trust_checkpoint."
        ) from error
    except _DAMAGED as error:
        raise CheckpointError(f"{path} is damaged or no checkpoint: {str(error).partition(chr(10))[0]}") from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f"{path} is no Lightning checkpoint: it holds a {type(checkpoint).__name__}.")
    return checkpoint


def _refuse_forced_pickle(*, trust: bool) -> None:
    """torch lets this variable overrule the caller, so that any file could run code."""
    if os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "0") not in ("", "0") and not trust:
        raise CheckpointError(
            "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set, which lets every checkpoint run code. Unset it, or say "
            "--trust_checkpoint if you trust the checkpoint's author."
        )


def find_checkpoint(source: Path) -> tuple[Path, str]:
    """Return the checkpoint that *source* means, and why: a file itself, of a run folder the best, else the last.

    Raises:
        CheckpointError: there is none.
    """
    if not source.exists():
        raise CheckpointError(f"src_checkpoint: there is no file or run folder {source}.")
    if source.is_file():
        return source, "given as src_checkpoint"
    folder = RunFolder(source)
    if folder.best_checkpoint.is_file():
        return folder.best_checkpoint, f"the best epoch of {source.name}"
    if folder.last_checkpoint.is_file():
        return folder.last_checkpoint, f"the last epoch of {source.name}, which has no best.ckpt"
    raise CheckpointError(f"src_checkpoint: {source} holds neither checkpoints/best.ckpt nor checkpoints/last.ckpt.")


def load_weights(model: LightningModule, path: Path, *, trust: bool = False) -> None:
    """Put the weights in the checkpoint at *path* into *model*, as Lightning does it.

    Raises:
        CheckpointError: the file cannot be read, or its weights do not fit the model.
    """
    checkpoint = read_checkpoint(path, trust=trust)
    if "state_dict" not in checkpoint:
        raise CheckpointError(f"{path} is no Lightning checkpoint: it has no state_dict.")
    model.configure_model()
    model.on_load_checkpoint(checkpoint)
    try:
        model.load_state_dict(checkpoint["state_dict"], strict=model.strict_loading)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:4]]
        raise CheckpointError(f"{path} does not fit {type(model).__name__}: {' '.join(lines)}") from error
    name = first_not_finite(model)
    if name is not None:
        raise CheckpointError(f"{path}: the weights in {name} are not finite (NaN or infinite).")


def first_not_finite(model: torch.nn.Module) -> str | None:
    """Return the name of a parameter with NaN or infinite values, or None. Buffers may hold infinity on purpose."""
    parameters = {name: each for name, each in model.named_parameters() if each.is_floating_point()}
    flags = [torch.isfinite(each.detach()).all() for each in parameters.values()]
    if not flags or bool(torch.stack([flag.to(flags[0].device) for flag in flags]).all()):
        return None
    return next(name for name, flag in zip(parameters, flags, strict=True) if not flag)


class SafeCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints so that a kill leaves the previous file whole, and reads them without running code."""

    def __init__(self, *, trust: bool = False) -> None:
        super().__init__()
        self._trust = trust

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write to a temporary name beside *path*, fsync, rename. Hyper-parameters become plain values."""
        del storage_options
        checkpoint = {
            key: _plain(value, key) if key in _HYPER_PARAMETERS else _without_numpy(value)
            for key, value in checkpoint.items()
        }
        try:
            write_checkpoint_file(Path(path), lambda file: torch.save(checkpoint, cast(IO[bytes], file)))
        except (OSError, RuntimeError) as error:  # torch hides the one in the other
            if not isinstance(error, OSError) and not is_disk_full(error):
                raise
            reason = getattr(error, "strerror", None) or "the disk is full"
            raise RunFailedError(f"Cannot write {path}: {reason}. Checkpoints that were there are whole.") from error

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read *path*; only tensors and plain values unless the run was told to trust it."""
        del map_location, weights_only
        return read_checkpoint(Path(path), trust=self._trust)


def _without_numpy(value: Any) -> Any:
    """Return *value* with NumPy's numbers as Python's, which torch's safe loading takes; all else as it is."""
    if isinstance(value, np.generic):
        return value.item()
    if type(value) is dict:
        return {key: _without_numpy(item) for key, item in value.items()}
    return [_without_numpy(item) for item in value] if type(value) is list else value


def _plain(value: Any, where: str) -> Any:
    """Turn what torch's safe loading refuses into plain values, so that a run can read its own checkpoints."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, where) for item in value]
    if isinstance(value, Enum):
        return value.value if isinstance(value.value, str | int | float) else value.name
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str | torch.Tensor):
        return value
    log.debug("%s is no plain value; the checkpoint keeps its text", where)
    return repr(value)
