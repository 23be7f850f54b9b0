"""Training sets for PyTorch."""

from smartsim.ml.torch.data import DataLoader, DynamicDataGenerator, StaticDataGenerator

__all__ = ["DataLoader", "DynamicDataGenerator", "StaticDataGenerator"]
