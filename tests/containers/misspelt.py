"""A container that misspells a parameter."""

from runner import LightningContainer


class Misspelt(LightningContainer):
    """Sets num_epoch."""

    def __init__(self):
        super().__init__()
        self.num_epoch = 3
