"""Play the commands of LSF, Grid Engine and OpenPBS: `played.py <system> <command> <arguments>`.

They take jobs by the options in a script, really run it, keep what they know in files of the folder PLAYED_QUEUE, and
answer in the words of the real ones: bsub(1), bjobs(1), bkill(1) of LSF 10.1; qsub(1), qstat(1), qdel(1), qacct(1) of
Grid Engine 8.1; qsub(1B), qstat(1B), qdel(1B), qsig(1B) of OpenPBS 20.

Files in that folder change what happens: `down` (nothing can be reached), `forgetful` (ended jobs are not listed),
`held` (jobs wait), `calls` (gets a line for each command).
"""

import contextlib
import fcntl
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.sax.saxutils import escape

QUEUE = Path(os.environ["PLAYED_QUEUE"])
HOST = "n1"


def is_set(name):
    return (QUEUE / name).exists()


# What a job is and does. Its file is written anew as a whole, so that whoever reads it finds a whole one.


def write(job):
    file = QUEUE / f"{job['key']}.job"
    draft = file.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(job))
    draft.replace(file)


def read_all():
    return [json.loads(file.read_text()) for file in sorted(QUEUE.glob("*.job"))]


def known(job_id=None, task=None):
    """Return the jobs that are still known; of one job, or one of its tasks."""
    found = [job for job in read_all() if job_id in (None, job["id"]) and task in (None, job["task"])]
    return [job for job in found if not (job["ended"] and is_set("forgetful"))]


