//! Attributes that callers put on nodes. They lie over those that the agent registers and outlive
//! its restarts; a name that the agent registers comes back with its next registration.

use std::collections::BTreeMap;
use std::sync::Arc;

use loadline_model::InstanceArn;

use super::node::in_cluster;
use super::{Applied, active_cluster};
use crate::command::{ATTRIBUTES_MAX, AttributeChange, Refusal, Reply, SetAttributes};
use crate::state::{Node, NodeAttribute, State, Write};

pub(super) fn set(state: &State, command: &SetAttributes) -> Result<Applied, Refusal> {
    active_cluster(&state.view, &command.cluster)?;
    let mut changed: BTreeMap<InstanceArn, Node> = BTreeMap::new();
    for (arn, attribute) in &command.of {
        let before = &in_cluster(state, &command.cluster, arn)?.record;
        let node = changed.entry(arn.clone()).or_insert_with(|| Node::clone(before));
        match command.change {
            AttributeChange::Put => put(node, attribute)?,
            AttributeChange::Delete => delete(node, attribute),
        }
    }
    let is_new = |node: &Node| state.view.node(&node.arn).is_some_and(|old| *old.record != *node);
    let writes = changed.into_values().filter(is_new).map(|node| {
        let version = node.version + 1;
        Write::Node(Arc::new(Node { version, ..node }))
    });
    Ok((writes.collect(), Reply::Noted(())))
}

fn put(node: &mut Node, attribute: &NodeAttribute) -> Result<(), Refusal> {
    lay(&mut node.put_attributes, attribute);
    lay(&mut node.attributes, attribute);
    if ATTRIBUTES_MAX < node.attributes.len() {
        let max = ATTRIBUTES_MAX as u64;
        return Err(Refusal::LimitExceeded { what: "attributes of a node", max });
    }
    Ok(())
}

/// One without a value takes the name away whatever its value is.
fn delete(node: &mut Node, attribute: &NodeAttribute) {
    let keeps = |have: &NodeAttribute| {
        have.name != attribute.name || (attribute.value.is_some() && have.value != attribute.value)
    };
    node.put_attributes.retain(keeps);
    node.attributes.retain(keeps);
}

/// Sorted by name, each name once.
fn lay(list: &mut Vec<NodeAttribute>, attribute: &NodeAttribute) {
    match list.binary_search_by(|have| have.name.cmp(&attribute.name)) {
        Ok(at) => list[at] = attribute.clone(),
        Err(at) => list.insert(at, attribute.clone()),
    }
}

/// What an agent registers, with what callers put laid over it.
pub(super) fn laid_over(registered: &[NodeAttribute], put: &[NodeAttribute]) -> Vec<NodeAttribute> {
    let mut all = registered.to_vec();
    all.sort();
    for attribute in put {
        lay(&mut all, attribute);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(name: &str, value: Option<&str>) -> NodeAttribute {
        NodeAttribute { name: name.into(), value: value.map(ToOwned::to_owned) }
    }

    #[test]
    fn what_is_put_lies_over_what_the_agent_registers() {
        let registered = [attribute("zone", Some("a")), attribute("disk", None)];
        let put = [attribute("rack", Some("7")), attribute("zone", Some("b"))];
        let expected =
            [attribute("disk", None), attribute("rack", Some("7")), attribute("zone", Some("b"))];
        assert_eq!(laid_over(&registered, &put), expected);
        assert_eq!(laid_over(&laid_over(&registered, &put), &put), expected);
    }
}
