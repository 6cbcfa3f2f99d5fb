"""The vectors of a bundle as files of the TensorFlow Projector, in which one can look at a space."""

from pathlib import Path

import numpy as np

from recsys.bundle.bundle import Bundle

_GAPS = str.maketrans("\t\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029", " " * 11)


def write_projector(bundle: Bundle, folder: Path, most: int) -> int:
    """Writes `vectors.tsv`, a line of floats for each item, and `metadata.tsv` with its id, title, domain and
    categories; at most so many items with vectors, the most popular first. Returns how many.

    The folder is made where there is none; files of these names are replaced.
    """
    order = bundle.recommender.fallback
    rows = order[bundle.norms[order] > 0][:most]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "vectors.tsv").open("w", encoding="utf-8", newline="\n") as file:
        np.savetxt(file, bundle.item_vectors[rows], fmt="%.6g", delimiter="\t")
    with (folder / "metadata.tsv").open("w", encoding="utf-8", newline="\n") as file:
        file.write("item_id\ttitle\tdomain\tcategories\n")
        for row in rows.tolist():
            catalogue = bundle.catalogue
            kinds = ", ".join(catalogue.categories(row))
            cells = (bundle.item_ids[row], catalogue.title(row) or "", catalogue.domain(row) or "", kinds)
            file.write("\t".join(cell.translate(_GAPS) for cell in cells) + "\n")
    return len(rows)
