"""Prints what TensorBoard's own reader finds in a folder: JSON, for each scalar its steps and values.

    python3 -m venv venv && venv/bin/pip install -r tests/requirements.txt
    GANOMALY_PYTHON=$PWD/venv/bin/python cargo test -p ganomaly --test it event_files -- --nocapture
"""

import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(sys.argv[1])
events.Reload()
tags = events.Tags()["scalars"]
print(json.dumps({tag: [[e.step, e.value, e.wall_time] for e in events.Scalars(tag)] for tag in tags}))
