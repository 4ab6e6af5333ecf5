#!/usr/bin/env python3
"""PyTorch yardstick for a training step and scoring of the detectors beside GANomaly, eager, on the CPU.

The networks and steps are those of the published code at its default sizes (crates/ganomaly-model/src has one file per detector);
this is an independent restatement, for timing only. Gradients are taken only of what each optimiser updates, which saves PyTorch work
that the published code does.

  torch_detectors.py --detector skip-ganomaly|vae|egbad|anogan [--isize 32] [--nc 1] [--batch 64] [--threads N] [--steps 20]

AnoGAN's score is a search of --search-steps updates. Prints one JSON object.
"""
import argparse, json, statistics, time
import torch, torch.nn as nn, torch.nn.functional as F

a = argparse.ArgumentParser()
a.add_argument('--detector', required=True); a.add_argument('--variants', default='reference')
for k, v in dict(isize=32, nc=1, batch=64, threads=0, steps=20).items(): a.add_argument(f'--{k}', type=int, default=v)
a.add_argument('--search-steps', type=int, default=5)
o = a.parse_args()
if o.threads: torch.set_num_threads(o.threads)
torch.manual_seed(0)
S, NC, Q = o.isize, o.nc, o.isize // 4
down = lambda i, c: nn.Conv2d(i, c, 4, 2, 1, bias=False)
up = lambda i, c, bias=False: nn.ConvTranspose2d(i, c, 4, 2, 1, bias=bias)
bce = lambda logits, target: F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))

def update(loss, nets, optimisers):
    """The gradients of several losses, then all updates."""
    grads = [torch.autograd.grad(l, list(n.parameters()), retain_graph=True, allow_unused=True) for l, n in zip(loss, nets)]
    for n, g, opt in zip(nets, grads, optimisers):
        for p, g in zip(n.parameters(), g): p.grad = g
        opt.step()

class Encoder(nn.Sequential):
    def __init__(self, out, width=64):
        c, s, m = width, S // 2, [down(NC, width), nn.LeakyReLU(0.2, True)]
        while s > 4: m += [down(c, 2 * c), nn.BatchNorm2d(2 * c), nn.LeakyReLU(0.2, True)]; c, s = 2 * c, s // 2
        super().__init__(*m, nn.Conv2d(c, out, 4, bias=False))

class UNet(nn.Module):
    def __init__(self, f=64):
        super().__init__()
        w = [f * min(2 ** l, 8) for l in range(S.bit_length() - 1)]; n = len(w); last = n - 1
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for l in range(n):
            i = NC if l == 0 else w[l - 1]
            self.down.append(nn.Sequential(down(i, w[l]), *([nn.BatchNorm2d(w[l])] if 0 < l < last else [])))
            c = w[l] if l == last else 2 * w[l]
            self.up.append(nn.Sequential(up(c, NC, True), nn.Tanh()) if l == 0 else nn.Sequential(up(c, w[l - 1]), nn.BatchNorm2d(w[l - 1])))
    def forward(self, x):
        across = []
        for l, d in enumerate(self.down): x = d(x if l == 0 else F.leaky_relu(x, 0.2)); across.append(x)
        x = across.pop()
        for l in range(len(self.up) - 1, -1, -1):
            x = self.up[l](F.relu(x))
            if l: x = torch.cat([across.pop(), x], 1)
        return x

class Skip:
    def __init__(self):
        self.g, self.feat, self.cls = UNet(), Encoder(100), nn.Conv2d(100, 1, 3, 1, 1, bias=False)
        self.d = nn.ModuleList([self.feat, self.cls]); self.nets = [self.g, self.d]
        self.opts = [torch.optim.Adam(n.parameters(), 2e-4, (0.5, 0.999)) for n in self.nets]
    def judge(self, x): f = self.feat(x); return f, self.cls(f)
    def step(self, x):
        fake = self.g(x); (fr, pr), (ff, pf) = self.judge(x), self.judge(fake)
        g = bce(pf, 1.) + 50 * F.l1_loss(fake, x) + F.mse_loss(ff, fr)
        ffd, pfd = self.judge(fake.detach()); d = bce(pr, 1.) + bce(pfd, 0.) + F.mse_loss(ffd, fr)
        update([g, d], self.nets, self.opts)
    def score(self, x):
        fake = self.g(x); return ((x - fake) ** 2).mean((1, 2, 3)), ((self.feat(x) - self.feat(fake)) ** 2).mean((1, 2, 3))

