"""How much is logged."""

import enum

__all__ = ["LLDebug", "LLDeveloper", "LLInfo", "LLQuiet", "SRLoggingLevel"]


class SRLoggingLevel(enum.IntEnum):
    """What `SR_LOG_LEVEL` names: messages up to that level are written."""

    LLQuiet = 1
    LLInfo = 2
    LLDebug = 3
    LLDeveloper = 4


LLQuiet = SRLoggingLevel.LLQuiet
LLInfo = SRLoggingLevel.LLInfo
LLDebug = SRLoggingLevel.LLDebug
LLDeveloper = SRLoggingLevel.LLDeveloper
