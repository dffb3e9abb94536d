//! Which task has which addresses and ports of this node. Pure: the node's one owner keeps it, and
//! the ledger has what it gave.

use std::collections::{BTreeMap, BTreeSet};

use loadline_model::network::{NetworkBinding, NetworkMode, Protocol, RESERVED_TCP_PORTS};
use loadline_model::{TaskArn, TaskSpec};
use serde::{Deserialize, Serialize};

use super::plan::{Attachment, Plan};

/// A published port of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Which of the task's containers.
    pub container: usize,
    /// What leads to it.
    pub binding: NetworkBinding,
}

/// What a task has of its node's network, from its admission to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allotment {
    /// One for each container with bridge, one for all with awsvpc, else none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// The host's ports that are the task's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Published>,
    /// For each container, what the address of its metadata has in it: nobody else can guess it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<String>,
    /// The same of the task's credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<String>,
}

impl Allotment {
    /// The place of a container.
    #[must_use]
    pub fn attachment(&self, mode: NetworkMode, container: usize) -> Option<&Attachment> {
        match mode {
            NetworkMode::Bridge => self.attachments.get(container),
            NetworkMode::Awsvpc => self.attachments.first(),
            NetworkMode::None | NetworkMode::Host => None,
        }
    }

    /// Every address of the task.
    pub fn addresses(&self) -> impl Iterator<Item = std::net::IpAddr> {
        self.attachments.iter().flat_map(|place| super::plan::each(&place.addresses))
    }

    /// A container's ports of the host.
    pub fn bindings(&self, container: usize) -> impl Iterator<Item = NetworkBinding> {
        let own = self.ports.iter().filter(move |port| port.container == container);
        own.map(|port| port.binding)
    }
}

/// Why a task gets no place in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// No task may have it.
    #[error("RESOURCE:PORTS: port {0}/{name} is kept for the node itself", name = .1.as_str())]
    Reserved(u16, Protocol),
    /// A task has it.
    #[error("RESOURCE:PORTS: port {0}/{name} is in use by another task", name = .1.as_str())]
    Taken(u16, Protocol),
    /// A program of the host has it.
    #[error("RESOURCE:PORTS: port {0}/{name} is in use on the host", name = .1.as_str())]
    InUse(u16, Protocol),
    /// Every dynamic one is taken.
    #[error("RESOURCE:PORTS: no free host port is left for {name}", name = .0.as_str())]
    NoneLeft(Protocol),
    /// Every address is taken.
    #[error("RESOURCE:ENI: no address is left on this node: --network-range has no more")]
    NoAddress,
}

/// The addresses and ports of all tasks that have not stopped.
#[derive(Debug)]
pub struct Pool {
    plan: Plan,
    /// Where dynamic ports are taken from, both ends included.
    dynamic: (u16, u16),
    numbers: BTreeSet<u16>,
    ports: BTreeMap<(Protocol, u16), TaskArn>,
    /// The last number given: the next is a later one, so that an address rests before it is used
    /// again.
    last: u16,
    last_port: u16,
    by_task: BTreeMap<TaskArn, Allotment>,
}

impl Pool {
    /// An empty one.
    #[must_use]
    pub fn new(plan: Plan, dynamic: (u16, u16)) -> Self {
        Self {
            plan,
            dynamic,
            numbers: BTreeSet::new(),
            ports: BTreeMap::new(),
            last: 0,
            last_port: 0,
            by_task: BTreeMap::new(),
        }
    }

