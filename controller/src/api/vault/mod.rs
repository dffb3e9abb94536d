//! secretsmanager and ssm: secrets and parameters. [`crate::vault`] holds the rules; here values
//! are sealed on their way in and opened on their way out.

mod batch;
mod needs;
mod parameter_shapes;
pub(super) mod parameters;
mod passwords;
mod secret_shapes;
pub(super) mod secrets;
mod values;

pub(super) use self::needs::{parameter_needs, secret_needs};
use crate::api::{ApiError, Code};
use crate::vault::Refusal;

/// What the engine refused, with the service's code.
pub(in crate::api) fn refusal(refusal: &Refusal) -> ApiError {
    let code = match refusal {
        Refusal::NoSecret | Refusal::NoVersion(_) => Code::ResourceNotFound,
        Refusal::SecretExists(_) | Refusal::VersionExists(_) => {
            Code::of("ResourceExistsException", 400)
        }
        Refusal::InvalidRequest(_) => Code::of("InvalidRequestException", 400),
        Refusal::NoParameter(_) => Code::of("ParameterNotFound", 400),
        Refusal::ParameterExists => Code::of("ParameterAlreadyExists", 400),
        Refusal::Validation(_) => Code::of("ValidationException", 400),
        Refusal::Limit { .. } => Code::LimitExceeded,
    };
    ApiError::new(code, refusal)
}
