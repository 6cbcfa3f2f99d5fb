"""A second device where the machine has none: its tensors hold real numbers, and refuse to meet those of the
host."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

ELSEWHERE = torch.device("meta")
_MOVES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class Elsewhere(torch.Tensor):
    """A tensor that says it is on the second device; what it holds is a tensor of the host."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "Elsewhere":
        wrapper: Elsewhere = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, held.shape, held.stride(), held.storage_offset(), dtype=held.dtype, device=ELSEWHERE
        )
        wrapper.held = held
        return wrapper

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class SecondDevice(TorchDispatchMode):
    """Within it `device=ELSEWHERE` makes such tensors, and `to` and `copy_` move them there and back."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    holders = {id(tensor.held): tensor for tensor in tensors if isinstance(tensor, Elsewhere)}
    if holders and func not in _MOVES and any(t.ndim for t in tensors if not isinstance(t, Elsewhere)):
        raise RuntimeError(f"{func} on tensors of two devices")
    if kwargs.get("device") is not None:
        there = torch.device(kwargs["device"]) == ELSEWHERE
        kwargs = {**kwargs, "device": torch.device("cpu")}
    else:
        there = isinstance(tensors[0], Elsewhere) if func in _MOVES else bool(holders)
    args, kwargs = tree_map(lambda leaf: leaf.held if isinstance(leaf, Elsewhere) else leaf, (args, kwargs))
    result = func(*args, **kwargs)
    if not there:
        return result
    return tree_map(
        lambda leaf: holders.get(id(leaf), Elsewhere(leaf)) if isinstance(leaf, torch.Tensor) else leaf,
        result,
    )
