"""boto3 with only an endpoint URL takes a task through its life, by boto3's own waiters."""

import datetime

import boto3

from harness import ENDPOINT, claim, client, equal, finish, refused

WAIT = {"Delay": 1, "MaxAttempts": 90}

ecs = client()
made = ecs.create_cluster(clusterName="boto", tags=[{"key": "team", "value": "blue"}])["cluster"]
equal("a new cluster is ACTIVE", made["status"], "ACTIVE")
again = ecs.create_cluster(clusterName="boto")["cluster"]
equal("making a cluster twice gives the same one", again["clusterArn"], made["clusterArn"])
both = ecs.describe_clusters(clusters=["boto", made["clusterArn"], "nobody"], include=["TAGS"])
equal("name and ARN mean the same cluster", [c["clusterName"] for c in both["clusters"]],
      ["boto", "boto"])
equal("tags are shown on demand", both["clusters"][0]["tags"], [{"key": "team", "value": "blue"}])
equal("a missing cluster is a failure", [f["reason"] for f in both["failures"]], ["MISSING"])

definition = ecs.register_task_definition(
    family="sleeper",
    networkMode="none",
    requiresCompatibilities=["EC2"],
    cpu=".25 vCPU",
    memory="0.125 GB",
    containerDefinitions=[
        {
            "name": "main",
            "image": "probe:latest",
            "command": ["sleep", "600"],
            "environment": [{"name": "A", "value": "1"}],
            "memory": 64,
            "essential": True,
            "dockerLabels": {"k": "v"},
            "stopTimeout": 5,
        }
    ],
    tags=[{"key": "of", "value": "definition"}],
)["taskDefinition"]
equal("task cpu is normalised", definition["cpu"], "256")
equal("task memory is normalised", definition["memory"], "128")
equal("the first revision is 1", definition["revision"], 1)
equal("a registered definition is ACTIVE", definition["status"], "ACTIVE")
claim("registeredAt is a time", isinstance(definition["registeredAt"], datetime.datetime))
equal("who registered it is told", definition.get("registeredBy"),
      boto3.client("sts", endpoint_url=ENDPOINT).get_caller_identity()["Arn"])
container = definition["containerDefinitions"][0]
equal("a container's cpu is 0 where absent", container["cpu"], 0)
equal("what was given comes back", container["dockerLabels"], {"k": "v"})
described = ecs.describe_task_definition(taskDefinition="sleeper", include=["TAGS"])
equal("the family's newest revision is meant by its name",
      described["taskDefinition"], definition)
equal("a definition's tags", described["tags"], [{"key": "of", "value": "definition"}])

ran = ecs.run_task(
    taskDefinition="sleeper",
    count=2,
    startedBy="lifecycle",
    group="batch",
    propagateTags="TASK_DEFINITION",
    tags=[{"key": "who", "value": "boto"}],
    enableECSManagedTags=True,
    enableExecuteCommand=True,
    overrides={"containerOverrides": [
        {"name": "main", "environment": [{"name": "A", "value": "2"}], "cpu": 10}
    ]},
)
equal("both tasks are placed", (len(ran["tasks"]), ran["failures"]), (2, []))
arns = [task["taskArn"] for task in ran["tasks"]]
ecs.get_waiter("tasks_running").wait(tasks=arns, WaiterConfig=WAIT)
tasks = ecs.describe_tasks(tasks=arns, include=["TAGS"])["tasks"]
task = tasks[0]
equal("the waiter tasks_running comes back when all run", {t["lastStatus"] for t in tasks},
      {"RUNNING"})
equal("the definition is named with its revision", task["taskDefinitionArn"],
      definition["taskDefinitionArn"])
equal("group and startedBy", (task["group"], task["startedBy"]), ("batch", "lifecycle"))
equal("reserved cpu and memory", (task["cpu"], task["memory"]), ("256", "128"))
equal("tags of definition, call and ECS", sorted(tag["key"] for tag in task["tags"]),
      ["aws:ecs:clusterName", "of", "who"])
equal("the overrides are shown", task["overrides"]["containerOverrides"][0]["cpu"], 10)
claim("startedAt is set", "startedAt" in task and "stoppedAt" not in task, task)
claim("so is when its images were looked for and there",
      "pullStoppedAt" in task and task["createdAt"] - datetime.timedelta(seconds=1)
      <= task["pullStartedAt"] <= task["pullStoppedAt"] <= task["startedAt"], task)
pulled = {t["taskArn"]: (t["pullStartedAt"], t["pullStoppedAt"]) for t in tasks}
equal("a task of a connected node is CONNECTED", task.get("connectivity"), "CONNECTED")
claim("and since when is told", task.get("connectivityAt", task["startedAt"]) < task["startedAt"],
      task)
agents = [(agent["name"], agent["lastStatus"], "lastStartedAt" in agent)
          for c in task["containers"] for agent in c.get("managedAgents", [])]
