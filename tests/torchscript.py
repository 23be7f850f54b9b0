"""Models as torch saves them."""

import io
import warnings

import torch


def saved(module):
    """Return the bytes of a module in TorchScript."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        # torch speaks of a successor that RedisAI's users do not have.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(module), content)
    return content.getvalue()
