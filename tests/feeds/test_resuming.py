"""A feed that goes on where another one was, of which only a checkpoint is left."""

import itertools
import pickle
import random
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest

from smartml.errors import ArgumentValueError, FeedError
from smartml.feeds import DataDownloader, Prioritised, RateLimit

from .conftest import flat, needs, numbers, one_pass

KEEPING = {
    "all": {},
    "fifo": {"capacity": 8, "policy": "fifo"},
    "reservoir": {"capacity": 8, "policy": "reservoir"},
    "firo": {"capacity": 8, "policy": "firo"},
}
SAMPLERS = {
    "shuffled": {},
    "in-order": {"shuffle": False},
    "uniform": {"sampler": "uniform", "batches_per_epoch": 3},
    "prioritised": {"sampler": "prioritised"},
}


@pytest.fixture
def make(scheme, close_later):
    """Build a feed, shuffled by the same seed every time."""

    def build(**arguments):
        defaults = {"batch_size": 3, "seed": 7, "wait_timeout_s": 0, **scheme.arguments()}
        return close_later(DataDownloader(**{**defaults, **arguments}))

    return build


def put(producer, *batches):
    for values in batches:
        producer.put(numbers(*values))


def stored_and_loaded(state):
    """What comes back from a file."""
    return pickle.loads(pickle.dumps(state))


