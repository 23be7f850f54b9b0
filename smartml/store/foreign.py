"""Keys that hold no tensor: what to say of them (pure)."""

from smartml.errors import TensorFormatError

# What TYPE answers for values of Redis itself; other answers are the names of types that modules brought.
_OWN_KINDS = (b"string", b"list", b"set", b"zset", b"hash", b"stream")
# AI_TENSOR, AI_SCRIPT, AI__MODEL …
_REDISAI = "AI_"


def foreign_value(key: bytes, kind: bytes) -> TensorFormatError:
    """Return the error that says what a key holds in the place of a tensor; `kind` is what TYPE answers."""
    name, text = kind.decode(errors="replace"), key.decode(errors="replace")
    if kind in _OWN_KINDS:
        return TensorFormatError(f"key {text!r} does not hold a tensor: it is a Redis value of type {name}")
    if name.startswith(_REDISAI):
        return TensorFormatError(
            f"key {text!r} holds a value of the Redis module type {name!r}, which RedisAI wrote and only RedisAI can "
            "open: put it again through smartml (or the tensor module)"
        )
    return TensorFormatError(
        f"key {text!r} holds a value of the Redis module type {name!r}, which only the foreign module that wrote it "
        "can open: put a tensor there through smartml (or the tensor module), or take another key"
    )
