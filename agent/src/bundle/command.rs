//! What a container runs: docker's rules for entrypoint, command and environment.

use loadline_model::KeyValue;

use crate::image::ImageConfig;

/// Where programs are looked for when neither image nor task says so.
pub(super) const PATH_DEFAULT: &str =
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why there is no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Neither the image nor the task names a program.
    #[error("there is no command: neither the image nor the container definition has one")]
    Empty,
    /// An environment variable that the kernel's form can't hold.
    #[error("the environment variable {name:?} has a name or value that no process can have")]
    Variable {
        /// Its name.
        name: String,
    },
    /// An argument that the kernel's form can't hold.
    #[error("argument {index} of the command has a NUL byte")]
    Argument {
        /// Counted from 0.
        index: usize,
    },
}

/// The arguments: a task's command replaces the image's; a task's entry point replaces the image's
/// and drops the image's command, which was meant for the other program.
pub(super) fn arguments(
    image: &ImageConfig,
    entry_point: Option<&[String]>,
    command: Option<&[String]>,
) -> Result<Vec<String>, CommandError> {
    let entry = entry_point.unwrap_or(&image.entrypoint);
    let default: &[String] = if entry_point.is_some() { &[] } else { &image.cmd };
    let arguments: Vec<String> = entry.iter().chain(command.unwrap_or(default)).cloned().collect();
    match arguments.iter().position(|argument| argument.contains('\0')) {
        Some(index) => Err(CommandError::Argument { index }),
        None if arguments.first().is_none_or(String::is_empty) => Err(CommandError::Empty),
        None => Ok(arguments),
    }
}

/// The environment: the image's, the task's over it, and defaults for what neither sets.
pub(super) fn environment(
    image: &ImageConfig,
    task: &[KeyValue],
    defaults: &[String],
) -> Result<Vec<String>, CommandError> {
    let mut environment: Vec<String> = Vec::new();
    let mut set = |entry: String, over: bool| {
        let name = name_of(&entry).to_owned();
        match environment.iter_mut().find(|known| name_of(known) == name) {
            Some(known) if over => *known = entry,
            Some(_) => {}
            None => environment.push(entry),
        }
    };
    for entry in &image.env {
        set(entry.clone(), true);
    }
    for KeyValue { name, value } in task {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(CommandError::Variable { name: name.clone() });
        }
        set(format!("{name}={value}"), true);
    }
    for entry in defaults {
        set(entry.clone(), false);
    }
    Ok(environment)
}

fn name_of(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// `-` is absent; an empty string is a present, empty list.
    fn check(image: (&str, &str), task: (&str, &str), expected: &str) {
        let config =
            ImageConfig { entrypoint: list(image.0), cmd: list(image.1), ..Default::default() };
        let given = |text| (text != "-").then(|| list(text));
        let (entry, command) = (given(task.0), given(task.1));
        let arguments = arguments(&config, entry.as_deref(), command.as_deref());
        let expected =
            if expected.is_empty() { Err(CommandError::Empty) } else { Ok(list(expected)) };
        assert_eq!(arguments, expected, "{image:?} {task:?}");
    }

    #[test]
    fn entrypoint_and_command_follow_dockers_table() {
        check(("", "sh"), ("-", "-"), "sh");
        check(("/entry", "arg"), ("-", "-"), "/entry arg");
        check(("/entry", "arg"), ("-", "other"), "/entry other");
        check(("/entry", "arg"), ("/mine", "-"), "/mine");
        check(("/entry", "arg"), ("/mine", "x y"), "/mine x y");
        check(("/entry", "arg"), ("-", ""), "/entry");
        check(("/entry", "arg"), ("", "x"), "x");
        check(("/entry", "arg"), ("", "-"), "");
        check(("", ""), ("-", "-"), "");
    }

    #[test]
    fn a_task_overrides_the_images_environment_and_defaults_fill_in() {
        let config = ImageConfig { env: list("A=1 PATH=/x B=2"), ..Default::default() };
        let pair = |name: &str, value: &str| KeyValue { name: name.into(), value: value.into() };
        let task = [pair("B", "3"), pair("C", "a=b")];
        let defaults = [PATH_DEFAULT.to_owned(), "HOME=/root".to_owned()];
        let merged = environment(&config, &task, &defaults).unwrap();
        assert_eq!(merged, list("A=1 PATH=/x B=3 C=a=b HOME=/root"));
        for bad in [pair("", "x"), pair("A=B", "x"), pair("A", "\0")] {
            assert!(environment(&config, &[bad], &[]).is_err());
        }
    }
}
