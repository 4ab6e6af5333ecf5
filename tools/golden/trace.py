"""A trace of the published code (samet-akcay/ganomaly at 78da4ea): what its own modules compute, unchanged.

    git clone https://github.com/samet-akcay/ganomaly reference && git -C reference checkout 78da4ea
    venv/bin/python trace.py reference tiny --isize 32 --nz 8 --ngf 6 --batch 4 --steps 2

It writes tiny.json (config, losses), tiny.safetensors (tensors), and tiny.netG.pth, tiny.netD.pth and
tiny.pth.safetensors (the last weights as the published code saves them, and the same as safetensors).

The steps are taken in float64, from float32 weights and inputs, and these are the trace's values. They are taken once
more in float32, and the distance between the two is kept as 'float32_error': an honest float32 implementation cannot
be closer. With --warm N, N steps of training come first, in float32; the trace then starts from their weights, with
fresh optimisers. Another processor rounds those N steps differently and ends elsewhere: with --start TRACE the trace
starts from the weights that an earlier one started from.

In the tensors' names, init/ is before the first step, grad0/ the first step's gradients, stepN/x a step's batch,
step0/ what the first step computed, final/ after the last step, test/ a batch that is scored, by its own statistics
(batch) and by the running ones (running).
"""

import argparse
import copy
import json
import sys
import types

import torch
from safetensors.torch import load_file, save_file

SCORES = ("score_l2", "score_l1", "score_con")
BESIDE_THE_GRADIENTS = ("fake", "latent_i", "latent_o", "feat_real", "feat_fake", "pred_real", "pred_fake")


