"""A service is made, kept, rolled forward, scaled and deleted, by boto3's own waiters."""

import threading
import time

import boto3

from harness import ENDPOINT, IMAGE, claim, client, equal, finish, patient_client, refused

WAIT = {"Delay": 1, "MaxAttempts": 120}
ecs = client()


def register(family, what="first"):
    return ecs.register_task_definition(
        family=family,
        containerDefinitions=[
            {"name": "c", "image": IMAGE, "memory": 16, "command": ["sleep", "600"],
             "stopTimeout": 2, "environment": [{"name": "WHAT", "value": what}]}],
        tags=[{"key": "of", "value": "definition"}],
    )["taskDefinition"]["taskDefinitionArn"]


def describe(name="web"):
    return ecs.describe_services(services=[name], include=["TAGS"])["services"][0]


first = register("web")
made = ecs.create_service(
    serviceName="web", taskDefinition="web", desiredCount=4, propagateTags="TASK_DEFINITION",
    enableECSManagedTags=True,
    deploymentConfiguration={"minimumHealthyPercent": 50, "maximumPercent": 100,
                             "deploymentCircuitBreaker": {"enable": True, "rollback": True}},
    placementStrategy=[{"type": "spread", "field": "instanceId"}],
    tags=[{"key": "team", "value": "blue"}],
)["service"]
equal("a new service is ACTIVE", (made["status"], made["desiredCount"]), ("ACTIVE", 4))
equal("who made it is told", made.get("createdBy"),
      boto3.client("sts", endpoint_url=ENDPOINT).get_caller_identity()["Arn"])
equal("its definition is named with its revision", made["taskDefinition"], first)
equal("one deployment, PRIMARY", [d["status"] for d in made["deployments"]], ["PRIMARY"])
equal("its limits", (made["deploymentConfiguration"]["minimumHealthyPercent"],
                     made["deploymentConfiguration"]["maximumPercent"]), (50, 100))
ecs.get_waiter("services_stable").wait(services=["web"], WaiterConfig=WAIT)
service = describe()
equal("the waiter services_stable comes back when all run", service["runningCount"], 4)
equal("its tags", service["tags"], [{"key": "team", "value": "blue"}])
tasks = ecs.list_tasks(serviceName="web")["taskArns"]
equal("ListTasks by service", len(tasks), 4)
task = ecs.describe_tasks(tasks=tasks[:1], include=["TAGS"])["tasks"][0]
equal("a task's group", task["group"], "service:web")
equal("a task is started by its deployment", task["startedBy"], service["deployments"][0]["id"])
keys = {tag["key"] for tag in task["tags"]}
claim("a task's tags", {"of", "aws:ecs:serviceName", "aws:ecs:clusterName"} <= keys, keys)
equal("the cluster counts it", ecs.describe_clusters()["clusters"][0]["activeServicesCount"], 1)
equal("ListServices", ecs.list_services()["serviceArns"], [service["serviceArn"]])
equal("ListServices of daemons", ecs.list_services(schedulingStrategy="DAEMON")["serviceArns"], [])


class Watch(threading.Thread):
    """Looks at the service's counts as often as it can."""

    def __init__(self):
        super().__init__()
        self.ended, self.seen = threading.Event(), set()

    def run(self):
        own = client()
        while not self.ended.is_set():
            shown = own.describe_services(services=["web"])["services"][0]
            self.seen.add((shown["runningCount"], shown["runningCount"] + shown["pendingCount"]))

    def counts(self):
        self.ended.set()
        self.join()
        return self.seen


def roll(arn, minimum, maximum, **more):
    watch = Watch()
    watch.start()
    ecs.update_service(service="web", taskDefinition=arn, **more)
    ecs.get_waiter("services_stable").wait(services=["web"], WaiterConfig=WAIT)
    counts = watch.counts()
    claim(f"never fewer than {minimum} run and never more than {maximum} are there",
          all(minimum <= running and total <= maximum for running, total in counts), counts)
    shown = describe()
    equal("the service runs the new revision", shown["taskDefinition"], arn)
    running = ecs.list_tasks(serviceName="web")["taskArns"]
    of = {t["taskDefinitionArn"] for t in ecs.describe_tasks(tasks=running)["tasks"]}
    equal("and so does each of its tasks", of, {arn})


roll(register("web", "second"), 2, 4)
roll(register("web", "third"), 4, 8,
     deploymentConfiguration={"minimumHealthyPercent": 100, "maximumPercent": 200})
equal("what an update leaves out stays", describe()["deploymentConfiguration"]
      ["deploymentCircuitBreaker"],
      {"enable": True, "rollback": True, "resetOnHealthyTask": True,
       "thresholdConfiguration": {"type": "BOUNDED_PERCENT", "value": 50}})

for _ in range(90):
    done = ecs.list_service_deployments(service="web")["serviceDeployments"]
    if [d["status"] for d in done[:1]] == ["SUCCESSFUL"]:
        break
    time.sleep(1)
equal("three service deployments, the last of them SUCCESSFUL", (len(done), done[0]["status"]),
      (3, "SUCCESSFUL"))
whole = ecs.describe_service_deployments(
    serviceDeploymentArns=[done[0]["serviceDeploymentArn"]])["serviceDeployments"][0]
equal("its target has all the tasks", whole["targetServiceRevision"]["runningTaskCount"], 4)
revision = ecs.describe_service_revisions(
    serviceRevisionArns=[whole["targetServiceRevision"]["arn"]])["serviceRevisions"][0]
equal("its revision names the definition", revision["taskDefinition"],
      describe()["taskDefinition"])
