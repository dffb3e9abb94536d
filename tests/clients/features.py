"""boto3 runs an everyday task of three containers: an init that must succeed, a web server with a
health check, and a sidecar that waits for HEALTHY; then volumes, limits and what is refused.

The nodes are real, and the image is a busybox with a shell.
"""

import time

from harness import OWN_TARGET, claim, client, equal, finish, raw, refused

WAIT = {"Delay": 1, "MaxAttempts": 120}
ecs = client()


def sh(name, script, **more):
    """A container that runs a script."""
    return {"name": name, "image": "busybox:latest", "memory": 32, "command": ["sh", "-c", script],
            "stopTimeout": 5, **more}


def define(family, containers, **more):
    """Registers a definition; its ARN."""
    more = {"networkMode": "none", **more}
    made = ecs.register_task_definition(family=family, containerDefinitions=containers, **more)
    return made["taskDefinition"]["taskDefinitionArn"]


def run(definition, **more):
    """Runs one task; its ARN."""
    ran = ecs.run_task(taskDefinition=definition, **more)
    claim(f"{definition} finds a place", ran["failures"] == [], ran["failures"])
    return ran["tasks"][0]["taskArn"]


def describe(arn):
    """The task, and its containers by name."""
    task = ecs.describe_tasks(tasks=[arn])["tasks"][0]
    return task, {container["name"]: container for container in task["containers"]}


def until(arn, state):
    """Waits for RUNNING or STOPPED."""
    waiter = {"RUNNING": "tasks_running", "STOPPED": "tasks_stopped"}[state]
    ecs.get_waiter(waiter).wait(tasks=[arn], WaiterConfig=WAIT)
    return describe(arn)


# Init writes a page; the web server serves it only then; the sidecar fetches it.
trap = "trap 'echo {0} >> /shared/order; exit 0' TERM; "
mount = [{"sourceVolume": "shared", "containerPath": "/shared"}]
web = {
    "dependsOn": [{"containerName": "init", "condition": "SUCCESS"}],
    "healthCheck": {"command": ["CMD-SHELL", "wget -q -O- http://127.0.0.1:18080/page | grep -q made"],
                    "interval": 5, "timeout": 3, "retries": 2},
}
trio = define("trio", [
    sh("init", "echo made > /shared/page", essential=False, mountPoints=mount),
    sh("web", trap.format("web") + "httpd -f -p 18080 -h /shared & while :; do sleep 0.1; done",
       mountPoints=mount, **web),
    sh("side", trap.format("side") + "wget -q -O- http://127.0.0.1:18080/page > /shared/got; "
       "echo ready; while :; do sleep 0.1; done", mountPoints=mount,
       dependsOn=[{"containerName": "web", "condition": "HEALTHY"}]),
    sh("last", "trap 'cat /shared/got /shared/order; exit 0' TERM; echo ready; "
       "while :; do sleep 0.1; done",
       mountPoints=mount),
], volumes=[{"name": "shared"}], networkMode="host")
shown = ecs.describe_task_definition(taskDefinition=trio)["taskDefinition"]
equal("defaults of a health check are shown",
      {k: v for k, v in shown["containerDefinitions"][1]["healthCheck"].items() if k != "command"},
      {"interval": 5, "timeout": 3, "retries": 2})
claim("what a node needs is shown", {"name": "ecs.capability.container-ordering"} in
      shown["requiresAttributes"], shown["requiresAttributes"])
arn = run(trio)
task, containers = until(arn, "RUNNING")
equal("init has ended well", (containers["init"]["lastStatus"], containers["init"]["exitCode"]),
      ("STOPPED", 0))
equal("the web server is HEALTHY", containers["web"]["healthStatus"], "HEALTHY")
equal("and so is the task", task["healthStatus"], "HEALTHY")
equal("who has no health check is UNKNOWN", containers["side"]["healthStatus"], "UNKNOWN")
# Each has begun to listen for the signal before it does what can be seen: the web server before it
# serves, and these before they say so.
for name in ("side", "last"):
    asked = {"task": arn, "containerName": name}
    while "ready" not in str(raw("ReadTaskLogs", asked, target=OWN_TARGET, service="loadline")[1]):
        time.sleep(0.1)
ecs.stop_task(task=arn)
task, containers = until(arn, "STOPPED")
equal("all containers had time to end", {n: c.get("exitCode") for n, c in containers.items()},
      {"init": 0, "web": 0, "side": 0, "last": 0})

