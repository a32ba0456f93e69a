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
        default="", doc="Name of the data set in the cloud, kept for InnerEye containers; unused on a local machine."
    )
    extra_azure_dataset_ids = param.List(
        default=[], item_type=str, doc="Names of further data sets in the cloud; unused on a local machine."
    )
