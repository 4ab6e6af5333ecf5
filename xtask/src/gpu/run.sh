#!/usr/bin/env bash
# Checks and measures on a machine with a GPU: no Rust, no network. `run.sh` alone lists the jobs;
# their output goes to $OUT, else out/ beside this script.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${OUT:-$here/out}
python=${PYTHON:-python3}
mkdir -p "$out"

# NVIDIA's run-time compiler: where the loader finds it, else among Python's packages.
find_nvrtc() {
    ldconfig -p 2>/dev/null | grep -q 'libnvrtc\.so' && return
    local place found known=${LD_LIBRARY_PATH:-}
    for place in ${known//:/ } /usr/local/cuda*/lib64 /opt /usr/lib/python3* /usr/local/lib "$HOME/.local/lib"; do
        [ -d "$place" ] || continue
        found=$(find "$place" -name 'libnvrtc.so*' -print -quit 2>/dev/null) || true
        if [ -n "$found" ]; then
            export LD_LIBRARY_PATH="$(dirname "$found")${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
            return
        fi
    done
    echo "no libnvrtc.so on this machine: set LD_LIBRARY_PATH to its folder" >&2
    return 1
}

# A Python that has PyTorch.
find_torch() {
    local candidate
    for candidate in "$python" /opt/torch/.venv/bin/python /opt/*/bin/python3; do
        if "$candidate" -c 'import torch' 2>/dev/null; then
            python=$candidate
            return
        fi
    done
    echo "no Python here imports torch: set PYTHON to one that does" >&2
    return 1
}

gpu=${GPU:-cuda:0}
ganomaly() { "$here/ganomaly" "$@"; }
sweep() { ganomaly sweep "$here/experiments/$1.toml" --data-dir "$here/data" --set "device=$gpu" "${@:2}"; }
scores() { (cd "$1" && find . -name 'scores*.csv' -exec sha256sum {} + | sort -k 2); }

check() { ganomaly gpus; }
tests() {
    # The tests use the first GPU, and without it they are skipped. The CPU's side is skipped if
    # there is no C compiler.
    { ganomaly gpus || true; } | grep -E '^ok +cuda:0:' || { echo "there is no GPU cuda:0 to test" >&2; return 1; }
    for test in layers program group; do "$here/tests/$test" --nocapture | tail -n 60; done
}
parity() {
    local traces=("$here"/golden/*.json)
    ganomaly parity --device "$gpu" "${traces[@]%.json}" | tee "$out/parity.txt"
}
repeat() {
    for time in 1 2; do
        rm -rf "$out/repeat$time"
        sweep quick --results "$out/repeat$time" >/dev/null
    done
    diff <(scores "$out/repeat1") <(scores "$out/repeat2") && echo "two sweeps gave the same bytes of scores: $(scores "$out/repeat1" | wc -l) files"
}
sanitize() {
    for tool in memcheck racecheck; do
        compute-sanitizer --tool "$tool" --error-exitcode 1 "$here/ganomaly" bench --device "$gpu" --isize 32 --ngf 16 --nz 20 --batch 8 --runs 2 --steps 1 | tee "$out/sanitizer-$tool.txt"
    done
}
bench() {
    find_torch
    for precision in f32 tf32 bf16; do
        "$here/xtask" bench --device "$gpu" --precision "$precision" --binary "$here/ganomaly" --torch-step "$here/torch_step.py" \
            --against-torch "$python" --shapes "${SHAPES:-1x32,3x32}" --out "$out/bench-$precision.json" | tee "$out/bench-$precision.md"
    done
}
profile() {
    for precision in f32 tf32 bf16; do
        for runs in 1 30; do
            ganomaly bench --device "$gpu" --precision "$precision" --runs "$runs" --profile
        done
    done | tee "$out/profile.md"
}
table() {
    local started=$SECONDS
    sweep "$1" --results "$out/results" "${@:2}"
    echo "$1: $((SECONDS - started)) s" | tee "$out/$1-seconds.txt"
}
precisions() { sweep mnist --results "$out/precisions" --set seed=0 --set 'precision=["f32","tf32","bf16"]'; }

jobs="check tests parity repeat sanitize bench profile table precisions"
job=${1:-}
if ! grep -qw -- "${job:-none}" <<<"$jobs"; then
    cat >&2 <<'TEXT'
run.sh JOB
  check        the driver, the GPU, the run-time compiler, one by one
  tests        every layer and the whole step against the processor
  parity       against traces of the published code
  repeat       the quick experiment twice: the same bytes
  sanitize     compute-sanitizer: memory and races
  bench        a step beside PyTorch's, in every precision
  profile      where a step's time goes
  table NAME   the table mnist or cifar10, with the wall time
  precisions   MNIST's ten classes in f32, tf32 and bf16
TEXT
    exit 2
fi
[ "$job" = check ] && { find_nvrtc || true; } || find_nvrtc
"$job" "${@:2}"
