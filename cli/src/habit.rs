//! What fingers type that know other programs: said in Loadline's words when it is refused.

use clap::error::ErrorKind;

/// What to say to a command line that clap refused, and why it did; `None` where no habit shows in
/// it.
pub(crate) fn hint(refused: ErrorKind, arguments: impl Iterator<Item = String>) -> Option<String> {
    let arguments: Vec<String> = arguments.collect();
    let command = arguments.iter().position(|word| COMMANDS.iter().any(|(name, _)| word == name));
    if let Some((_, ours)) = command.and_then(|at| {
        COMMANDS.iter().find(|(name, ours)| *name == arguments[at] && at == 0 && !ours.is_empty())
    }) {
        return Some(format!("here that is `loadline {ours}`"));
    }
    let at = arguments.iter().position(|word| word == "run")?;
    let words = &arguments[at + 1..];
    let before = words.iter().take_while(|word| *word != "--");
    for word in before.clone() {
        let flag = word.split('=').next().unwrap_or(word);
        if let Some((_, ours)) = FLAGS.iter().find(|(theirs, _)| *theirs == flag) {
            return Some(format!("{flag}: {ours}"));
        }
    }
    let has_dashes = words.iter().any(|word| word == "--");
    let asks = before.clone().any(|word| word == "--help" || word == "-h");
    let too_many = refused == ErrorKind::UnknownArgument;
    (too_many && !has_dashes && !asks && 1 < words.len()).then(|| {
        "options come before the image, and its command after `--`: \
         loadline run [OPTIONS] IMAGE -- COMMAND"
            .to_owned()
    })
}

/// Commands of docker, and ours.
const COMMANDS: [(&str, &str); 8] = [
    ("images", "image ls"),
    ("pull", "image import FILE; what a registry has is pulled when a task needs it"),
    ("load", "image import FILE"),
    ("rmi", "image rm IMAGE"),
    ("kill", "stop TASK"),
    ("rm", "stop TASK; stopped tasks are forgotten after an hour"),
    ("node", "nodes"),
    ("services", "service ls"),
];

/// Flags of `docker run`, and what does it here.
const FLAGS: [(&str, &str); 13] = [
    ("-d", "a task runs in the background unless you say --follow or --wait"),
    ("--detach", "a task runs in the background unless you say --follow or --wait"),
    (
        "-it",
        "run it first, then `loadline exec -it TASK -- sh`; or see what it writes with --follow",
    ),
    ("-i", "a task has no standard input; see what it writes with --follow"),
    ("-t", "a task has no terminal; see what it writes with --follow"),
    ("--rm", "a stopped task is forgotten after an hour by itself"),
    ("--name", "a task has an id; find it by --started-by TEXT, or make a service"),
    ("--cpus", "--cpu 0.5vcpu reserves half a CPU, and is the most that it can use"),
    ("-m", "--memory 128 (MiB) or --memory 1.5g"),
    ("-p", "--publish HOST:CONTAINER, or --publish CONTAINER for a port that the node chooses"),
    ("-v", "volumes stand in a task definition: see `loadline task-def register --help`"),
    ("--volume", "volumes stand in a task definition: see `loadline task-def register --help`"),
    ("--restart", "a service keeps tasks running: see `loadline service create --help`"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &str) {
        let words = line.split_whitespace().map(str::to_owned);
        let told = hint(ErrorKind::UnknownArgument, words).unwrap_or_default();
        assert!(told.contains(expected) && (told.is_empty() == expected.is_empty()), "{told}");
    }

    #[test]
    fn a_habit_is_answered_with_what_does_it_here() {
        check("run -d busybox", "in the background");
        check("run --name=x busybox", "--started-by");
        check("run busybox echo hi", "after `--`");
        check("run busybox -e A=b -- ls", "");
        check("run --count 11 busybox", "after `--`");
        check("run --bad", "");
        check("run -p 80:80 busybox", "--publish HOST:CONTAINER");
        check("run --publish 80:80 busybox -- ls", "");
        check("images", "loadline image ls");
        check("ps images", "");
        check("stop", "");
    }

    #[test]
    fn a_wrong_value_is_not_taken_for_a_word_too_many() {
        let told = |line: &str| {
            let words = line.split_whitespace().map(str::to_owned);
            hint(ErrorKind::InvalidValue, words)
        };
        assert_eq!(told("run --cpu abc busybox"), None);
        assert_eq!(told("run --network foo busybox"), None);
        assert!(told("run --memory 1q -d busybox").is_some_and(|hint| hint.starts_with("-d: ")));
    }
}
