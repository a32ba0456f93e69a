"""Where the data lies."""

from __future__ import annotations

from pathlib import Path

import param

from runner.params.kinds import path_parameter


class DatasetParams(param.Parameterized):
    """Settings that point at data sets. All may stay empty: data can also be made or downloaded by the data module."""

    local_dataset = path_parameter(doc="Folder of the data set.")
    extra_local_dataset_paths = param.List(default=[], item_type=Path, doc="Folders of further data sets.")
    azure_dataset_id = param.String(
        default="",
        doc="With --azureml: what is mounted as local_dataset, a folder in the workspace's blob storage, NAME:VERSION "
        "or NAME@LABEL of a data asset, or a URI. Unused on a local machine.",
    )
    extra_azure_dataset_ids = param.List(
        default=[],
        item_type=str,
        doc="With --azureml: what is mounted as extra_local_dataset_paths. Unused on a local machine.",
    )