def published_model(reference):
    """The published class, imported without its plots and its evaluation, which a step does not need."""
    sys.path.insert(0, reference)
    for name in ("lib.visualizer", "lib.evaluate"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["lib.visualizer"].Visualizer = lambda opt: None
    sys.modules["lib.evaluate"].evaluate = None
    from lib.model import Ganomaly

    return Ganomaly


def options(args):
    """The published code's options; what the command line does not name has their default."""
    return types.SimpleNamespace(
        manualseed=args.seed, outf="out", name="trace", device="cpu", ngpu=0, resume="", isTrain=True,
        isize=args.isize, nc=args.nc, nz=args.nz, ngf=args.ngf, ndf=args.ngf, extralayers=args.extralayers,
        batchsize=args.batch, lr=2e-4, beta1=0.5, w_adv=1, w_con=50, w_enc=1,
    )


def images(args, generator):
    """Smooth pictures in [-1, 1], so that losses are as large as those of real pictures."""
    noise = torch.randn(args.batch, args.nc, 8, 8, generator=generator)
    size = (args.isize, args.isize)
    smooth = torch.nn.functional.interpolate(noise, size=size, mode="bilinear", align_corners=False)
    return smooth.clamp(-1, 1).contiguous()


def networks(model):
    return (("netg", model.netg), ("netd", model.netd))


def weights(model):
    return {f"{name}.{key}": value for name, network in networks(model) for key, value in network.state_dict().items()}


def run(model, args, dtype):
    """The tensors and the losses of some steps in `dtype`, and of scoring a batch behind them."""
    tensors, losses = {}, []

    def put(name, tensor):
        tensors[name] = tensor.detach().clone().contiguous()

    for name, tensor in weights(model).items():
        put(f"init/{name}", tensor)
    for part in ("netg", "netd"):
        getattr(model, part).to(dtype)
    model.real_label, model.fake_label = model.real_label.to(dtype), model.fake_label.to(dtype)
    generator = torch.Generator().manual_seed(args.seed + 1)
    for step in range(args.steps):
        x = images(args, generator)
        put(f"step{step}/x", x)
        model.input = x.to(dtype)
        model.optimize_params()
        if step == 0:
            for part, network in networks(model):
                for key, parameter in network.named_parameters():
                    put(f"grad0/{part}.{key}", parameter.grad)
            for name in BESIDE_THE_GRADIENTS:
                put(f"step0/{name}", getattr(model, name))
        row = {name: float(value) for name, value in model.get_errors().items()}
        losses.append(row | {name: getattr(model, name).item() for name in ("err_d_real", "err_d_fake")})
    for name, tensor in weights(model).items():
        put(f"final/{name}", tensor)
    x = images(args, generator)
    put("test/x", x)
    for mode in ("batch", "running"):
        network = copy.deepcopy(model.netg).train(mode == "batch")
        with torch.no_grad():
            fake, latent_i, latent_o = network(x.to(dtype))
        put(f"test/{mode}/fake", fake)
        put(f"test/{mode}/latent_i", latent_i)
        put(f"test/{mode}/latent_o", latent_o)
        put(f"test/{mode}/score_l2", (latent_i - latent_o).pow(2).mean(dim=1).reshape(-1))
        put(f"test/{mode}/score_l1", (latent_i - latent_o).abs().mean(dim=1).reshape(-1))
        put(f"test/{mode}/score_con", (fake - x.to(dtype)).abs().mean(dim=(1, 2, 3)))
    return tensors, losses


def deviation(got, expected):
    got, expected = got.double(), expected.double()
    return float((got - expected).norm() / (expected.norm() + 1e-300))


def float32_error(single, double):
    """How far float32 strays from float64, in the losses, the gradients, the last weights and the scores."""
    (t32, r32), (t64, r64) = single, double
    worst = lambda prefix: max(
        deviation(t32[k], t64[k]) for k in t64 if k.startswith(prefix) and t64[k].is_floating_point()
    )
    scores = [f"{mode}/{score}" for mode in ("batch", "running") for score in SCORES]
    return {
        "losses": [max(abs(a[k] - b[k]) / abs(b[k]) for k in a) for a, b in zip(r32, r64)],
        "grad0": worst("grad0/"),
        "final_norm": worst("final/"),
        "scores": {name: deviation(t32[f"test/{name}"], t64[f"test/{name}"]) for name in scores},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", help="a clone of the published code")
    parser.add_argument("out", help="the files' path without their endings")
    numbers = dict(isize=32, nc=1, nz=100, ngf=64, extralayers=0, batch=64, steps=2, seed=0, warm=0)
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--start", help="the .safetensors of an earlier trace, whose first weights are used")
    args = parser.parse_args()
    torch.set_num_threads(1)
    Ganomaly = published_model(args.reference)

    def model(start=None):
        made = Ganomaly(options(args), None)
        if start is not None:
            made.netg.load_state_dict(start[0])
            made.netd.load_state_dict(start[1])
        return made

    warm, generator = model(), torch.Generator().manual_seed(args.seed + 2)
    for _ in range(0 if args.start else args.warm):
        warm.input = images(args, generator)
        warm.optimize_params()
    start = copy.deepcopy((warm.netg.state_dict(), warm.netd.state_dict()))
    if args.start:
        earlier = load_file(args.start)
        start = [{key: earlier[f"init/{part}.{key}"] for key in network.state_dict()} for part, network in networks(warm)]
    model32, model64 = model(start), model(start)
    single = run(model32, args, torch.float32)
    double = run(model64, args, torch.float64)

    save_file(double[0], f"{args.out}.safetensors")
    config = dict(isize=args.isize, nc=args.nc, nz=args.nz, ngf=args.ngf, extralayers=args.extralayers)
    config |= dict(batch=args.batch, lr=2e-4, beta1=0.5, beta2=0.999, w_adv=1, w_con=50, w_enc=1)
    config |= dict(seed=args.seed, warm_steps=args.warm)
    count = lambda network: sum(p.numel() for p in network.parameters())
    with open(f"{args.out}.json", "w") as file:
        json.dump(
            dict(
                config=config,
                reference="samet-akcay/ganomaly@78da4ea",
                torch=torch.__version__,
                dtype="float64 from float32 initial weights and inputs",
                steps=double[1],
                float32_error=float32_error(single, double),
                params=dict(netg=count(model64.netg), netd=count(model64.netd)),
            ),
            file, indent=1,
        )
    # The float32 weights after the last step, as the published code saves them.
    for ending, network in (("netG", model32.netg), ("netD", model32.netd)):
        torch.save({"epoch": 1, "state_dict": network.state_dict()}, f"{args.out}.{ending}.pth")
    save_file({name: tensor.contiguous() for name, tensor in weights(model32).items()}, f"{args.out}.pth.safetensors")


if __name__ == "__main__":
    main()
