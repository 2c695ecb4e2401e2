//! Notices to the administrators' own systems, signed as <https://github.com/standard-webhooks/standard-webhooks> says.
//!
//! A webhook's host must be public unless its configuration allows otherwise: what an administrator may write must not reach the
//! instance metadata of a cloud, or a service that trusts its own machine. The address that was judged is the one that is called.

use super::Desk;
use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{SecondsFormat, Utc};
use reqwest::{Client, Url, redirect::Policy};
use ring::hmac;
use serde_json::json;
use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tollgate_admission::Alert;
use tollgate_runtime::config::Webhook;

/// Notices that wait to be sent.
pub(super) const WAITING_MAX: usize = 1_000;
/// How long one call may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Pauses before a notice is sent again, the last of them before it is given up.
const PAUSES: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
    Duration::from_secs(600),
];

/// Something to be told.
pub(super) struct Notice {
    webhook: Option<String>,
    id: String,
    body: String,
}

impl Notice {
    pub(super) fn of(alert: &Alert) -> Self {
        let Alert { budget, subject, period, threshold, spent_usd } = alert;
        let at = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
        let body = json!({ "type": "budget.threshold_reached", "timestamp": at, "data": {
            "budget": budget.name, "usd": budget.usd.to_string(), "action": budget.action, "subject": subject,
            "period": period, "threshold": threshold, "spent_usd": spent_usd.to_string(),
        } });
        Self {
            webhook: budget.webhook.clone(),
            id: format!("msg_{}", uuid::Uuid::now_v7().simple()),
            body: body.to_string(),
        }
    }
}

/// Where notices go, by name.
pub(crate) struct Targets(HashMap<String, Target>);

#[derive(Clone)]
struct Target {
    url: String,
    key: Option<Vec<u8>>,
    allow_private: bool,
}

impl Targets {
    pub(super) fn of(webhooks: &BTreeMap<String, Webhook>) -> Self {
        let each = webhooks.iter().map(|(name, webhook)| {
            let secret = webhook.secret.expose();
            let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap_or(secret)).ok();
            (name.clone(), Target { url: webhook.url.clone(), key, allow_private: webhook.allow_private })
        });
        Self(each.collect())
    }
}

/// Sends what comes until `stop`; each notice in a task of its own, so that one webhook holds up no other.
pub(super) async fn send(desk: Arc<Desk>, mut waiting: mpsc::Receiver<Notice>, stop: CancellationToken) {
    let places = Arc::new(tokio::sync::Semaphore::new(WAITING_MAX));
    while let Some(Some(notice)) = stop.run_until_cancelled(waiting.recv()).await {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let (desk, stop) = (desk.clone(), stop.clone());
        tollgate_runtime::supervised("webhook", async move {
            deliver(&desk, &notice, &stop).await;
            drop(place);
        });
    }
}

async fn deliver(desk: &Desk, notice: &Notice, stop: &CancellationToken) {
    let Some(name) = &notice.webhook else { return };
    for pause in std::iter::once(Duration::ZERO).chain(PAUSES) {
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
        let target = desk.rules.get().webhooks.0.get(name).cloned();
        let Some(target) = target else {
            tracing::error!(webhook = name, "there is no such webhook any more; a notice is dropped");
            return;
        };
        match call(&target, notice).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(webhook = name, error, "a notice was not taken"),
        }
    }
    tracing::error!(webhook = name, notice = notice.body, "a notice is given up after {} tries", PAUSES.len() + 1);
}

async fn call(target: &Target, notice: &Notice) -> Result<(), String> {
    let url: Url = target.url.parse().map_err(|_| "its url is no address".to_owned())?;
    let key = target.key.as_ref().ok_or("its secret is not whsec_ and base64")?;
    let host = url.host_str().ok_or("its url has no host")?.to_owned();
    let port = url.port_or_known_default().ok_or("its url has no port")?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = tokio::net::lookup_host((bare, port)).await.map_err(|_| "its host is not known".to_owned())?;
    let addresses: Vec<SocketAddr> = found.filter(|address| target.allow_private || is_public(address.ip())).collect();
    if addresses.is_empty() {
        return Err("its host is not public; set allow_private if that is meant".to_owned());
    }
    let client = Client::builder()
        .tls_backend_native()
        .redirect(Policy::none())
        .no_proxy()
        .timeout(TIMEOUT)
        .resolve_to_addrs(&host, &addresses)
        .build()
        .map_err(|_| "its client cannot be made".to_owned())?;
    let at = Utc::now().timestamp();
    let request = client
        .post(url)
        .header("content-type", "application/json")
        .header("webhook-id", &notice.id)
        .header("webhook-timestamp", at)
        .header("webhook-signature", signature(key, &notice.id, at, &notice.body))
        .body(notice.body.clone());
    let status = request.send().await.map_err(|_| "it does not answer".to_owned())?.status();
    if status.is_success() { Ok(()) } else { Err(format!("it answered {status}")) }
}

fn signature(key: &[u8], id: &str, at: i64, body: &str) -> String {
    let signed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), format!("{id}.{at}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(signed))
}

/// Whether an address is somewhere in the Internet, rather than this machine, its network or a cloud's metadata
/// (<https://www.iana.org/assignments/iana-ipv4-special-registry>, and of IPv6).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    !(v4.is_private()
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_documentation()
        || v4.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19)))
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    if let Some(v4) = v6.to_ipv4_mapped() {
        return is_public_v4(v4);
    }
    let parts = v6.segments();
    // NAT64: the address behind it counts.
    if parts[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        let [a, b] = parts[6].to_be_bytes();
        let [c, d] = parts[7].to_be_bytes();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    // Only 2000::/3 is given out; in it 2001:db8::/32 is for documents, 2002::/16 carries IPv4 addresses.
    (parts[0] & 0xe000) == 0x2000 && !(parts[0] == 0x2001 && parts[1] == 0xdb8) && parts[0] != 0x2002
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_internet_are_public() {
        for public in ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"] {
            assert!(is_public(public.parse().expect(public)), "{public}");
        }
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001:db8::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "::127.0.0.1",
        ] {
            assert!(!is_public(private.parse().expect(private)), "{private}");
        }
    }

    /// The example of the specification's own libraries.
    #[test]
    fn signatures_are_as_the_specification_says() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("base64");
        let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
