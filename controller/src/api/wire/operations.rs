//! One table for each service: the name of an operation, its request, its answer, and who does it.

/// Makes `run` (name and body in, answer out) and, for the test against AWS's model, `shapes`.
macro_rules! operations {
    ($( $name:literal => $run:expr, $request:ty => $answer:ty; )*) => {
        /// Runs one operation.
        pub(in crate::api) async fn run(
            api: &$crate::api::Api,
            operation: &str,
            body: ::serde_json::Value,
        ) -> Result<Vec<u8>, $crate::api::ApiError> {
            use $crate::api::wire::{Path, Wire as _, to_json};
            match operation {
                $( $name => {
                    let request = <$request>::decode(body, Path::Root)?;
                    let answer: $answer = Box::pin(($run)(api, request)).await?;
                    to_json(&answer)
                } )*
                other => Err($crate::api::wire::unknown_operation(other)),
            }
        }

        /// Each operation with the shapes of its request and of its answer.
        #[cfg(test)]
        pub(in crate::api) fn shapes() -> Vec<$crate::api::wire::OperationShapes> {
            use $crate::api::wire::{OperationShapes, Wire as _};
            let mut operations = Vec::new();
            $(
                let mut of = OperationShapes { name: $name, request: vec![], answer: vec![] };
                <$request>::describe(&mut of.request);
                <$answer>::describe(&mut of.answer);
                operations.push(of);
            )*
            operations
        }
    };
}

pub(crate) use operations;

use serde::Serialize;

use crate::api::{ApiError, Code};

/// The shapes of an operation.
#[cfg(test)]
#[derive(Clone, Debug)]
pub(crate) struct OperationShapes {
    pub(crate) name: &'static str,
    pub(crate) request: Vec<super::Shape>,
    pub(crate) answer: Vec<super::Shape>,
}

/// Writes an answer.
pub(crate) fn to_json(answer: &impl Serialize) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec(answer).map_err(|error| ApiError::new(Code::Server, error))
}

/// Longest operation name that a message repeats, in characters.
const NAME_SHOWN_CHARS_MAX: usize = 64;

pub(crate) fn unknown_operation(name: &str) -> ApiError {
    let shown: String = name.chars().take(NAME_SHOWN_CHARS_MAX).collect();
    ApiError::new(Code::UnknownOperation, format!("the operation {shown} is not supported"))
}
