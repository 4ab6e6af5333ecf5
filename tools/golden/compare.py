"""How far two goldens are from each other: .json or .safetensors files of the same kind.

    venv/bin/python compare.py OLD NEW [LIMIT]

Texts, whole numbers and shapes must be equal (but not what names versions). Of the other numbers it prints the largest
deviation, relative to the number or, in tensors, norm of the difference over norm. The status is 1 above LIMIT, which
is 0 by default: bit for bit.
"""

import json
import sys

import numpy
from safetensors.numpy import load_file

# What names the programs, and float32's own error, which other processors round differently.
OF_THE_MACHINE = {"made_with", "torch", "float32_error"}


def compare(old, new, where=""):
    """The largest deviation, and where it is."""
    if isinstance(old, dict):
        assert old.keys() == new.keys(), f"{where}: other names"
        return max((compare(old[k], new[k], f"{where}/{k}") for k in old if k not in OF_THE_MACHINE), default=(0.0, where))
    if isinstance(old, list):
        assert len(old) == len(new), f"{where}: {len(old)} against {len(new)}"
        return max((compare(a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(old, new))), default=(0.0, where))
    if isinstance(old, numpy.ndarray):
        assert (old.shape, old.dtype) == (new.shape, new.dtype), f"{where}: other shapes or types"
        if numpy.array_equal(old, new):
            return 0.0, where
        assert old.dtype.kind == "f", f"{where}: differs"
        old, new = old.astype(float), new.astype(float)
        return float(numpy.linalg.norm(old - new) / max(numpy.linalg.norm(old), 1e-300)), where
    if isinstance(old, float) and isinstance(new, float):
        return abs(old - new) / max(abs(old), 1e-300), where
    assert old == new, f"{where}: {old!r} against {new!r}"
    return 0.0, where


def read(path):
    if path.endswith(".safetensors"):
        return load_file(path)
    with open(path) as file:
        return json.load(file)


old, new, limit = sys.argv[1], sys.argv[2], float(sys.argv[3]) if len(sys.argv) > 3 else 0.0
try:
    deviation, where = compare(read(old), read(new))
except AssertionError as difference:
    sys.exit(f"{new}: {difference}")
print(f"{new}: " + ("equal bit for bit" if deviation == 0.0 else f"at most {deviation:.1e} apart, at {where}"))
sys.exit(deviation > limit)
