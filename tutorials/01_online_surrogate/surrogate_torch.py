"""The surrogate in PyTorch: a small residual U-Net, and how it learns from a feed."""

from collections.abc import Callable

import torch
from torch import nn

from smartml.feeds.torch import DataLoader, DynamicDataGenerator

# Channels at full, half and quarter resolution. Full means patches of 4 x 4 cells.
CHANNELS = (32, 64, 96)
PATCH = 4


class Residual(nn.Module):
    """Two convolutions that add to what they are given; at first they add nothing."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(nn.functional.gelu(self.first(x)))


class UNet(nn.Module):
    """Predicts the velocity later from a sample: (B, H, W, 3) to (B, H, W, 2)."""

    def __init__(self) -> None:
        super().__init__()
        one, two, three = CHANNELS
        self.stem = nn.Conv2d(3, one, PATCH, PATCH)
        self.first = Residual(one)
        self.down_two = nn.Conv2d(one, two, 2, 2)
        self.second = Residual(two)
        self.down_three = nn.Conv2d(two, three, 2, 2)
        self.third = nn.Sequential(Residual(three), Residual(three))
        self.up_two = nn.ConvTranspose2d(three, two, 2, 2)
        self.fourth = Residual(two)
        self.up_one = nn.ConvTranspose2d(two, one, 2, 2)
        self.fifth = Residual(one)
        # Patches that overlap, so that no seams are seen between them.
        self.head = nn.ConvTranspose2d(one, 2, 2 * PATCH, PATCH, padding=PATCH // 2)
        # The untrained network predicts that nothing changes.
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        x = samples.permute(0, 3, 1, 2)  # (B, 3, H, W), channels last in memory
        full = self.first(self.stem(x))  # (B, 32, H/4, W/4)
        half = self.second(self.down_two(full))  # (B, 64, H/8, W/8)
        quarter = self.third(self.down_three(half))  # (B, 96, H/16, W/16)
        half = self.fourth(half + self.up_two(quarter))
        full = self.fifth(full + self.up_one(half))
        velocity, solid = x[:, :2], x[:, 2:]
        later = (velocity + self.head(full)) * (1 - solid)  # (B, 2, H, W)
        return later.permute(0, 2, 3, 1)


class Surrogate:
    """A network, its optimizer, and the feed that it learns from."""

    def __init__(self, seed: int, **feed_options) -> None:
        torch.manual_seed(seed)
        self.network = UNet().to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), weight_decay=1e-2)
        self.feed = DynamicDataGenerator(seed=seed, **feed_options)
        self.loader = DataLoader(self.feed)

    def train_epoch(self, learning_rate: Callable[[], float]) -> float:
        """Learn from all samples that are there now, once; return the mean loss."""
        self.network.train()
        losses = []
        for samples, targets in self.loader:
            self.optimizer.param_groups[0]["lr"] = learning_rate()
            loss = nn.functional.mse_loss(self.network(samples), targets)
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()
            losses.append(loss.item())
        return sum(losses) / len(losses)

    def predict(self, samples):
        """Return the predicted velocities as an array: (n, H, W, 2), float32."""
        self.network.eval()
        with torch.no_grad():
            return self.network(torch.from_numpy(samples)).numpy()

    def save(self, folder) -> None:
        """Write the weights."""
        torch.save(self.network.state_dict(), folder / "weights.pt")
