"""Antialiased bilinear resizing in ONNX as two matrix products, equal to torch's but for the last bits.

ONNX's own operator differs by up to a thousandth of a level, which rounding makes a whole level in pixels that lie
between two; and not every runtime has its antialiasing.
"""

from collections.abc import Sequence
from typing import Any

from onnxscript import opset18 as op

FLOAT = 1
"""Number of float32 in ONNX."""


def antialiased(
    images: Any,
    output_size: Sequence[int],
    align_corners: bool,
    scales_h: float | None = None,
    scales_w: float | None = None,
) -> Any:
    """Translation of torch's `_upsample_bilinear2d_aa`: [B, C, H, W] to [B, C, *output_size], of any H and W.

    Width first, as torch does it.
    """
    assert not align_corners
    height, width = output_size
    narrow = op.MatMul(images, op.Transpose(_weights(op.Shape(images, start=3, end=4), width), perm=[1, 0]))
    return op.MatMul(_weights(op.Shape(images, start=2, end=3), height), narrow)


def _weights(old: Any, new: Any) -> Any:
    """Share of each old pixel in each new one, float32 [new, old]: a triangle over the new centre.

    `old` int64 [1]; `new` too, or a whole number.
    """
    new = _integers(new) if isinstance(new, int) else op.Reshape(new, _integers(1))
    scale = op.Div(op.Cast(old, to=FLOAT), op.Cast(new, to=FLOAT))
    reach = op.Max(scale, _numbers(1))
    centres = op.Mul(scale, op.Unsqueeze(_centres(new), _integers(1)))
    distances = op.Abs(op.Div(op.Sub(_centres(old), centres), reach))
    triangle = op.Max(op.Sub(_numbers(1), distances), _numbers(0))
    return op.Div(triangle, op.ReduceSum(triangle, _integers(1), keepdims=1))


def _centres(count: Any) -> Any:
    """Centres of so many pixels, float32 [count]; `count` int64 [1]."""
    zero, one = op.Constant(value_int=0), op.Constant(value_int=1)
    return op.Add(op.Cast(op.Range(zero, op.Squeeze(count), one), to=FLOAT), _numbers(0.5))


def _numbers(*values: float) -> Any:
    return op.Constant(value_floats=[float(value) for value in values])


def _integers(*values: int) -> Any:
    return op.Constant(value_ints=list(values))
