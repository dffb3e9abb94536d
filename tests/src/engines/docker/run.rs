//! `docker run`: what a program in a container says, and where.

use super::super::world::IMAGE;
use super::super::{World, claims, holds, same};
use super::ended_with;
use crate::conformance::Verdict;

claims!("docker":
    run_gives_output_and_exit_code,
    run_reads_standard_input,
    run_has_a_terminal_of_the_right_size,
    run_detached_is_seen_by_ps_logs_and_wait,
    rm_leaves_no_container,
    a_program_that_is_not_there_is_exit_127,
    a_program_that_may_not_be_executed_is_exit_126,
    init_is_process_1_and_passes_the_exit_code_on,
    user_folder_environment_and_hostname_are_what_was_typed,
    a_signal_ends_run_with_its_number,
    a_container_that_was_created_can_be_started_and_attached,
);

fn run_gives_output_and_exit_code(w: &World) -> anyhow::Result<Verdict> {
    let ran = w.docker()?.run(&[], &["sh", "-c", "echo out; echo err >&2; exit 7"])?;
    ended_with(&ran, 7)?;
    same!(ran.stdout, "out\n");
    same!(ran.stderr, "err\n");
    Ok(Verdict::Pass)
}

fn run_reads_standard_input(w: &World) -> anyhow::Result<Verdict> {
    let docker = w.docker()?;
    let file = docker.folder.join("input");
    std::fs::write(&file, "one\ntwo\n")?;
    let mut run = docker.command(&["run", "--rm", "-i", IMAGE, "wc", "-l"]);
    let ran = crate::program::run(&docker.folder, run.stdin(std::fs::File::open(file)?))?;
    same!(ran.succeeded()?.stdout, "2\n");
    Ok(Verdict::Pass)
}

fn run_has_a_terminal_of_the_right_size(w: &World) -> anyhow::Result<Verdict> {
    let mut session = w.docker()?.at_terminal(&["run", "--rm", "-it", IMAGE, "sh"])?;
    session.until("#")?;
    // docker sends the size after the start.
    session.type_in("until stty size | grep '40 120'; do sleep 0.1; done; tty\n")?;
    session.until("/dev/pts/0")?;
    session.type_in("exit 5\n")?;
    let (code, said) = session.end()?;
    holds!(said, "40 120\r\n");
    same!(code, 5);
    Ok(Verdict::Pass)
}

fn run_detached_is_seen_by_ps_logs_and_wait(w: &World) -> anyhow::Result<Verdict> {
    let docker = w.docker()?;
    let held = docker.detached(&[], &["sh", "-c", "echo up; sleep 1000"])?;
    held.until_logs("up")?;
    let name = format!("name={}", held.name);
    let ps = docker.out(&["ps", "--filter", &name, "--format", "{{.Status}} {{.Command}}"])?;
    holds!(ps, "Up ");
    holds!(ps, "\"sh -c 'echo up;");
    held.verb("kill", &["--signal", "KILL"])?;
    same!(held.verb("wait", &[])?, "137");
    same!(held.inspect("/State/Status")?, "exited");
    Ok(Verdict::Pass)
}

fn rm_leaves_no_container(w: &World) -> anyhow::Result<Verdict> {
    let docker = w.docker()?;
    docker.printed(&["--name", "removed"], &["true"])?;
    crate::program::until("a container that ended is removed", || {
        let ps = docker.out(&["ps", "--all", "--filter", "name=removed", "--quiet"])?;
        Ok(ps.is_empty().then_some(()))
    })?;
    Ok(Verdict::Pass)
}

/// docker finds the reason in the runtime's words.
fn a_program_that_is_not_there_is_exit_127(w: &World) -> anyhow::Result<Verdict> {
    let ran = w.docker()?.run(&[], &["no-such-program"])?;
    ended_with(&ran, 127)?;
    holds!(ran.stderr, "no-such-program");
    ended_with(&w.docker()?.run(&[], &["/bin/no-such-program"])?, 127)?;
    Ok(Verdict::Pass)
}

fn a_program_that_may_not_be_executed_is_exit_126(w: &World) -> anyhow::Result<Verdict> {
    let ran = w.docker()?.run(&[], &["/etc/passwd"])?;
    ended_with(&ran, 126)?;
    holds!(ran.stderr, "permission denied");
    Ok(Verdict::Pass)
}

fn init_is_process_1_and_passes_the_exit_code_on(w: &World) -> anyhow::Result<Verdict> {
    let ran = w.docker()?.run(&["--init"], &["sh", "-c", "cat /proc/1/comm; exit 9"])?;
    ended_with(&ran, 9)?;
    same!(ran.stdout, "docker-init\n");
    Ok(Verdict::Pass)
}

fn user_folder_environment_and_hostname_are_what_was_typed(w: &World) -> anyhow::Result<Verdict> {
    let options =
        ["-u", "1000:1001", "--group-add", "7", "-w", "/tmp", "-e", "WORD=said", "-h", "somewhere"];
    let said = w.docker()?.shell(&options, "id -u; id -G; pwd; echo $WORD; hostname")?;
    same!(said, "1000\n1001 7\n/tmp\nsaid\nsomewhere");
    Ok(Verdict::Pass)
}

fn a_signal_ends_run_with_its_number(w: &World) -> anyhow::Result<Verdict> {
    let ran = w.docker()?.run(&["--init"], &["sh", "-c", "kill -USR1 $$"])?;
    ended_with(&ran, 128 + 10)?;
    Ok(Verdict::Pass)
}

fn a_container_that_was_created_can_be_started_and_attached(w: &World) -> anyhow::Result<Verdict> {
    let docker = w.docker()?;
    let id = docker.out(&["create", IMAGE, "sh", "-c", "echo started; exit 3"])?;
    let ran = docker.typed(&["start", "--attach", &id])?;
    docker.out(&["rm", &id])?;
    ended_with(&ran, 3)?;
    same!(ran.stdout, "started\n");
    Ok(Verdict::Pass)
}
