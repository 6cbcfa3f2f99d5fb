"""Where tensors stand while a model is learned."""

import os
from typing import Literal

import torch

from recsys.errors import SettingError

Wanted = Literal["auto", "cpu", "cuda"]
CPU = torch.device("cpu")


def device(wanted: Wanted) -> torch.device:
    """auto: a GPU where there is one. Processes of torchrun take one each, in turn where there are fewer.

    Raises SettingError where a GPU is wanted and there is none.
    """
    if wanted == "cpu" or not torch.cuda.is_available():
        if wanted == "cuda":
            raise SettingError("device: cuda is wanted, but torch sees no GPU here. Take auto or cpu.")
        return CPU
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
