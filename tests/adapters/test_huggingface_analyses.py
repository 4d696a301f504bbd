"""What analyses say of networks of transformers, against gradients and roots found otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from huggingface_cases import VOCABULARY, build, double, tokens
from seqprobe import capacity, dynamics, memory
from seqprobe.adapters.huggingface import from_huggingface
from seqprobe.state import flatten, layout, unflatten

# What importing the networks themselves says, here as in a user's program.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")


def _raw_jacobian(network: Any, x: Tensor, times: list[int]) -> Tensor:
    """Return d(logits_t)/d(embedding_s) of one sequence (T, E), (times, V, T, E), row by row."""
    x = x[None].clone().requires_grad_()
    logits = network(inputs_embeds=x, use_cache=False).logits[0]
    rows = [
        torch.stack([torch.autograd.grad(y, x, retain_graph=True)[0][0] for y in logits[t]])
        for t in times
    ]
    return torch.stack(rows)


@pytest.mark.parametrize("name", ["gpt2", "mamba", "rwkv"])
def test_gradient_profile_is_the_gradient_through_inputs_embeds(name: str) -> None:
    # Rescaled, the network would have another epsilon in its last norm.
    network = build(name, **({"rescale_every": 0} if name == "rwkv" else {})).double()
    x = tokens(2, 6)
    profile = memory.gradient_profile(
        from_huggingface(network), x, n_probes=VOCABULARY, max_lag=4, n_times=2
    )
    times = [int(t) for t in profile.time]
    for trial, sequence in enumerate(x):
        embedded = network.get_input_embeddings()(sequence).detach()
        jacobian = _raw_jacobian(network, embedded, times)
        centred = jacobian - jacobian.mean(dim=1, keepdim=True)
        norms = centred.square().sum(dim=(1, 3))
        wanted = torch.stack([norms[i, t - 4 : t + 1].flip(0) for i, t in enumerate(times)])
        # The network itself has seven digits: it casts to float32 on the way.
        np.testing.assert_allclose(profile.jac_norm2[trial], wanted, rtol=1e-6)


def test_a_window_bounds_what_is_kept_and_what_is_reached() -> None:
    model = from_huggingface(build("mistral"))
    # Two layers, two tensors, one head of 8, of the last 4 tokens; the position takes no reals.
    assert [model.state_size(n) for n in (1, 4, 5, 100)] == [32, 128, 128, 128]
    _, state = model(tokens(1, 11))
    assert state["position"].shape == (1, 1, 11, 0)
    profile = memory.gradient_profile(model, tokens(4, 20))
    assert int(profile.structural_zero) == model.receptive_field == 2 * 4 + 1
    assert from_huggingface(build("gemma2"), verify=False).receptive_field is None


def test_fixed_points_of_an_rwkv_are_known() -> None:
    network = build("rwkv", hidden_size=6, attention_hidden_size=6, num_hidden_layers=2)
    for block in network.rwkv.blocks:  # fast, so that the running maximum settles
        block.attention.time_decay.data = torch.linspace(-2, 1, 6)
    model = from_huggingface(network)
    u = model.embed(torch.tensor([3])).detach().double()[0]
    twin = double(model)
    with torch.no_grad():
        _, state = twin(tokens(4, 6))
        for _ in range(60):
            _, state = twin.step(u.expand(4, -1), state)
    found = dynamics.fixed_points(model, flatten(state), input=u)
    # With a held input the gates of a layer are held too, once those below are. Both sums then
    # decay by exp(-exp(w)) in every channel, and everything else is forgotten in a step.
    assert found.sizes["fixed_point"] == 1
    root = torch.from_numpy(found.x.values)
    _, after = twin.step(u[None], unflatten(root, layout(twin.init_state(1))))
    torch.testing.assert_close(flatten(after), root, atol=1e-10, rtol=1e-10)
    decays = [block.attention.time_decay for block in twin.network.rwkv.blocks]
    factors = np.sort(np.repeat(torch.cat(decays).exp().neg().exp().numpy(), 2))[::-1]
    moduli = np.sort(np.abs(found.eigenvalue[0].values))[::-1]
    np.testing.assert_allclose(moduli[: len(factors)], factors[: len(moduli)], atol=1e-6)


def test_effective_state_size_is_that_of_the_raw_jacobian() -> None:
    network = build("mamba").double()
    model = from_huggingface(network)
    x = tokens(1, 6)
    found = capacity.effective_state_size(model, x, positions=[3])
    embedded = network.get_input_embeddings()(x[0]).detach()
    block = _raw_jacobian(network, embedded, [3, 4, 5])[:, :, :3].reshape(3 * VOCABULARY, -1)
    sigma = torch.linalg.svdvals(block)
    count = int((sigma > 0.1 * sigma[0]).sum())
    assert found.ess[0, 2] == count and found.tolerance[2] == 0.1
    np.testing.assert_allclose(found.sigma.values.ravel()[:10], sigma[:10], rtol=1e-6)
    assert int(found.state_size[0]) == model.state_size(3) == 2 * (32 * 3 + 32 * 4)
