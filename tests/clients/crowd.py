"""200 RunTask calls at once at a node with memory for 50: 50 are placed, 150 are told why not."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from botocore.config import Config

from harness import claim, client, equal, finish

CALLS, PLACED = 200, 50

ecs = client(config=Config(max_pool_connections=CALLS, retries={"total_max_attempts": 1}))
node = ecs.list_container_instances()["containerInstanceArns"][0]


def memory():
    shown = ecs.describe_container_instances(containerInstances=[node])["containerInstances"][0]
    pick = lambda key: {r["name"]: r["integerValue"] for r in shown[key]}["MEMORY"]
    return pick("registeredResources"), pick("remainingResources")


registered, _ = memory()
each = registered // PLACED
ecs.register_task_definition(
    family="crowd", containerDefinitions=[{"name": "c", "image": "i", "memory": each}])
with ThreadPoolExecutor(CALLS) as pool:
    answers = list(pool.map(lambda _: ecs.run_task(taskDefinition="crowd"), range(CALLS)))
placed = [task["taskArn"] for answer in answers for task in answer["tasks"]]
equal("exactly as many as fit are placed", len(placed), PLACED)
equal("each once", len(set(placed)), PLACED)
reasons = Counter(
    failure["reason"] for answer in answers if not answer["tasks"]
    for failure in answer["failures"])
equal("every other call says why", reasons, {"RESOURCE:MEMORY": CALLS - PLACED})
claim("what is left is less than one of them takes", 0 <= memory()[1] < each, memory())
for arn in placed:
    ecs.stop_task(task=arn)
ecs.get_waiter("tasks_stopped").wait(tasks=placed, WaiterConfig={"Delay": 1, "MaxAttempts": 90})
equal("all of it comes back", memory()[1], registered)
finish()
