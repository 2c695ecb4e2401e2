//! One connection: whom it speaks for, and what that may do at this moment. Not here: checking passwords (`login`).

use crate::{
    access::{Access, Grants, User},
    group::Token,
};
use kafka_protocol::protocol::StrBytes;
use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// Until when a connection must have logged in that may do nothing without: it holds a place that others may need.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);

/// One connection.
pub(crate) struct Session {
    pub(super) peer: IpAddr,
    /// Where it is told to connect.
    pub(super) told: (StrBytes, i32),
    /// Nobody as long as it has not logged in.
    user: RefCell<Option<User>>,
    /// What follows from the grants that were seen last.
    access: RefCell<Rc<Access>>,
    grants: RefCell<watch::Receiver<Arc<Grants>>>,
    /// A login failed: whatever comes next ends the connection.
    pub(super) rejected: Cell<bool>,
    /// Ends the connection.
    end: CancellationToken,
    /// Notified when a further request has arrived behind one that waits.
    pub(super) hurry: Notify,
    /// Joins and syncs that wait.
    pub(super) tokens: RefCell<Vec<Token>>,
}

impl Session {
    /// A connection from `peer` that is told to come to `told`, and ends with `end`.
    pub(crate) fn new(
        peer: IpAddr,
        told: (String, u16),
        mut grants: watch::Receiver<Arc<Grants>>,
        end: CancellationToken,
    ) -> Self {
        let access = grants.borrow_and_update().anonymous.clone();
        Self {
            peer,
            told: (StrBytes::from_string(told.0), i32::from(told.1)),
            user: RefCell::default(),
            access: RefCell::new(Rc::new(access)),
            grants: RefCell::new(grants),
            rejected: Cell::new(false),
            end,
            hurry: Notify::new(),
            tokens: RefCell::default(),
        }
    }

    /// What it may do now. Asked at every use, also by answers that were waited for, because it may change at any time.
    pub(super) fn access(&self) -> Rc<Access> {
        self.judge();
        self.access.borrow().clone()
    }

    /// The grants of now.
    pub(super) fn grants(&self) -> Arc<Grants> {
        self.grants.borrow().borrow().clone()
    }

    /// From now on it speaks for `user`, of the grants that were just looked at.
    pub(super) fn logged_in(&self, user: &User) {
        *self.access.borrow_mut() = Rc::new(user.access.clone());
        *self.user.borrow_mut() = Some(user.clone());
        // They may have been replaced since.
        self.grants.borrow_mut().mark_changed();
    }

    /// Follows a change of the grants. Whoever has lost its login is cut off.
    fn judge(&self) {
        let mut grants = self.grants.borrow_mut();
        // An error means that nobody can change them any more.
        if !grants.has_changed().unwrap_or(false) {
            return;
        }
        let now = grants.borrow_and_update().clone();
        let user = self.user.borrow();
        let (access, lost) = match &*user {
            None => {
                (now.anonymous.clone(), now.anonymous == Access::Nothing && **self.access.borrow() != Access::Nothing)
            }
            Some(user) => match now.user(user.name.as_bytes()).filter(|known| known.password == user.password) {
                Some(known) => (known.access.clone(), false),
                None => (Access::Nothing, true),
            },
        };
        if lost && !self.end.is_cancelled() {
            let user = user.as_ref().map(|user| user.name.as_str());
            tracing::info!(client = %self.peer, user, "a Kafka client must log in anew; closed its connection");
            self.end.cancel();
        }
        *self.access.borrow_mut() = Rc::new(access);
    }

    /// Follows every change at once, so that a connection ends that says nothing.
    pub(crate) async fn keep_judged(&self) -> Infallible {
        let mut changes = self.grants.borrow().clone();
        let patience = tokio::time::sleep(LOGIN_TIMEOUT);
        tokio::pin!(patience);
        loop {
            tokio::select! {
                changed = changes.changed() => match changed {
                    Ok(()) => self.judge(),
                    Err(_) => std::future::pending().await,
                },
                () = &mut patience, if !patience.is_elapsed() => {
                    if self.user.borrow().is_none() && *self.access() == Access::Nothing {
                        self.end.cancel();
                    }
                }
            }
        }
    }
}
