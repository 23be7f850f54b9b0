"""Models of torch for tests, as their framework saves them."""

import torch

torch.set_num_threads(1)


class Affine(torch.nn.Module):
    """Twice its input, and some more."""

    def __init__(self, more):
        super().__init__()
        self.more = torch.nn.Parameter(torch.tensor(float(more)))

    def forward(self, x):
        return 2 * x + self.more


class Two(torch.nn.Module):
    """The sum and the difference of two arrays."""

    def forward(self, x, y):
        return x + y, x - y


class InPlace(torch.nn.Module):
    """Its input, into which it has written."""

    def forward(self, x):
        return x.add_(1)


class Slow(torch.nn.Module):
    """Its input, after some tenths of a second."""

    def forward(self, x):
        waste = torch.ones(300, 300)
        for _ in range(200):
            waste = waste @ waste / 300
        return x + 0 * waste[0, 0]


SCRIPT = """
def double(x):
    return 2 * x

def sum_and_difference(x, y):
    return x + y, x - y
"""
