"""The innermost pieces of implicit ALS, written as LLVM instructions on vectors of sixteen floats.

Numba's loops do not keep a tile of sums in registers, and cannot know that two parts of one array do not
overlap. LLVM splits the vectors where the processor's are narrower. Every array is one-dimensional and
contiguous, float32 unless another type is named; offsets and steps are in elements, and no bounds are
checked. (Numba's cache does not see a change of this file: touch the files that use it.)
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from recsys.matrix.compiled import SavedKernel

LANES = 16
TILE = 4  # rows and columns of sums that stay in registers
ROWS = 8  # rows of a table that one step of `sweep` reads
_P = ParamSpec("_P")
_R = TypeVar("_R")
_FAST = ("fast",)
_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_floats, _integers, _place = types.Array(types.float32, 1, "C"), types.Array(types.int64, 1, "C"), types.int64


def thread_loops(function: Callable[_P, _R]) -> SavedKernel[_P, _R]:
    """Compiled, with the loops over `prange`, and nothing else, spread over threads: to look for more takes
    long."""
    others = ("comprehension", "reduction", "inplace_binop", "setitem", "numpy", "stencil", "fusion")
    spread: Any = {"prange": True} | dict.fromkeys(others, False)
    return SavedKernel(function, parallel=spread, fastmath=True)


def _products(typing: Any, source: Any, first: Any, second: Any, step: Any, count: Any, into: Any) -> Any:
    """into[64 p + 16 q + lane] = sum over k < count of one * two, for p and q below 4, where one is
    source[first + p step + 16 k + lane] and two is source[second + q step + 16 k + lane]."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        source, first, second, step, count, into = (
            _of(context, builder, signature, values, n) for n in range(6)
        )
        starts = [
            _move(builder, source, start, [(step, n)]) for start in (first, second) for n in range(TILE)
        ]
        zeros = [ir.Constant(_VECTOR, [0.0] * LANES)] * TILE**2
        with _loop(builder, count, 1, zeros) as (k, sums, following):
            at = builder.mul(k, _integer(LANES))
            parts = [_load(builder, builder.gep(start, [at])) for start in starts]
            for n, total in enumerate(sums):
                product = builder.fmul(parts[n // TILE], parts[TILE + n % TILE], flags=_FAST)
                following.append(builder.fadd(total, product, flags=_FAST))
        for n, total in enumerate(sums):
            _store(builder, total, builder.gep(into, [_integer(n * LANES)]))
        return context.get_dummy_value()

    return types.void(_floats, _place, _place, _place, _place, _floats), code


def _gather(
    typing: Any, table: Any, starts: Any, column: Any, scales: Any, factor: Any, into: Any, at: Any, step: Any
) -> Any:
    """into[at + step f + lane] = table[starts[lane] + column + f] * scales[16 (column + f) + lane] *
    factor[lane].

    For f below 16: sixteen pieces of rows, transposed and scaled. starts: int64 (16,).
    """

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        table, starts, column, scales, factor, into, at, step = (
            _of(context, builder, signature, values, n) for n in range(8)
        )
        rows = []
        for lane in range(LANES):
            start = builder.add(builder.load(builder.gep(starts, [_integer(lane)])), column)
            rows.append(_load(builder, builder.gep(table, [start])))
        weights = _load(builder, factor)
        for f, row in enumerate(_transpose(builder, rows)):
            line = builder.mul(builder.add(column, _integer(f)), _integer(LANES))
            scale = builder.fmul(_load(builder, builder.gep(scales, [line])), weights, flags=_FAST)
            _store(builder, builder.fmul(row, scale, flags=_FAST), _move(builder, into, at, [(step, f)]))
        return context.get_dummy_value()

    return types.void(_floats, _integers, _place, _floats, _floats, _floats, _place, _place), code


def _fetch(typing: Any, table: Any, starts: Any, at: Any, dim: Any) -> Any:
    """Asks for the eight rows table[starts[at + n]:][:dim], so that they are in the cache when they are
    needed."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        table, starts, at, dim = (_of(context, builder, signature, values, n) for n in range(4))
        bytes_, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [bytes_, number, number, number])
        prefetch: Any = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
            builder.module, kind, "llvm.prefetch.p0"
        )
        rows = _rows(builder, table, starts, at)
        with _loop(builder, dim, LANES, []) as (f, _, _):
            for row in rows:
                place = builder.bitcast(builder.gep(row, [f]), bytes_)
                builder.call(prefetch, [place, *(ir.Constant(number, value) for value in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(_floats, _integers, _place, _place), code


def _transpose(builder: Any, rows: list[Any]) -> list[Any]:
    """Sixteen vectors of sixteen, transposed: blocks of one are exchanged, then of two, of four, of eight."""
    width = 1
    while width < LANES:
        for low in range(LANES):
            if not low & width:
                pair = rows[low], rows[low + width]
                kept = [LANES + i - width if i & width else i for i in range(LANES)]
                swapped = [LANES + i if i & width else i + width for i in range(LANES)]
                rows[low], rows[low + width] = (
                    builder.shuffle_vector(*pair, _mask(x)) for x in (kept, swapped)
                )
        width *= 2
    return rows


def _sweep(
    typing: Any,
    table: Any,
    starts: Any,
    weights: Any,
    at: Any,
    query: Any,
    levels: Any,
    slope: Any,
    out: Any,
    into: Any,
    dim: Any,
) -> Any:
    """For the eight rows y = table[starts[at + n]:][:dim]: out[at + n] = weights[at + n] * (levels[at + n] +
    slope * y'query), and into += sum of out[at + n] * y.

    starts: int64; slope: float32; dim: a multiple of 16.
    """

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        table, starts, weights, at, query, levels, slope, out, into, dim = (
            _of(context, builder, signature, values, n) for n in range(10)
        )
        rows = _rows(builder, table, starts, at)
        zeros = [ir.Constant(_VECTOR, [0.0] * LANES)] * ROWS
        with _loop(builder, dim, LANES, zeros) as (f, sums, following):
            asked = _load(builder, builder.gep(query, [f]))
            for row, total in zip(rows, sums, strict=True):
                product = builder.fmul(_load(builder, builder.gep(row, [f])), asked, flags=_FAST)
                following.append(builder.fadd(total, product, flags=_FAST))
        bent = builder.fmul(_spread(builder, slope), _sum_lanes(builder, sums), flags=_FAST)
        bent = builder.fadd(bent, _load(builder, builder.gep(levels, [at]), ROWS), flags=_FAST)
        bent = builder.fmul(bent, _load(builder, builder.gep(weights, [at]), ROWS), flags=_FAST)
        _store(builder, bent, builder.gep(out, [at]))
        wide = [builder.shuffle_vector(bent, bent, _mask([n] * LANES)) for n in range(ROWS)]
        with _loop(builder, dim, LANES, []) as (f, _, _):
            target = builder.gep(into, [f])
            halves = [_load(builder, target), ir.Constant(_VECTOR, [0.0] * LANES)]
            for n, row in enumerate(rows):
                product = builder.fmul(_load(builder, builder.gep(row, [f])), wide[n], flags=_FAST)
                halves[n % 2] = builder.fadd(halves[n % 2], product, flags=_FAST)
            _store(builder, builder.fadd(*halves, flags=_FAST), target)
        return context.get_dummy_value()

    single = types.float32
    kinds = (_floats, _integers, _floats, _place, _floats, _floats, single, _floats, _floats, _place)
    return types.void(*kinds), code


def _rows(builder: Any, table: Any, starts: Any, at: Any) -> list[Any]:
    """The addresses of eight rows."""
    places = [builder.gep(starts, [builder.add(at, _integer(n))]) for n in range(ROWS)]
    return [builder.gep(table, [builder.load(place)]) for place in places]


def _sum_lanes(builder: Any, vectors: list[Any]) -> Any:
    """The sums over the lanes of eight vectors of sixteen, as one vector of eight: two become one, three
    times."""
    size = LANES
    while len(vectors) > 1:
        first = [at for at in range(LANES) if at % size < size // 2]
        second = [at for at in range(LANES) if at % size >= size // 2]
        masks = [_mask(half + [LANES + at for at in half]) for half in (first, second)]
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        vectors = [
            builder.fadd(*(builder.shuffle_vector(one, two, mask) for mask in masks), flags=_FAST)
            for one, two in pairs
        ]
        size //= 2
    halves = [builder.shuffle_vector(vectors[0], vectors[0], _mask(range(n, LANES, 2))) for n in (0, 1)]
    return builder.fadd(*halves, flags=_FAST)


def _take(typing: Any, counter: Any) -> Any:
    """counter[0], which becomes one more for the next thread that asks. counter: int64 (1,)."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.atomic_rmw(
            "add", _of(context, builder, signature, values, 0), _integer(1), "monotonic"
        )

    return _place(_integers), code


def _update(sign: str) -> Any:
    """Makes: into[c + lane] = into[c + lane] sign left[a + lane] * right[b + lane]; without sign, the product
    alone."""

    def declare(typing: Any, into: Any, c: Any, left: Any, a: Any, right: Any, b: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            into, c, left, a, right, b = (_of(context, builder, signature, values, n) for n in range(6))
            out = builder.gep(into, [c])
            factors = _load(builder, builder.gep(left, [a])), _load(builder, builder.gep(right, [b]))
            result = builder.fmul(*factors, flags=_FAST)
            if sign:
                combined = builder.fadd if sign == "+" else builder.fsub
                result = combined(_load(builder, out), result, flags=_FAST)
            _store(builder, result, out)
            return context.get_dummy_value()

        return types.void(_floats, _place, _floats, _place, _floats, _place), code

    return intrinsic(declare)


products: Any = intrinsic(_products)
gather: Any = intrinsic(_gather)
fetch: Any = intrinsic(_fetch)
sweep: Any = intrinsic(_sweep)
take: Any = intrinsic(_take)
add_product, subtract_product, set_product = _update("+"), _update("-"), _update("")


@contextmanager
def _loop(builder: Any, stop: Any, step: int, start: list[Any]) -> Iterator[tuple[Any, list[Any], list[Any]]]:
    """A counted loop from 0; yields the counter, the running values that began as `start`, and a list for the
    next."""
    before = builder.block
    head, body, after = (builder.append_basic_block(name) for name in ("head", "body", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    counter, running = builder.phi(stop.type), [builder.phi(value.type) for value in start]
    for phi, value in zip([counter, *running], [_integer(0), *start], strict=True):
        phi.add_incoming(value, before)
    builder.cbranch(builder.icmp_signed("<", counter, stop), body, after)
    builder.position_at_end(body)
    following: list[Any] = []
    yield counter, running, following
    following.insert(0, builder.add(counter, _integer(step)))
    for phi, value in zip([counter, *running], following, strict=True):
        phi.add_incoming(value, builder.block)
    builder.branch(head)
    builder.position_at_end(after)


def _of(context: Any, builder: Any, signature: Any, values: Any, n: int) -> Any:
    """Argument n; of an array, its address."""
    kind = signature.args[n]
    return (
        context.make_array(kind)(context, builder, values[n]).data
        if isinstance(kind, types.Array)
        else values[n]
    )


def _move(builder: Any, pointer: Any, at: Any, more: list[tuple[Any, int]]) -> Any:
    for step, times in more:
        at = builder.add(at, builder.mul(step, _integer(times)))
    return builder.gep(pointer, [at])


def _load(builder: Any, pointer: Any, count: int = LANES) -> Any:
    kind = ir.VectorType(ir.FloatType(), count)
    return builder.load(builder.bitcast(pointer, kind.as_pointer()), align=4, typ=kind)


def _store(builder: Any, value: Any, pointer: Any) -> None:
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer()), align=4)


def _spread(builder: Any, value: Any) -> Any:
    """A vector of eight times the same float."""
    empty = ir.Constant(ir.VectorType(ir.FloatType(), ROWS), ir.Undefined)
    vector = builder.insert_element(empty, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(vector, vector, _mask([0] * ROWS))


def _mask(places: Any) -> Any:
    places = list(places)
    return ir.Constant(ir.VectorType(ir.IntType(32), len(places)), places)


def _integer(value: int) -> Any:
    return ir.Constant(ir.IntType(64), value)
