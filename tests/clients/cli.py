"""aws-cli, unmodified but for the endpoint, walks the same road; so do two threads at once."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from harness import ENDPOINT, claim, client, equal, finish


def aws(*words, ok=True):
    """Runs `aws ecs …` and gives its answer, or the message it ended with."""
    command = [sys.executable, "-m", "awscli", "--endpoint-url", ENDPOINT, "--output", "json"]
    done = subprocess.run([*command, "ecs", *words], capture_output=True, text=True, timeout=300)
    if not ok:
        return done.returncode, done.stderr
    if done.returncode != 0:
        claim(f"aws ecs {words[0]} ends well", False, done.stderr)
        finish()
    return json.loads(done.stdout) if done.stdout.strip() else {}


containers = json.dumps([{"name": "main", "image": "probe:latest", "memoryReservation": 32}])
made = aws("register-task-definition", "--family", "cli", "--container-definitions", containers)
equal("the first revision", made["taskDefinition"]["revision"], 1)
ran = aws("run-task", "--task-definition", "cli", "--started-by", "cli")
arn = ran["tasks"][0]["taskArn"]
aws("wait", "tasks-running", "--tasks", arn)
listed = aws("list-tasks", "--started-by", "cli")["taskArns"]
equal("list-tasks", listed, [arn])
shown = aws("describe-tasks", "--tasks", arn)["tasks"][0]
equal("describe-tasks", shown["lastStatus"], "RUNNING")
aws("stop-task", "--task", arn, "--reason", "done")
aws("wait", "tasks-stopped", "--tasks", arn)
status, message = aws("run-task", "--task-definition", "nobody", ok=False)
claim("an error ends with the code and the operation",
      status != 0 and "(ClientException) when calling the RunTask operation" in message, message)
claim("list-clusters", aws("list-clusters")["clusterArns"])


def place(n):
    return client().run_task(taskDefinition="cli", count=1, startedBy=f"thread-{n}")


with ThreadPoolExecutor(8) as pool:
    answers = list(pool.map(place, range(16)))
placed = [task["taskArn"] for answer in answers for task in answer["tasks"]]
equal("sixteen calls at once place sixteen different tasks", len(set(placed)), 16)
for arn in placed:
    client().stop_task(task=arn)
finish()
