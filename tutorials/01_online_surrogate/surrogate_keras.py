"""The surrogate in Keras: a small residual U-Net, and how it learns from a feed. Any backend will do."""

from collections.abc import Callable

import keras
from keras import layers

from smartml.feeds.keras import DynamicDataGenerator

# Channels at full, half and quarter resolution. Full means patches of 4 x 4 cells.
CHANNELS = (32, 64, 96)
PATCH = 4


def residual(x, channels: int):
    """Two convolutions that add to what they are given; at first they add nothing."""
    change = layers.Conv2D(channels, 3, padding="same", activation="gelu")(x)
    change = layers.Conv2D(channels, 3, padding="same", kernel_initializer="zeros")(change)
    return layers.Add()([x, change])


def u_net(shape: tuple[int, int]) -> keras.Model:
    """Predicts the velocity later from a sample: (B, H, W, 3) to (B, H, W, 2)."""
    one, two, three = CHANNELS
    samples = keras.Input((*shape, 3))
    full = residual(layers.Conv2D(one, PATCH, PATCH)(samples), one)  # (B, H/4, W/4, 32)
    half = residual(layers.Conv2D(two, 2, 2)(full), two)  # (B, H/8, W/8, 64)
    quarter = residual(layers.Conv2D(three, 2, 2)(half), three)  # (B, H/16, W/16, 96)
    quarter = residual(quarter, three)
    half = residual(layers.Add()([half, layers.Conv2DTranspose(two, 2, 2)(quarter)]), two)
    full = residual(layers.Add()([full, layers.Conv2DTranspose(one, 2, 2)(half)]), one)
    # Patches that overlap, so that no seams are seen between them. Untrained, it predicts that nothing changes.
    change = layers.Conv2DTranspose(2, 2 * PATCH, PATCH, padding="same", kernel_initializer="zeros")(full)
    velocity, solid = samples[..., :2], samples[..., 2:]
    return keras.Model(samples, (velocity + change) * (1 - solid))


class Surrogate:
    """A network and the feed that it learns from."""

    def __init__(self, seed: int, **feed_options) -> None:
        keras.utils.set_random_seed(seed)
        self.feed = DynamicDataGenerator(seed=seed, **feed_options)
        self.network = u_net(self.feed.batch(0)[0].shape[1:3])
        self.network.compile(keras.optimizers.AdamW(weight_decay=1e-2, global_clipnorm=1.0), loss="mse")
        self._epoch = 0

    def train_epoch(self, learning_rate: Callable[[], float]) -> float:
        """Learn from all samples that are there now, once; return the mean loss."""
        optimizer = self.network.optimizer
        schedule = keras.callbacks.LambdaCallback(
            on_train_batch_begin=lambda batch, logs: setattr(optimizer, "learning_rate", learning_rate())
        )
        history = self.network.fit(
            self.feed, epochs=self._epoch + 1, initial_epoch=self._epoch, callbacks=[schedule], verbose=0
        )
        self._epoch += 1
        return history.history["loss"][0]

    def predict(self, samples):
        """Return the predicted velocities as an array: (n, H, W, 2), float32."""
        return self.network.predict(samples, batch_size=len(samples), verbose=0)

    def save(self, folder) -> None:
        """Write the weights."""
        self.network.save_weights(folder / "surrogate.weights.h5")
