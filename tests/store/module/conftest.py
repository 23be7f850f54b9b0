"""What tests of the module's commands share."""

import pytest
import redis


@pytest.fixture
def error_of(raw):
    """Return the text of the error that a command, given as text or words, is answered with."""

    def error_of(*words):
        with pytest.raises(redis.ResponseError) as caught:
            raw.execute_command(*(words[0].split() if len(words) == 1 else words))
        return str(caught.value)

    return error_of
