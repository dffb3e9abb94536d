"""No two tasks of a node use the same port of the host."""

from harness import claim, client, equal, finish

WAIT = {"Delay": 1, "MaxAttempts": 90}
ecs = client()
node = ecs.list_container_instances()["containerInstanceArns"][0]


# Those of ssh, docker and the agent are no task's.
RESERVED = ["22", "2375", "2376", "51678", "51679", "51680"]


def register(family, port, protocol="tcp"):
    return ecs.register_task_definition(
        family=family, networkMode="host",
        containerDefinitions=[{"name": "c", "image": "i", "memory": 8, "portMappings": [
            {"containerPort": port, "protocol": protocol}]}])["taskDefinition"]


def used():
    shown = ecs.describe_container_instances(containerInstances=[node])["containerInstances"][0]
    sets = {r["name"]: r.get("stringSetValue") for r in shown["remainingResources"]}
    return sets["PORTS"], sets["PORTS_UDP"]


made = register("web", 8080)
equal("a mapping is shown with its host port", made["containerDefinitions"][0]["portMappings"],
      [{"containerPort": 8080, "hostPort": 8080, "protocol": "tcp"}])
register("other", 8080)
register("udp", 8080, "udp")
register("second", 8081)
first = ecs.run_task(taskDefinition="web")["tasks"][0]["taskArn"]
equal("its port is in use", used(), (RESERVED[:3] + ["8080"] + RESERVED[3:], []))
over = ecs.run_task(taskDefinition="other")
equal("another task with the same port is refused",
      (over["tasks"], [f["reason"] for f in over["failures"]]), ([], ["RESOURCE:PORTS"]))
both = ecs.run_task(taskDefinition="second", count=2)
equal("of two tasks at once one is placed",
      (len(both["tasks"]), [f["reason"] for f in both["failures"]]), (1, ["RESOURCE:PORTS"]))
udp = ecs.run_task(taskDefinition="udp")["tasks"]
equal("the same number over UDP is another port", (len(udp), used()), (1, (RESERVED[:3] + ["8080", "8081"] + RESERVED[3:], ["8080"])))
ecs.get_waiter("tasks_running").wait(tasks=[first], WaiterConfig=WAIT)
bindings = ecs.describe_tasks(tasks=[first])["tasks"][0]["containers"][0]["networkBindings"]
claim("a running container shows its binding", bindings == [
    {"bindIP": "0.0.0.0", "containerPort": 8080, "hostPort": 8080, "protocol": "tcp"}], bindings)
register("ssh", 22)
ssh = ecs.run_task(taskDefinition="ssh")
equal("a reserved port is refused", [f["reason"] for f in ssh["failures"]], ["RESOURCE:PORTS"])
ecs.stop_task(task=first)
ecs.get_waiter("tasks_stopped").wait(tasks=[first], WaiterConfig=WAIT)
again = ecs.run_task(taskDefinition="other")["tasks"]
equal("a stopped task gives its port back", len(again), 1)
for task in again + both["tasks"] + udp:
    ecs.stop_task(task=task["taskArn"])
finish()
