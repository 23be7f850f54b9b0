"""Start a program that outlives whoever wanted it, and note in a journal that it began, and how it ended.

    python -I -S recorder.py <report fd> <go fd> <journal> <mark> <line> <program> <argument> ...

Only the parent of a process learns its exit code, and that of a detached program is not there any more when it ends. So
this small process stays its parent. Run as a script, it needs nothing but the standard library's quickest modules.

`line` is the beginning of the journal's line for the start; pid and time are added here, the moment they are known, so
that a program is never lost, whatever becomes of who wanted it. On the report descriptor goes the pid, or `!` and the
number of the error that kept the program from starting. Until the go descriptor is closed the program stays, should it
end at once, a zombie that can still be looked at. The program gets the mark (guardian.py), a session of its own, and
none of the descriptors; the recorder itself is part of no job, so that whoever ends the program does not end it before
its work.
"""

import os
import signal
import sys
import time

# Not imported from guardian.py, which imports much.
_MARK_VARIABLE = "SMARTML_JOB"


def _record(report: int, go: int, journal: str, mark: str, line: str, argv: list[str]) -> None:
    for descriptor in (report, go):
        os.set_inheritable(descriptor, False)
    failed, fails = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            for number in (signal.SIGPIPE, signal.SIGXFSZ):
                # Python ignores them, and its children would.
                signal.signal(number, signal.SIG_DFL)
            os.environ[_MARK_VARIABLE] = mark
            os.execvp(argv[0], argv)
        except OSError as error:
            os.write(fails, str(error.errno).encode())
        finally:
            os._exit(127)
    os.close(fails)
    if error_number := os.read(failed, 16):
        os.waitpid(pid, 0)
        os.write(report, b"!" + error_number)
        return
    now = time.time()
    _append(journal, f'{line}, "pid": {pid}, "created": {now}, "time": {now}}}')
    try:  # noqa: SIM105 - contextlib takes longer to import than all the rest.
        os.write(report, str(pid).encode())
    except BrokenPipeError:
        pass  # Whoever wanted it is gone.
    os.close(report)
    os.read(go, 1)
    # The program has them; here they would keep a terminal or a pipe of the caller open.
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    # A mark needs no escapes.
    _append(journal, f'{{"event": "end", "id": "{mark}", "returncode": {code}, "time": {time.time()}}}')


def _append(journal: str, line: str) -> None:
    # One write at the end of the file: lines of others stay whole.
    file = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(file, line.encode() + b"\n")
    os.close(file)


if __name__ == "__main__":
    _record(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5], sys.argv[6:])
