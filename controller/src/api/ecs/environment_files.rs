//! `environmentFiles` of containers and of overrides: objects that are read when a task is placed.
//! Whether they are there is seen then, as with AWS.

use loadline_model::ContainerName;

use super::definitions::ContainerDefinition;
use super::shapes::EnvironmentFile as Shape;
use crate::api::ApiError;
use crate::objects::ObjectName;
use crate::state::EnvironmentFile;

/// Most environment files of a task definition (ECS's own bound).
const FILES_MAX: usize = 10;
/// What every key ends with (ECS's own rule).
const SUFFIX: &str = ".env";

/// Every file of every container.
pub(super) fn read(given: &[ContainerDefinition]) -> Result<Vec<EnvironmentFile>, ApiError> {
    let mut all = Vec::new();
    for (index, container) in given.iter().enumerate() {
        let files = container.environment_files.as_deref().unwrap_or_default();
        let at = format!("containerDefinitions[{index}].environmentFiles");
        let objects = objects(&at, files)?;
        // One without a good name is refused with its other fields.
        let Ok(name) = ContainerName::parse(container.name.as_deref().unwrap_or_default()) else {
            continue;
        };
        let file = |object| EnvironmentFile { container: name.clone(), object };
        all.extend(objects.into_iter().map(file));
    }
    at_most("containerDefinitions", all.len())?;
    Ok(all)
}

/// A list of files, as ARNs.
pub(super) fn objects(at: &str, files: &[Shape]) -> Result<Vec<String>, ApiError> {
    let object = |(n, file): (usize, &Shape)| {
        if file.kind != "s3" {
            return Err(ApiError::client(format_args!("{at}[{n}].type must be s3")));
        }
        let name = ObjectName::parse(&file.value)
            .map_err(|why| ApiError::client(format_args!("{at}[{n}].value: {why}")))?;
        if !name.key().ends_with(SUFFIX) {
            let message = format!("{at}[{n}].value must name an object that ends with {SUFFIX}");
            return Err(ApiError::client(message));
        }
        Ok(file.value.clone())
    };
    files.iter().enumerate().map(object).collect()
}

/// Refuses too many files.
pub(super) fn at_most(at: &str, count: usize) -> Result<(), ApiError> {
    if FILES_MAX < count {
        let message = format!("{at} can have at most {FILES_MAX} environment files, not {count}.");
        return Err(ApiError::client(message));
    }
    Ok(())
}

/// A container's files as they are shown.
pub(super) fn show(all: &[EnvironmentFile], container: &ContainerName) -> Option<Vec<Shape>> {
    let own = all.iter().filter(|file| file.container == *container);
    shown(&own.map(|file| file.object.clone()).collect::<Vec<_>>())
}

/// These files as they are shown.
pub(super) fn shown(objects: &[String]) -> Option<Vec<Shape>> {
    let shape = |object: &String| Shape { value: object.clone(), kind: "s3".to_owned() };
    Some(objects.iter().map(shape).collect::<Vec<_>>()).filter(|shown| !shown.is_empty())
}