    /// Gives a task its place. `is_free` says whether no program of the host has a port; it is
    /// asked for what a task publishes behind an address of its own. `new_id` makes unguessable
    /// ids.
    ///
    /// # Errors
    /// [`NoPlace`]; nothing is given then.
    pub fn reserve(
        &mut self,
        spec: &TaskSpec,
        is_free: &dyn Fn(Protocol, u16) -> bool,
        new_id: &mut dyn FnMut() -> String,
    ) -> Result<Allotment, NoPlace> {
        if let Some(known) = self.by_task.get(&spec.arn) {
            return Ok(known.clone());
        }
        let mut allotment = Allotment::default();
        let places = match spec.network_mode {
            NetworkMode::None | NetworkMode::Host => 0,
            NetworkMode::Awsvpc => 1,
            NetworkMode::Bridge => bridged(spec),
        };
        for _ in 0..places {
            let number = self.next_number(&allotment).ok_or(NoPlace::NoAddress)?;
            self.last = number;
            allotment.attachments.push(self.plan.attachment(number));
        }
        self.fixed_ports(spec, is_free, &mut allotment)?;
        self.dynamic_ports(spec, is_free, &mut allotment)?;
        if spec.network_mode != NetworkMode::None {
            allotment.endpoints = spec.containers.iter().map(|_| new_id()).collect();
            allotment.credentials = Some(new_id());
        }
        self.adopt(&spec.arn, allotment.clone());
        Ok(allotment)
    }

    /// Takes in what a task was given before the agent was started.
    pub fn adopt(&mut self, task: &TaskArn, allotment: Allotment) {
        self.numbers.extend(allotment.attachments.iter().map(|place| place.number));
        for port in &allotment.ports {
            let key = (port.binding.protocol, port.binding.host_port);
            self.ports.insert(key, task.clone());
        }
        self.by_task.insert(task.clone(), allotment);
    }

    /// Takes back what a task has. A task that has nothing is no change.
    pub fn release(&mut self, task: &TaskArn) {
        let Some(allotment) = self.by_task.remove(task) else { return };
        for place in &allotment.attachments {
            self.numbers.remove(&place.number);
        }
        for port in &allotment.ports {
            self.ports.remove(&(port.binding.protocol, port.binding.host_port));
        }
    }

    fn next_number(&self, taken: &Allotment) -> Option<u16> {
        let (first, last) = self.plan.range.numbers().into_inner();
        let from = self.last.saturating_add(1).clamp(first, last);
        let is_free = |number: &u16| {
            let own = taken.attachments.iter().any(|place| place.number == *number);
            !self.numbers.contains(number) && !own
        };
        (from..=last).chain(first..from).find(is_free)
    }

    fn fixed_ports(
        &self,
        spec: &TaskSpec,
        is_free: &dyn Fn(Protocol, u16) -> bool,
        allotment: &mut Allotment,
    ) -> Result<(), NoPlace> {
        for (container, mapping) in mappings(spec) {
            let own = (spec.network_mode == NetworkMode::Host).then_some(mapping.container_port);
            let Some(port) = mapping.host_port.or(own) else { continue };
            let protocol = mapping.protocol;
            if protocol == Protocol::Tcp && RESERVED_TCP_PORTS.contains(&port) {
                return Err(NoPlace::Reserved(port, protocol));
            }
            if self.is_taken(protocol, port, allotment) {
                return Err(NoPlace::Taken(port, protocol));
            }
            if spec.network_mode == NetworkMode::Bridge && !is_free(protocol, port) {
                return Err(NoPlace::InUse(port, protocol));
            }
            let binding = NetworkBinding {
                container_port: mapping.container_port,
                host_port: port,
                protocol,
            };
            allotment.ports.push(Published { container, binding });
        }
        Ok(())
    }

    fn dynamic_ports(
        &mut self,
        spec: &TaskSpec,
        is_free: &dyn Fn(Protocol, u16) -> bool,
        allotment: &mut Allotment,
    ) -> Result<(), NoPlace> {
        let is_dynamic = spec.network_mode == NetworkMode::Bridge;
        for (container, mapping) in mappings(spec) {
            if mapping.host_port.is_some() || !is_dynamic {
                continue;
            }
            let protocol = mapping.protocol;
            let (first, last) = self.dynamic;
            let from = self.last_port.saturating_add(1).clamp(first, last);
            let is_right = |port: &u16| {
                let is_reserved = protocol == Protocol::Tcp && RESERVED_TCP_PORTS.contains(port);
                !is_reserved
                    && !self.is_taken(protocol, *port, allotment)
                    && is_free(protocol, *port)
            };
            let found = (from..=last).chain(first..from).find(is_right);
            let host_port = found.ok_or(NoPlace::NoneLeft(protocol))?;
            self.last_port = host_port;
            let container_port = mapping.container_port;
            let binding = NetworkBinding { container_port, host_port, protocol };
            allotment.ports.push(Published { container, binding });
        }
        Ok(())
    }

