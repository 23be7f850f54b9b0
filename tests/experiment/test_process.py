"""Processes of this machine: when they were created, and their output files."""

import subprocess
import time

import psutil

from smartml.experiment.process import Births


def test_creation_times_are_those_that_the_system_tells_later():
    births = Births()
    for _ in range(3):
        before = time.time()
        process = subprocess.Popen(["sleep", "100"])
        root = births.root_of(process.pid, before)
        try:
            assert root.pid == process.pid
            # Far below what tells a process from a later one of its pid.
            assert abs(root.created - psutil.Process(process.pid).create_time()) < 0.5
        finally:
            process.kill()
            process.wait()


def test_the_creation_time_after_a_slow_start_is_looked_up():
    births = Births()
    process = subprocess.Popen(["sleep", "100"])
    try:
        assert births.root_of(process.pid, time.time() - 60).created == psutil.Process(process.pid).create_time()
    finally:
        process.kill()
        process.wait()
