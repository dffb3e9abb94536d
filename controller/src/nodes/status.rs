//! What the engine says, as gRPC says it.

use loadline_proto::convert::InvalidField;
use tonic::Status;

use crate::command::Refusal;
use crate::engine::CallError;

/// The status of a command that has no answer.
pub(super) fn of_call(error: CallError) -> Status {
    match error {
        CallError::Refused(refusal) => of_refusal(&refusal),
        CallError::Busy { .. } | CallError::Stopped => Status::unavailable(error.to_string()),
        CallError::Store(_) => Status::internal(error.to_string()),
    }
}

fn of_refusal(refusal: &Refusal) -> Status {
    let text = refusal.to_string();
    match refusal {
        Refusal::JoinToken { .. } => Status::unauthenticated(text),
        Refusal::NodeRemoved(_) => Status::permission_denied(text),
        Refusal::SessionAlive(_) => Status::already_exists(text),
        Refusal::NotRegistered(_) | Refusal::NodeNotFound(_) => Status::failed_precondition(text),
        Refusal::LimitExceeded { .. } => Status::resource_exhausted(text),
        Refusal::Invalid { .. } => Status::invalid_argument(text),
        // A token's or a node's cluster can be deleted under it; the others are answers to
        // commands that no node sends.
        _ => Status::failed_precondition(text),
    }
}

/// The status of a message that breaks the protocol.
#[allow(clippy::needless_pass_by_value, reason = "the shape that map_err takes")]
pub(super) fn of_invalid(invalid: InvalidField) -> Status {
    use loadline_proto::convert::Fault;
    match invalid.fault {
        Fault::TooLong { .. } => Status::resource_exhausted(invalid.to_string()),
        _ => Status::invalid_argument(invalid.to_string()),
    }
}
