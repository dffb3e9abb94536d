//! What a caller must be allowed to do for each operation: action, resources, and what conditions
//! can say (AWS Service Authorization Reference, "Actions, resources, and condition keys for Amazon
//! Elastic Container Service").
//!
//! Names are read as the operations read them. One that can't be read stands for itself: a policy
//! for all resources then lets it through to the operation, which refuses it with the better words.

use serde_json::Value;

use super::reference::{
    cluster_name, definition_ref, instance_arn, own_resource, service_key, task_arn,
};
use super::roles::role_arn;
use super::tags::{tagged, tags_of};
use crate::api::guard::{Need, pass_role};
use crate::command::DefinitionRef;
use crate::state::{ClusterName, DefinitionBody, Scope, View};

/// What an operation needs; `None` where this table does not know it.
pub(in crate::api) fn needs(view: &View, operation: &str, body: &Value) -> Option<Vec<Need>> {
    let ask = Ask { view, scope: &view.scope, body, operation };
    Some(match operation {
        "ListClusters"
        | "ListTaskDefinitions"
        | "ListTaskDefinitionFamilies"
        | "DescribeTaskDefinition"
        | "DeregisterTaskDefinition"
        | "ListAccountSettings" => vec![ask.on("*")],
        "ListServices" => vec![ask.in_cluster("*")],
        "PutAccountSetting" | "PutAccountSettingDefault" | "DeleteAccountSetting" => {
            vec![ask.on("*").with("ecs:account-setting", ask.text("name").unwrap_or_default())]
        }
        "CreateCluster" => {
            let arn = ask.cluster_arn(ask.text("clusterName"));
            ask.created(vec![ask.on(&arn)], &arn)
        }
        "DeleteCluster"
        | "UpdateCluster"
        | "UpdateClusterSettings"
        | "ListContainerInstances"
        | "ListAttributes"
        | "DeregisterContainerInstance" => {
            vec![ask.on(&ask.cluster_arn(ask.text("cluster")))]
        }
        "DescribeClusters" => match ask.list("clusters").as_slice() {
            [] => vec![ask.on(&ask.cluster_arn(None))],
            names => names.iter().map(|name| ask.on(&ask.cluster_arn(Some(name)))).collect(),
        },
        "RegisterContainerInstance" => {
            let arn = ask.cluster_arn(ask.text("cluster"));
            ask.created(vec![ask.on(&arn)], &ask.node(None))
        }
        "RegisterTaskDefinition" => ask.register(),
        "DeleteTaskDefinitions" => {
            let names = ask.list("taskDefinitions");
            names.iter().map(|name| ask.on(&ask.definition_arn(name))).collect()
        }
        "ExecuteCommand" => execute_needs(view, body, "container"),
        "RunTask" | "StartTask" => ask.run(),
        "StopTask" => vec![ask.in_cluster(&ask.task(ask.text("task").unwrap_or_default()))],
        "DescribeTasks" | "GetTaskProtection" | "UpdateTaskProtection" => ask.each_task(),
        "ListTasks" => vec![ask.in_cluster(&ask.node(ask.text("containerInstance")))],
        "DescribeContainerInstances" | "UpdateContainerInstancesState" => {
            let names = ask.list("containerInstances");
            names.iter().map(|name| ask.in_cluster(&ask.node(Some(name)))).collect()
        }
        "PutAttributes" | "DeleteAttributes" => ask.attributes(),
        "TagResource" | "UntagResource" | "ListTagsForResource" => {
            let need = ask.on(ask.text("resourceArn").unwrap_or_default());
            vec![need.request_tags(body.get("tags"), ("key", "value"))]
        }
        _ => return ask.service_needs(),
    })
}

/// ExecuteCommand on a task, in a container that a field names or that is its only one.
pub(in crate::api) fn execute_needs(view: &View, body: &Value, field: &str) -> Vec<Need> {
    let ask = Ask { view, scope: &view.scope, body, operation: "ExecuteCommand" };
    let task = ask.task(ask.text("task").unwrap_or_default());
    let only = || {
        let task = view.task(&loadline_model::TaskArn::parse(&task).ok()?)?;
        task.containers.first().map(|container| container.name.to_string())
    };
    let container = ask.text(field).map(str::to_owned).or_else(only).unwrap_or_default();
    vec![ask.in_cluster(&task).with("ecs:container-name", container)]
}

struct Ask<'a> {
    view: &'a View,
    scope: &'a Scope,
    body: &'a Value,
    operation: &'a str,
}

