//! A container's log settings for its supervisor, from its definition's `logConfiguration`.

use std::path::{Path, PathBuf};

use loadline_model::LogDriver;
use loadline_model::logging::{Journald, TagWords};

use super::record::Task;
use crate::supervise::LogSettings;
use crate::supervise::settings::{DriverSettings, JournaldSettings, SyslogSettings};

/// Longest id in `CONTAINER_ID`, in characters (docker: 12).
const SHORT_ID_CHARS: usize = 12;

/// Which container, and where.
pub(super) struct Place<'a> {
    pub(super) task: &'a Task,
    pub(super) at: usize,
    pub(super) hostname: &'a str,
    pub(super) journal_socket: &'a Path,
}

/// What the supervisor is told. `limits` are the node's own: bytes of a file, and number of files.
///
/// # Errors
/// The option that is wrong, and why.
pub(super) fn settings(
    place: &Place<'_>,
    dir: PathBuf,
    limits: (u64, u32),
) -> Result<LogSettings, String> {
    let container = &place.task.spec.containers[place.at];
    let (file_bytes_max, files_max) = limits;
    let mut settings = LogSettings { dir, file_bytes_max, files_max, driver: DriverSettings::File };
    let Some(log) = &container.log else { return Ok(settings) };
    let id = place.task.runtime_id(place.at);
    let spec = &place.task.spec;
    let name = format!("{}-{}-{}", spec.family, spec.revision, container.name);
    let words = TagWords { id: &id, name: &name, image: &container.image };
    settings.driver = match log.driver()? {
        LogDriver::None => DriverSettings::None,
        LogDriver::JsonFile { file_bytes_max, files_max } => {
            settings.file_bytes_max = file_bytes_max.unwrap_or(settings.file_bytes_max);
            settings.files_max = files_max.unwrap_or(settings.files_max);
            DriverSettings::File
        }
        LogDriver::Syslog(syslog) => DriverSettings::Syslog(SyslogSettings {
            tag: syslog.tag.of(words),
            address: syslog.address,
            facility: syslog.facility,
            format: syslog.format,
            hostname: place.hostname.to_owned(),
            delivery: syslog.delivery,
        }),
        LogDriver::Journald(journald) => DriverSettings::Journald(JournaldSettings {
            socket: place.journal_socket.to_owned(),
            fields: fields(place, &journald, words),
            delivery: journald.delivery,
        }),
    };
    Ok(settings)
}

/// docker's fields, then those of the task, then the labels and variables that were asked for.
fn fields(place: &Place<'_>, journald: &Journald, words: TagWords<'_>) -> Vec<(String, String)> {
    let container = &place.task.spec.containers[place.at];
    let tag = journald.tag.of(words);
    let mut fields: Vec<(String, String)> = [
        ("CONTAINER_ID", words.id.chars().take(SHORT_ID_CHARS).collect()),
        ("CONTAINER_ID_FULL", words.id.to_owned()),
        ("CONTAINER_NAME", words.name.to_owned()),
        ("CONTAINER_TAG", tag.clone()),
        ("SYSLOG_IDENTIFIER", tag),
        ("IMAGE_NAME", words.image.to_owned()),
        ("ECS_TASK_ARN", place.task.spec.arn.to_string()),
        ("ECS_CONTAINER_NAME", container.name.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let labels = container.labels.iter().filter(|label| journald.labels.contains(&label.name));
    let variables = container.environment.iter().filter(|pair| journald.env.contains(&pair.name));
    for pair in labels.chain(variables) {
        let Some(name) = field_name(&pair.name) else { continue };
        if !fields.iter().any(|(have, _)| *have == name) {
            fields.push((name, pair.value.clone()));
        }
    }
    fields
}

/// journald's names: upper-case letters, digits and underscores, and a letter first.
fn field_name(name: &str) -> Option<String> {
    let plain = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
    let upper = plain.collect::<String>().to_ascii_uppercase();
    let name = upper.trim_start_matches(|c: char| !c.is_ascii_uppercase());
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use loadline_model::{
        ContainerName, ContainerSpec, KeyValue, LogConfiguration, TaskArn, TaskSpec,
    };

    use super::*;

    fn task(driver: &str, options: &[(&str, &str)]) -> Task {
        let pair = |name: &str, value: &str| KeyValue { name: name.into(), value: value.into() };
        let options: BTreeMap<String, String> =
            options.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let container = ContainerSpec {
            labels: vec![pair("com.example.team", "blue"), pair("other", "x")],
            environment: vec![pair("STAGE", "test")],
            log: Some(LogConfiguration { driver: driver.into(), options }),
            ..ContainerSpec::new(ContainerName::parse("web").unwrap(), "nginx:1")
        };
        let arn = TaskArn::parse("arn:aws:ecs:r:1:task/c/0123456789abcdef").unwrap();
        let spec = TaskSpec { family: "shop".into(), ..TaskSpec::new(arn, vec![container]) };
        Task::accepted(spec, "boot")
    }

    fn of(driver: &str, options: &[(&str, &str)]) -> Result<LogSettings, String> {
        let task = task(driver, options);
        let journal_socket = Path::new("/journal");
        let place = Place { task: &task, at: 0, hostname: "node", journal_socket };
        settings(&place, PathBuf::from("/log"), (10, 2))
    }

    #[test]
    fn a_journals_fields_name_container_task_and_what_was_asked_for() {
        let options = [("labels", "com.example.team"), ("env", "STAGE"), ("tag", "{{.Name}}")];
        let DriverSettings::Journald(journald) = of("journald", &options).unwrap().driver else {
            panic!("it is another driver");
        };
        let value = |name: &str| {
            let found = journald.fields.iter().find(|(have, _)| have == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(value("CONTAINER_ID"), Some("0123456789ab"));
        assert_eq!(value("CONTAINER_NAME"), Some("shop-1-web"));
        assert_eq!(value("SYSLOG_IDENTIFIER"), Some("shop-1-web"));
        assert_eq!(value("COM_EXAMPLE_TEAM"), Some("blue"));
        assert_eq!((value("STAGE"), value("OTHER")), (Some("test"), None));
        assert_eq!(value("ECS_TASK_ARN"), Some("arn:aws:ecs:r:1:task/c/0123456789abcdef"));
        assert_eq!(field_name("_1x"), Some("X".to_owned()));
        assert_eq!(field_name("..."), None);
    }

    #[test]
    fn a_definitions_sizes_replace_the_nodes() {
        let settings = of("json-file", &[("max-size", "1k"), ("max-file", "7")]).unwrap();
        assert_eq!((settings.file_bytes_max, settings.files_max), (1024, 7));
        let settings = of("none", &[]).unwrap();
        assert_eq!((settings.file_bytes_max, settings.files_max), (10, 2));
        assert_eq!(settings.driver, DriverSettings::None);
        assert!(of("syslog", &[("nonsense", "1")]).unwrap_err().contains("nonsense"));
    }
}
