"""Containers for sweeps: quick ones, and such that fail, hang or die as their parameters say."""

import param

from runner import LightningContainer


class Sweeping(LightningContainer):
    """A sweep's guinea pig."""

    x = param.Number(default=0.0, bounds=(-10, 10), doc="What `score` depends on: (x - 0.3)^2.")
    width = param.Integer(default=4, bounds=(1, 64), doc="Without effect.")
    kind = param.Selector(default="a", objects=["a", "b", "c"], doc="Without effect.")
    sizes = param.List(default=[1], item_type=int, doc="Without effect.")
    mode = param.Selector(
        default="",
        objects=["", "raise", "die", "die once", "die each epoch", "hang", "nan", "leave", "exit", "close", "thread"],
        doc="How to misbehave.",
    )
    pause = param.Number(default=0.0, bounds=(0, None), doc="Seconds that each step sleeps.")
    brake = param.String(default="", doc="A file: steps sleep only after the first epoch, and while it is there.")
    passphrase = param.String(default="", doc="A secret without effect.")
    address = param.String(default="", doc="Without effect.")
    batches = param.Integer(default=3, bounds=(1, None), doc="Batches per epoch.")

    fixed_on_resume = ("passphrase", "address")

    def __init__(self):
        super().__init__()
        self.num_epochs = 2
        self.deterministic = True
        self.logger = []

    def create_model(self):
        from .sweeping_parts import Quadratic

        return Quadratic(self)

    def get_data_module(self):
        from .sweeping_parts import Points

        return Points(self.batches)

    def get_parameter_search_space(self):
        return {"x": [0.1, 0.2], "kind": ["a", "b"]}


class WithoutSpace(Sweeping):
    """Defines no search space."""

    def get_parameter_search_space(self):
        return {}
