"""LLVM intrinsics for Numba: cache prefetch, and SIMD operations on a table entry's features.

A table entry has F floats; F must be known when code is generated. ``width`` arguments are
tuples of length F, because a tuple's length is part of its type.
"""

# Numba's typing hooks have no stubs, and compiled functions carry no annotations.
# pyright: basic, reportAttributeAccessIssue=false, reportCallIssue=false
from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

CORNERS = 8


def _address(context, builder, array_type, array, index):
    """Address (an integer) of ``array[index]`` along the first axis."""
    view = context.make_array(array_type)(context, builder, array)
    stride = builder.extract_value(view.strides, 0)
    return builder.add(builder.ptrtoint(view.data, cgutils.intp_t), builder.mul(index, stride))


def _element(context, builder, array_type, array, row, column):
    """Pointer to ``array[row, column]`` of a C-ordered 2D array."""
    view = context.make_array(array_type)(context, builder, array)
    return cgutils.get_item_pointer(context, builder, array_type, view, [row, column])


@intrinsic
def prefetch(typing_context, array, row):
    """Prefetch the cache line of ``array[row]``."""
    signature = types.void(array, row)

    def generate(context, builder, signature, arguments):
        index = context.cast(builder, arguments[1], signature.args[1], types.intp)
        address = _address(context, builder, signature.args[0], arguments[0], index)
        byte_pointer, int32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte_pointer, int32, int32, int32])
        function = builder.module.declare_intrinsic("llvm.prefetch", (byte_pointer,), kind)
        pointer = builder.inttoptr(address, byte_pointer)
        builder.call(function, [pointer, int32(0), int32(3), int32(1)])
        return context.get_dummy_value()

    return signature, generate


def _splat(builder, vector, scalar):
    """Return a vector with the scalar in every lane."""
    result = ir.Constant(vector, ir.Undefined)
    for lane in range(vector.count):
        result = builder.insert_element(result, scalar, ir.IntType(32)(lane))
    return result


def _corner_entries(context, builder, types_, entries, rows, weights, slot, vector):
    """Yield for each corner a vector pointer to its entry, and its weight in all lanes."""
    for corner in range(CORNERS):
        c = context.get_constant(types.intp, corner)
        row = builder.load(_element(context, builder, types_[1], rows, c, slot))
        weight = builder.load(_element(context, builder, types_[2], weights, c, slot))
        address = _address(context, builder, types_[0], entries, builder.sext(row, cgutils.intp_t))
        yield builder.inttoptr(address, vector.as_pointer()), _splat(builder, vector, weight)


