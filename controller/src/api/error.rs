//! A refused request in AWS's words: an error code of AWS's model, and a message that names the
//! field or the object and says what is wrong with it.

use std::fmt;

use http::StatusCode;

use super::auth::AuthRefusal;
use super::wire::{DecodeError, Fault};

/// AWS's error codes, as botocore's `ClientError.response["Error"]["Code"]` shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The request is well-formed and can't be done.
    Client,
    /// A parameter is missing, unknown or out of range.
    InvalidParameter,
    /// No such cluster.
    ClusterNotFound,
    /// No such service.
    ServiceNotFound,
    /// The service was deleted.
    ServiceNotActive,
    /// The object that a tag operation names is not there.
    ResourceNotFound,
    /// The cluster still has nodes.
    ClusterContainsContainerInstances,
    /// The cluster still has services.
    ClusterContainsServices,
    /// The cluster still runs tasks.
    ClusterContainsTasks,
    /// The node that an attribute operation names is not there.
    TargetNotFound,
    /// A client token was used before with other parameters.
    Conflict,
    /// A bound on the number of objects.
    LimitExceeded,
    /// No such service deployment.
    ServiceDeploymentNotFound,
    /// Something AWS has and Loadline has not.
    UnsupportedFeature,
    /// The object is being changed by somebody else.
    UpdateInProgress,
    /// The caller may not do this.
    AccessDenied,
    /// No such operation, or not yet.
    UnknownOperation,
    /// The body is not the JSON that the operation takes.
    Serialization,
    /// The body is too large.
    RequestEntityTooLarge,
    /// Too many requests at once.
    Throttling,
    /// The access key id is not known.
    UnrecognizedClient,
    /// Temporary credentials whose time is over.
    ExpiredToken,
    /// A code of another service than ECS, and its status.
    Of(&'static str, u16),
    /// The signature is wrong, expired or for somewhere else.
    InvalidSignature,
    /// A part of the signature is missing.
    IncompleteSignature,
    /// No signature.
    MissingAuthenticationToken,
    /// The body did not come in time.
    RequestTimeout,
    /// Our fault.
    Server,
}

impl Code {
    /// A code of another service than ECS.
    #[must_use]
    pub const fn of(name: &'static str, status: u16) -> Self {
        Self::Of(name, status)
    }

    /// The code on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "ClientException",
            Self::InvalidParameter => "InvalidParameterException",
            Self::ClusterNotFound => "ClusterNotFoundException",
            Self::ServiceNotFound => "ServiceNotFoundException",
            Self::ServiceNotActive => "ServiceNotActiveException",
            Self::ResourceNotFound => "ResourceNotFoundException",
            Self::ClusterContainsContainerInstances => "ClusterContainsContainerInstancesException",
            Self::ClusterContainsServices => "ClusterContainsServicesException",
            Self::ClusterContainsTasks => "ClusterContainsTasksException",
            Self::TargetNotFound => "TargetNotFoundException",
            Self::Conflict => "ConflictException",
            Self::LimitExceeded => "LimitExceededException",
            Self::ServiceDeploymentNotFound => "ServiceDeploymentNotFoundException",
            Self::UnsupportedFeature => "UnsupportedFeatureException",
            Self::UpdateInProgress => "UpdateInProgressException",
            Self::AccessDenied => "AccessDeniedException",
            Self::UnknownOperation => "UnknownOperationException",
            Self::Serialization => "SerializationException",
            Self::RequestEntityTooLarge => "RequestEntityTooLargeException",
            Self::Throttling => "ThrottlingException",
            Self::UnrecognizedClient => "UnrecognizedClientException",
            Self::ExpiredToken => "ExpiredTokenException",
            Self::Of(name, _) => name,
            Self::InvalidSignature => "InvalidSignatureException",
            Self::IncompleteSignature => "IncompleteSignatureException",
            Self::MissingAuthenticationToken => "MissingAuthenticationTokenException",
            Self::RequestTimeout => "RequestTimeoutException",
            Self::Server => "ServerException",
        }
    }

    /// The HTTP status: AWS JSON services use 400 for whatever the caller can mend.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::Of(_, status) => {
                StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }
            Self::Server => StatusCode::INTERNAL_SERVER_ERROR,
            Self::RequestEntityTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// A refusal as the client gets it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct ApiError {
    /// AWS's code.
    pub code: Code,
    /// For people.
    pub message: String,
}

impl ApiError {
    /// A refusal with this code and message.
    #[must_use]
    pub fn new(code: Code, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string() }
    }

    /// `ClientException`.
    #[must_use]
    pub fn client(message: impl fmt::Display) -> Self {
        Self::new(Code::Client, message)
    }

    /// `InvalidParameterException`.
    #[must_use]
    pub fn invalid(message: impl fmt::Display) -> Self {
        Self::new(Code::InvalidParameter, message)
    }

    /// Something AWS has and Loadline does not: refused by name, never ignored.
    #[must_use]
    pub fn unsupported(what: impl fmt::Display) -> Self {
        Self::new(Code::Client, format_args!("{what} is not supported yet"))
    }
}

impl From<AuthRefusal> for ApiError {
    fn from(refusal: AuthRefusal) -> Self {
        let code = match refusal {
            AuthRefusal::Missing => Code::MissingAuthenticationToken,
            AuthRefusal::Incomplete(_) => Code::IncompleteSignature,
            AuthRefusal::UnknownKey => Code::UnrecognizedClient,
            AuthRefusal::ExpiredToken => Code::ExpiredToken,
            AuthRefusal::ForeignHost(_) => Code::AccessDenied,
            AuthRefusal::Invalid(_) => Code::InvalidSignature,
        };
        Self::new(code, refusal)
    }
}

impl From<DecodeError> for ApiError {
    fn from(error: DecodeError) -> Self {
        let code = match error.fault {
            Fault::WrongType { .. } | Fault::OutOfRange => Code::Serialization,
            Fault::Missing | Fault::Unknown(_) => Code::InvalidParameter,
            Fault::Unsupported => Code::Client,
        };
        Self::new(code, error)
    }
}