class Vae:
    def __init__(self, nz=100, draws=8):
        c, s, m = 32 * Q, 4, []
        self.draws, self.enc = draws, Encoder(2 * nz)
        m += [nn.ConvTranspose2d(nz, c, 4, bias=False), nn.BatchNorm2d(c), nn.ReLU(True)]
        while s < S // 2: m += [up(c, c // 2), nn.BatchNorm2d(c // 2), nn.ReLU(True)]; c, s = c // 2, 2 * s
        self.dec = nn.Sequential(*m, up(c, NC), nn.Tanh()); self.nets = [nn.ModuleList([self.enc, self.dec])]
        self.opts = [torch.optim.Adam(self.nets[0].parameters(), 1e-3)]
    def kl(self, mu, lv): return 0.5 * (mu ** 2 + lv.exp() - lv - 1).flatten(1).sum(1)
    def step(self, x):
        mu, lv = self.enc(x).chunk(2, 1); y = self.dec(mu + (lv / 2).exp() * torch.randn_like(mu))
        update([((x - y) ** 2).flatten(1).sum(1).mean() + self.kl(mu, lv).mean()], self.nets, self.opts)
    def score(self, x):
        mu, lv = self.enc(x).chunk(2, 1); err = lambda z: ((x - self.dec(z)) ** 2).flatten(1).sum(1)
        return err(mu), sum(err(mu + (lv / 2).exp() * torch.randn_like(mu)) for _ in range(self.draws)) / self.draws + self.kl(mu, lv)

BN = dict(eps=1e-3, momentum=0.01)
class Generator(nn.Module):
    def __init__(self, nz=200):
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(nz, 1024), nn.BatchNorm1d(1024, **BN), nn.ReLU(True), nn.Linear(1024, 128 * Q * Q), nn.BatchNorm1d(128 * Q * Q, **BN), nn.ReLU(True))
        self.up = nn.Sequential(up(128, 64, True), nn.BatchNorm2d(64, **BN), nn.ReLU(True), up(64, NC, True), nn.Tanh())
    def forward(self, z): return self.up(self.fc(z).view(-1, 128, Q, Q))

class Halve(nn.Conv2d):
    def __init__(self, i, c): super().__init__(i, c, 3, 2)
    def forward(self, x): return super().forward(F.pad(x, (0, 1, 0, 1)))

class PairJudge(nn.Module):
    def __init__(self, nz=200):
        super().__init__()
        conv = lambda i, c: nn.Conv2d(i, c, 4, 2, 1); drop = lambda: nn.Dropout(0.5); leaky = lambda: nn.LeakyReLU(0.1)
        self.x = nn.Sequential(conv(NC, 64), leaky(), drop(), conv(64, 64), nn.BatchNorm2d(64, **BN), leaky(), drop(), nn.Flatten())
        self.z = nn.Sequential(nn.Linear(nz, 512), leaky(), drop()); self.y = nn.Sequential(nn.Linear(64 * Q * Q + 512, 1024), leaky(), drop())
        self.logit = nn.Linear(1024, 1)
    def forward(self, z, x): f = self.y(torch.cat([self.x(x), self.z(z)], 1)); return f, self.logit(f)

class Gan:
    """What EGBAD and AnoGAN share: Adam and the averages of the weights."""
    def prepare(self):
        self.opts = [torch.optim.Adam(n.parameters(), 1e-5, (0.5, 0.999)) for n in self.nets]
        self.averages = [[p.detach().clone() for p in n.parameters()] for n in self.nets]
    def take(self, at, losses):
        for i in at: torch._foreach_lerp_(self.averages[i], [p.detach() for p in self.nets[i].parameters()], 1e-3)
        update(losses, [self.nets[i] for i in at], [self.opts[i] for i in at])

