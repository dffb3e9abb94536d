//! A controller and its agents in one deterministic world: messages that come late or never,
//! sessions that break with or without being noticed, restarts of either side. The controller is
//! the real `apply` and the real change list of the engine; the agents keep the rules of the
//! protocol (agent.proto) and nothing else.
//!
//! What must hold at every moment: no agent is ever asked for more than it has; a task runs on its
//! own node and is started once; a generation never goes back. And once the world is quiet, every
//! service has its tasks, and both sides agree on everything.

mod agent;
mod world;

use proptest::prelude::*;

use world::{Event, Simulation};

fn events() -> impl Strategy<Value = Vec<Event>> {
    let node = 0..world::NODES;
    let event = prop_oneof![
        3 => (1..4_u32).prop_map(Event::Run),
        2 => (0..30_usize).prop_map(Event::Stop),
        1 => (0..6_u32).prop_map(Event::Scale),
        1 => Just(Event::Deploy),
        12 => node.clone().prop_map(Event::Deliver),
        12 => (node.clone(), 0..8_usize, 0..4_u8)
            .prop_map(|(node, task, chance)| Event::Work { node, task, chance }),
        8 => node.clone().prop_map(Event::Report),
        2 => (node.clone(), any::<bool>())
            .prop_map(|(node, noticed)| Event::Break { node, noticed }),
        3 => node.clone().prop_map(Event::Connect),
        1 => node.clone().prop_map(Event::RestartAgent),
        1 => Just(Event::RestartController),
        1 => node.prop_map(Event::Lose),
        1 => (0..60_000_u64).prop_map(Event::Wait),
    ];
    prop::collection::vec(event, 0..150)
}

proptest! {
    #[test]
    fn controller_and_agents_never_disagree_for_good(events in events()) {
        let mut simulation = Simulation::new();
        for event in events {
            simulation.happens(&event);
        }
        simulation.calms_down();
    }
}
