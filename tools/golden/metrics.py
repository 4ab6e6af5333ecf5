"""scikit-learn's values of every metric, for the scores and labels of an earlier metrics.json.

    venv/bin/python metrics.py ../../crates/ganomaly-metrics/tests/golden/metrics.json > metrics.json

Thresholds are inclusive: a picture whose score is the threshold counts as anomalous.
"""

import json
import sys

import numpy
import scipy
import sklearn
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn import metrics


def values(scores, labels):
    scores, labels = numpy.array(scores), numpy.array(labels)
    fpr, tpr, _ = metrics.roc_curve(labels, scores)
    precision, recall, thresholds = metrics.precision_recall_curve(labels, scores)
    # The curve's last point, recall 0, has no threshold.
    precision, recall = precision[:-1], recall[:-1]
    f1 = 2 * precision * recall / numpy.maximum(precision + recall, 1e-300)
    best = int(numpy.argmax(f1))
    scaled = (scores - scores.min()) / (scores.max() - scores.min())
    return {
        "auroc": float(metrics.roc_auc_score(labels, scores)),
        "auprc": float(metrics.average_precision_score(labels, scores)),
        # The published code's way: where the curve through the points meets the falling diagonal.
        "eer": float(brentq(lambda x: 1.0 - x - interp1d(fpr, tpr)(x), 0.0, 1.0)),
        "f1_at_0_2_of_minmax": float(metrics.f1_score(labels, scaled >= 0.2)),
        "best_f1": float(f1[best]),
        "best_f1_threshold": float(thresholds[best]),
        "fpr_at_95_tpr": float(fpr[tpr >= 0.95].min()),
        "tpr_at_5_fpr": float(tpr[fpr <= 0.05].max()),
    }


def main(earlier):
    with open(earlier) as file:
        earlier = json.load(file)
    made_with = {"sklearn": sklearn.__version__, "scipy": scipy.__version__, "numpy": numpy.__version__}
    cases = []
    for case in earlier["cases"]:
        inputs = {key: case[key] for key in ("name", "scores", "labels")}
        cases.append(inputs | values(case["scores"], case["labels"]))
    json.dump({"made_with": made_with, "seed": earlier["seed"], "cases": cases}, sys.stdout)


main(*sys.argv[1:])
