"""Runs exported models in onnxruntime, after onnx's own checker, and compares their scores.

    ONNX_PYTHON=$PWD/venv/bin/python cargo test -p ganomaly-inference --test onnx
"""
import json
import sys
from pathlib import Path

import numpy
import onnx
import onnxruntime

folder = Path(sys.argv[1])
worst = 0.0
for case in json.loads((folder / "cases.json").read_text()):
    path = folder / f"{case['name']}.onnx"
    onnx.checker.check_model(onnx.load(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options)
    x = numpy.fromfile(folder / f"{case['name']}.raw", numpy.uint8).reshape(case["shape"])
    names = [output.name for output in session.get_outputs()]
    out = dict(zip(names, session.run(None, {"images": x})))
    ours = numpy.array(case["ours"])
    for at, score in enumerate(case["scores"]):
        off = (numpy.maximum(numpy.abs(out[score] - ours[:, at]) - 1e-9, 0) / ours[:, at]).max()
        assert off < 1e-4, (case["name"], score, out[score], ours[:, at])
        worst = max(worst, off)
    assert out["verdict"].tolist() == case["verdicts"], case["name"]
    # Another threshold than the default; an image by itself.
    above = session.run(["verdict"], {"images": x, "threshold": numpy.array(-1, numpy.float32)})[0]
    assert above.all(), case["name"]
    alone = session.run([case["scores"][0]], {"images": x[1:2]})[0]
    assert abs(alone[0] / out[case["scores"][0]][1] - 1) < 1e-5, case["name"]
    n, side = len(x), out["error_map"].shape[1]
    assert out["reconstruction"].shape == (n, side, side, x.shape[3]), case["name"]
print(f"{worst:.1e} at most")
