"""No tensor on the wrong device: the library on a pretended device, and on a real one where there is one.

The pretended device calls itself "meta". Its tensors keep their numbers on the CPU and show them to nobody: they refuse
to be mixed with tensors of the CPU (except single numbers, as CUDA does) and to become NumPy arrays, and all that
is made on "meta", or moved there, is such a tensor. What runs here has moved what it had to move.
"""
import contextlib
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from ambiguity_nb.gradients import gradient_batches, gradient_norms
from ambiguity_nb.models import lenet, predict_embeddings, predict_logits
from ambiguity_nb.scores import characterize
from ambiguity_nb.sources import load_samples
from ambiguity_nb.training import Training, evaluate, fit

far = torch.device("meta")


class Far(torch.Tensor):
    "A tensor of the pretended device."
    @staticmethod
    def __new__(cls, near):
        return torch.Tensor._make_wrapper_subclass(
            cls, near.size(), strides=near.stride(), storage_offset=near.storage_offset(), dtype=near.dtype, device=far)

    def __init__(self, near): self.near = near

    def __repr__(self): return f"Far({self.near})"

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None): return dispatched(function, args, kwargs or {})


def dispatched(function, args, kwargs):
    "An operation on the pretended device, computed on the CPU."
    name, given = function.overloadpacket.__name__, tree_flatten((args, kwargs))[0]
    tensors = [v for v in given if isinstance(v, torch.Tensor)]
    there = [v for v in tensors if isinstance(v, Far)]
    moving = name in ("_to_copy", "copy_", "_local_scalar_dense")
    if there and not moving:
        index = args[1] if name.startswith("index") and len(args) > 1 and isinstance(args[1], (list, tuple)) else ()
        near = [v for v in tensors if not isinstance(v, Far) and v.ndim and not any(v is i for i in index)]
        if near: raise RuntimeError(f"{name}: tensors of two devices, {tuple(near[0].shape)} on the CPU")
    device = kwargs.get("device")
    ends_far = bool(there) if device is None else torch.device(device).type == "meta"
    if name == "copy_": ends_far = isinstance(args[0], Far)
    down = lambda v: v.near if isinstance(v, Far) else torch.device("cpu") if isinstance(v, torch.device) else v
    out = function(*tree_map(down, args), **tree_map(down, kwargs))
    if name.endswith("_") and isinstance(args[0], Far): return args[0]
    return tree_map(lambda v: Far(v) if isinstance(v, torch.Tensor) else v, out) if ends_far else out


class Dispatched(TorchDispatchMode):
    "Operations on the pretended device, wherever they come from; counts them."
    n = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        device = kwargs.get("device")
        asked = device is not None and torch.device(device).type == "meta"
        if not asked and not any(isinstance(v, Far) for v in tree_flatten((args, kwargs))[0]):
            return function(*args, **kwargs)
        self.n += 1
        return dispatched(function, args, kwargs)


class Made(TorchFunctionMode):
    "`torch.tensor` and its kin make on the CPU and move: they do not pass the dispatcher."

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function is torch.Tensor.new_tensor: return torch.tensor(args[1], dtype=args[0].dtype).to(args[0].device)
        if function is torch.Tensor.__getitem__ and isinstance(args[1], list): args = args[0], torch.tensor(args[1])
        device = kwargs.pop("device", None) if function in (torch.tensor, torch.as_tensor) else None
        made = function(*args, **kwargs)
        return made if device is None else made.to(device)


@contextlib.contextmanager
def pretended():
    "A block with the pretended device."
    plain = mock.patch.object(torch, "autocast", lambda *args, **options: contextlib.nullcontext())   # knows no "meta"
    with plain, Dispatched() as counted, Made(): yield counted


def test_the_pretended_device_refuses_what_a_real_one_refuses():
    with pretended():
        a, b = torch.arange(3.).to(far), torch.ones(3, device=far)
        assert a.device == far and (a + b).device == far and (a * 2).cpu().tolist() == [0, 2, 4] and float(a.sum()) == 3
        with pytest.raises(RuntimeError, match="two devices"): a + torch.ones(3)
        with pytest.raises(RuntimeError, match="two devices"): nn.Linear(3, 2)(a)
        with pytest.raises((RuntimeError, TypeError)): a.numpy()


@pytest.mark.parametrize("name", ["images", "table"])
def test_training_and_every_score_keep_to_the_device(name):
    samples = load_samples("mnist-5k").subset(slice(0, 4000, 80)) if name == "images" else load_samples("wine")
    model, training = ("lenet" if name == "images" else "tabular_mlp"), Training(n_epochs=2, batch_size=25)
    here = characterize(model, samples, "all", training, device="cpu")
    with pretended() as counted: there = characterize(model, samples, "all", training, device="meta")
    assert next(there.model.parameters()).device == far and counted.n > 1000
    assert there.names == here.names and not {"vog", "grand", "allsh", "conf_agree"} - set(there.names)
    pd.testing.assert_frame_equal(there.frame, here.frame, rtol=1e-3, atol=1e-4)


def test_passes_over_a_model_keep_to_the_device():
    samples = load_samples("mnist-5k").subset(slice(0, 4000, 100))
    model, once = lenet(), Training(n_epochs=1, schedule="cosine")
    want = predict_logits(model, samples), predict_embeddings(model, samples), evaluate(model, samples)
    norms = gradient_norms(model, samples.normalize(samples.x), torch.from_numpy(samples.y), "ghost")
    with pretended():
        model.to(far)
        np.testing.assert_allclose(predict_logits(model, samples), want[0], atol=1e-5)
        np.testing.assert_allclose(predict_embeddings(model, samples), want[1], atol=1e-5)
        assert evaluate(model, samples) == pytest.approx(want[2])
        found = torch.cat([n for *_, n in gradient_batches(model, samples, method="ghost")])
        assert found.device.type == "cpu"
        history = fit(lenet(), samples, once, validation=samples, device="meta")
    np.testing.assert_allclose(found, norms, rtol=1e-4)
    here = fit(lenet(), samples, once, validation=samples, device="cpu")
    assert history[0]["val_loss"] == pytest.approx(here[0]["val_loss"], 1e-3)


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and there is none")
needs_mps = pytest.mark.skipif(not torch.backends.mps.is_available(), reason="needs Apple's MPS, which is not here")


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=needs_cuda), pytest.param("mps", marks=needs_mps)])
def test_a_real_device_gives_the_scores_of_the_cpu(device):
    samples = load_samples("mnist-5k").subset(slice(0, 4000, 40))
    training = Training(n_epochs=2, batch_size=25)
    here, there = (characterize("lenet", samples, "all", training, device=d).frame for d in ("cpu", device))
    for name in ("loss_hardness", "grand_hardness", "allsh_hardness"):
        assert here[name].corr(there[name], "spearman") > .95


@needs_cuda
def test_batches_reach_cuda_from_pinned_memory():
    x, y, index = next(load_samples("digits").batches(32, device="cuda"))
    assert x.is_cuda and y.is_cuda and not index.is_cuda
