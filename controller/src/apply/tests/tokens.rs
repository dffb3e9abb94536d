//! Join tokens.

use super::super::testing::{World, cluster};
use crate::command::{
    CreateJoinToken, JoinTokenRefusal, Refusal, Reply, RevokeJoinToken, UseJoinToken,
};
use crate::state::{Sha256Hash, TokenId, USES_MAX};

fn id() -> TokenId {
    TokenId::parse("00112233445566aa").unwrap()
}

fn token(uses: u32) -> CreateJoinToken {
    let secret_hash = Sha256Hash([1; 32]);
    CreateJoinToken { id: id(), secret_hash, cluster: cluster(), valid_for_ms: 1_000, uses }
}

fn present(secret: u8, key: u8) -> UseJoinToken {
    let (secret_hash, key_hash) = (Sha256Hash([secret; 32]), Sha256Hash([key; 32]));
    UseJoinToken { id: id(), secret_hash, key_hash }
}

#[track_caller]
fn check(world: &mut World, used: UseJoinToken, expected: Result<&str, JoinTokenRefusal>) {
    let seen = world.does(used);
    match (seen, expected) {
        (Ok(Reply::Enrolled(node)), Ok(id)) => assert_eq!(node.id().trim_start_matches('0'), id),
        (Err(Refusal::JoinToken { why, .. }), Err(expected)) => assert_eq!(why, expected),
        (seen, expected) => panic!("{seen:?}, expected {expected:?}"),
    }
}

#[test]
fn a_token_brings_in_as_many_keys_as_it_may_and_each_key_once() {
    let mut world = World::new();
    check(&mut world, present(1, 1), Err(JoinTokenRefusal::Unknown));
    world.must(token(2));
    check(&mut world, present(2, 1), Err(JoinTokenRefusal::Unknown));
    check(&mut world, present(1, 1), Ok("1"));
    check(&mut world, present(1, 1), Ok("1"));
    check(&mut world, present(1, 2), Ok("2"));
    check(&mut world, present(1, 3), Err(JoinTokenRefusal::UsedUp));
    check(&mut world, present(1, 2), Ok("2"));
    assert_eq!(world.state.view.join_token(&id()).unwrap().uses_left(), 0);
}

#[test]
fn an_expired_or_revoked_token_brings_nobody_in() {
    let mut world = World::new();
    world.must(token(2));
    world.now_ms += 999;
    check(&mut world, present(1, 1), Ok("1"));
    world.now_ms += 1;
    check(&mut world, present(1, 1), Err(JoinTokenRefusal::Expired));
    world.must(RevokeJoinToken { id: id() });
    world.must(RevokeJoinToken { id: id() });
    check(&mut world, present(1, 1), Err(JoinTokenRefusal::Revoked));
}

#[test]
fn a_token_of_no_use_is_not_made() {
    let mut world = World::new();
    for bad in [token(0), token(USES_MAX + 1), CreateJoinToken { valid_for_ms: 0, ..token(1) }] {
        assert!(matches!(world.does(bad), Err(Refusal::Invalid { .. })));
    }
    world.must(token(USES_MAX));
    assert!(world.does(token(1)).is_err(), "an id is not used again");
}

#[test]
fn a_token_is_forgotten_a_day_after_it_expired() {
    let mut world = World::new();
    world.must(token(2));
    world.now_ms += 1_000 + 24 * 3_600_000 - 1;
    world.must(crate::command::Tick::default());
    assert!(world.state.view.join_token(&id()).is_some());
    world.now_ms += 1;
    world.must(crate::command::Tick::default());
    assert!(world.state.view.join_token(&id()).is_none());
    world.must(token(1));
}
