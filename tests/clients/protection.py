"""A protected task of a service outlives scale-in; a freed one does not."""

import time

from harness import claim, client, equal, finish, refused

WAIT = {"Delay": 1, "MaxAttempts": 120}
ecs = client()
ecs.register_task_definition(
    family="busy", containerDefinitions=[{"name": "c", "image": "i", "memory": 8}])
ecs.create_service(serviceName="busy", taskDefinition="busy", desiredCount=3)
ecs.get_waiter("services_stable").wait(services=["busy"], WaiterConfig=WAIT)
tasks = ecs.list_tasks(serviceName="busy")["taskArns"]
alone = ecs.run_task(taskDefinition="busy")["tasks"][0]["taskArn"]


def protect(arns, on, **more):
    return ecs.update_task_protection(
        cluster="default", tasks=arns, protectionEnabled=on, **more)


done = protect(tasks[:2] + [alone, "0" * 32], True, expiresInMinutes=60)
equal("tasks of a service are protected",
      [(t["taskArn"], t["protectionEnabled"]) for t in done["protectedTasks"]],
      [(arn, True) for arn in tasks[:2]])
left = done["protectedTasks"][0]["expirationDate"].timestamp() - time.time()
claim("for as long as asked", 3500 < left < 3700, left)
equal("others are not", sorted(f["reason"] for f in done["failures"]),
      ["MISSING", "TASK_NOT_VALID"])
shown = ecs.get_task_protection(cluster="default", tasks=tasks)["protectedTasks"]
equal("GetTaskProtection", {t["taskArn"]: t["protectionEnabled"] for t in shown},
      {arn: arn in tasks[:2] for arn in tasks})
ecs.update_service(service="busy", desiredCount=0)


def running():
    return sorted(ecs.list_tasks(serviceName="busy")["taskArns"])


def until(expected):
    for _ in range(60):
        if running() == sorted(expected):
            return
        time.sleep(1)


until(tasks[:2])
time.sleep(2)
equal("scale-in stops the unprotected one and leaves the others", running(), sorted(tasks[:2]))
protect(tasks[:1], False)
until(tasks[1:2])
equal("a freed one is stopped", running(), tasks[1:2])
ecs.stop_task(task=tasks[1])
until([])
equal("StopTask stops a protected one", running(), [])
refused("protection for three days", "InvalidParameterException", "expiresInMinutes",
        lambda: protect([alone], True, expiresInMinutes=2881))
ecs.stop_task(task=alone)
ecs.delete_service(service="busy")
finish()
