"""The loop that waits for processes and moments."""

import os
import subprocess
import sys
import threading

import psutil
import pytest

from smartml.experiment.loop import Loop

SLEEP = [sys.executable, "-c", "import time; time.sleep(100)"]


@pytest.fixture(params=[True, False], ids=["pidfds", "threads"])
def each_loop(request):
    """A loop with descriptors for processes, where there are any, and one without."""
    if request.param and not hasattr(os, "pidfd_open"):
        pytest.skip("this system has no pidfd_open")
    return Loop(has_pidfds=request.param)


@pytest.fixture
def sleeper():
    process = subprocess.Popen(SLEEP)
    yield process
    process.kill()
    process.wait()


def test_a_child_that_ends_is_told_and_its_exit_code_is_left_to_collect(each_loop):
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    ended = threading.Event()
    codes = []
    each_loop.watch(process.pid, lambda: (codes.append(process.wait()), ended.set()), process.wait)
    assert ended.wait(20)
    assert codes == [3]


def test_a_process_of_others_that_ends_is_told(each_loop):
    shell = subprocess.Popen(
        ["sh", "-c", "sleep 100 & echo $!; wait"], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    stranger = int(shell.stdout.readline())
    ended = threading.Event()
    try:
        each_loop.watch(stranger, ended.set)
        assert not ended.wait(0.05)
        os.kill(stranger, 9)
        assert ended.wait(20)
    finally:
        shell.kill()
        shell.communicate()


def test_what_has_ended_already_is_told_at_once(each_loop):
    process = psutil.Popen(["true"])
    process.wait()
    ended = threading.Event()
    each_loop.watch(process.pid, ended.set)
    assert ended.wait(20)


def test_moments_come_in_their_order_whatever_the_order_they_were_set_in():
    loop, said, done = Loop(), [], threading.Event()
    loop.call_later(0.2, done.set)
    loop.call_later(0.1, lambda: said.append("later"))
    loop.call_later(0, lambda: said.append("now"))
    loop.call_later(0.05, lambda: said.append("soon"))
    assert done.wait(20)
    assert said == ["now", "soon", "later"]


def test_a_cancelled_timer_does_nothing():
    loop, said, done = Loop(), [], threading.Event()
    loop.call_later(0.02, lambda: said.append("never")).cancel()
    loop.call_later(0.05, done.set)
    assert done.wait(20)
    assert said == []


def test_an_act_may_set_the_next_timer_and_watch_the_next_process(sleeper):
    loop, ended = Loop(), threading.Event()
    loop.call_later(0, lambda: (loop.watch(sleeper.pid, ended.set), loop.call_later(0, sleeper.kill)))
    assert ended.wait(20)


def test_what_blocks_aside_holds_up_neither_timers_nor_others_aside():
    loop, release, others = Loop(), threading.Event(), threading.Barrier(2)
    for _ in range(5):
        loop.aside(release.wait)
    loop.aside(lambda: others.wait(20))
    others.wait(20)
    timer = threading.Event()
    loop.call_later(0, timer.set)
    assert timer.wait(20)
    release.set()


def test_more_aside_than_there_are_threads_all_have_their_turn():
    loop, release, done = Loop(), threading.Event(), threading.Semaphore(0)
    for _ in range(100):
        loop.aside(lambda: (release.wait(20), done.release()))
    assert threading.active_count() < 50
    release.set()
    assert all(done.acquire(timeout=20) for _ in range(100))


def test_an_error_is_logged_and_the_loop_goes_on(caplog):
    loop, done = Loop(), threading.Event()
    loop.call_later(0, lambda: 1 / 0)
    loop.aside(lambda: 1 / 0)
    loop.call_later(0.02, done.set)
    assert done.wait(20)
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this system has no pidfd_open")
def test_one_thread_watches_many_processes():
    loop, ended = Loop(), threading.Semaphore(0)
    processes = [subprocess.Popen(["sleep", "100"]) for _ in range(50)]
    before = threading.active_count()
    for process in processes:
        loop.watch(process.pid, ended.release)
    assert threading.active_count() <= before + 1
    for process in processes:
        process.kill()
        process.wait()
    assert all(ended.acquire(timeout=20) for _ in processes)


def test_more_processes_than_files_may_be_open_are_watched(tmp_path):
    code = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80))
from smartml.experiment import Experiment
exp = Experiment("exp", sys.argv[1])
ensemble = exp.create_ensemble("ens", run_settings=exp.create_run_settings("sleep", "100"), replicas=90)
exp.start(ensemble, block=False)
exp.stop()
print(*set(exp.get_status(ensemble)))
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    assert done.stdout == "Cancelled\n", done.stderr
