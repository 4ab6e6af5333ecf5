"""Golden values for maps of scores: scikit-learn's over all pixels, and the AUPRO by its definition, region by region
and threshold by threshold.

    venv/bin/python localisation.py > localisation.json
"""

import json
import sys

import numpy
import scipy
import sklearn
from scipy.ndimage import label
from sklearn import metrics

rng = numpy.random.default_rng(11)
LIMITS = [0.05, 0.25, 0.3, 1.0]


def aupro(scores, masks, limit):
    """Bergmann et al., IJCV 2021: the mean share of the regions against the false-positive rate, up to a limit."""
    regions = []
    for image, mask in enumerate(masks):
        labels, count = label(mask, numpy.ones((3, 3)))
        regions += [scores[image][labels == region] for region in range(1, count + 1)]
    normal = numpy.concatenate([s[~m] for s, m in zip(scores, masks)])
    thresholds = numpy.unique(numpy.concatenate([s.ravel() for s in scores]))[::-1]
    x = [0.0] + [float((normal >= t).mean()) for t in thresholds]
    y = [0.0] + [float(numpy.mean([(region >= t).mean() for region in regions])) for t in thresholds]
    last = max(i for i in range(len(x)) if x[i] <= limit)
    area = sum((x[i] - x[i - 1]) * (y[i] + y[i - 1]) / 2 for i in range(1, last + 1))
    if x[last] < limit:
        there = y[last] + (y[last + 1] - y[last]) * (limit - x[last]) / (x[last + 1] - x[last])
        area += (limit - x[last]) * (y[last] + there) / 2
    return area / limit


def picture(text):
    return numpy.array([[c == "#" for c in row] for row in text.split()])


def case(name, masks, score):
    """The scores are float32, so that JSON holds them exactly."""
    scores = [numpy.asarray(score(mask), numpy.float32) + numpy.float32(0) for mask in masks]
    pixels = numpy.concatenate([s.ravel() for s in scores])
    labels = numpy.concatenate([m.ravel() for m in masks])
    return {
        "name": name,
        "maps": [{"scores": s.tolist(), "mask": ["".join(".#"[int(d)] for d in row) for row in m]}
                 for s, m in zip(scores, masks)],
        "auroc": float(metrics.roc_auc_score(labels, pixels)),
        "auprc": float(metrics.average_precision_score(labels, pixels)),
        "aupro": [[limit, float(aupro(scores, masks, limit))] for limit in LIMITS],
    }


def noisy(steps, shift):
    """Normal scores, higher on defects, in steps, so that many are equal."""
    return lambda mask: numpy.round(rng.normal(shift * mask, 1) * steps) / steps


# Regions at edges and in corners, that touch only diagonally, that surround, that nearly touch.
CORNERS = picture("""
    ##.............#
    ##............#.
    .............#..
    ................
    ....####........
    ....#..#..##....
    ....#..#..##....
    ....####........
    .........#.#....
    ..........#.....
    #........#.#....
    ##.............#""")
DIAGONAL = picture("""
    #.......#
    .#.....#.
    ..#...#..
    .........
    ....#....
    .........
    .##...##.
    .##...##.
    .....#...""")
EMPTY = numpy.zeros((12, 16), bool)
FULL = numpy.ones((3, 4), bool)
RANDOM = rng.random((9, 9)) < 0.2
all_kinds = [CORNERS, EMPTY, DIAGONAL, RANDOM]
cases = [
    case("eighths", all_kinds, noisy(8, 1.5)),
    case("whole numbers", all_kinds, noisy(1, 1.0)),
    case("distinct", [DIAGONAL, EMPTY, RANDOM], noisy(1e6, 1.0)),
    case("worse than chance", [CORNERS, DIAGONAL], noisy(4, -1.0)),
    case("perfect", [DIAGONAL, EMPTY], lambda mask: mask * 2 + rng.random(mask.shape).round(2)),
    case("constant", [DIAGONAL, EMPTY], lambda mask: numpy.full(mask.shape, -0.5)),
    case("a defect as large as the image", [FULL, EMPTY[:4, :2]], noisy(2, 0.5)),
    # Four defect-free pixels, so that the limit 0.25 is met exactly, before another defective pixel of the same rate.
    case("at a limit", [picture(".#.#.#.")], lambda mask: numpy.array([[4, 5, 3, 3.5, 2, 3, 1]])),
    case("one column", [picture(". # # . # . . # . #")], noisy(2, 0.0)),
]
made_with = {"sklearn": sklearn.__version__, "scipy": scipy.__version__, "numpy": numpy.__version__}
json.dump({"made_with": made_with, "cases": cases}, sys.stdout)
print()
