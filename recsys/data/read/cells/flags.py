"""Columns that say yes or no, as their writers spell it."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.data.check.findings import Finding, rows, whole
from recsys.data.read.cells.plain import decode_column, is_text, plain

_WORDS = {"true": True, "yes": True, "t": True, "y": True, "1": True, "1.0": True}
_WORDS |= {"false": False, "no": False, "f": False, "n": False, "0": False, "0.0": False}


def parse_flags(column: pa.ChunkedArray, name: str) -> tuple[pa.Array | None, list[Finding]]:
    """A boolean array, null where nothing is said, and what is wrong; None where the column holds no yes or
    no.

    True and false, yes and no, t and f, y and n in any case, 1 and 0.
    """
    column = decode_column(plain(column))
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), pa.bool_()), []
    if pa.types.is_boolean(column.type):
        return column.combine_chunks(), []
    if not (is_text(column.type) or pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return None, [
            whole("error", "no_flag_column", name, f"must hold yes or no; it holds {column.type}", "Mend it.")
        ]
    words = pc.utf8_lower(pc.utf8_trim_whitespace(column.cast(pa.string())))
    known = pc.index_in(words, pa.array(_WORDS))
    said = (
        pc.is_valid(words)
        if not is_text(column.type)
        else pc.and_(pc.is_valid(words), pc.not_equal(words, ""))
    )
    odd = np.asarray(
        pc.and_(pc.fill_null(said, False), pc.is_null(known)).to_numpy(zero_copy_only=False), bool
    )
    findings = rows("error", "odd_flag", name, odd, "neither yes nor no", "Write true or false.")
    return pc.take(pa.array(_WORDS.values()), known).combine_chunks(), findings
