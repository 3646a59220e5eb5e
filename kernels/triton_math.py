"""Functions shared by Triton kernels: activations, a decay's loss, a product."""

import triton
import triton.language as tl

LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)


@triton.jit
def silu(x):
    """Return x * sigmoid(x) of float32 values."""
    # 1 / y as rsqrt(y)^2: one instruction of the special unit, where a division takes ten others as well.
    # The exponent is kept finite; beyond it the result is 0 to any dtype.
    root = tl.rsqrt(1.0 + tl.exp2(tl.minimum(x * -LOG2_E, 126.0)))
    return x * root * root


@triton.jit
def expm1(x):
    """Return exp(x) - 1 for x <= 0: a series where the difference would lose all digits."""
    series = x * (1.0 + x * (0.5 + x * (1 / 6 + x * (1 / 24 + x * (1 / 120)))))
    return tl.where(x > -0.125, series, tl.exp2(x * LOG2_E) - 1.0)


@triton.jit
def dot(a, b, carry, PRECISION: tl.constexpr, WIDE: tl.constexpr):
    """Return a @ b + carry in float32. WIDE is for the interpreter, which reads bfloat16 as integers here."""
    if WIDE:
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, carry, input_precision=PRECISION)