impl<'a> Ask<'a> {
    fn text(&self, field: &str) -> Option<&'a str> {
        self.body.get(field)?.as_str().filter(|text| !text.is_empty())
    }

    fn list(&self, field: &str) -> Vec<&'a str> {
        let items = self.body.get(field).and_then(Value::as_array);
        items.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    fn cluster(&self) -> Option<ClusterName> {
        cluster_name(self.scope, self.text("cluster")).ok()
    }

    fn cluster_arn(&self, name: Option<&str>) -> String {
        match cluster_name(self.scope, name) {
            Ok(name) => self.scope.cluster_arn(&name),
            Err(_) => name.unwrap_or_default().to_owned(),
        }
    }

    /// This operation on a resource, with the resource's tags.
    fn on(&self, resource: &str) -> Need {
        let need = Need::new(format!("ecs:{}", self.operation), resource);
        match tagged(self.scope, resource) {
            Ok(of) => need.resource_tags("ecs", tags_of(self.view, &of).unwrap_or_default()),
            Err(_) => need,
        }
    }

    fn in_cluster(&self, resource: &str) -> Need {
        self.on(resource).with("ecs:cluster", self.cluster_arn(self.text("cluster")))
    }

    fn task(&self, text: &str) -> String {
        let arn = self.cluster().and_then(|cluster| task_arn(self.scope, &cluster, text));
        arn.map_or_else(|| text.to_owned(), |arn| arn.to_string())
    }

    fn each_task(&self) -> Vec<Need> {
        let tasks = self.list("tasks");
        if tasks.is_empty() {
            return vec![self.in_cluster(&self.task("*"))];
        }
        tasks.iter().map(|task| self.in_cluster(&self.task(task))).collect()
    }

    /// A container instance, or all of the cluster's.
    fn node(&self, text: Option<&str>) -> String {
        let Some(text) = text else {
            let cluster = self.cluster().map_or_else(String::new, |name| name.to_string());
            let Scope { partition, region, account } = self.scope;
            return format!(
                "arn:{partition}:ecs:{region}:{account}:container-instance/{cluster}/*"
            );
        };
        let arn = self.cluster().and_then(|cluster| instance_arn(self.scope, &cluster, text));
        arn.map_or_else(|| text.to_owned(), |arn| arn.to_string())
    }

    fn attributes(&self) -> Vec<Need> {
        let attributes = self.body.get("attributes").and_then(Value::as_array);
        let targets = attributes.into_iter().flatten().map(|one| one["targetId"].as_str());
        let mut needs: Vec<Need> = Vec::new();
        for target in targets {
            let need = self.in_cluster(&self.node(target));
            if !needs.iter().any(|have| have.resource == need.resource) {
                needs.push(need);
            }
        }
        if needs.is_empty() { vec![self.in_cluster(&self.node(None))] } else { needs }
    }

    /// Whoever makes something with tags must be allowed to tag it.
    fn created(&self, mut needs: Vec<Need>, arn: &str) -> Vec<Need> {
        let tags =
            self.body.get("tags").filter(|tags| tags.as_array().is_some_and(|l| !l.is_empty()));
        if tags.is_some() {
            let tag = Need::new("ecs:TagResource", arn);
            needs.push(tag.with("ecs:CreateAction", self.operation));
        }
        let tagged = |need: Need| need.request_tags(tags, ("key", "value"));
        needs.into_iter().map(tagged).collect()
    }

    /// The ARN that a reference means; without a revision the newest ACTIVE one.
    fn definition_arn(&self, text: &str) -> String {
        let Ok(DefinitionRef { family, revision }) = definition_ref(self.scope, text) else {
            return text.to_owned();
        };
        let newest = || self.view.latest_active(&family).map(|record| record.revision);
        let revision = revision.or_else(newest).map_or("*".into(), |number| number.to_string());
        let Scope { partition, region, account } = self.scope;
        format!("arn:{partition}:ecs:{region}:{account}:task-definition/{family}:{revision}")
    }

    fn definition(&self, text: &str) -> Option<&DefinitionBody> {
        let DefinitionRef { family, revision } = definition_ref(self.scope, text).ok()?;
        let record = match revision {
            Some(revision) => self.view.definition(&family, revision),
            None => self.view.latest_active(&family),
        };
        record.map(|record| &record.body)
    }

    fn register(&self) -> Vec<Need> {
        let Scope { partition, region, account } = self.scope;
        let family = self.text("family").unwrap_or_default();
        let arn = format!("arn:{partition}:ecs:{region}:{account}:task-definition/{family}:*");
        let mut need = self.on(&arn);
        for (field, key) in [("cpu", "ecs:task-cpu"), ("memory", "ecs:task-memory")] {
            if let Some(value) = self.text(field) {
                need = need.with(key, value);
            }
        }
        let containers = self.body.get("containerDefinitions").and_then(Value::as_array);
        let privileged = |container: &Value| container["privileged"] == Value::Bool(true);
        let any = containers.into_iter().flatten().any(privileged);
        let mut needs = self.created(vec![need.with("ecs:privileged", any.to_string())], &arn);
        let roles = ["taskRoleArn", "executionRoleArn"];
        needs.extend(roles.iter().filter_map(|field| self.text(field)).map(|role| self.pass(role)));
        needs
    }

    /// A role's own ARN, where a name alone stands for it.
    fn pass(&self, role: &str) -> Need {
        pass_role(&role_arn(self.scope, role))
    }

    /// The roles that tasks of a definition get, but for those that are overridden.
    fn passes(&self, definition: &str) -> Vec<Need> {
        let overrides = &self.body["overrides"];
        let body = self.definition(definition);
        let role = |field: &str, own: Option<&String>| {
            let over = overrides[field].as_str().filter(|role| !role.is_empty());
            over.or(own.map(String::as_str)).map(|role| self.pass(role))
        };
        let task = role("taskRoleArn", body.and_then(|body| body.roles.task.as_ref()));
        let execution =
            role("executionRoleArn", body.and_then(|body| body.roles.execution.as_ref()));
        task.into_iter().chain(execution).collect()
    }

    fn run(&self) -> Vec<Need> {
        let definition = self.text("taskDefinition").unwrap_or_default();
        let mut need = self.in_cluster(&self.definition_arn(definition));
        let exec = self.body["enableExecuteCommand"].as_bool().unwrap_or(false);
        need = need.with("ecs:enable-execute-command", exec.to_string());
        let nodes = self.list("containerInstances");
        let nodes = nodes.iter().map(|node| self.node(Some(node))).collect();
        need.context.put_all("ecs:container-instances", nodes);
        let mut needs = self.created(vec![need], &self.task("*"));
        needs.extend(self.passes(definition));
        needs
    }

    fn service(&self, text: &str) -> String {
        let key = self.cluster().and_then(|cluster| service_key(self.scope, &cluster, text));
        key.map_or_else(|| text.to_owned(), |key| self.scope.service_arn(&key))
    }

    fn service_needs(&self) -> Option<Vec<Need>> {
        let named = |field: &str| self.in_cluster(&self.service(self.text(field).unwrap_or("*")));
        Some(match self.operation {
            "CreateService" => {
                let need = self.with_definition(named("serviceName"));
                let arn = need.resource.clone();
                let mut needs = self.created(vec![need], &arn);
                needs.extend(self.text("taskDefinition").map_or(vec![], |d| self.passes(d)));
                needs
            }
            "UpdateService" => {
                let mut needs = vec![self.with_definition(named("service"))];
                needs.extend(self.text("taskDefinition").map_or(vec![], |d| self.passes(d)));
                needs
            }
            "DeleteService" | "ListServiceDeployments" => vec![named("service")],
            "DescribeServices" => {
                let names = self.list("services");
                names.iter().map(|name| self.in_cluster(&self.service(name))).collect()
            }
            "DescribeServiceDeployments" => self.of_services(&self.list("serviceDeploymentArns")),
            "DescribeServiceRevisions" => self.of_services(&self.list("serviceRevisionArns")),
            "StopServiceDeployment" => {
                let arn = self.text("serviceDeploymentArn").unwrap_or_default();
                self.of_services(&[arn])
            }
            _ => return None,
        })
    }

    fn with_definition(&self, need: Need) -> Need {
        match self.text("taskDefinition") {
            Some(text) => need.with("ecs:task-definition", self.definition_arn(text)),
            None => need,
        }
    }

    /// Both the service and its deployment or revision: `…:service-deployment/CLUSTER/NAME/ID`.
    fn of_services(&self, arns: &[&str]) -> Vec<Need> {
        let mut needs = Vec::new();
        for arn in arns {
            needs.push(self.on(arn));
            let resource = own_resource(self.scope, arn).unwrap_or_default();
            let mut parts = resource.split('/').skip(1);
            if let (Some(cluster), Some(name)) = (parts.next(), parts.next()) {
                let Scope { partition, region, account } = self.scope;
                let start = format!("arn:{partition}:ecs:{region}:{account}");
                let cluster_arn = format!("{start}:cluster/{cluster}");
                let service = format!("{start}:service/{cluster}/{name}");
                needs.push(
                    self.on(&service)
                        .with("ecs:cluster", cluster_arn)
                        .with("ecs:service", &service),
                );
            }
        }
        needs
    }
}
