"""A task that is told secrets and whose output becomes log events, on a real node."""

import json
import os
import time

import boto3
from botocore.config import Config

from harness import ENDPOINT, claim, client, equal, finish

once = Config(retries={"total_max_attempts": 1})
ACCOUNT = "000000000000"
ecs = client()
iam, sm, ssm, logs = (boto3.client(name, endpoint_url=ENDPOINT, config=once)
                      for name in ("iam", "secretsmanager", "ssm", "logs"))

role = iam.create_role(RoleName="execution", AssumeRolePolicyDocument=json.dumps({
    "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": "sts:AssumeRole",
        "Principal": {"Service": "ecs-tasks.amazonaws.com"}}]}))["Role"]["Arn"]
secret = sm.create_secret(Name="db", SecretString=json.dumps({"user": "ann", "password": "hush-1"}))
ssm.put_parameter(Name="/app/key", Value="hush-2", Type="SecureString")


def run(*secrets, create="true", **more):
    """Runs a task that prints its variables; gives the task once it has stopped."""
    ecs.register_task_definition(
        family="told", networkMode="none", **more or {"executionRoleArn": role},
        containerDefinitions=[{
            "name": "c", "image": os.environ.get("LOADLINE_IMAGE", "busybox:latest"), "memory": 32,
            "command": [
                "sh", "-c", "echo user=$DB_USER; echo password=$DB_PASSWORD; echo key=$KEY"],
            "secrets": [{"name": n, "valueFrom": f} for n, f in secrets],
            "logConfiguration": {"logDriver": "awslogs", "options": {
                "awslogs-group": "told", "awslogs-stream-prefix": "p",
                "awslogs-create-group": create}}}])
    task = ecs.run_task(taskDefinition="told")["tasks"][0]["taskArn"]
    ecs.get_waiter("tasks_stopped").wait(
        tasks=[task], WaiterConfig={"Delay": 1, "MaxAttempts": 120})
    return ecs.describe_tasks(tasks=[task])["tasks"][0]


all_of_them = [("DB_USER", secret["ARN"] + ":user::"), ("KEY", "/app/key"),
               ("DB_PASSWORD", secret["ARN"] + ":password::")]
stopped = run(*all_of_them)
claim("without the right the task fails to start, and says why",
      stopped["stopCode"] == "TaskFailedToStart" and stopped["stoppedReason"].startswith(
          "ResourceInitializationError: unable to pull secrets or registry auth: ")
      and "is not authorized to perform: secretsmanager:GetSecretValue" in stopped["stoppedReason"],
      stopped)
iam.put_role_policy(RoleName="execution", PolicyName="p", PolicyDocument=json.dumps({
    "Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": secret["ARN"]},
        {"Effect": "Allow", "Action": "ssm:GetParameters",
         "Resource": f"arn:aws:ssm:us-east-1:{ACCOUNT}:parameter/app/*"}]}))
stopped = run(*all_of_them)
claim("without the right to write its log the task fails to start too",
      stopped["stoppedReason"].startswith(
          "ResourceInitializationError: failed to initialize logging driver: log group told: ")
      and "is not authorized to perform: logs:CreateLogGroup" in stopped["stoppedReason"],
      stopped)
iam.attach_role_policy(
    RoleName="execution",
    PolicyArn="arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy")
iam.put_role_policy(RoleName="execution", PolicyName="logs", PolicyDocument=json.dumps({
    "Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "logs:CreateLogGroup", "Resource": "*"}]}))
stopped = run(*all_of_them)
equal("with it the task runs", stopped["containers"][0].get("exitCode"), 0)
claim("nothing of it is shown", "hush" not in json.dumps(
    [stopped, ecs.describe_task_definition(taskDefinition="told")["taskDefinition"]], default=str))

stream = f"p/c/{stopped['taskArn'].split('/')[-1]}"
deadline, seen = time.time() + 60, []
while len(seen) < 3 and time.time() < deadline:
    time.sleep(1)
    streams = logs.describe_log_streams(logGroupName="told")["logStreams"]
    if stream in [one["logStreamName"] for one in streams]:
        seen = [e["message"] for e in logs.get_log_events(
            logGroupName="told", logStreamName=stream, startFromHead=True)["events"]]
equal("what it was told, in its log stream", seen,
      ["user=ann", "password=hush-1", "key=hush-2"])
stopped = run(("KEY", "/app/nobody"))
claim("a parameter that is not there", "unable to retrieve secrets from ssm: /app/nobody"
      in stopped["stoppedReason"], stopped)
logs.delete_log_group(logGroupName="told")
for text, more in [("with a role", {}), ("without one", {"memory": "64"})]:
    stopped = run(create="false", **more)
    claim(f"a task whose log group is not there fails to start, {text}",
          stopped["stopCode"] == "TaskFailedToStart" and stopped["stoppedReason"].startswith(
              "ResourceInitializationError: failed to initialize logging driver: failed to create "
              "Cloudwatch log stream: ResourceNotFoundException: The specified log group"), stopped)
logs.create_log_group(logGroupName="told")
equal("once it is there it runs", run(create="false")["containers"][0].get("exitCode"), 0)
finish()
