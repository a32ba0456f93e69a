"""The guinea pig of the fault tests: small pictures, dropout, shuffling, three phases; it misbehaves as it is told."""

import os

import param

from runner import LightningContainer


class Tiny(LightningContainer):
    """Tells bright squares from dark ones in a second."""

    fault = param.String(default="", doc="How to misbehave.")
    fault_rank = param.Integer(default=None, allow_None=True, doc="Process that misbehaves; all unless set.")
    at = param.Integer(default=5, bounds=(0, None), doc="Where: item, step, epoch, image or batch.")
    step_seconds = param.Number(default=0.0, bounds=(0, None), doc="How long each step sleeps.")
    brake = param.String(default="", doc="A file: steps sleep only after the first epoch, and while it is there.")
    image_seconds = param.Number(default=0.0, bounds=(0, None), doc="How long each forward pass of an image sleeps.")
    num_items = param.Integer(default=24, bounds=(0, None), doc="Items in each split.")
    num_workers = param.Integer(default=0, bounds=(0, None), doc="Processes that load data.")
    token = param.String(default="", doc="A secret.")

    def __init__(self):
        super().__init__()
        self.num_epochs = 4
        self.l_rate = 0.01
        self.logger = []
        self.saliency_method = "rise"
        self.saliency_num_masks = 16
        self.saliency_grid_size = 2
        self._batches_explained = 0

    def setup(self):
        rank = int(os.environ.get("NODE_RANK", "0")) + int(
            os.environ.get("LOCAL_RANK", "0")
        )  # one machine, or one each
        if self.fault_rank not in (None, rank):
            self.fault = ""
        if self.fault == "setup raises":
            raise ValueError("no such \x1b]0;title\x07 file <script>alert(1)</script>")

    def create_model(self):
        from .faulty_parts import Bright

        if self.fault == "no model":
            return None
        return Bright(self)

    def get_data_module(self):
        from .faulty_parts import Squares

        if self.fault == "no data":
            return None
        if self.fault == "wrong data":
            return [1, 2]
        return Squares(self)

    def get_callbacks(self):
        from .faulty_parts import Misbehaving

        return [Misbehaving(self)]

    def get_saliency_images(self, batch):
        from .faulty_parts import wait

        self._batches_explained += 1
        if self.fault == "saliency waits" and self._batches_explained == self.at:
            wait()
        return super().get_saliency_images(batch)

    def create_report(self):
        if self.fault == "report raises":
            raise KeyError("report")


class Telling(Tiny):
    """Says what it predicts, for the evaluation."""

    def create_model(self):
        from .faulty_parts import TellingBright

        return TellingBright(self)