class Egbad(Gan):
    def __init__(self):
        leaky = lambda: nn.LeakyReLU(0.1)
        self.g, self.d = Generator(), PairJudge()
        self.e = nn.Sequential(nn.Conv2d(NC, 32, 3, 1, 1), leaky(), Halve(32, 64), nn.BatchNorm2d(64, **BN), leaky(), Halve(64, 128), nn.BatchNorm2d(128, **BN), leaky(),
            nn.Flatten(), nn.Linear(128 * Q * Q, 200))
        self.nets = [self.d, self.g, self.e]; self.prepare()
    def step(self, x):
        z = torch.randn(len(x), 200)
        with torch.no_grad(): e, g = self.e(x), self.g(z)
        self.take([0], [bce(self.d(e, x)[1], 1.) + bce(self.d(z, g)[1], 0.)])
        z = torch.randn(len(x), 200); g, e = self.g(z), self.e(x)
        with torch.no_grad(): self.g(e)
        self.take([1, 2], [bce(self.d(z, g)[1], 1.), bce(self.d(e, x)[1], 0.)])
    def score(self, x):
        e = self.e(x); y = self.g(e); (fx, _), (fy, l) = self.d(e, x), self.d(e, y)
        return (x - y).abs().sum((1, 2, 3)), (fx - fy).abs().sum(1), F.softplus(-l)

class AnoGan(Gan):
    def __init__(self):
        leaky = lambda: nn.LeakyReLU(0.1); conv = lambda i, c: nn.Conv2d(i, c, 4, 2, 1)
        self.g = Generator(); self.feat = nn.Sequential(conv(NC, 64), leaky(), conv(64, 64), nn.BatchNorm2d(64, **BN), leaky(), nn.Flatten(), nn.Linear(64 * Q * Q, 1024), nn.BatchNorm1d(1024, **BN), leaky())
        self.cls = nn.Linear(1024, 1); self.d = nn.ModuleList([self.feat, self.cls]); self.nets = [self.d, self.g]; self.prepare()
    def step(self, x):
        judge = lambda x: self.cls(self.feat(x))
        with torch.no_grad(): g = self.g(torch.randn(len(x), 200))
        self.take([0], [bce(judge(x), 1.) + bce(judge(g), 0.)])
        self.take([1], [bce(judge(self.g(torch.randn(len(x), 200))), 1.)])
    def score(self, x):
        with torch.enable_grad():
            z = torch.randn(len(x), 200).requires_grad_(); opt = torch.optim.Adam([z], 0.01, (0.9, 0.999)); fx = self.feat(x).detach()
            for k in range(o.search_steps + 1):
                y = self.g(z); loss = 0.9 * (x - y).abs().sum((1, 2, 3)) + 0.1 * (fx - self.feat(y)).abs().sum(1)
                if k < o.search_steps: z.grad, = torch.autograd.grad(loss.sum(), [z]); opt.step()
        return loss

def timed(f):
    for _ in range(5): f()
    t = []
    for _ in range(o.steps): s = time.perf_counter(); f(); t.append(time.perf_counter() - s)
    return statistics.median(t)

x = torch.randn(o.batch, NC, S, S)
n = {'skip-ganomaly': Skip, 'vae': Vae, 'egbad': Egbad, 'anogan': AnoGan}[o.detector]()
train = timed(lambda: n.step(x))
for m in n.nets: m.eval()
with torch.no_grad(): score = timed(lambda: n.score(x))
print(json.dumps(dict(variant='reference', detector=o.detector, threads=torch.get_num_threads(), isize=S, nc=NC, batch=o.batch, train_ms=round(train * 1e3, 3),
    train_images_per_s=round(o.batch / train, 1), score_ms=round(score * 1e3, 3), score_images_per_s=round(o.batch / score, 1), torch=torch.__version__)), flush=True)
