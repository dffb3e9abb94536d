//! Joining: a token becomes an identity.

use std::path::Path;

use loadline_proto::v1::EnrolRequest;
use loadline_proto::v1::enrolment_client::EnrolmentClient;
use sha2::{Digest as _, Sha256};
use tonic::Code;

use super::dial::{self, DialError};
use super::identity::{Identity, IdentityError, PendingKey};
use super::link;
use super::token::JoinToken;

/// Why a node could not join.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// There is no connection that can be trusted.
    #[error("join")]
    Dial(#[source] DialError),
    /// The connection broke.
    #[error("speak to the controller")]
    Transport(#[source] tonic::transport::Error),
    /// The controller refuses the token.
    #[error("the controller refuses the join token: {0}")]
    Refused(String),
    /// The controller can't answer now.
    #[error("the controller does not answer the join: {0}")]
    Unanswered(String),
    /// The answer names another CA than the token.
    #[error("the controller's answer holds another CA than the join token names")]
    OtherCa,
    /// Key or certificate.
    #[error("join")]
    Identity(#[from] IdentityError),
}

impl EnrolError {
    /// Whether trying again may help.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Dial(DialError::Connect { .. } | DialError::Handshake { .. })
            | Self::Transport(_)
            | Self::Unanswered(_) => true,
            Self::Dial(
                DialError::Untrusted { .. } | DialError::NotTls { .. } | DialError::Identity(_),
            )
            | Self::Refused(_)
            | Self::OtherCa
            | Self::Identity(_) => false,
        }
    }
}

/// Trades the token for an identity, which is in `dir` on return.
///
/// # Errors
/// [`EnrolError`].
pub async fn enrol(address: &str, token: &JoinToken, dir: &Path) -> Result<Identity, EnrolError> {
    let pending = PendingKey::load_or_make(dir)?;
    let request =
        EnrolRequest { token: token.secret_text().to_owned(), csr_der: pending.request_der()? };
    let stream = dial::dial(address, token.ca_hash(), None).await.map_err(EnrolError::Dial)?;
    let channel = link::channel(stream).await.map_err(EnrolError::Transport)?;
    let answer = EnrolmentClient::new(channel).enrol(request).await;
    let answer = answer.map_err(|status| match status.code() {
        Code::Unauthenticated
        | Code::PermissionDenied
        | Code::InvalidArgument
        | Code::FailedPrecondition => EnrolError::Refused(status.message().to_owned()),
        _ => EnrolError::Unanswered(format!("{:?}: {}", status.code(), status.message())),
    })?;
    let answer = answer.into_inner();
    let hash: [u8; 32] = Sha256::digest(&answer.ca_certificate_der).into();
    if hash != token.ca_hash() {
        return Err(EnrolError::OtherCa);
    }
    let identity = pending.certified(
        answer.container_instance_arn,
        answer.certificate_der,
        answer.ca_certificate_der,
    )?;
    Ok(identity)
}
