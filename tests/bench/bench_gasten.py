"""A GASTeN step: ours against a straightforward one, interleaved in one process.

The plain step is what a tutorial would write: a DataLoader over single images, the generator run once for the
discriminator's update and again for its own, `backward()` through everything, and for MGDA a forward and a backward per
loss and a third for the weighted sum. Sizes are the paper's: DCGAN with 64 filters, batch 64, 28x28.

    python tests/bench/bench_gasten.py [--full]
"""
import argparse
import itertools
import statistics
import time

import torch
from torch import nn

from ambiguity_nb.fid import as_features
from ambiguity_nb.gasten import CONFUSIONS, GAN_LOSSES, Nets, gan_step, _min_norm_weights
from ambiguity_nb.generator_measures import GanMeasures, mean_log_probs
from ambiguity_nb.models import cnn
from ambiguity_nb.networks import build_discriminator, build_generator
from ambiguity_nb.sources import load_samples

BARS = {"ours, alpha": ">= 1.2", "ours, mgda": ">= 1.7"}
discriminator_loss, generator_loss = GAN_LOSSES["ns"].discriminator, GAN_LOSSES["ns"].generator


class Plain:
    "The textbook way, one method per step."
    def __init__(self, samples, classifier, alpha, filters):
        self.G, self.D = build_generator(filters=filters), build_discriminator(filters=filters)
        self.C, self.alpha = classifier, alpha
        self.optim_g, self.optim_d = (torch.optim.Adam(n.parameters(), 2e-4, (.5, .999)) for n in (self.G, self.D))
        images = [(torch.from_numpy(x).float() / 127.5 - 1, int(y)) for x, y in zip(samples.x, samples.y, strict=True)]
        loader = torch.utils.data.DataLoader(images, 64, shuffle=True, drop_last=True)
        self.batches = itertools.chain.from_iterable(itertools.repeat(loader))

    def confusion(self, images): return (self.C(images).softmax(1)[:, 1] - .5).abs().mean()

    def step(self):
        real = next(self.batches)[0]
        self.optim_d.zero_grad()
        loss = discriminator_loss(self.D(real), self.D(self.G(torch.randn(len(real), 64)).detach()))
        loss.backward()
        self.optim_d.step()
        if self.alpha == "mgda":
            z, grads = torch.randn(len(real), 64), []
            for term in (lambda x: generator_loss(self.D(x)), self.confusion):
                self.optim_g.zero_grad()
                term(self.G(z)).backward()
                grads.append(nn.utils.parameters_to_vector([p.grad.clone() for p in self.G.parameters()]))
            w1, w2 = _min_norm_weights(*grads)
        else:
            z, w1, w2 = torch.randn(len(real), 64), 1., self.alpha
        self.optim_g.zero_grad()
        images = self.G(z)
        (w1 * generator_loss(self.D(images)) + w2 * self.confusion(images)).backward()
        self.optim_g.step()


class Ours:
    "The library's step."
    def __init__(self, samples, classifier, alpha, filters, autocast=False):
        self.nets = Nets(build_generator(filters=filters), build_discriminator(filters=filters))
        self.alpha, self.autocast = alpha, autocast
        self.confusion = lambda images: CONFUSIONS["abs"](mean_log_probs([classifier], images)).mean()
        rng = torch.Generator().manual_seed(0)
        epochs = (samples.batches(64, shuffle=True, generator=rng, drop_last=True) for _ in itertools.repeat(0))
        self.batches = itertools.chain.from_iterable(epochs)

    def compiled(self):
        "The same with `torch.compile`, which the library does not use; needs a C++ compiler."
        for net in (self.nets.generator, self.nets.discriminator): net.compile()
        return self

    def step(self):
        real = next(self.batches)[0]
        gan_step(self.nets, real, torch.randn(len(real), 64), confusion=self.confusion, alpha=self.alpha,
                 autocast=self.autocast)


def interleaved(ways, n):
    "Seconds of `n` steps of each, taken in turn after a warm-up."
    times = {name: [] for name in ways}
    for i in range(n + 3):
        for name, way in ways.items():
            start = time.process_time()
            way.step()
            if i >= 3: times[name].append(time.process_time() - start)
    return times


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true", help="more steps, and 32 filters too")
    full = parser.parse_args().full
    samples = load_samples("mnist-5k", "all").binary(5, 3)
    classifier = cnn(2).eval()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; CPU ms per step, median (minimum); "
          "ratio of medians (of minima)")
    for filters in (64, 32) if full else (64,):
        ways = {"plain, alpha": Plain(samples, classifier, 25., filters),
                "ours, alpha": Ours(samples, classifier, 25., filters),
                "ours, alpha, bfloat16": Ours(samples, classifier, 25., filters, True),
                "plain, mgda": Plain(samples, classifier, "mgda", filters),
                "ours, mgda": Ours(samples, classifier, "mgda", filters),
                "ours, mgda, bfloat16": Ours(samples, classifier, "mgda", filters, True)}
        if full: ways["ours, alpha, compiled"] = Ours(samples, classifier, 25., filters).compiled()
        times = interleaved(ways, 100 if full else 25)
        for name, t in times.items():
            base = times[f"plain, {name.split(', ')[1]}"]
            middle, times_faster = statistics.median(t), statistics.median(base) / statistics.median(t)
            print(f"{filters:3d} filters  {name:24s} {1e3 * middle:7.1f} ({1e3 * min(t):.1f})   "
                  f"x{times_faster:.2f} (x{min(base) / min(t):.2f})")
            if filters == 64 and name in BARS:
                print(f"= plain GASTeN step over ours, {name.split(', ')[1]} | {times_faster:.2f} | {BARS[name]}")
    measures = GanMeasures(classifier, samples, as_features(classifier))
    generator = build_generator()
    measures(generator)
    start = time.perf_counter()
    measures(generator)
    took = time.perf_counter() - start
    share = took / (180 * statistics.median(times["ours, alpha"]))
    print(f"measures of an epoch, 2,048 images, KID, density and coverage among them: {took:.2f} s; an epoch of MNIST "
          f"5 v 3 has 180 steps, so share of an epoch: {share:.0%}")


if __name__ == "__main__": main()
