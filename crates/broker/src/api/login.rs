//! Logging in with SASL/PLAIN. Deliberately absent: other mechanisms, and TLS: see [`crate::Config::listen`].

use super::{Session, words};
use crate::{
    config::User,
    node::Node,
    wire::{Answer, Refused, Request},
};
use kafka_protocol::{
    ResponseError,
    messages::{SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse},
    protocol::StrBytes,
};
use std::{rc::Rc, time::Duration};

const MECHANISM: &str = "PLAIN";
/// So that guessing is slow and a misconfigured client does not spin; as Kafka's
/// `connection.failed.authentication.delay.ms`.
const REFUSAL_DELAY: Duration = Duration::from_millis(100);

/// SaslHandshake, version 1: the login follows as SaslAuthenticate requests (KIP-152).
pub(super) fn handshake(request: &Request) -> Result<Answer, Refused> {
    let asked: SaslHandshakeRequest = request.decode()?;
    let mut response = SaslHandshakeResponse::default().with_mechanisms(vec![StrBytes::from_static_str(MECHANISM)]);
    if asked.mechanism.as_str() != MECHANISM {
        response.error_code = ResponseError::UnsupportedSaslMechanism.code();
    }
    Ok(Answer::Now(request.reply(&response)?))
}

/// SaslAuthenticate: from here on the session may do what its user may; after a wrong password, nothing at all.
pub(super) fn authenticate(node: &Rc<Node>, session: &Rc<Session>, request: &Request) -> Result<Answer, Refused> {
    let asked: SaslAuthenticateRequest = request.decode()?;
    let response = match find(&node.config.users, &asked.auth_bytes) {
        Some(user) => {
            *session.access.borrow_mut() = user.access.clone();
            SaslAuthenticateResponse::default()
        }
        None => {
            session.rejected.set(true);
            if let Some(more) = node.wrong_passwords.pass() {
                tracing::warn!(
                    client = session.host,
                    more,
                    "a Kafka client could not log in: wrong user name or password"
                );
            }
            let refused = SaslAuthenticateResponse::default()
                .with_error_code(ResponseError::SaslAuthenticationFailed.code())
                .with_error_message(words("wrong user name or password"));
            let reply = request.reply(&refused)?;
            return Ok(Answer::Later(Box::pin(async move {
                tokio::time::sleep(REFUSAL_DELAY).await;
                Ok(reply)
            })));
        }
    };
    Ok(Answer::Now(request.reply(&response)?))
}

/// The user of a PLAIN message: authorisation id, name and password, each but the last ended by a zero byte (RFC 4616). Acting as
/// somebody else is not possible.
fn find<'a>(users: &'a [User], message: &[u8]) -> Option<&'a User> {
    let mut parts = message.splitn(3, |byte| *byte == 0);
    let (act_as, name, password) = (parts.next()?, parts.next()?, parts.next()?);
    let user = users.iter().find(|user| user.name.as_bytes() == name)?;
    let right = same(user.password.as_bytes(), password) && (act_as.is_empty() || act_as == name);
    right.then_some(user)
}

/// Compares in a time that does not tell where two secrets of the same length differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Access;

    #[test]
    fn only_the_right_password_of_the_named_user_logs_in() {
        let user = |name: &str, password: &str| User {
            name: name.to_owned(),
            password: password.to_owned(),
            access: Access::All,
        };
        let users = [user("a", "one"), user("b", "two")];
        let name = |message: &[u8]| find(&users, message).map(|user| user.name.as_str());
        assert_eq!(name(b"\0a\0one"), Some("a"));
        assert_eq!(name(b"b\0b\0two"), Some("b"));
        for wrong in [&b"\0a\0two"[..], b"b\0a\0one", b"\0a\0one\0", b"\0a", b"", b"\0c\0", b"\0a\0"] {
            assert_eq!(name(wrong), None, "{wrong:?}");
        }
    }
}
