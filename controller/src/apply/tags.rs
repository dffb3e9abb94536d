//! TagResource and UntagResource: tags of whatever has them. A tag changes nothing else of its
//! object, so neither versions nor generations move.

use std::sync::Arc;

use loadline_model::KeyValue;

use super::{Applied, active_cluster};
use crate::command::{Refusal, Reply, SetTags, TAGS_MAX, TagChange, Tagged};
use crate::state::{
    Cluster, DefinitionBody, Node, NodeStatus, Service, ServiceStatus, State, Task, TaskDefinition,
    Write,
};

pub(super) fn set(state: &State, command: &SetTags) -> Result<Applied, Refusal> {
    let view = &state.view;
    let change = |tags: &[KeyValue]| changed(tags, &command.change);
    let write = match &command.of {
        Tagged::Cluster(name) => {
            let record = &active_cluster(view, name)?.record;
            let tags = change(&record.tags)?;
            Write::Cluster(Arc::new(Cluster { tags, ..Cluster::clone(record) }))
        }
        Tagged::Definition(reference) => {
            let missing = || Refusal::DefinitionNotFound(reference.clone());
            let revision = reference.revision.ok_or_else(missing)?;
            let record = view.definition(&reference.family, revision).ok_or_else(missing)?;
            let tags = change(&record.body.tags)?;
            let body = DefinitionBody { tags, ..record.body.clone() };
            Write::Definition(Arc::new(TaskDefinition { body, ..TaskDefinition::clone(record) }))
        }
        Tagged::Service(key) => {
            let record = view
                .service(key)
                .map(|entry| &entry.record)
                .filter(|record| record.status != ServiceStatus::Inactive)
                .ok_or_else(|| Refusal::ServiceNotFound(key.clone()))?;
            let tags = change(&record.tags)?;
            Write::Service(Arc::new(Service { tags, ..Service::clone(record) }))
        }
        Tagged::Task(arn) => {
            let record = view.task(arn).ok_or_else(|| Refusal::TaskNotFound(arn.clone()))?;
            let tags = change(&record.tags)?;
            Write::Task(Arc::new(Task { tags, ..Task::clone(record) }))
        }
        Tagged::Node(arn) => {
            let record = view
                .node(arn)
                .map(|entry| &entry.record)
                .filter(|record| record.status != NodeStatus::Inactive)
                .ok_or_else(|| Refusal::NodeNotFound(arn.clone()))?;
            let tags = change(&record.tags)?;
            Write::Node(Arc::new(Node { tags, ..Node::clone(record) }))
        }
    };
    Ok((vec![write], Reply::Noted(())))
}

fn changed(tags: &[KeyValue], change: &TagChange) -> Result<Vec<KeyValue>, Refusal> {
    let mut tags = tags.to_vec();
    match change {
        TagChange::Put(new) => {
            for tag in new {
                match tags.iter_mut().find(|have| have.name == tag.name) {
                    Some(have) => have.value.clone_from(&tag.value),
                    None => tags.push(tag.clone()),
                }
            }
        }
        TagChange::Remove(names) => tags.retain(|tag| !names.contains(&tag.name)),
    }
    if TAGS_MAX < tags.len() {
        return Err(Refusal::LimitExceeded { what: "tags of one object", max: TAGS_MAX as u64 });
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(name: &str, value: &str) -> KeyValue {
        KeyValue { name: name.into(), value: value.into() }
    }

    #[test]
    fn a_tag_is_put_replaced_and_removed_and_each_of_it_twice_is_no_change() {
        let put = TagChange::Put(vec![tag("a", "2"), tag("c", "3")]);
        let once = changed(&[tag("a", "1"), tag("b", "")], &put).unwrap();
        assert_eq!(once, [tag("a", "2"), tag("b", ""), tag("c", "3")]);
        assert_eq!(changed(&once, &put).unwrap(), once);
        let remove = TagChange::Remove(vec!["a".into(), "x".into()]);
        let once = changed(&once, &remove).unwrap();
        assert_eq!(once, [tag("b", ""), tag("c", "3")]);
        assert_eq!(changed(&once, &remove).unwrap(), once);
    }

    #[test]
    fn the_last_tag_that_fits_is_taken_and_one_more_is_not() {
        let tags: Vec<_> = (0..TAGS_MAX - 1).map(|n| tag(&n.to_string(), "")).collect();
        let tags = changed(&tags, &TagChange::Put(vec![tag("last", "")])).unwrap();
        assert!(changed(&tags, &TagChange::Put(vec![tag("last", "again")])).is_ok());
        assert!(changed(&tags, &TagChange::Put(vec![tag("more", "")])).is_err());
    }
}
