"""MNIST's leave-one-class-out splits, by the published code's own function, for ten digits and three seeds.

    venv/bin/python splits.py reference ../../crates/ganomaly-data/tests/golden > splits_mnist.json

`reference` is a clone of the published code (see trace.py), the second folder has MNIST's two files of labels. The
function gets each picture's number in the place of its pixels. A picture's number is its position among the 70,000:
the training files first.
"""

import gzip
import hashlib
import json
import pathlib
import sys
import types

import numpy
import torch

DOC = """The reference's leave-one-class-out split as numbers: which images of MNIST land in train and test for a seed.
Order of the pool: normal training images in file order, then normal test images; then
numpy.random.seed(s); numpy.random.shuffle(arange(len)); the first int(0.8*len) train, the rest test;
the test set is followed by every abnormal training image and every abnormal test image, in file order.
An image is named by its position in the 70,000: 0..59999 train files, 60000.. test files."""


def published_function(reference):
    """The published function; torchvision, which its file imports, is not needed for it."""
    sys.path.insert(0, reference)
    for name in ("torchvision", "torchvision.datasets", "torchvision.transforms"):
        sys.modules[name] = types.ModuleType(name)
    for name in ("MNIST", "CIFAR10", "ImageFolder"):
        setattr(sys.modules["torchvision.datasets"], name, None)
    sys.modules["torchvision"].datasets = sys.modules["torchvision.datasets"]
    sys.modules["torchvision"].transforms = sys.modules["torchvision.transforms"]
    from lib.data import get_mnist_anomaly_dataset

    return get_mnist_anomaly_dataset


def labels(folder, part):
    packed = (pathlib.Path(folder) / f"{part}-labels-idx1-ubyte.gz").read_bytes()
    return torch.from_numpy(numpy.frombuffer(gzip.decompress(packed), numpy.uint8, offset=8).astype(numpy.int64))


def sha256(numbers):
    return hashlib.sha256(numbers.numpy().astype("<u4").tobytes()).hexdigest()


def main(reference, folder):
    split = published_function(reference)
    train, test = labels(folder, "train"), labels(folder, "t10k")
    rows = []
    for seed in (0, 1, 2):
        for digit in range(10):
            # A copy each time: the function overwrites labels.
            pictures = torch.arange(len(train)), torch.arange(len(train), len(train) + len(test))
            trained, _, tested, anomalous = split(
                trn_img=pictures[0], trn_lbl=train.clone(), tst_img=pictures[1], tst_lbl=test.clone(),
                abn_cls_idx=digit, manualseed=seed,
            )
            rows.append({
                "seed": seed, "abnormal_class": digit, "train": len(trained),
                "test_normal": int((anomalous == 0).sum()), "test_abnormal": int((anomalous == 1).sum()),
                "train_first": trained[:8].tolist(), "test_first": tested[:8].tolist(),
                "train_sha256_le_u32": sha256(trained), "test_sha256_le_u32": sha256(tested),
            })
    json.dump({"doc": DOC, "dataset": "mnist", "rows": rows}, sys.stdout, indent=1)


main(*sys.argv[1:])