# What waits in vain.
vain = define("vain", [
    sh("init", "exit 3", essential=False),
    sh("main", "sleep 600", dependsOn=[{"containerName": "init", "condition": "SUCCESS"}]),
])
task, containers = until(run(vain), "STOPPED")
equal("a task whose init fails says why", (task["stopCode"], task["stoppedReason"]),
      ("TaskFailedToStart",
       "TaskDependencyError: SUCCESS of container 'init' was awaited, but it ended with 3"))
equal("its container has ECS's exit code", containers["main"].get("exitCode"), 143)

# A standalone task that is not well runs on, and says so.
sick = define("sick", [sh("main", "sleep 600", healthCheck={
    "command": ["CMD-SHELL", "echo no; exit 1"], "interval": 5, "retries": 1})])
arn = run(sick)
until(arn, "RUNNING")
for _ in range(60):
    task, containers = describe(arn)
    if task["healthStatus"] == "UNHEALTHY":
        break
    time.sleep(1)
equal("an unhealthy task says so", (task["healthStatus"], containers["main"]["healthStatus"]),
      ("UNHEALTHY", "UNHEALTHY"))
equal("and runs on", task["lastStatus"], "RUNNING")
ecs.stop_task(task=arn)
until(arn, "STOPPED")

# A service replaces it.
ecs.create_service(serviceName="sick", taskDefinition=sick, desiredCount=1)
for _ in range(90):
    arns = ecs.list_tasks(serviceName="sick", desiredStatus="STOPPED")["taskArns"]
    if arns:
        break
    time.sleep(1)
task, _ = describe(arns[0]) if arns else ({}, {})
equal("a service replaces a task that is not well", task.get("stoppedReason"),
      "Task failed container health checks")
ecs.delete_service(service="sick", force=True)
left = [arn for desired in ("RUNNING", "STOPPED")
        for arn in ecs.list_tasks(family="sick", desiredStatus=desired)["taskArns"]]
ecs.get_waiter("tasks_stopped").wait(tasks=left, WaiterConfig=WAIT)

# Linux parameters, seen from inside.
inside = define("inside", [sh(
    "main",
    "ulimit -n | grep -qx 77 && grep -q 'size=3072k' /proc/mounts && df -k /dev/shm | grep -q 8192"
    " && [ \"$(cat /proc/sys/kernel/shmmni)\" = 1234 ] && [ -c /dev/mine ]"
    " && ! touch /x && touch /scratch/x && touch /image/x",
    ulimits=[{"name": "nofile", "softLimit": 77, "hardLimit": 77}],
    linuxParameters={
        "tmpfs": [{"containerPath": "/scratch", "size": 3}],
        "sharedMemorySize": 8,
        "devices": [{"hostPath": "/dev/null", "containerPath": "/dev/mine"}],
        "capabilities": {"drop": ["ALL"]},
    },
    systemControls=[{"namespace": "kernel.shmmni", "value": "1234"}],
    mountPoints=[{"sourceVolume": "image", "containerPath": "/image"}],
    readonlyRootFilesystem=True,
)], volumes=[{"name": "image", "dockerVolumeConfiguration": {"scope": "task"}}])
task, containers = until(run(inside), "STOPPED")
equal("Linux parameters are seen from inside", containers["main"].get("exitCode"), 0)

refused("a circle", "ClientException", "wait for each other in a circle", lambda: define("bad", [
    sh("a", "x", dependsOn=[{"containerName": "b", "condition": "START"}]),
    sh("b", "x", dependsOn=[{"containerName": "a", "condition": "START"}])]))
refused("a volume that is not there", "ClientException", "Unknown volume 'none'.",
        lambda: define("bad", [sh("a", "x", mountPoints=[
            {"sourceVolume": "none", "containerPath": "/n"}])]))
refused("a health check every second", "ClientException", "interval must be between 5 and 300",
        lambda: define("bad", [sh("a", "x", healthCheck={
            "command": ["CMD", "x"], "interval": 1})]))
refused("a secret", "ClientException", "secrets", lambda: define("bad", [sh("a", "x", secrets=[
    {"name": "S", "valueFrom": "arn:aws:ssm:us-east-1:000000000000:parameter/x"}])]))
finish()
