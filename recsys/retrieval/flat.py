"""The exact FAISS index over vectors that stay where they are."""

from typing import Any

import faiss
import numpy as np

from recsys.arrays import F32


def index_over(vectors: F32) -> Any:
    """An exact inner-product index whose storage is `vectors` (n, dim) themselves: nothing is read or copied.

    vectors: float32, C-contiguous, memory-mapped or not, not to be changed. FAISS's own file would hold them at an odd
    address, where numpy copies the whole matrix for each product.
    """
    index = faiss.IndexFlatIP(vectors.shape[1])
    codes = vectors.reshape(-1).view(np.uint8)
    nobody = faiss.MaybeOwnedVectorUInt8().owner
    index.codes = faiss.MaybeOwnedVectorUInt8.create_view(faiss.swig_ptr(codes), codes.nbytes, nobody)
    index.ntotal = len(vectors)
    index.referenced_objects = (codes,)  # FAISS holds a bare pointer: the array lives as long as the index
    return index
