//! Who gets a certificate.

use loadline_controller::command::RevokeJoinToken;
use loadline_controller::nodes::JoinTokenText;
use loadline_controller::state::Sha256Hash;
use loadline_model::InstanceArn;
use tonic::Code;

use crate::agent::{Key, enrol};
use crate::world::World;

#[tokio::test]
async fn a_token_gives_a_certificate_of_the_authority_that_it_names() {
    let world = World::new().await;
    let token = world.token(1, 60_000).await;
    let enrolled = enrol(&world, &token.reveal(), &Key::new()).await.unwrap();
    assert_eq!(enrolled.ca_certificate_der, world.authority.certificate().as_ref());
    let node = InstanceArn::parse(&enrolled.container_instance_arn).unwrap();
    assert_eq!(node.cluster(), "default");
    let (_, certificate) = x509_parser::parse_x509_certificate(&enrolled.certificate_der).unwrap();
    let name = certificate.subject().iter_common_name().next().unwrap().as_str().unwrap();
    assert_eq!(name, node.as_str());
}

#[tokio::test]
async fn the_same_key_again_is_the_same_node_and_another_key_is_refused() {
    let world = World::new().await;
    let token = world.token(1, 60_000).await.reveal();
    let key = Key::new();
    let first = enrol(&world, &token, &key).await.unwrap();
    let again = enrol(&world, &token, &key).await.unwrap();
    assert_eq!(again.container_instance_arn, first.container_instance_arn);
    let refused = enrol(&world, &token, &Key::new()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().contains("used up"), "{refused}");
}

#[tokio::test]
async fn a_bad_token_brings_nobody_in() {
    let world = World::new().await;
    let good = world.token(9, 60_000).await;
    let (id, secret) = ([0xab; 8], [0xcd; 32]);
    let unknown = JoinTokenText::from_random(id, secret, world.authority.hash());
    let elsewhere = JoinTokenText::from_random(id, secret, Sha256Hash([0; 32]));
    let mut secret_wrong = good.reveal();
    let digit = "loadline1.".len() + 17;
    let flipped = if secret_wrong.as_bytes()[digit] == b'0' { "1" } else { "0" };
    secret_wrong.replace_range(digit..=digit, flipped);
    let cases = [
        ("", "not a join token"),
        ("loadline1.x.y.z", "not a join token"),
        (&*unknown.reveal(), "unknown, or its secret is wrong"),
        (&*secret_wrong, "unknown, or its secret is wrong"),
        (&*elsewhere.reveal(), "is for another controller"),
    ];
    for (token, expected) in cases {
        let refused = enrol(&world, token, &Key::new()).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
        assert!(refused.message().contains(expected), "{refused}");
        let secret = token.split('.').nth(2).unwrap_or_default();
        assert!(secret.len() < 64 || !refused.message().contains(secret), "a secret leaked");
    }
}

#[tokio::test]
async fn an_expired_and_a_revoked_token_are_told_apart() {
    let world = World::new().await;
    let short = world.token(1, 1).await;
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let refused = enrol(&world, &short.reveal(), &Key::new()).await.unwrap_err();
    assert!(refused.message().contains("expired"), "{refused}");
    let token = world.token(1, 60_000).await;
    world.engine.call(RevokeJoinToken { id: token.id().clone() }).await.unwrap();
    let refused = enrol(&world, &token.reveal(), &Key::new()).await.unwrap_err();
    assert!(refused.message().contains("revoked"), "{refused}");
}

#[tokio::test]
async fn a_bad_request_does_not_use_the_token() {
    use loadline_proto::v1::EnrolRequest;
    use loadline_proto::v1::enrolment_client::EnrolmentClient;

    let world = World::new().await;
    let token = world.token(1, 60_000).await.reveal();
    let mut client = EnrolmentClient::new(crate::agent::dial(&world, None).await.unwrap());
    for csr_der in [vec![], vec![0x30; 10], vec![0; 5000]] {
        let request = EnrolRequest { token: token.clone(), csr_der };
        let refused = client.enrol(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().starts_with("field csr_der: "), "{refused}");
    }
    enrol(&world, &token, &Key::new()).await.unwrap();
}
