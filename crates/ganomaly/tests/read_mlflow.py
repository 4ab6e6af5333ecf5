"""Prints what MLflow's own client finds in an experiment: JSON, for each run its status, settings,
numbers by epoch and files.

    python3 -m venv venv && venv/bin/pip install -r tests/requirements.txt
    GANOMALY_PYTHON=$PWD/venv/bin/python cargo test -p ganomaly --test it mlflow -- --nocapture
"""

import json
import sys

from mlflow import MlflowClient

client = MlflowClient(sys.argv[1])
experiment = client.get_experiment_by_name(sys.argv[2])


def files(run, path=None):
    for file in client.list_artifacts(run, path):
        if file.is_dir:
            yield from files(run, file.path)
        else:
            yield file.path, file.file_size


def found(run):
    id = run.info.run_id
    history = {key: client.get_metric_history(id, key) for key in run.data.metrics}
    return {
        "status": run.info.status,
        "settings": run.data.params,
        "numbers": {key: [[m.step, m.value] for m in all] for key, all in history.items()},
        "files": dict(files(id)),
    }


runs = client.search_runs([experiment.experiment_id])
assert len({run.info.run_name for run in runs}) == len(runs), "two runs have one name"
print(json.dumps({run.info.run_name: found(run) for run in runs}))