    fn is_taken(&self, protocol: Protocol, port: u16, own: &Allotment) -> bool {
        let same = |published: &Published| {
            published.binding.protocol == protocol && published.binding.host_port == port
        };
        self.ports.contains_key(&(protocol, port)) || own.ports.iter().any(same)
    }
}

/// How many places containers have in a bridge. They are found by the containers' numbers, so that
/// only those without a network that come last need none.
fn bridged(spec: &TaskSpec) -> usize {
    let last = spec.containers.iter().rposition(|container| !container.network.disabled);
    last.map_or(0, |at| at + 1)
}

/// The port mappings that take a port of the host, each with its container.
fn mappings(
    spec: &TaskSpec,
) -> impl Iterator<Item = (usize, &loadline_model::network::PortMapping)> {
    let takes = matches!(spec.network_mode, NetworkMode::Host | NetworkMode::Bridge);
    let containers = spec.containers.iter().enumerate().filter(move |_| takes);
    containers.flat_map(|(at, container)| {
        container.network.ports.iter().map(move |mapping| (at, mapping))
    })
}

#[cfg(test)]
mod tests {
    use loadline_model::network::PortMapping;

    use super::*;
    use crate::task::testing;

    fn pool(range: &str, dynamic: (u16, u16)) -> Pool {
        Pool::new(Plan::new("n", range.parse().unwrap(), None).unwrap(), dynamic)
    }

    fn spec(n: u32, mode: NetworkMode, ports: &[(u16, Option<u16>)]) -> TaskSpec {
        let mut spec = testing::spec(n);
        spec.network_mode = mode;
        let mapping = |&(container_port, host_port): &(u16, Option<u16>)| PortMapping {
            container_port,
            host_port,
            protocol: Protocol::Tcp,
        };
        spec.containers[0].network.ports = ports.iter().map(mapping).collect();
        spec
    }

    fn ports(allotment: &Allotment) -> Vec<u16> {
        allotment.ports.iter().map(|port| port.binding.host_port).collect()
    }

    fn id() -> String {
        "id".to_owned()
    }

    const ALL_FREE: &dyn Fn(Protocol, u16) -> bool = &|_, _| true;

    #[test]
    fn a_port_is_one_tasks_until_it_is_released() {
        let mut pool = pool("10.0.0.0/16", (40_000, 40_001));
        let first = spec(1, NetworkMode::Bridge, &[(80, Some(8080))]);
        assert_eq!(ports(&pool.reserve(&first, ALL_FREE, &mut id).unwrap()), [8080]);
        assert_eq!(ports(&pool.reserve(&first, ALL_FREE, &mut id).unwrap()), [8080], "asked twice");
        let second = spec(2, NetworkMode::Host, &[(8080, None)]);
        let taken = pool.reserve(&second, ALL_FREE, &mut id).unwrap_err();
        assert_eq!(taken.to_string(), "RESOURCE:PORTS: port 8080/tcp is in use by another task");
        pool.release(&first.arn);
        assert_eq!(ports(&pool.reserve(&second, ALL_FREE, &mut id).unwrap()), [8080]);
    }

