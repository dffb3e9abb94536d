"""A revision that never runs is rolled back, and a node is drained under a service, by boto3."""

import threading
import time

from harness import IMAGE, claim, client, equal, finish

WAIT = {"Delay": 1, "MaxAttempts": 120}
ecs = client()


def register(image):
    return ecs.register_task_definition(
        family="web",
        containerDefinitions=[
            {"name": "c", "image": image, "memory": 16, "command": ["sleep", "600"],
             "stopTimeout": 2}],
    )["taskDefinition"]["taskDefinitionArn"]


def describe():
    return ecs.describe_services(services=["web"])["services"][0]


def until(text, look):
    for _ in range(600):
        seen = look()
        if seen:
            claim(text, True)
            return seen
        time.sleep(0.2)
    claim(text, False, describe())
    return None


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

    def within(self, minimum, maximum):
        self.ended.set()
        self.join()
        claim(f"never fewer than {minimum} run and never more than {maximum} are there",
              all(minimum <= running and total <= maximum for running, total in self.seen),
              self.seen)


good = register(IMAGE)
ecs.create_service(
    serviceName="web", taskDefinition=good, desiredCount=4,
    deploymentConfiguration={"minimumHealthyPercent": 50, "maximumPercent": 150,
                             "deploymentCircuitBreaker": {"enable": True, "rollback": True}},
    placementStrategy=[{"type": "spread", "field": "instanceId"}],
)
ecs.get_waiter("services_stable").wait(services=["web"], WaiterConfig=WAIT)

watch = Watch()
watch.start()
bad = register(IMAGE.split(":")[0] + ":bad")
ecs.update_service(service="web", taskDefinition=bad)
until("the circuit breaker rolls the bad revision back", lambda: "ROLLBACK_SUCCESSFUL" in [
    d["status"] for d in ecs.list_service_deployments(service="web")["serviceDeployments"]])
ecs.get_waiter("services_stable").wait(services=["web"], WaiterConfig=WAIT)
watch.within(2, 6)
service = describe()
equal("the service runs the revision before", service["taskDefinition"], good)
equal("all of its tasks", service["runningCount"], 4)
claim("an event names the failure", any("failed" in e["message"] for e in service["events"]),
      [e["message"] for e in service["events"]])
stopped = ecs.list_tasks(serviceName="web", desiredStatus="STOPPED")["taskArns"]
reasons = {t.get("stoppedReason") for t in ecs.describe_tasks(tasks=stopped)["tasks"]
           if t["taskDefinitionArn"] == bad}
claim("its tasks say why they stopped", reasons and None not in reasons, reasons)

nodes = ecs.list_container_instances()["containerInstanceArns"]


def tasks_on(node):
    return ecs.list_tasks(containerInstance=node)["taskArns"]


claim("each node has tasks", all(tasks_on(node) for node in nodes), nodes)
watch = Watch()
watch.start()
ecs.update_container_instances_state(containerInstances=[nodes[0]], status="DRAINING")
until("the draining node is emptied", lambda: not tasks_on(nodes[0]))
ecs.get_waiter("services_stable").wait(services=["web"], WaiterConfig=WAIT)
watch.within(2, 6)
equal("the tasks run on the other node", len(tasks_on(nodes[1])), 4)

ecs.delete_service(service="web", force=True)
ecs.get_waiter("services_inactive").wait(services=["web"], WaiterConfig=WAIT)
equal("a deleted service leaves no task", ecs.list_tasks()["taskArns"], [])
finish()
