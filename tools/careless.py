#!/usr/bin/env python3
"""Calls ganomaly as careless and hostile users do, and judges how it ends.

    tools/careless.py target/release/ganomaly

Every call must end by itself within a minute, with an exit code that docs/exit-codes.md promises,
without a panic, without escape sequences from outside, without files under temporary names, and not
silently where it failed. Prints what is wrong, and how many calls there were. With --log FILE every
call's output is kept, to be read. Linux; Python's standard library alone.
"""

import argparse
import fcntl
import glob
import os
import pathlib
import pty
import select
import signal
import struct
import subprocess
import tempfile
import termios
import time

TINY = """dataset = "synthetic"
isize = 16
nz = 4
ngf = 2
epochs = 1
train_limit = 32
test_limit = 40
batch_size = 32
bootstrap = 10
"""
RUNS = "[sweep]\nabnormal_class = [0, 1]\nseed = [0]\n"
DONE, FAILED, ARGUMENTS, INTERRUPTED = 0, 1, 2, 130


class Calls:
    def __init__(self, binary, log):
        self.binary, self.log = os.path.abspath(binary), log
        self.count, self.wrong = 0, 0
        # Nothing is downloaded.
        self.environment = dict(os.environ, G=self.binary, GANOMALY_DATA_MIRROR="http://127.0.0.1:9/")

    def judge(self, call, code, out, err, codes, seconds, terminal=False, unheard=False):
        self.count += 1
        text = out + err
        wrong = []
        if "panicked" in text:
            wrong.append("a panic")
        if code not in codes:
            wrong.append(f"exit code {code}, not one of {codes}")
        if code == FAILED and not text.strip() and not unheard:
            wrong.append("failed without a word")
        controls = [c for c in text if (c < " " and c not in "\n\t\r") or "\x7f" <= c < "\xa0"]
        if controls and not terminal:
            wrong.append(f"control characters {controls[:3]}")
        if seconds > 60:
            wrong.append(f"{seconds:.0f} seconds")
        left = [p for s in ("tmp", "partial") for p in glob.glob(f"**/.*.{s}", recursive=True)]
        if left:
            wrong.append(f"left {left}")
        if self.log:
            self.log.write(f"{self.count}: {call} -> {code}, {seconds:.1f} s\n{out}{err}\n")
        for what in wrong:
            self.wrong += 1
            print(f"{self.count}: {call}: {what}\n{err[:500]}")

    def run(self, *args, codes=(DONE,)):
        self._run(args, [self.binary, *args], codes)

    def shell(self, script, codes=(DONE,)):
        self._run(script, ["bash", "-c", f"set -o pipefail; {script}"], codes, unheard=True)

    def _run(self, call, command, codes, unheard=False):
        began = time.time()
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env=self.environment) as process:
            try:
                out, err = process.communicate(timeout=90)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
        seconds, text = time.time() - began, lambda b: b.decode("utf8", "replace")
        self.judge(call, process.returncode, text(out), text(err), codes, seconds, unheard=unheard)

    def signals(self, args, signals, codes=(INTERRUPTED,), after=1.5, ignored=""):
        """The call, and signals one after another once it has run for a while."""
        began = time.time()
        command = ["sh", "-c", f"{ignored} exec \"$G\" \"$@\"", "sh", *args]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=self.environment) as process:
            time.sleep(after)
            for each in signals:
                process.send_signal(each)
                time.sleep(0.05)
            try:
                out, err = process.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
        call = f"{args} {[s.name for s in signals]} {ignored}"
        seconds = time.time() - began
        self.judge(call, process.returncode, out.decode(), err.decode(), codes, seconds)

    def terminal(self, args, columns=80, term="xterm", codes=(DONE,), keys=b"", close=0):
        """The call on a terminal of its own, which gets `keys`, or is closed, after a while."""
        began = time.time()
        own, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        environment = dict(self.environment, TERM=term, NO_COLOR="1")
        process = subprocess.Popen(
            [self.binary, *args], stdin=theirs, stdout=theirs, stderr=theirs, env=environment,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(theirs)
        shown = b""
        if close:
            time.sleep(close)
        else:
            while True:
                if keys and time.time() > began + 1.5:
                    os.write(own, keys)
                    keys = b""
                # A quiet program may print nothing for ever.
                if not select.select([own], [], [], 0.2)[0]:
                    continue
                try:
                    shown += os.read(own, 1 << 16)
                except OSError:
                    break
        os.close(own)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
        call = f"terminal of {columns} columns, TERM={term}, closed after {close}: {args}"
        shown, seconds = shown.decode("utf8", "replace"), time.time() - began
        self.judge(call, process.wait(), shown, "", codes, seconds, terminal=True)


def arguments(calls):
    for args in ([], ["--help"], ["-h"], ["--version"]):
        calls.run(*args, codes=(DONE, ARGUMENTS))
    for command in ("sweep status collect verify train score metrics audit weights compare parity "
                    "report bench chaos gpus data").split():
        calls.run(command, "--help")
        calls.run(command, "--nonsense", codes=(ARGUMENTS,))
        calls.run("-q", "-v", command, codes=(ARGUMENTS,))
    for args in ("sweep", "train", "score", "metrics", "parity", "collect", "compare", "nonsense",
                 "-q", "-v", "data", "data fetch nope", "data verify nope"):
        calls.run(*args.split(), codes=(FAILED, ARGUMENTS))
    any_code = (DONE, FAILED, ARGUMENTS)
    for option, values in {
        "--threads": ["1", "2", "64", "1024", "1025", "-1", "x", "1e3", ""],
        "--jobs": ["1", "1024", "1025", "0", "auto", "AUTO", "-3", ""],
        "--stale-after": ["0.5", "0", "nan", "inf", "1e9", "-1", "60"],
        "--checkpoint-minutes": ["0", "nan", "1e7", "-1", "1e-9"],
    }.items():
        for value in values:
            calls.run("sweep", "e.toml", option, value, codes=any_code)
    for setting in (
        "w_con", "=5", "w_con=", "w_con=1e999", "w_con=-5", "seed=[]", "seed=[0,0]", "seed=-1",
        "seed=18446744073709551616", "epochs=1.5", "isize=0", "isize=17", "isize=1e9", "name=x",
        "batch_size=0", "dataset=nope", "dataset=[\"mnist\",\"synthetic\"]", "scoring=nope",
        "further_scores=[\"z\"]", "further_scores=z_nn", "further_scores=[\"z_nn\"]", "sweep=1",
        "design=1", "abnormal_class=99", "abnormal_class=zebra", "lr=true", "device=cuda:99",
        "device=gpu", "bootstrap=0", "train_limit=0", "test_limit=0", "validation=1.5",
        "validation=0.0001", "keep_scores=all", "w_con=\"50", "w_con=[1,2", "w_con={}",
        "w_con=10,50", "w_con=1979-05-27", "\x1b[2J=1", "w_con=\u202e5", "w_con=10\nx=1",
    ):
        calls.run("sweep", "one.toml", "--dry-run", "--set", setting, codes=(DONE, FAILED))
    for name in ("", ".", "..", "a/b", "-x", " x", "x" * 101, "a\tb", "ok", "é", "a\u202eb", "x\\y"):
        calls.run("sweep", "one.toml", "--dry-run", "--name", name, codes=any_code)
    for only in ("abnormal_class=0", "abnormal_class=0,abnormal_class=1", "seed=9", "x", "x=", "=",
                 ",,,", "abnormal_class=cross", "abnormal_class=\x1b[31m", "seed=0;rm", "seed=0\n"):
        calls.run("sweep", "e.toml", "--dry-run", "--only", only, codes=any_code)


def files(calls):
    calls.run("sweep", "e.toml", "--jobs", "1", "-q")
    calls.run("sweep", "e.toml", "-v")
    calls.run("train", "one.toml", "-q", "--tensorboard")
    calls.run("train", "e.toml", codes=(FAILED,))
    for command in ("verify", "collect results/e", "report", "data list", "data verify synthetic",
                    "status", "audit one.toml", "weights --config e.toml"):
        calls.run(*command.split(), "-q", codes=(DONE, FAILED))
    for file in ("nowhere", "e.toml", "/dev/null", "/dev/zero", "/proc/self/mem", ".", "/", ""):
        for command in ("sweep", "verify", "collect", "status", "metrics", "parity", "report", "audit"):
            if (command, file) != ("sweep", "e.toml") and (command, file) != ("audit", "e.toml"):
                calls.run(command, file, codes=(DONE, FAILED, ARGUMENTS))
        calls.run("score", file, "a.png", codes=(FAILED, ARGUMENTS))
        calls.run("compare", "results/e", file, codes=(DONE, FAILED, ARGUMENTS))
    for a, b in (("abnormal_class=0", "abnormal_class=1"), ("abnormal_class=0", "abnormal_class=0"),
                 ("x", "y"), ("sed=0", "seed=0")):
        calls.run("compare", "results/e", a, b, codes=(DONE, FAILED))
        calls.run("report", "--compare", f"e:{a}", f"e:{b}", codes=(DONE, FAILED))
    for number, text in enumerate((
        "", "score,label\n", "score,label\n1,1\n", "score,label\nnan,1\n0,0\n", "a;b\n1;2\n",
        "score,label\n1\n", "label,score\n1,0.5\n0,0.25\n", "score,label,x\n1,TRUE,x\n0,False,y\n",
        "score,label\n1,-1\n0,0\n", "score,label\nhigh,1\n", "{}", "[" * 5000,
        '{"cases":[{"name":"\\u001b[2J","scores":[1,2],"labels":[0,1]}]}',
        '{"cases":[{"name":"a","scores":[1],"labels":[0,1]}]}',
        '{"cases":[{"name":"a","scores":[1,2],"labels":[true,0.0]}]}',
        '{"cases":[{"name":"a","scores":[1,2],"labels":["yes",null]}]}',
    )):
        path = pathlib.Path(f"m{number}.{'json' if text[:1] in ('{', '[') else 'csv'}")
        path.write_text(text)
        calls.run("metrics", str(path), codes=(DONE, FAILED))


def outputs(calls):
    either = (DONE, FAILED)
    for command in ("status", "verify results/e", "collect results/e", "report", "data list",
                    "sweep e.toml", "sweep e.toml --dry-run", "metrics m6.csv", "--help",
                    "compare results/e results/e"):
        calls.shell(f"$G {command} > /dev/full", either)
        calls.shell(f"$G {command} 2> /dev/full", (DONE,))
        calls.shell(f"$G {command} | true", (DONE,))
        calls.shell(f"$G {command} >&- 2>&- <&-", either)
    for number, redirection in enumerate(("2> /dev/full", "2>&-", "2>&1 | head -1", "> /dev/null 2>&1")):
        calls.shell(f"$G sweep e.toml -v --name o{number} {redirection}", (DONE,))
    for command in ("verify nowhere", "sweep nowhere.toml", "data fetch mnist --data-dir d"):
        calls.shell(f"$G {command} 2> /dev/full", (FAILED,))


def signals(calls):
    INT, TERM, HUP, KILL = signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL
    for one in (INT, TERM, HUP):
        for command in ("sweep", "train"):
            calls.signals([command, "long.toml"], [one])
            calls.signals([command, "long.toml", "-q"], [one])
        calls.signals(["audit", "long.toml", "--set", "train_limit=64"], [one])
        calls.signals(["weights", "--config", "long.toml"], [one])
        calls.signals(["sweep", "big.toml"], [one], after=0.7)
    for more in ([INT, INT], [HUP, TERM], [TERM, TERM, INT], [INT] * 9):
        calls.signals(["sweep", "long.toml"], more, codes=(INTERRUPTED, -1, -2, -15))
    calls.signals(["sweep", "long.toml"], [HUP, INT], ignored="trap '' HUP;")
    calls.signals(["sweep", "long.toml"], [INT, TERM], ignored="trap '' INT;")
    calls.signals(["sweep", "long.toml", "--checkpoint-minutes", "0"], [INT])
    calls.signals(["sweep", "long.toml"], [INT], codes=(INTERRUPTED, -2), after=0.01)
    calls.signals(["sweep", "long.toml"], [KILL], codes=(-9,))
    calls.run("status", "long.toml")


def terminals(calls):
    for columns in (0, 1, 2, 5, 20, 40, 80, 500):
        calls.terminal(["sweep", "e.toml", "--jobs", "1", "--name", f"t{columns}"], columns)
    for term in ("xterm", "dumb", "", "nonsense"):
        for more in ([], ["-v"], ["-q"]):
            calls.terminal(["sweep", "long.toml", *more], 80, term, (INTERRUPTED,), keys=b"\x03")
            calls.terminal(["sweep", "long.toml", *more], 80, term, (INTERRUPTED,), close=1.5)
    for args in (["status"], ["--help"], ["metrics", "m12.json"], ["verify", "results/e"]):
        calls.terminal(args, 30)


def obstacles(calls):
    """Pipes, folders, files and dangling links where files and folders should be."""
    kinds = {"pipe": os.mkfifo, "folder": os.makedirs, "link": lambda p: os.symlink("nowhere", p)}
    places = ("sweep.log", "plan.toml", "table.md", "plots", "plots/auroc.svg", ".claims", ".failed",
              ".checkpoints", "audit.json", "report.html")
    for number, place in enumerate(places):
        for kind, make in kinds.items():
            name = f"w{number}{kind}"
            path = pathlib.Path("results", name, place)
            path.parent.mkdir(parents=True)
            make(path)
            calls.run("sweep", "e.toml", "--jobs", "1", "--name", name, codes=(DONE, FAILED))
            for command in ("status", "verify", "report", "collect"):
                calls.run(command, f"results/{name}", codes=(DONE, FAILED))
    run = next(p.parent for p in pathlib.Path("results/e").glob("*/run.json"))
    for file in sorted(p.name for p in run.iterdir()):
        path = run / file
        if not path.is_file():
            continue
        contents = path.read_bytes()
        for kind, make in kinds.items():
            path.unlink()
            make(path)
            for command in ("status", "verify", "report", "collect", "score"):
                args = [str(run), "a.png"] if command == "score" else ["results/e"]
                calls.run(command, *args, codes=(DONE, FAILED))
            path.rmdir() if kind == "folder" else path.unlink()
            path.write_bytes(contents)
    calls.run("verify", "results/e")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--log", type=argparse.FileType("w"))
    args = parser.parse_args()
    calls = Calls(args.binary, args.log)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        pathlib.Path("e.toml").write_text(TINY + RUNS)
        pathlib.Path("one.toml").write_text(f"{TINY}abnormal_class = 0\nseed = 0\n")
        long = TINY.replace("epochs = 1", "epochs = 1000000")
        pathlib.Path("long.toml").write_text(f"{long}abnormal_class = 0\nseed = 0\n")
        big = TINY.replace("isize = 16", "isize = 64").replace("ngf = 2", "ngf = 64")
        pathlib.Path("big.toml").write_text(big + RUNS)
        for part in (arguments, files, outputs, signals, terminals, obstacles):
            before = calls.count
            part(calls)
            print(f"{part.__name__}: {calls.count - before} calls")
        os.chdir("/")
    print(f"{calls.count} calls, {calls.wrong} wrong")
    raise SystemExit(calls.wrong > 0)


if __name__ == "__main__":
    main()
