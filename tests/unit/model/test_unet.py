"""UNet: output shape, number of parameters, training of every layer, initial predictions."""

import itertools

import pytest
import torch
from torch import nn

from trainer.model.unet import UNet, UpConvolution, set_class_prior


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize(("depth", "size"), [(1, (6, 10)), (2, (8, 12)), (4, (32, 16))])
def test_output_is_as_large_as_the_input(channels: int, norm: str, depth: int, size: tuple[int, int]) -> None:
    network = UNet(channels, width=8, depth=depth, norm=norm)
    assert network(torch.randn(2, 3, *size)).shape == (2, channels, *size)


def test_parameter_count() -> None:
    """7.76 million at width 32 and depth 4, as in the tutorial."""

    def count(width: int, depth: int, channels: int) -> int:
        """Count by hand: 3x3 convolutions with norm, 2x2 up-convolutions with bias, a 1x1 convolution with bias."""

        def double(wide_in: int, wide_out: int) -> int:
            return 9 * wide_out * (wide_in + wide_out) + 4 * wide_out

        wide = [width * 2**level for level in range(depth + 1)]
        pairs = list(itertools.pairwise(wide))
        down = double(3, width) + sum(double(*pair) for pair in pairs)
        up = sum(4 * above * below + above + double(2 * above, above) for above, below in pairs)
        return down + up + channels * (width + 1)

    found = sum(weight.numel() for weight in UNet(1, width=32, depth=4).parameters())
    assert found == count(32, 4, 1)
    assert round(found / 1e6, 2) == 7.76
    assert sum(weight.numel() for weight in UNet(5, width=8, depth=2, norm="group").parameters()) == count(8, 2, 5)


def test_up_convolution_equals_the_transposed_convolution() -> None:
    torch.manual_seed(0)
    ours, theirs = UpConvolution(6, 3, 2, stride=2), nn.ConvTranspose2d(6, 3, 2, stride=2)
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(2, 6, 5, 7).contiguous(memory_format=torch.channels_last)
    results = []
    for layer in (ours, theirs):
        given = images.clone(memory_format=torch.preserve_format).requires_grad_()
        found = layer(given)
        assert found.is_contiguous(memory_format=torch.channels_last)
        (found * torch.arange(found.numel()).view_as(found).sin()).sum().backward()
        results.append([found, given.grad, *(weight.grad for weight in layer.parameters())])
    assert type(results[0][0].grad_fn) is not type(results[1][0].grad_fn)
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)
    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images))


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("channels", [1, 3])
def test_one_step_changes_every_parameter(norm: str, channels: int) -> None:
    torch.manual_seed(0)
    network = UNet(channels, width=8, depth=3, norm=norm)
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    # With a target, since the plain sum of a norm layer's output has no gradient for the layers before it.
    (network(torch.randn(2, 3, 16, 24)) - torch.randn(2, channels, 16, 24)).square().mean().backward()
    optimizer.step()
    same = [name for name, weight in network.named_parameters() if torch.equal(weight, before[name])]
    assert same == []
    assert all(torch.isfinite(weight).all() for weight in network.parameters())


def test_batch_norm_learns_statistics_and_uses_them() -> None:
    torch.manual_seed(0)
    network = UNet(1, width=8, depth=2)
    images = torch.randn(4, 3, 16, 16) + 3
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 10  # two in each of five levels, down and up
    trained = network.train()(images)
    assert all(norm.running_mean.abs().sum() > 0 for norm in norms)
    evaluated = network.eval()(images)
    assert not torch.allclose(trained, evaluated, atol=1e-2)
    alone = network(images[:1])
    torch.testing.assert_close(alone, evaluated[:1], rtol=1e-4, atol=1e-5)
    assert all(name in network.state_dict() for name in ("first.1.running_mean", "first.1.running_var"))


def test_group_norm_does_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    network = UNet(1, width=16, depth=2, norm="group").train()
    images = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(network(images)[:1], network(images[:1]), rtol=1e-4, atol=1e-5)
    norms = [module for module in network.modules() if isinstance(module, nn.GroupNorm)]
    assert len(norms) == 10
    assert all(norm.num_channels == 8 * norm.num_groups for norm in norms)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def test_skip_connections_carry_fine_detail() -> None:
    """One changed pixel changes the output most at its place, which the deepest level alone could not locate."""
    torch.manual_seed(0)
    network = UNet(1, width=8, depth=3).eval()
    images = torch.zeros(1, 3, 32, 32)
    dotted = images.clone()
    dotted[0, :, 13, 18] = 1
    change = (network(dotted) - network(images)).abs()[0, 0]
    assert divmod(int(change.argmax()), 32) in {(row, column) for row in range(11, 16) for column in range(16, 21)}


@pytest.mark.parametrize(
    "shares", [[0.9, 0.1], [0.5, 0.5], [0.3, 0.7], [0.8, 0.15, 0.05], [0.2, 0.3, 0.4, 0.1]], ids=str
)
def test_untrained_network_predicts_the_shares(shares: list[float]) -> None:
    found = []
    for seed in range(5):
        torch.manual_seed(seed)
        network = UNet(1 if len(shares) == 2 else len(shares), width=16, depth=2).train()
        set_class_prior(network, shares)
        with torch.no_grad():
            logits = network(torch.randn(4, 3, 32, 32))
        probabilities = logits.sigmoid() if len(shares) == 2 else logits.softmax(dim=1)[:, 1:]
        found.append(probabilities.mean(dim=(0, 2, 3)))
    assert torch.stack(found).mean(dim=0).tolist() == pytest.approx(shares[1:], rel=0.2, abs=0.01)


def test_class_without_pixels_stays_reachable() -> None:
    network = UNet(3, width=8, depth=1)
    set_class_prior(network, [1.0, 0.0, 0.0])
    bias = network.last.bias
    assert bias is not None
    assert torch.isfinite(bias).all()
    assert bias.softmax(dim=0).tolist() == pytest.approx([1 / 1.02, 0.01 / 1.02, 0.01 / 1.02], rel=1e-3)
    single = UNet(1, width=8, depth=1)
    set_class_prior(single, [1.0, 0.0])
    assert single.last.bias is not None
    assert single.last.bias.item() == pytest.approx(-4.605, abs=0.01)