def batches_of(feed, epochs):
    """What a trainer sees, who tells a prioritised feed what samples are worth."""
    for _ in range(epochs):
        for batch in feed:
            if isinstance(feed._chosen_sampler, Prioritised):
                feed.update_priorities(feed.last_batch.ids, feed.last_batch.ids % 5)
            yield batch.tolist()


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("keeping", KEEPING)
def test_the_rest_is_the_same_wherever_it_was_interrupted(keeping, sampler, producer, make):
    arguments = {**KEEPING[keeping], **SAMPLERS[sampler]}
    put(producer, *([value, value + 1] for value in range(0, 14, 2)))
    undisturbed = list(batches_of(make(**arguments), 3))
    per_epoch = len(undisturbed) // 3

    for done in range(len(undisturbed)):
        first = make(**arguments)
        before = list(itertools.islice(batches_of(first, 3), done))
        state = stored_and_loaded(first.state_dict())

        second = make(**arguments)
        second.load_state_dict(state)
        # In the middle of a pass, that counts as the first of those left.
        after = list(batches_of(second, 3 - done // per_epoch))

        assert before + after == undisturbed


def test_what_came_meanwhile_joins_with_the_next_pass(producer, make):
    put(producer, [0, 1, 2], [3, 4, 5])
    first = make(shuffle=False)
    assert next(iter(first)).tolist() == [0, 1, 2]
    state = first.state_dict()
    put(producer, [6, 7, 8])

    second = make(shuffle=False, init_samples=False)
    second.load_state_dict(state)

    assert (second.num_samples, len(second)) == (6, 2)
    assert one_pass(second) == [[3, 4, 5]]
    assert one_pass(second) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_a_state_that_was_taken_before_the_first_sample_is_one_too(producer, make):
    state = make(init_samples=False).state_dict()
    put(producer, [0, 1, 2])

    feed = make(init_samples=False)
    feed.load_state_dict(state)

    assert sorted(flat(one_pass(feed))) == [0, 1, 2]


def test_what_could_not_be_taken_up_is_not_tried_again(producer, make):
    put(producer, [0, 1, 2])
    first = make()
    producer.put(numbers(3, dtype="int8"))
    with pytest.raises(ValueError, match="int8"):
        first.update_data()

    second = make(init_samples=False)
    second.load_state_dict(first.state_dict())

    assert len(one_pass(second)) == 1


def test_samples_of_every_dtype_travel_in_the_state(producer, make):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    producer.put(np.arange(6).reshape(3, 2).astype(ml_dtypes.bfloat16))
    state = stored_and_loaded(make().state_dict(with_samples=True))

    feed = make(init_samples=False)
    feed.load_state_dict(state)

    assert feed.samples.dtype == ml_dtypes.bfloat16
    assert feed.samples.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_samples_that_are_no_longer_there_are_missed(producer, make, client):
    put(producer, [0, 1, 2], [3, 4, 5])
    first = make()
    state, whole_state = first.state_dict(), first.state_dict(with_samples=True)
    for key in client.database.command("KEYS", "*points*"):
        if b"smartml" not in key and client.database.command("TYPE", key) == b"string":
            client.database.command("DEL", key)

    with pytest.raises(FeedError, match=r"no longer there: .*points.*with_samples=True"):
        make(init_samples=False).load_state_dict(state)

    feed = make(init_samples=False)
    feed.load_state_dict(whole_state)
    assert sorted(flat(one_pass(feed))) == [0, 1, 2, 3, 4, 5]


def test_the_state_of_another_feed_is_refused(producer, make, make_plain_feed, client):
    put(producer, [0, 1, 2])
    feed = make()
    client.put_tensor("other_0", numbers(1, 2, 3))
    other = make_plain_feed(sample_prefix="other")

    with pytest.raises(ArgumentValueError, match=r"another feed: its stream is '.*', that of this one 'other_\*'"):
        other.load_state_dict(feed.state_dict())
    with pytest.raises(ArgumentValueError, match="its batch_size is 3, that of this one 2"):
        make(batch_size=2).load_state_dict(feed.state_dict())
    with pytest.raises(ArgumentValueError, match="no state of a feed"):
        feed.load_state_dict({})
    with pytest.raises(ArgumentValueError, match="samples cannot be read again"):
        make(capacity=6, policy="fifo").state_dict(with_samples=False)
    assert len(one_pass(feed)) == 1


def test_a_smaller_capacity_is_refused(producer, make):
    put(producer, [0, 1, 2, 3, 4, 5])
    state = make(capacity=6, policy="fifo").state_dict()

    with pytest.raises(ArgumentValueError, match="holds 6 samples, this feed has room for 4"):
        make(capacity=4, policy="fifo", init_samples=False).load_state_dict(state)


def test_counts_go_on(producer, make):
    put(producer, [0, 1, 2], [3, 4, 5])
    limit = {"samples_per_insert": RateLimit(2, tolerance=3)}

    def use_all(feed):
        with pytest.raises(TimeoutError, match="6 have arrived"):
            for _ in range(9):
                one_pass(feed)
        return feed.stats.used

    undisturbed = use_all(make(**limit))
    first, second = make(**limit), make(**limit)
    one_pass(first)
    second.load_state_dict(first.state_dict())

    assert second.stats.used == 6
    assert use_all(second) == undisturbed


# Deletion


def stored(client):
    """How many tensors there are."""
    return sum(
        client.database.command("TYPE", key) == b"string"
        for key in client.database.command("KEYS", "*points*")
        if not key.startswith(b".smartml.")
    )


def test_batches_are_deleted_when_the_checkpoint_after_theirs_is_made(producer, make, client):
    put(producer, [0, 1, 2])
    feed = make(delete_after="checkpoint")
    one_pass(feed)
    feed.state_dict()
    put(producer, [3, 4, 5])
    one_pass(feed)
    assert stored(client) == 2

    feed.state_dict()
    assert stored(client) == 1

    feed.state_dict()
    assert stored(client) == 0


def test_nothing_is_lost_between_two_checkpoints(producer, make, client):
    put(producer, [0, 1, 2])
    first = make(delete_after="checkpoint")
    one_pass(first)
    saved = first.state_dict()
    put(producer, [3, 4, 5])
    one_pass(first)
    # Made, but the process dies before it is on disk.
    first.state_dict()

    second = make(delete_after="checkpoint")
    second.load_state_dict(saved)
    one_pass(second)

    assert sorted(flat(one_pass(second))) == [0, 1, 2, 3, 4, 5]
    second.state_dict()
    second.state_dict()
    assert stored(client) == 0


def test_who_has_left_a_group_still_keeps_its_samples_in_the_state(producer, make, client):
    put(producer, [0, 1, 2])
    first = make(delete_after="read")
    first.leave_group()
    assert stored(client) == 0

    second = make(init_samples=False)
    second.load_state_dict(first.state_dict())

    assert sorted(flat(one_pass(second))) == [0, 1, 2]


# Replicas


def test_replicas_go_on_in_step(producer, make):
    put(producer, *([value] for value in range(12)))
    arguments = {"batch_size": 1, "num_replicas": 2}
    undisturbed = [list(batches_of(make(**arguments, replica_rank=rank, consumer_group="a"), 2)) for rank in (0, 1)]

    firsts = [make(**arguments, replica_rank=rank) for rank in (0, 1)]
    before = [list(itertools.islice(batches_of(first, 2), 4)) for first in firsts]
    states = [stored_and_loaded(first.state_dict()) for first in firsts]
    seconds = [make(**arguments, replica_rank=rank) for rank in (0, 1)]
    for second, state in zip(seconds, states, strict=True):
        second.load_state_dict(state)
        assert (second.epoch, len(second)) == (0, 6)
    after = [list(batches_of(second, 2)) for second in seconds]

    assert [a + b for a, b in zip(before, after, strict=True)] == undisturbed
    with pytest.raises(ArgumentValueError, match=r"its share is \[0, 2, 1\], that of this one \[1, 2, 1\]"):
        seconds[1].load_state_dict(states[0])


def test_replicas_that_the_database_has_forgotten_cannot_go_on(producer, make, client):
    put(producer, [0], [1])
    feed = make(batch_size=1, num_replicas=2, replica_rank=0)
    one_pass(feed)
    state = feed.state_dict()
    client.database.command("DEL", *client.database.command("KEYS", ".smartml.*"))

    with pytest.raises(FeedError, match="no longer knows what the replicas of this checkpoint had agreed on"):
        make(batch_size=1, num_replicas=2, replica_rank=0, init_samples=False).load_state_dict(state)


# Frameworks


@needs("torch")
@needs("torchdata")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_stateful_loader_of_torchdata_goes_on_anywhere(workers, producer, make_feed, tmp_path):
    import torch
    from torchdata.stateful_dataloader import StatefulDataLoader

    put(producer, *([value] for value in range(8)))

    def loader():
        feed = make_feed("torch", batch_size=1, shuffle=True, seed=3)
        return StatefulDataLoader(feed, batch_size=None, num_workers=workers)

    first, seen = loader(), []
    for batch in itertools.islice(first, 5):
        seen.append(batch.item())
    # As PyTorch saves and loads by default: no numpy in it, no pickled code.
    torch.save(first.state_dict(), tmp_path / "state")
    second = loader()
    second.load_state_dict(torch.load(tmp_path / "state"))
    seen += [batch.item() for batch in second]

    assert sorted(seen) == list(range(8))


@needs("torch")
def test_a_process_whose_workers_hold_the_samples_says_who_can_be_asked(producer, make_feed):
    from smartml.feeds.torch import DataLoader

    put(producer, [0], [1])
    feed = make_feed("torch", batch_size=1)
    list(DataLoader(feed, num_workers=1))

    with pytest.raises(FeedError, match="torchdata's StatefulDataLoader"):
        feed.state_dict()


# Killed

TRAINER = """
import os, pickle, sys, time
from smartml.feeds import DataDownloader

path = sys.argv[1]
with open(sys.argv[2], "rb") as file:
    options = pickle.load(file)
feed = DataDownloader(batch_size=4, seed=5, wait_timeout_s=20, init_samples=False, **options)
epoch, used = 0, []
if os.path.exists(path):
    with open(path, "rb") as file:
        epoch, used, state = pickle.load(file)
    feed.load_state_dict(state)

def save(epoch):
    with open(path + ".new", "wb") as file:
        pickle.dump((epoch, used, feed.state_dict()), file)
    os.replace(path + ".new", path)

print("began", flush=True)
while epoch < 8:
    for number, batch in enumerate(feed):
        # What a step of training takes.
        time.sleep(0.004)
        used.append(batch.tolist())
        if number % 3 == 0:
            save(epoch)
    epoch += 1
    save(epoch)
print("done", flush=True)
"""


@pytest.mark.parametrize(
    "arguments",
    [{}, {"delete_after": "checkpoint"}, {"capacity": 200, "policy": "fifo", "delete_after": "checkpoint"}],
    ids=["read again", "deleted", "bounded and deleted"],
)
def test_killed_at_any_moment_a_trainer_loses_nothing_and_uses_nothing_twice(
    arguments, scheme, producer, tmp_path, client
):
    script, path = tmp_path / "train.py", tmp_path / "checkpoint"
    script.write_text(TRAINER)

    def start(path, group):
        options = {**scheme.arguments(), **arguments, "consumer_group": group, "consumer_groups": ["calm", "killed"]}
        (tmp_path / group).write_bytes(pickle.dumps(options))
        command = [sys.executable, script, path, tmp_path / group]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    put(producer, *(range(first, first + 5) for first in range(0, 150, 5)))
    calm = start(tmp_path / "undisturbed", "calm")
    assert "done" in calm.communicate(timeout=60)[0]
    with open(tmp_path / "undisturbed", "rb") as file:
        _, expected, _ = pickle.load(file)

    chance = random.Random(len(arguments))
    for _ in range(7):
        trainer = start(path, "killed")
        with trainer:
            assert trainer.stdout.readline() == "began\n"
            # At once, or after some tens of batches of three hundred.
            time.sleep(chance.uniform(0, 0.15))
            assert trainer.poll() is None
            trainer.kill()
    trainer = start(path, "killed")
    assert "done" in trainer.communicate(timeout=60)[0]

    with open(path, "rb") as file:
        epoch, used, _ = pickle.load(file)
    assert epoch == 8
    assert Counter(flat(used)) == Counter(flat(expected))
    assert used == expected


@needs("torch")
@pytest.mark.parametrize("arguments", [{}, {"delete_after": "checkpoint"}, {"capacity": 3, "policy": "fifo"}])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_state_is_read_by_torch_load_as_it_is(sampler, arguments, producer, make, tmp_path):
    import torch

    feed = make(**arguments, **SAMPLERS[sampler], init_samples=False)
    states = [feed.state_dict()]
    put(producer, [0, 1, 2])
    one_pass(feed)
    states.append(feed.state_dict())

    for state in states:
        torch.save(state, tmp_path / "state")
        make(**arguments, **SAMPLERS[sampler], init_samples=False).load_state_dict(torch.load(tmp_path / "state"))