equal("programs may be run in its container", agents, [("ExecuteCommandAgent", "RUNNING", True)])
short = arns[0].rsplit("/", 1)[1]
equal("a task is found by its id", ecs.describe_tasks(tasks=[short])["tasks"][0]["taskArn"],
      arns[0])
equal("ListTasks by startedBy", sorted(ecs.list_tasks(startedBy="lifecycle")["taskArns"]),
      sorted(arns))
equal("ListTasks by family", len(ecs.list_tasks(family="sleeper")["taskArns"]), 2)
equal("ListTasks by another family", ecs.list_tasks(family="other")["taskArns"], [])
node = task["containerInstanceArn"]
own = ecs.list_attributes(targetType="container-instance",
                          attributeName="ecs.cpu-architecture")["attributes"]
equal("a task names its node's processor", task["attributes"],
      [{"name": a["name"], "value": a["value"]} for a in own if a["targetId"] == node])
claim("ListTasks by container instance",
      arns[0] in ecs.list_tasks(containerInstance=node)["taskArns"])

instances = ecs.list_container_instances()["containerInstanceArns"]
claim("the task's node is listed", node in instances, instances)
shown = ecs.describe_container_instances(containerInstances=[node])["containerInstances"][0]
room = {r["name"]: r["integerValue"] for r in shown["registeredResources"]}
left = {r["name"]: r["integerValue"] for r in shown["remainingResources"]}
claim("a node's remaining resources are less than it registered",
      left["CPU"] <= room["CPU"] - 256 and left["MEMORY"] <= room["MEMORY"] - 128, (room, left))
claim("its agent is connected", shown["agentConnected"], shown)

stopped = ecs.stop_task(task=arns[0], reason="enough")["task"]
equal("a stopped task is wanted STOPPED", stopped["desiredStatus"], "STOPPED")
ecs.stop_task(task=arns[1])
ecs.get_waiter("tasks_stopped").wait(tasks=arns, WaiterConfig=WAIT)
task = ecs.describe_tasks(tasks=arns)["tasks"][0]
equal("the waiter tasks_stopped comes back when all stopped", task["lastStatus"], "STOPPED")
equal("who stopped it", task["stopCode"], "UserInitiated")
equal("why", task["stoppedReason"], "enough")
claim("its container has an exit code", "exitCode" in task["containers"][0], task["containers"])
claim("stoppedAt is set", "stoppedAt" in task, task)
equal("the times of its pull stay", (task["pullStartedAt"], task["pullStoppedAt"]),
      pulled[task["taskArn"]])
equal("in a stopped container none may be run",
      [agent["lastStatus"] for agent in task["containers"][0]["managedAgents"]], ["STOPPED"])
equal("a stopped task is no longer listed as wanted RUNNING",
      ecs.list_tasks(startedBy="lifecycle")["taskArns"], [])
equal("and is listed as wanted STOPPED",
      len(ecs.list_tasks(startedBy="lifecycle", desiredStatus="STOPPED")["taskArns"]), 2)

first = ecs.run_task(taskDefinition="sleeper", clientToken="once")["tasks"]
second = ecs.run_task(taskDefinition="sleeper", clientToken="once")["tasks"]
equal("the same clientToken gives the same task", second[0]["taskArn"], first[0]["taskArn"])
refused("a clientToken with other parameters", "ConflictException", "clientToken",
        lambda: ecs.run_task(taskDefinition="sleeper", clientToken="once", count=2))
claim("without enableExecuteCommand there is no such agent",
      "managedAgents" not in first[0]["containers"][0], first[0])
ecs.stop_task(task=first[0]["taskArn"])

big = ecs.register_task_definition(
    family="big", containerDefinitions=[{"name": "c", "image": "i", "memory": 2**30}]
)["taskDefinition"]["taskDefinitionArn"]
over = ecs.run_task(taskDefinition=big)
equal("what fits nowhere is not placed", over["tasks"], [])
claim("and each node says why", {f["reason"] for f in over["failures"]} == {"RESOURCE:MEMORY"},
      over)

gone = ecs.deregister_task_definition(taskDefinition="big:1")["taskDefinition"]
equal("a deregistered definition is INACTIVE", gone["status"], "INACTIVE")
refused("an inactive definition can't be run", "ClientException", "inactive",
        lambda: ecs.run_task(taskDefinition=big))
equal("families", [f for f in ecs.list_task_definition_families(status="ACTIVE")["families"]
                   if f in ("big", "sleeper")], ["sleeper"])
equal("ListTaskDefinitions", ecs.list_task_definitions(familyPrefix="sleeper")["taskDefinitionArns"],
      [definition["taskDefinitionArn"]])

equal("an empty cluster is deleted", ecs.delete_cluster(cluster="boto")["cluster"]["status"],
      "INACTIVE")
claim("and no longer listed", made["clusterArn"] not in ecs.list_clusters()["clusterArns"])
refused("and no longer used", "ClusterNotFoundException", "Cluster not found",
        lambda: ecs.list_tasks(cluster="boto"))
finish()
