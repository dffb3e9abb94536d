//! Who may call what, and as whom.

use std::time::SystemTime;

use loadline_controller::command::{DeregisterNode, NodeTasks};
use loadline_controller::nodes::pki::{Authority, NodeKey};
use loadline_proto::PROTOCOL_VERSION;
use loadline_proto::v1::node_client::NodeClient;
use loadline_proto::v1::{RegisterRequest, RenewRequest, Resources};
use tonic::{Code, Status};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::agent::{Agent, Key, dial, registration};
use crate::world::{World, default_cluster};

async fn services(channel: tonic::transport::Channel) -> Result<Vec<String>, Status> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(channel);
    let answer = client.server_reflection_info(tokio_stream::once(request)).await?;
    let first = answer.into_inner().message().await?.unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = first.message_response else {
        panic!("{first:?}")
    };
    Ok(list.service.into_iter().map(|service| service.name).collect())
}

#[tokio::test]
async fn without_a_certificate_nothing_but_enrolment_answers() {
    let world = World::new().await;
    let channel = dial(&world, None).await.unwrap();
    let mut client = NodeClient::new(channel.clone());
    let refused = client.register(registration()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let refused = client.renew(RenewRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let refused = client.session(tokio_stream::empty()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let refused = services(channel).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "reflection is for nodes too");
}

#[tokio::test]
async fn reflection_shows_the_protocol_to_a_node() {
    let world = World::new().await;
    let agent = Agent::enrolled(&world).await;
    let names = services(dial(&world, Some(agent.identity)).await.unwrap()).await.unwrap();
    for expected in ["loadline.agent.v1.Enrolment", "loadline.agent.v1.Node"] {
        assert!(names.iter().any(|name| name == expected), "{names:?}");
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_gets_no_answer() {
    let world = World::new().await;
    let agent = Agent::enrolled(&world).await;
    let now = SystemTime::now();
    let other = Authority::create("other", [1; 16], now).unwrap();
    let key = Key::new();
    let request = NodeKey::from_request(&key.csr()).unwrap();
    let forged = other.issue_node(&agent.node, &request, [2; 16], now).unwrap();
    let called = match dial(&world, Some(key.identity(&forged))).await {
        Ok(channel) => NodeClient::new(channel).register(registration()).await.map(|_| ()),
        Err(error) => Err(Status::from_error(Box::new(error))),
    };
    assert!(called.is_err(), "a forged certificate was taken");
    assert!(world.engine.snapshot().node(&agent.node).is_none(), "and registered a node");
}

#[tokio::test]
async fn a_certificate_that_has_ended_gets_no_answer() {
    let world = World::new().await;
    let agent = Agent::enrolled(&world).await;
    let long_ago = SystemTime::now() - std::time::Duration::from_secs(31 * 24 * 3600);
    let key = Key::new();
    let request = NodeKey::from_request(&key.csr()).unwrap();
    let old = world.authority.issue_node(&agent.node, &request, [2; 16], long_ago).unwrap();
    let called = match dial(&world, Some(key.identity(&old))).await {
        Ok(channel) => NodeClient::new(channel).register(registration()).await.map(|_| ()),
        Err(error) => Err(Status::from_error(Box::new(error))),
    };
    assert!(called.is_err(), "a certificate that has ended was taken");
}

#[tokio::test]
async fn a_renewed_certificate_speaks_for_the_same_node() {
    let world = World::new().await;
    let mut agent = Agent::registered(&world).await;
    let key = Key::new();
    let renewed = agent.client.renew(RenewRequest { csr_der: key.csr() }).await.unwrap();
    let identity = key.identity(&renewed.into_inner().certificate_der);
    let mut client = NodeClient::new(dial(&world, Some(identity)).await.unwrap());
    let answer = client.register(registration()).await.unwrap().into_inner();
    assert_eq!(answer.container_instance_arn, agent.node.as_str());
    let refused = client.renew(RenewRequest { csr_der: vec![1] }).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_removed_node_is_refused_and_its_session_ends() {
    let world = World::new().await;
    let mut agent = Agent::registered(&world).await;
    let mut session = agent.session("a").await;
    session.greeted().await;
    let remove = DeregisterNode {
        cluster: default_cluster(),
        node: agent.node.clone(),
        tasks: NodeTasks::GiveUp,
    };
    world.engine.call(remove).await.unwrap();
    session.beat(1).await;
    let end = session.end().await;
    assert_ne!(end.code(), Code::Ok, "{end}");
    let refused = agent.client.register(registration()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("removed"), "{refused}");
}

#[tokio::test]
async fn a_registration_that_breaks_the_protocol_names_the_field() {
    use loadline_proto::v1::Attribute;

    let world = World::new().await;
    let mut agent = Agent::enrolled(&world).await;
    let attribute = |name: &str| Attribute { name: name.into(), value: None };
    let good = registration();
    let cases = [
        (RegisterRequest { resources: None, ..good.clone() }, Code::InvalidArgument, "resources"),
        (
            RegisterRequest { attributes: vec![attribute("a b")], ..good.clone() },
            Code::InvalidArgument,
            "attributes[0].name",
        ),
        (
            RegisterRequest { attributes: vec![attribute("a"); 101], ..good.clone() },
            Code::ResourceExhausted,
            "attributes",
        ),
        (
            RegisterRequest { agent_version: "x".repeat(129), ..good.clone() },
            Code::InvalidArgument,
            "agent_version",
        ),
        (
            RegisterRequest { protocol_version: 2, ..good.clone() },
            Code::FailedPrecondition,
            "upgrade the controller, which comes first",
        ),
        (
            RegisterRequest { protocol_version: 0, ..good.clone() },
            Code::FailedPrecondition,
            "upgrade the agent",
        ),
    ];
    for (request, code, expected) in cases {
        let refused = agent.client.register(request).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.message().contains(expected), "{refused}");
    }
    let first = agent.client.register(good.clone()).await.unwrap().into_inner();
    let again = agent.client.register(good).await.unwrap().into_inner();
    assert_eq!(first, again);
    let larger = Some(Resources { cpu_units: 2048, memory_mib: 2048 });
    let request = RegisterRequest { resources: larger, ..registration() };
    agent.client.register(request).await.unwrap();
    let view = world.engine.snapshot();
    assert_eq!(view.node(&agent.node).unwrap().record.registered.cpu_units, 2048);
}

#[tokio::test]
async fn a_newer_agent_that_still_speaks_this_version_is_told_to_speak_it() {
    let world = World::new().await;
    let mut agent = Agent::enrolled(&world).await;
    let newer = RegisterRequest {
        protocol_version: PROTOCOL_VERSION + 2,
        protocol_version_min: Some(PROTOCOL_VERSION),
        ..registration()
    };
    let answer = agent.client.register(newer).await.unwrap().into_inner();
    assert_eq!(answer.protocol_version, Some(PROTOCOL_VERSION));
    let older = RegisterRequest { protocol_version_min: None, ..registration() };
    let answer = agent.client.register(older).await.unwrap().into_inner();
    assert_eq!(answer.protocol_version, Some(PROTOCOL_VERSION), "an agent from before the field");
}
