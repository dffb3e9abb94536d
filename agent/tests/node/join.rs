//! Joining, and refusing to: each refusal names what is wrong.

use super::fake::Fake;
use super::world::World;

/// Runs an agent that must give up, and returns what it said.
async fn said(world: &World, options: &[&str]) -> String {
    let mut command = world.command(options);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_with_another_ca_is_refused_before_the_token_is_sent() {
    let mut world = World::without_agent("other-ca").await;
    let other = Fake::start().await;
    world.fake.token.clone_from(&other.token);
    let said = said(&world, &[]).await;
    assert!(said.contains("is not the one that this node may trust"), "{said}");
    assert!(said.contains("its certificate authority has the hash"), "{said}");
    assert_eq!(world.fake.state().enrolled, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_cut_off_or_refused_says_so() {
    let mut world = World::without_agent("token").await;
    let whole = world.fake.token.clone();
    world.fake.token = whole[..whole.len() - 1].to_owned();
    let text = said(&world, &[]).await;
    assert!(text.contains("CA hash is not 64 lower-case hex digits"), "{text}");
    assert!(!world.dir.exists(), "nothing is left of an agent that could not join");
    world.fake.token = whole.replace(&"1".repeat(64), &"2".repeat(64));
    let text = said(&world, &[]).await;
    assert!(text.contains("the controller refuses the join token: the token is expired"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agents_folder_is_below_the_one_that_all_programs_share() {
    let world = World::without_agent("shared").await;
    let program = env!("CARGO_BIN_EXE_loadline-agent");
    let shared = world.dir.parent().unwrap().join("shared");
    let mut command = std::process::Command::new(program);
    command.args(["run", "--controller", &world.fake.address]).env("LOADLINE_STATE_DIR", &shared);
    let said = |command: &mut std::process::Command| {
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let text = said(&mut command);
    assert!(text.contains("this node has not joined a cluster"), "{text}");
    assert!(!shared.exists(), "nothing is written before a token is there");
    // It is a file: whoever looks for the agent's folder there says so.
    std::fs::write(&shared, "").unwrap();
    let text = said(&mut command);
    assert!(text.contains(shared.join("agent").to_str().unwrap()), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attribute_that_is_none_and_a_reserve_above_the_host_are_refused() {
    let world = World::without_agent("options").await;
    for (options, expected) in [
        (["--attribute", "a b=c"], "--attribute"),
        (["--reserved-memory-mib", "999999999"], "lower --reserved-memory-mib"),
        (["--reserved-cpu-units", "999999999"], "lower --reserved-cpu-units"),
    ] {
        let said = said(&world, &options).await;
        assert!(said.contains(expected), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_agent_on_the_same_folder_is_refused() {
    let mut world = World::without_agent("second").await;
    world.start_agent(&["--attribute", "rack=r1"], &[]);
    let said = said(&world, &[]).await;
    assert!(said.contains("another agent uses this state folder"), "{said}");
    let registration = world.fake.until("a registration", |fake| {
        let state = fake.state();
        let request = state.registered.first()?;
        let has = |name: &str| request.attributes.iter().any(|a| a.name == name);
        assert!(has("rack") && has("ecs.cpu-architecture"));
        assert!(0 < request.resources.as_ref()?.memory_mib);
        Some(())
    });
    registration.await;
}

/// A child that was about to be started holds its lock for a moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_an_agent_which_was_killed_still_holds_is_waited_for() {
    let mut world = World::without_agent("held").await;
    std::fs::create_dir(&world.dir).unwrap();
    let lock = std::fs::File::create(world.dir.join("lock")).unwrap();
    lock.try_lock().unwrap();
    let letting_go = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(500));
        lock.unlock().unwrap();
    });
    world.start_agent(&[], &[]);
    letting_go.join().unwrap();
}
