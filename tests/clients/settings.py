"""Account and cluster settings, and the cluster query language as a filter of nodes."""

from harness import client, equal, finish, patient_client, refused

ecs = client()
settings = {s["name"]: s["value"] for s in ecs.list_account_settings()["settings"]}
equal("the long ARN format is on", settings["taskLongArnFormat"], "enabled")
equal("which are the user's to set",
      {s["name"] for s in ecs.list_account_settings()["settings"] if s["type"] != "user"},
      {"guardDutyActivate"})
equal("one setting by name",
      [s["value"] for s in ecs.list_account_settings(name="awsvpcTrunking")["settings"]],
      ["disabled"])
equal("what holds may be put",
      ecs.put_account_setting(name="taskLongArnFormat", value="enabled")["setting"]["value"],
      "enabled")
refused("what is not served", "ClientException", "awsvpcTrunking",
        lambda: ecs.put_account_setting(name="awsvpcTrunking", value="enabled"))
refused("a setting that is none", "InvalidParameterException", "no account setting",
        lambda: patient_client().list_account_settings(name="colour"))

shown = ecs.update_cluster_settings(
    cluster="default", settings=[{"name": "containerInsights", "value": "disabled"}])["cluster"]
equal("a cluster's settings", shown["settings"],
      [{"name": "containerInsights", "value": "disabled"}])
refused("insights", "ClientException", "containerInsights enabled is not supported",
        lambda: ecs.update_cluster(
            cluster="default", settings=[{"name": "containerInsights", "value": "enabled"}]))

every = ecs.list_container_instances()["containerInstanceArns"]
for text, expected in [
    ("agentConnected == true", every),
    ("agentConnected == false", []),
    ("runningTasksCount >= 0 and not(attribute:nowhere exists)", every),
    ("attribute:nowhere exists", []),
]:
    equal(f"filter {text}", ecs.list_container_instances(filter=text)["containerInstanceArns"],
          expected)
refused("a filter that can't be read", "InvalidParameterException", "filter",
        lambda: ecs.list_container_instances(filter="attribute:a =="))
finish()
