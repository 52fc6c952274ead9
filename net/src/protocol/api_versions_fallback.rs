//! The one answer that every client understands before anything is agreed.

use super::error::EncodeError;
use super::generated::api_versions::{ApiVersion, ApiVersionsResponse};
use super::generated::{ApiKey, ErrorCode};
use super::message::{EncodedResponse, encode_response};

/// Answers an `ApiVersions` request of a version that does not exist, as Kafka does: in version 0, with error 35
/// and only the versions of `ApiVersions` itself, so that the client can ask again.
///
/// # Errors
/// None in practice: version 0 can express the response.
pub fn unsupported_api_versions_response(correlation_id: i32) -> Result<EncodedResponse, EncodeError> {
    let key = ApiKey::ApiVersions;
    let response = ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        api_keys: vec![ApiVersion {
            api_key: key.code(),
            min_version: key.min_version(),
            max_version: key.max_version(),
        }],
        ..ApiVersionsResponse::default()
    };
    encode_response(0, correlation_id, &response)
}
