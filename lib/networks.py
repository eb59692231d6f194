"""Networks that turn rows into numbers; what the numbers mean is the business of `models`."""

from torch import nn

from .shapes import Float, Tensor


class ResidualMLP(nn.Module):
    """Fully connected residual network (appendix E.1): linear in, residual blocks, linear out.

    h = relu(W_in x + b); each block h <- relu(h + W_2 drop(relu(W_1 h + b_1)) + b_2); output W_out h + b. No
    normalisation. Weights and biases start uniform on +-1/sqrt(fan-in), which is PyTorch's default for `nn.Linear`.
    """

    def __init__(self, inputs: int, outputs: int, *, width: int = 200, blocks: int = 3, dropout: float = 0.0):
        super().__init__()
        self.input = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(ResidualBlock(width, dropout) for _ in range(blocks))
        self.output = nn.Linear(width, outputs)

    def forward(self, x: Float[Tensor, "*S B I"]) -> Float[Tensor, "*S B O"]:
        h = self.input(x.flatten(0, -2)).relu_()  # one matrix, so that a product is a single call
        for block in self.blocks:
            h = block(h)
        return self.output(h).unflatten(0, x.shape[:-1])


class ResidualBlock(nn.Module):
    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, h: Float[Tensor, "B W"]) -> Float[Tensor, "B W"]:
        # In-place additions and activations: no backward pass needs the values they overwrite.
        return self.second(self.dropout(self.first(h).relu_())).add_(h).relu_()


def parameter_count(module: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
