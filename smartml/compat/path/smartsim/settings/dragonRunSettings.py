"""The run settings of Dragon."""

from smartsim.settings.base import DragonRunSettings

__all__ = ["DragonRunSettings"]