claim("an event says that it is steady",
      any("has reached a steady state." in e["message"] for e in describe()["events"]),
      [e["message"] for e in describe()["events"]])

victim = ecs.list_tasks(serviceName="web")["taskArns"][0]
ecs.stop_task(task=victim)
ecs.get_waiter("services_stable").wait(services=["web"], WaiterConfig=WAIT)
after = ecs.list_tasks(serviceName="web")["taskArns"]
claim("a stopped task is replaced", len(after) == 4 and victim not in after, after)

ecs.update_service(service="web", desiredCount=1)
ecs.get_waiter("services_stable").wait(services=["web"], WaiterConfig=WAIT)
equal("scaled in", describe()["runningCount"], 1)

refused("a service of this name again", "InvalidParameterException", "not idempotent",
        lambda: ecs.create_service(serviceName="web", taskDefinition="web", desiredCount=9))
refused("deleting what wants tasks", "InvalidParameterException", "scaled above 0",
        lambda: ecs.delete_service(service="web"))
refused("updating what is not there", "ServiceNotFoundException", "Service not found.",
        lambda: ecs.update_service(service="nobody", desiredCount=1))
refused("tasks of a service that is not there", "ServiceNotFoundException", "Service not found.",
        lambda: ecs.list_tasks(serviceName="nobody"))
bare = patient_client()
for text, code, part, more in [
    ("a load balancer", "ClientException", "loadBalancers is not supported yet",
     {"loadBalancers": [{"targetGroupArn": "x"}]}),
    ("blue/green", "ClientException", "BLUE_GREEN is not supported yet",
     {"deploymentConfiguration": {"strategy": "BLUE_GREEN"}}),
    ("CodeDeploy", "ClientException", "CODE_DEPLOY is not supported yet",
     {"deploymentController": {"type": "CODE_DEPLOY"}}),
    ("no count", "InvalidParameterException", "desiredCount", {"desiredCount": None}),
    ("too many", "InvalidParameterException", "desiredCount", {"desiredCount": 5001}),
    ("a share above 200 %", "InvalidParameterException", "maximumPercent",
     {"deploymentConfiguration": {"maximumPercent": 201}}),
    ("a daemon with a count", "InvalidParameterException", "desiredCount",
     {"schedulingStrategy": "DAEMON"}),
]:
    words = {"serviceName": "bad", "taskDefinition": "web", "desiredCount": 1} | more
    words = {k: v for k, v in words.items() if v is not None}
    refused(text, code, part, lambda: bare.create_service(**words))

ecs.update_service(service="web", desiredCount=0)
equal("a deleted service is DRAINING or INACTIVE",
      ecs.delete_service(service="web")["service"]["status"] in ("DRAINING", "INACTIVE"), True)
ecs.get_waiter("services_inactive").wait(services=["web"], WaiterConfig=WAIT)
equal("the waiter services_inactive comes back", describe()["status"], "INACTIVE")
equal("it is no longer listed", ecs.list_services()["serviceArns"], [])

# Subnets and security groups are kept and shown, and select nothing.
ecs.register_task_definition(family="vpc", networkMode="awsvpc", containerDefinitions=[
    {"name": "c", "image": IMAGE, "memory": 16}])


def vpc(*subnets):
    return {"awsvpcConfiguration": {"subnets": list(subnets), "securityGroups": ["sg-1"],
                                    "assignPublicIp": "DISABLED"}}


made = ecs.create_service(serviceName="vpc", taskDefinition="vpc", desiredCount=0,
                          networkConfiguration=vpc("subnet-1"))["service"]
equal("a service shows its network", made["networkConfiguration"], vpc("subnet-1"))
equal("and so does its deployment", made["deployments"][0]["networkConfiguration"],
      vpc("subnet-1"))
same = ecs.update_service(service="vpc", networkConfiguration=vpc("subnet-1"))["service"]
equal("the same network is no deployment", same["deployments"][0]["id"],
      made["deployments"][0]["id"])
other = ecs.update_service(service="vpc", networkConfiguration=vpc("subnet-1", "subnet-2"))["service"]
equal("another one is shown", other["networkConfiguration"], vpc("subnet-1", "subnet-2"))
claim("and deployed", other["deployments"][0]["id"] != made["deployments"][0]["id"], other)
ecs.delete_service(service="vpc", force=True)
for text, call in [("RunTask", lambda: ecs.run_task(taskDefinition="web",
                                                    networkConfiguration=vpc("subnet-1"))),
                   ("CreateService", lambda: ecs.create_service(
                       serviceName="bad", taskDefinition="web", desiredCount=0,
                       networkConfiguration=vpc("subnet-1")))]:
    refused(f"{text} of another network mode", "InvalidParameterException",
            "Network Configuration is not valid for the given networkMode", call)

node = ecs.list_container_instances()["containerInstanceArns"][0]
started = ecs.start_task(taskDefinition="web", containerInstances=[node, "0" * 32])
equal("StartTask places on the named node",
      [t["containerInstanceArn"] for t in started["tasks"]], [node])
equal("and says MISSING of the other", [f["reason"] for f in started["failures"]], ["MISSING"])
ecs.stop_task(task=started["tasks"][0]["taskArn"])

ecs.create_service(serviceName="daemon", taskDefinition="web", schedulingStrategy="DAEMON")
ecs.get_waiter("services_stable").wait(services=["daemon"], WaiterConfig=WAIT)
equal("a daemon has one task a node", describe("daemon")["runningCount"], 1)
gone = ecs.delete_service(service="daemon", force=True)["service"]
claim("and ends by force", gone["status"] in ("DRAINING", "INACTIVE"), gone["status"])
finish()
