//! One request: its header, checked, and its body, to be decoded by whoever answers it.

use super::{
    shape,
    versions::{self, Api},
};
use bytes::{Buf, Bytes};
use kafka_protocol::{
    messages::ApiKey,
    protocol::{self, StrBytes},
};

/// Produce requests of earlier versions carry formats of records from before 2017, which Apache Kafka 4 refuses too.
const PRODUCE_MIN: i16 = 3;

/// A request whose lengths and counts are true. What is cut out of it (strings, bytes) keeps the whole frame in memory:
/// copy what is to be kept.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) client_id: Option<StrBytes>,
    pub(crate) body: Bytes,
}

/// Why a request has no regular answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// A newer client's first request. It is told what is served, in version 0, which every client reads (KIP-511).
    #[error("this version of ApiVersions is not served")]
    OldApiVersions {
        /// The request's.
        correlation_id: i32,
    },
    /// The connection is of no further use.
    #[error("{0}")]
    Close(String),
}

fn close(reason: impl Into<String>) -> Refused {
    Refused::Close(reason.into())
}

/// Reads the header and walks the body.
pub(super) fn parse(mut frame: Bytes) -> Result<Request, Refused> {
    let (Ok(key), Ok(version), Ok(correlation_id)) = (frame.try_get_i16(), frame.try_get_i16(), frame.try_get_i32())
    else {
        return Err(close("it sent a request without a header; is it a Kafka client?"));
    };
    let api = versions::find(key).ok_or_else(|| close(format!("it sent a request with api key {key}, not served")))?;
    if !(api.min..=api.max).contains(&version) && api.key == ApiKey::ApiVersions {
        return Err(Refused::OldApiVersions { correlation_id });
    }
    if !(api.min..=api.max).contains(&version) || api.key == ApiKey::Produce && version < PRODUCE_MIN {
        return Err(close(format!("it sent {:?} in version {version}, not served; use a newer client", api.key)));
    }
    let client_id = header(api, version, &mut frame)
        .map_err(|reason| close(format!("it sent {:?} in version {version}: {reason}", api.key)))?;
    Ok(Request { api: api.key, version, correlation_id, client_id, body: frame })
}

/// Takes the rest of the header off `frame`, and checks the body that is left. The client id has a plain length in
/// flexible versions too (KIP-482).
fn header(api: &Api, version: i16, frame: &mut Bytes) -> Result<Option<StrBytes>, String> {
    const SHORT: &str = "its client id is cut short";
    let length = frame.try_get_i16().map_err(|_| SHORT)?;
    let client_id = match usize::try_from(length) {
        Ok(length) if length > frame.len() => return Err(SHORT.to_owned()),
        Ok(length) => {
            let id = StrBytes::try_from(frame.split_to(length)).map_err(|_| "its client id is not UTF-8")?;
            Some(id)
        }
        Err(_) => None,
    };
    let flexible = api.key.request_header_version(version) >= 2;
    if flexible {
        frame.advance(shape::tagged_bytes(frame).map_err(|reason| reason.to_string())?);
    }
    api.shape.check(frame, version, flexible).map_err(|reason| reason.to_string())?;
    Ok(client_id)
}

impl Request {
    /// The body. Refuses what a field may not be (null, not UTF-8); bytes left over are no fault, see
    /// [`shape::Shape::check`].
    pub(crate) fn decode<T: protocol::Request>(&self) -> Result<T, Refused> {
        let refuse = |reason| close(format!("it sent {:?} in version {}: {reason}", self.api, self.version));
        if T::KEY != self.api as i16 {
            return Err(refuse(format!("decoded as api key {}; please report it", T::KEY)));
        }
        let mut body = self.body.clone();
        T::decode(&mut body, self.version).map_err(|reason| refuse(format!("{reason:#}")))
    }
}
