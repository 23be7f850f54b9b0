"""The tutorials, installed as `smartml.tutorials` so that `smartml demo` works without a clone."""