@intrinsic
def gather(typing_context, entries, rows, weights, slot, out, first_row, column, width):
    """Write the weighted sum of the entries at ``rows[:, slot]`` to ``out[first_row:, column]``.

    ``entries`` float32 (T, F), ``rows`` int32 (8, B), ``weights`` float32 (8, B).
    """
    signature = types.void(entries, rows, weights, types.intp, out, types.intp, types.intp, width)

    def generate(context, builder, signature, arguments):
        features = signature.args[7].count
        vector = ir.VectorType(ir.FloatType(), features)
        total = ir.Constant(vector, [0.0] * features)
        types_ = signature.args[:3]
        corners = _corner_entries(context, builder, types_, *arguments[:4], vector)
        for pointer, weight in corners:
            value = builder.load(pointer, align=4)
            total = builder.fadd(total, builder.fmul(value, weight, ("contract",)), ("contract",))
        for f in range(features):
            row = builder.add(arguments[5], context.get_constant(types.intp, f))
            target = _element(context, builder, signature.args[4], arguments[4], row, arguments[6])
            builder.store(builder.extract_element(total, ir.IntType(32)(f)), target)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def scatter_add(typing_context, entries, rows, weights, slot, grad, first_row, column, width):
    """entries[rows[c, slot]] += weights[c, slot] * grad[first_row : first_row + F, column]."""
    signature = types.void(entries, rows, weights, types.intp, grad, types.intp, types.intp, width)

    def generate(context, builder, signature, arguments):
        features = signature.args[7].count
        vector = ir.VectorType(ir.FloatType(), features)
        value = ir.Constant(vector, ir.Undefined)
        for f in range(features):
            row = builder.add(arguments[5], context.get_constant(types.intp, f))
            source = _element(context, builder, signature.args[4], arguments[4], row, arguments[6])
            value = builder.insert_element(value, builder.load(source), ir.IntType(32)(f))
        types_ = signature.args[:3]
        corners = _corner_entries(context, builder, types_, *arguments[:4], vector)
        for pointer, weight in corners:
            change = builder.fmul(value, weight, ("contract",))
            before = builder.load(pointer, align=4)
            builder.store(builder.fadd(before, change, ("contract",)), pointer, align=4)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def project(typing_context, entries, rows, out, slot, grad, first_row, column, width):
    """out[c, slot] = entries[rows[c, slot]] . grad[first_row : first_row + F, column]."""
    signature = types.void(entries, rows, out, types.intp, grad, types.intp, types.intp, width)

    def generate(context, builder, signature, arguments):
        entries, rows, out, slot, grad, first_row, column, _ = arguments
        features = signature.args[7].count
        values = []
        for f in range(features):
            row = builder.add(first_row, context.get_constant(types.intp, f))
            pointer = _element(context, builder, signature.args[4], grad, row, column)
            values.append(builder.load(pointer))
        for corner in range(CORNERS):
            c = context.get_constant(types.intp, corner)
            row = builder.load(_element(context, builder, signature.args[1], rows, c, slot))
            row = builder.sext(row, cgutils.intp_t)
            total = ir.Constant(ir.FloatType(), 0.0)
            for f in range(features):
                column_f = context.get_constant(types.intp, f)
                entry = _element(context, builder, signature.args[0], entries, row, column_f)
                product = builder.fmul(builder.load(entry), values[f], ("contract",))
                total = builder.fadd(total, product, ("contract",))
            builder.store(total, _element(context, builder, signature.args[2], out, c, slot))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def adam_line(typing_context, table, grad, first, second, line, rates, width):
    """Apply Adam to ``table[line]`` where ``grad[line]`` is not zero, then clear ``grad[line]``.

    Arrays are float32 (lines, 4 F). ``rates`` are beta1, beta2, 1 - beta1, 1 - beta2, learning rate
    / bias correction 1, 1 / bias correction 2, epsilon.
    """
    signature = types.void(table, grad, first, second, types.intp, rates, width)

    def generate(context, builder, signature, arguments):
        lanes = 4 * signature.args[6].count
        vector = ir.VectorType(ir.FloatType(), lanes)
        pointers = [
            builder.inttoptr(
                _address(context, builder, kind, array, arguments[4]), vector.as_pointer()
            )
            for kind, array in zip(signature.args[:4], arguments[:4], strict=True)
        ]
        t, g, m, v = (builder.load(pointer, align=4) for pointer in pointers)
        rates = [_splat(builder, vector, r) for r in cgutils.unpack_tuple(builder, arguments[5])]
        beta1, beta2, rest1, rest2, rate, correction, epsilon = rates
        fast = ("contract", "arcp")
        mean = builder.fadd(builder.fmul(beta1, m, fast), builder.fmul(rest1, g, fast), fast)
        square = builder.fmul(rest2, builder.fmul(g, g, fast), fast)
        square = builder.fadd(builder.fmul(beta2, v, fast), square, fast)
        kind = ir.FunctionType(vector, [vector])
        root_of = cgutils.get_or_insert_function(builder.module, kind, f"llvm.sqrt.v{lanes}f32")
        root = builder.call(root_of, [builder.fmul(square, correction, fast)])
        change = builder.fmul(rate, mean, fast)
        change = builder.fdiv(change, builder.fadd(root, epsilon, fast), fast)
        zero = ir.Constant(vector, [0.0] * lanes)
        moved = builder.fcmp_ordered("!=", g, zero)
        results = (
            builder.select(moved, builder.fsub(t, change, fast), t),
            zero,
            builder.select(moved, mean, m),
            builder.select(moved, square, v),
        )
        for value, pointer in zip(results, pointers, strict=True):
            builder.store(value, pointer, align=4)
        return context.get_dummy_value()

    return signature, generate