    #[test]
    fn the_nodes_and_the_hosts_own_ports_are_refused() {
        let mut pool = pool("10.0.0.0/16", (40_000, 40_001));
        let ssh = spec(1, NetworkMode::Bridge, &[(80, Some(22))]);
        assert_eq!(
            pool.reserve(&ssh, ALL_FREE, &mut id),
            Err(NoPlace::Reserved(22, Protocol::Tcp))
        );
        let web = spec(1, NetworkMode::Bridge, &[(80, Some(80))]);
        let refused = pool.reserve(&web, &|_, port| port != 80, &mut id).unwrap_err();
        assert_eq!(refused.to_string(), "RESOURCE:PORTS: port 80/tcp is in use on the host");
        assert!(pool.numbers.is_empty(), "what is refused has nothing");
    }

    #[test]
    fn dynamic_ports_are_free_ones_of_their_range_and_rest_before_they_return() {
        let mut pool = pool("10.0.0.0/16", (40_000, 40_003));
        let two = spec(1, NetworkMode::Bridge, &[(80, None), (81, None)]);
        let not_first = |_, port| port != 40_000;
        assert_eq!(ports(&pool.reserve(&two, &not_first, &mut id).unwrap()), [40_001, 40_002]);
        pool.release(&two.arn);
        let next = spec(2, NetworkMode::Bridge, &[(80, None), (81, None)]);
        assert_eq!(ports(&pool.reserve(&next, ALL_FREE, &mut id).unwrap()), [40_003, 40_000]);
        let more = spec(3, NetworkMode::Bridge, &[(80, None), (81, None), (82, None)]);
        assert_eq!(pool.reserve(&more, ALL_FREE, &mut id), Err(NoPlace::NoneLeft(Protocol::Tcp)));
    }

    #[test]
    fn every_container_has_an_address_with_bridge_and_every_task_with_awsvpc() {
        let mut pool = pool("10.0.0.0/28", (1, 2));
        let mut bridge = spec(1, NetworkMode::Bridge, &[]);
        bridge.containers.push(testing::container("second"));
        let given = pool.reserve(&bridge, ALL_FREE, &mut id).unwrap();
        let numbers: Vec<u16> = given.attachments.iter().map(|place| place.number).collect();
        assert_eq!(numbers, [2, 3]);
        let mut awsvpc = spec(2, NetworkMode::Awsvpc, &[(80, None)]);
        awsvpc.containers.push(testing::container("second"));
        let given = pool.reserve(&awsvpc, ALL_FREE, &mut id).unwrap();
        assert_eq!((given.attachments.len(), given.ports.len()), (1, 0));
        assert_eq!(given.attachment(NetworkMode::Awsvpc, 1).unwrap().number, 4);
    }

    #[test]
    fn a_task_without_a_network_takes_no_address_from_the_others() {
        let mut pool = pool("10.0.0.0/28", (1, 2));
        let mut isolated = spec(1, NetworkMode::Bridge, &[]);
        isolated.containers[0].network.disabled = true;
        assert_eq!(pool.reserve(&isolated, ALL_FREE, &mut id).unwrap().attachments, []);
        let mut mixed = spec(2, NetworkMode::Bridge, &[]);
        mixed.containers.insert(0, isolated.containers[0].clone());
        mixed.containers.push(isolated.containers[0].clone());
        let given = pool.reserve(&mixed, ALL_FREE, &mut id).unwrap();
        assert_eq!(given.attachment(NetworkMode::Bridge, 1).unwrap().number, 3);
        assert_eq!(given.attachment(NetworkMode::Bridge, 2), None);
    }

    #[test]
    fn addresses_end_and_come_back() {
        let mut pool = pool("10.0.0.0/28", (1, 2));
        for n in 0..13 {
            pool.reserve(&spec(n, NetworkMode::Awsvpc, &[]), ALL_FREE, &mut id).unwrap();
        }
        let one_more = spec(99, NetworkMode::Awsvpc, &[]);
        assert_eq!(pool.reserve(&one_more, ALL_FREE, &mut id), Err(NoPlace::NoAddress));
        pool.release(&spec(5, NetworkMode::Awsvpc, &[]).arn);
        assert_eq!(pool.reserve(&one_more, ALL_FREE, &mut id).unwrap().attachments[0].number, 7);
    }
}
