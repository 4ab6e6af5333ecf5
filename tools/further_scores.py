#!/usr/bin/env python3
"""Checks the further scores of a finished CIFAR-10 run in a few lines of PyTorch and NumPy.

    tools/further_scores.py RUN CIFAR

RUN is a run's folder, CIFAR the folder with its *_batch*.bin files. CIFAR-10, because its images are not resized: other
libraries resize to the same grey level or the next. The network's encoder is built again from
weights.safetensors, so nothing of this project has a part. Prints the largest relative difference of each score from scores.csv.
"""

import csv
import json
import struct
import sys
import tomllib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F


def read_safetensors(path):
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    return {
        name: torch.from_numpy(
            np.frombuffer(body[slice(*t["data_offsets"])], np.float32).reshape(t["shape"]).copy()
        )
        for name, t in header.items()
        if name != "__metadata__" and t["dtype"] == "F32"
    }


def encode(state, x):
    """G_E by running statistics; the layers' names give the order."""
    own = {n.split("encoder1.main.")[1]: t for n, t in state.items() if "encoder1.main." in n}
    convs = [n for n in own if own[n].ndim == 4]
    size = lambda n: (0 if "initial" in n else 2 if "final" in n else 1, own[n].shape[1])
    for name in sorted(convs, key=size):
        final = "final" in name
        x = F.conv2d(x, own[name], stride=1 if final else 2, padding=0 if final else 1)
        norm = f"pyramid-{own[name].shape[0]}-batchnorm"
        if "pyramid" in name:
            p = [own[f"{norm}.{k}"] for k in ("running_mean", "running_var", "weight", "bias")]
            x = F.batch_norm(x, *p, eps=1e-5)
        if not final:
            x = F.leaky_relu(x, 0.2)
    return x.flatten(1)


def main():
    run, cifar = Path(sys.argv[1]), Path(sys.argv[2])
    config = tomllib.loads((run / "config.toml").read_text())
    assert config["isize"] == 32 and not config.get("train_limit") and not config.get("test_limit"), "a run on whole splits"
    records = [np.fromfile(p, np.uint8) for p in sorted(cifar.glob("*_batch*.bin"))]
    records = np.concatenate(records).reshape(-1, 3073)
    labels, grey = records[:, 0], records[:, 1:].reshape(-1, 3, 32, 32).astype(np.float64)
    names = (cifar / "batches.meta.txt").read_text().split()
    abnormal = names.index(config["abnormal_class"])
    rows = list(csv.DictReader((run / "scores.csv").open()))
    test = np.array([int(r["picture"]) for r in rows])
    train = np.setdiff1d(np.flatnonzero(labels != abnormal), test)
    column = lambda name: np.array([float(r[f"{name}_running"]) for r in rows])

    state = read_safetensors(run / "weights.safetensors")
    x = torch.from_numpy(((grey / 255 - 0.5) / 0.5).astype(np.float32))
    with torch.no_grad():
        z = torch.cat([encode(state, part) for part in x.split(512)]).double()
    l2, zt, bank = column("l2"), z[test], z[train]
    across = np.abs(np.diff(grey, axis=3)).mean((1, 2, 3))
    down = np.abs(np.diff(grey, axis=2)).mean((1, 2, 3))
    expected = {
        "l2_rel": l2 / (zt**2).mean(1).numpy(),
        "l2_grad": l2 / (1 + (across + down)[test]),
        "z_nn": torch.cat(
            [torch.cdist(part, bank).topk(5, largest=False)[0].mean(1) for part in zt.split(256)]
        ).numpy(),
    }
    print(f"{len(test)} test images, {len(train)} training images")
    for name, values in expected.items():
        worst = np.max(np.abs(column(name) - values) / np.abs(values))
        print(f"{name}: largest relative difference {worst:.1e}")
        assert worst < 1e-4, name


main()
