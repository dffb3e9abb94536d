"""ecs-deploy (PyPI), unmodified, deploys a revision and scales a service."""

import os
import subprocess
import sys

from harness import ENDPOINT, claim, client, equal, finish

WAIT = {"Delay": 1, "MaxAttempts": 120}
ecs = client()
ecs.register_task_definition(
    family="deployed", containerDefinitions=[{"name": "c", "image": "i:1", "memory": 16}])
ecs.create_service(serviceName="deployed", taskDefinition="deployed", desiredCount=2)
ecs.get_waiter("services_stable").wait(services=["deployed"], WaiterConfig=WAIT)


def tool(*words):
    """Runs ecs-deploy's program."""
    program = "import sys; from ecs_deploy.cli import ecs; sys.argv[0] = 'ecs'; ecs()"
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=400,
        env=os.environ | {"AWS_ENDPOINT_URL": ENDPOINT, "LC_ALL": "C.UTF-8"})
    claim(f"ecs {words[0]} ends well", done.returncode == 0, done.stdout + done.stderr)


def service():
    return ecs.describe_services(services=["deployed"])["services"][0]


tool("deploy", "default", "deployed", "--image", "c", "i:2", "--timeout", "300", "--sleep-time", "1")
now = service()
equal("the new revision is deployed", now["taskDefinition"].rsplit(":", 1)[1], "2")
definition = ecs.describe_task_definition(taskDefinition="deployed")["taskDefinition"]
equal("with the new image", definition["containerDefinitions"][0]["image"], "i:2")
equal("and runs", now["runningCount"], 2)
tool("scale", "default", "deployed", "3", "--timeout", "300", "--sleep-time", "1")
equal("scaled", service()["desiredCount"], 3)
tool("run", "default", "deployed", "1")
ecs.delete_service(service="deployed", force=True)
finish()
