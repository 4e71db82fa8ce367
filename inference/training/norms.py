"""Fold batch norms into the convolutions before them, and put them back.

A norm that no longer follows its batches is a scale and a shift: folded, a network answers the
same with less work (Jacob et al., 2018, section 3.2). What is learned after that is learned by
the convolutions; `unfold` writes it into a network that still has its norms.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold(network: nn.Module) -> None:
    """Fold, in place, every batch norm that follows a convolution in a sequence.

    The network answers as it did in evaluation mode, and those norms follow no batch any more.
    """
    for convolution, norm in list(_pairs(network)):
        fused = fuse_conv_bn_eval(convolution.module.eval(), norm.module.eval())
        network.set_submodule(convolution.name, fused)
        network.set_submodule(norm.name, nn.Identity())


@torch.no_grad()
def unfold(folded: nn.Module, into: nn.Module) -> None:
    """Write the weights of a folded network into one of the same form that has its norms.

    Parameters
    ----------
    folded : nn.Module
        What `fold` made of such a network, perhaps trained since.
    into : nn.Module
        Answers as `folded` does, in evaluation mode, afterwards.
    """
    state, before = folded.state_dict(), into.state_dict()
    for convolution, norm in _pairs(into):
        shift = state.pop(f"{convolution.name}.bias")
        if convolution.module.bias is not None:
            state[f"{convolution.name}.bias"] = torch.zeros_like(shift)
        state |= {
            f"{norm.name}.weight": torch.ones_like(shift),
            f"{norm.name}.bias": shift,
            f"{norm.name}.running_mean": torch.zeros_like(shift),
            f"{norm.name}.running_var": torch.full_like(shift, 1 - norm.module.eps),
            f"{norm.name}.num_batches_tracked": before[f"{norm.name}.num_batches_tracked"],
        }
    into.load_state_dict(state)


class _Convolution(NamedTuple):
    name: str
    module: nn.Conv2d


class _Norm(NamedTuple):
    name: str
    module: nn.BatchNorm2d


def _pairs(network: nn.Module) -> Iterator[tuple[_Convolution, _Norm]]:
    """Yield each convolution with the batch norm that follows it in a sequence."""
    for path, sequence in network.named_modules():
        if not isinstance(sequence, nn.Sequential):
            continue
        lead = f"{path}." if path else ""
        for (first, one), (second, other) in pairwise(sequence.named_children()):
            if isinstance(one, nn.Conv2d) and isinstance(other, nn.BatchNorm2d):
                yield _Convolution(lead + first, one), _Norm(lead + second, other)