def take(text, options, environment):
    """Take a script; return its number and how many tasks it has."""
    with open(QUEUE / "number", "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        number = str(int(file.read() or 100) + 1)
        file.truncate(0)
        file.write(number)
    script = QUEUE / f"{number}.script"
    script.write_text(text)
    tasks = options.get("tasks") or [None]
    for task in tasks:
        job = {"key": f"{number}-{task}", "id": number, "task": task, "name": options.get("name", ""), "ended": False}
        paths = {kind: (options.get(kind) or "/dev/null").replace(options["pattern"], str(task)) for kind in ("o", "e")}
        write({**job, **paths, "state": "waits", "code": None, "signal": 0, "pid": 0, "script": str(script)})
        command = [sys.executable, __file__, options["system"], "run", f"{number}-{task}"]
        own = {
            name: value.format(id=number, task=task)
            for name, value in environment.items()
            if task or "{task}" not in value
        }
        subprocess.Popen(
            command,
            env={**os.environ, **own},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    return number, tasks


def run(key):
    """Run one job to its end, when it is not held."""
    file = QUEUE / f"{key}.job"
    while is_set("held") or is_set("down"):
        if json.loads(file.read_text())["ended"]:
            return
        time.sleep(0.02)
    job = json.loads(file.read_text())
    if job["ended"]:
        return
    with open(job["o"], "ab") as out, open(job["e"], "ab") as err:
        process = subprocess.Popen(["bash", job["script"]], stdout=out, stderr=err, start_new_session=True)
        write({**job, "state": "runs", "pid": process.pid})
        code = process.wait()
    job = json.loads(file.read_text())
    write({**job, "state": "over", "ended": True, "code": 128 - code if code < 0 else code})


def end(job, number):
    """Send a signal to a job; one that waits is over at once."""
    write({**job, "signal": number, **({} if job["pid"] else {"ended": True, "state": "over", "code": 128 + number})})
    if job["pid"] and not job["ended"]:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job["pid"], number)


def options_of(text, directive):
    """Return the options in a script: name -> value, the last one counts; `-l` and the like are left."""
    found = {}
    for line in text.splitlines():
        if line.startswith(directive + " "):
            words = shlex.split(line[len(directive) :])
            found[words[0].lstrip("-")] = " ".join(words[1:])
    return found


def say(*lines, to=sys.stdout):
    print(*lines, sep="\n", file=to)


# LSF


def lsf(command, arguments):
    if is_set("down"):
        say("Failed in an LSF library call: LSF is down. Please wait ...", to=sys.stderr)
        return 255
    if command == "bsub":
        # The options in a script are read from the standard input alone.
        if arguments:
            say("Job <100> is submitted to default queue <normal>.")
            return 0
        text = sys.stdin.read()
        found = options_of(text, "#BSUB")
        if found.get("q") == "none":
            say("none: No such queue. Job not submitted.", to=sys.stderr)
            return 255
        name, _, array = found.get("J", "").partition("[")
        last = re.match(r"1-(\d+)\]", array)
        tasks = [str(index + 1) for index in range(int(last[1]))] if last else None
        options = {
            "name": name,
            "tasks": tasks,
            "o": found.get("o"),
            "e": found.get("e"),
            "pattern": "%I",
            "system": "lsf",
        }
        variables = {"LSB_JOBID": "{id}", "LSB_JOBINDEX": "{task}", "LSB_HOSTS": f"{HOST} {HOST}"}
        number, _ = take(text, options, variables)
        say(f"Job <{number}> is submitted to default queue <normal>.")
        return 0
    ids = [word for word in arguments if word[0].isdigit()]
    if command == "bjobs":
        assert arguments[:3] == ["-a", "-noheader", "-o"] and "delimiter='|'" in arguments[3], arguments
        fields = arguments[3].split(" delimiter")[0].split()
        code = 0
        for word in ids:
            jobs = lsf_jobs(word)
            if not jobs:
                say(f"Job <{word}> is not found", to=sys.stderr)
                code = 255
            for job in jobs:
                say("|".join(lsf_fields(job)[field] for field in fields))
        return code
    code, number = 0, signal.SIGKILL if arguments[:2] == ["-s", "KILL"] else signal.SIGTERM
    for word in ids:
        jobs = [job for job in lsf_jobs(word) if not job["ended"]]
        for job in jobs:
            end(job, number)
        say(f"Job <{word}> is being terminated" if jobs else f"Job <{word}>: Job has already finished")
        code = code if jobs else 255
    return code


def lsf_jobs(word):
    number, _, task = word.rstrip("]").partition("[")
    return known(number, task or None)


def lsf_fields(job):
    state = {"waits": "PEND", "runs": "RUN", "over": "EXIT" if job["code"] else "DONE"}[job["state"]]
    reason = "TERM_OWNER: job killed by owner" if job["signal"] and state == "EXIT" else "-"
    return {
        "jobid": job["id"],
        "jobindex": job["task"] or "0",
        "stat": state,
        "exit_code": str(job["code"]) if state == "EXIT" else "-",
        "exit_reason": reason,
        "exec_host": HOST if job["pid"] else "-",
    }


# Grid Engine


def sge(command, arguments):
    if is_set("down"):
        say("error: commlib error: got select error (Connection refused)", to=sys.stderr)
        say('Unable to run job: unable to contact qmaster using port 6444 on host "head".', to=sys.stderr)
        return 1
    if command == "qsub":
        text = Path(arguments[-1]).read_text()
        found = options_of(text, "#$")
        if found.get("P") == "none":
            say('Unable to run job: job rejected: project "none" is not known.', "Exiting.", to=sys.stderr)
            return 1
        assert found["S"] == "/bin/bash"
        last = int(found.get("t", "1-0").split("-")[1])
        tasks = [str(index + 1) for index in range(last)] or None
        options = {
            "name": found["N"],
            "tasks": tasks,
            "o": found["o"],
            "e": found["e"],
            "pattern": "$TASK_ID",
            "system": "sge",
        }
        number, _ = take(text, options, {"JOB_ID": "{id}", "SGE_TASK_ID": "{task}"})
        array = f"-array {number}.1-{last}:1" if tasks else f" {number}"
        say(f'Your job{array} ("{found["N"]}") has been submitted')
        return 0
    if command == "qstat":
        assert arguments[:4] == ["-xml", "-g", "d", "-u"], arguments
        say(
            "<?xml version='1.0'?>",
            '<job_info  xmlns:xsd="http://arc.liv.ac.uk/repos/darcs/sge/qstat.xsd">',
            "  <queue_info>",
        )
        jobs = [job for job in known() if not job["ended"]]
        say(*(sge_xml(job) for job in jobs if job["state"] == "runs"), "  </queue_info>", "  <job_info>")
        say(*(sge_xml(job) for job in jobs if job["state"] == "waits"), "  </job_info>", "</job_info>")
        return 0
    if command == "qacct":
        jobs = [job for job in known(arguments[1]) if job["ended"]]
        if not jobs:
            say(f"error: job id {arguments[1]} not found", to=sys.stderr)
            return 1
        for job in jobs:
            failed = "100 : assumedly after job" if job["signal"] else "0    "
            say("=" * 62, "qname        all.q", f"hostname     {HOST}", f"jobname      {job['name']}")
            say(f"jobnumber    {job['id']}", f"taskid       {job['task'] or 'undefined'}", f"failed       {failed}")
            say(f"exit_status  {job['code']}", "ru_wallclock 1")
        return 0
    arguments = [word for word in arguments if word != "-f"]
    task = arguments[arguments.index("-t") + 1] if "-t" in arguments else None
    for word in arguments[: arguments.index("-t")] if task else arguments:
        jobs = [job for job in known(word, task) if not job["ended"]]
        for job in jobs:
            end(job, signal.SIGKILL)
        say(f"user has registered the job {word} for deletion" if jobs else f'denied: job "{word}" does not exist')
    return 0


def sge_xml(job):
    kind, state, queue = ("running", "r", f"all.q@{HOST}") if job["state"] == "runs" else ("pending", "qw", "")
    lines = [f'    <job_list state="{kind}">', f"      <JB_job_number>{job['id']}</JB_job_number>"]
    lines += [f"      <JB_name>{escape(job['name'])}</JB_name>", f"      <state>{state}</state>"]
    lines += [f"      <queue_name>{queue}</queue_name>", "      <slots>1</slots>"]
    lines += [f"      <tasks>{job['task']}</tasks>"] if job["task"] else []
    return "\n".join([*lines, "    </job_list>"])


# OpenPBS


def pbs(command, arguments):
    if is_set("down"):
        say("Connection refused", f"{command}: cannot connect to server head (errno=15010)", to=sys.stderr)
        return 1
    if command == "qsub":
        text = Path(arguments[-1]).read_text()
        found = options_of(text, "#PBS")
        if found.get("q") == "none":
            say("qsub: Unknown queue", to=sys.stderr)
            return 170
        array = re.match(r"0-(\d+)", found.get("J", ""))
        tasks = [str(index) for index in range(int(array[1]) + 1)] if array else None
        options = {"name": found["N"], "tasks": tasks, "o": found["o"], "e": found["e"], "system": "pbs"}
        nodes = QUEUE / "nodes"
        nodes.write_text(f"{HOST}\n{HOST}\nn2\n")
        variables = {"PBS_JOBID": "{id}.head", "PBS_ARRAY_INDEX": "{task}", "PBS_NODEFILE": str(nodes)}
        number, _ = take(text, {**options, "pattern": "^array_index^"}, variables)
        say(f"{number}[].head" if tasks else f"{number}.head")
        return 0
    flags = [word for word in arguments if word.startswith("-")]
    ids = [word for word in arguments if word[0].isdigit()]
    code = 0
    if command == "qstat":
        if "-x" in flags and is_set("forgetful"):
            say("qstat: PBS is not configured to maintain job history", to=sys.stderr)
            return 35
        for word in ids:
            jobs = pbs_jobs(word) if "-t" in flags else [job for job in pbs_jobs(word) if not job["task"]]
            if "-x" not in flags:
                jobs = [job for job in jobs if not job["ended"]]
            if not jobs:
                say(f"qstat: Unknown Job Id {word}", to=sys.stderr)
                code = 153
            for job in jobs:
                say(*pbs_lines(job), "")
        return code
    number = signal.SIGKILL if flags[:1] == ["-s"] else signal.SIGTERM
    for word in ids:
        jobs = [job for job in pbs_jobs(word) if not job["ended"]]
        for job in jobs:
            end(job, number)
        if not jobs:
            say(f"{command}: Job has finished {word}", to=sys.stderr)
            code = 35
    return code


def pbs_jobs(word):
    number, _, task = word.split(".")[0].rstrip("]").partition("[")
    return known(number, task or None)


def pbs_lines(job):
    task = f"[{job['task']}]" if job["task"] else ""
    letter = {"waits": "Q", "runs": "R", "over": "X" if task else "F"}[job["state"]]
    lines = [f"Job Id: {job['id']}{task}.head", f"    Job_Name = {job['name']}", f"    job_state = {letter}"]
    lines += [f"    exec_host = {HOST}/0*2"] if job["pid"] else ["    comment = Not Running: held by the test"]
    lines += ["    Variable_List = PBS_O_HOME=/home/user,PBS_O_PATH=/usr/local/sbin:/usr/l", '\tocal/bin,QUOTE="']
    if job["ended"]:
        code = job["code"]
        # The signal that ended a job is told by 256 and its number.
        lines += [f"    Exit_status = {code + 128 if code > 128 else code}"]
        lines += ["    substate = 91"] if job["signal"] and not job["pid"] else []
    return lines


def main():
    system, command, *arguments = sys.argv[1:]
    if command == "run":
        run(*arguments)
        return 0
    if is_set("calls"):
        with open(QUEUE / "calls", "a") as file:
            file.write(f"{command}\n")
    return {"lsf": lsf, "sge": sge, "pbs": pbs}[system](command, arguments)


if __name__ == "__main__":
    sys.exit(main())
