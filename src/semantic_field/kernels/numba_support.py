"""What the compiled kernels share: the hash of a vertex and a prefetch instruction."""

# Numba's typing hooks have no stubs.
# pyright: basic, reportAttributeAccessIssue=false, reportCallIssue=false
from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from semantic_field.kernels.interface import HASH_PRIMES

PRIME_Y, PRIME_Z = np.uint32(HASH_PRIMES[1]), np.uint32(HASH_PRIMES[2])


@intrinsic
def prefetch(typing_context, array, row):  # noqa: ANN001, ANN201
    """Ask for the cache line of ``array[row, 0]`` (2D, C order) ahead of its use."""
    signature = types.void(array, row)

    def generate(context, builder, signature, arguments):  # noqa: ANN001, ANN202
        array_type = signature.args[0]
        view = context.make_array(array_type)(context, builder, arguments[0])
        index = context.cast(builder, arguments[1], signature.args[1], types.intp)
        stride = builder.extract_value(view.strides, 0)
        address = builder.add(builder.ptrtoint(view.data, cgutils.intp_t), builder.mul(index, stride))
        byte_pointer, int32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte_pointer, int32, int32, int32])
        function = builder.module.declare_intrinsic("llvm.prefetch", (byte_pointer,), kind)
        pointer = builder.inttoptr(address, byte_pointer)
        builder.call(function, [pointer, int32(0), int32(3), int32(1)])
        return context.get_dummy_value()

    return signature, generate


@njit(inline="always")
def block_start(x, y, z, mask):  # noqa: ANN001, ANN201
    """Table index of the first vertex of the block with coordinates (x, y, z), int32."""
    hashed = np.uint32(x) ^ (np.uint32(y) * PRIME_Y) ^ (np.uint32(z) * PRIME_Z)
    return np.int32((hashed & mask) << np.uint32(3))
