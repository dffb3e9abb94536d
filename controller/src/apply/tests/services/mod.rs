//! Services: kept at their count, rolled forward within their limits, broken and rolled back.

mod balancing;
mod failing;
mod health;
mod rolling;

use loadline_model::{DesiredStatus, TaskArn, TaskStatus};

use crate::apply::testing::{World, cluster, definition};
use crate::command::{CreateService, DefinitionRef, Deploy, UpdateService};
use crate::state::{
    DeploymentConfig, Family, Rebalancing, Scheduling, Service, ServiceKey, ServiceName,
    ServiceTags, Task,
};

fn key() -> ServiceKey {
    ServiceKey { cluster: cluster(), name: ServiceName::parse("web").unwrap() }
}

fn newest() -> DefinitionRef {
    DefinitionRef { family: Family::parse("web").unwrap(), revision: None }
}

fn create(desired_count: u32) -> CreateService {
    CreateService {
        key: key(),
        definition: newest(),
        scheduling: Scheduling::Replica,
        desired_count,
        config: DeploymentConfig::default_of(Scheduling::Replica),
        health_check_grace_s: None,
        network: None,
        constraints: vec![],
        strategy: vec![],
        rebalancing: Rebalancing::Disabled,
        propagate_tags: ServiceTags::None,
        managed_tags: true,
        execute_command: false,
        tags: vec![],
        by: None,
    }
}

fn update() -> UpdateService {
    UpdateService {
        key: key(),
        desired_count: None,
        definition: None,
        config: None,
        health_check_grace_s: None,
        network: None,
        constraints: None,
        strategy: None,
        rebalancing: None,
        propagate_tags: None,
        managed_tags: None,
        execute_command: None,
        deploy: Deploy::IfChanged,
    }
}

fn limits(minimum_healthy_percent: u32, maximum_percent: u32) -> DeploymentConfig {
    let default = DeploymentConfig::default_of(Scheduling::Replica);
    DeploymentConfig { minimum_healthy_percent, maximum_percent, ..default }
}

/// Three nodes and a definition of 100 CPU units and 100 MiB.
fn world() -> World {
    let mut world = World::new();
    world.must(definition("web", 100, 100));
    world.node("n1", 4096, 4096).node("n2", 4096, 4096).node("n3", 4096, 4096);
    world
}

fn service(world: &World) -> &Service {
    &world.state.view.service(&key()).unwrap().record
}

/// The service's tasks that are not STOPPED.
fn tasks(world: &World) -> Vec<Task> {
    let entry = world.state.view.service(&key()).unwrap();
    entry.tasks.iter().map(|arn| world.task(arn).clone()).collect()
}

/// Every node does what it was told: what shall run runs, what shall stop has stopped.
fn agents_obey(world: &mut World) {
    for task in tasks(world) {
        let status = match task.desired {
            DesiredStatus::Running => TaskStatus::Running,
            DesiredStatus::Stopped => TaskStatus::Stopped,
        };
        world.says(&task.arn, task.report_version + 1, status);
    }
    world.looks();
}

fn fail(world: &mut World, arn: &TaskArn) {
    let node = world.task(arn).node.clone();
    let mut report = crate::apply::testing::report(arn, 9, TaskStatus::Stopped);
    report.containers.clear();
    world.must(crate::command::TaskReports { node, reports: vec![report] });
    world.looks();
}

/// `running/pending/stopping` of the service.
fn counts(world: &World) -> String {
    let tasks = tasks(world);
    let count = |which: &dyn Fn(&Task) -> bool| tasks.iter().filter(|task| which(task)).count();
    let wanted = |task: &Task| task.desired == DesiredStatus::Running;
    let runs = |task: &Task| task.last_status == TaskStatus::Running;
    let running = count(&|task| wanted(task) && runs(task));
    let pending = count(&|task| wanted(task) && !runs(task));
    format!("{running}/{pending}/{}", count(&|task| !wanted(task)))
}

fn last_event(world: &World) -> &str {
    &service(world).events[0].message
}
