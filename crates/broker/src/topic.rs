//! Topics and partitions as the broker's thread holds them. Not here: what makes them last (`store`, `durability`).

use crate::log::{Log, Settings};
use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
};
use tokio::sync::Notify;
use uuid::Uuid;

/// One topic.
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) id: Uuid,
    pub(crate) settings: RefCell<Settings>,
    pub(crate) partitions: RefCell<Vec<Rc<Partition>>>,
}

impl Topic {
    /// Without partitions yet.
    pub(crate) fn new(name: &str, id: Uuid, settings: Settings) -> Self {
        Self { name: name.to_owned(), id, settings: RefCell::new(settings), partitions: RefCell::default() }
    }

    /// The partition of that number.
    pub(crate) fn partition(&self, index: i32) -> Option<Rc<Partition>> {
        self.partitions.borrow().get(usize::try_from(index).ok()?).cloned()
    }
}

/// One partition.
pub(crate) struct Partition {
    pub(crate) topic: String,
    pub(crate) index: i32,
    pub(crate) log: RefCell<Log>,
    /// Offsets below it may be handed out; it is on the disk.
    pub(crate) mark: Cell<i64>,
    /// Consumers see records below it: the log's end, or, with `fsync: always`, what is on the disk.
    pub(crate) visible: Cell<i64>,
    /// Whether it waits for the next fsync.
    pub(crate) dirty: Cell<bool>,
    /// Its topic was deleted; its files go, and nobody may open them again.
    gone: Cell<bool>,
    waiters: RefCell<Vec<Weak<Notify>>>,
}

impl Partition {
    pub(crate) fn new(topic: &str, index: i32, log: Log, mark: i64) -> Self {
        let visible = Cell::new(log.end_offset());
        let (mark, dirty, gone) = (Cell::new(mark), Cell::new(false), Cell::new(false));
        Self {
            topic: topic.to_owned(),
            index,
            log: RefCell::new(log),
            mark,
            visible,
            dirty,
            gone,
            waiters: RefCell::default(),
        }
    }

    /// Has `waiter` notified at the next change. One entry a waiter, however often it asks.
    pub(crate) fn watch(&self, waiter: &Rc<Notify>) {
        let mut waiters = self.waiters.borrow_mut();
        waiters.retain(|known| known.strong_count() > 0);
        if !waiters.iter().any(|known| std::ptr::eq(known.as_ptr(), Rc::as_ptr(waiter))) {
            waiters.push(Rc::downgrade(waiter));
        }
    }

    /// Its topic was deleted.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.get()
    }

    /// Its topic is deleted: whoever waits hears of it.
    pub(crate) fn go(&self) {
        self.gone.set(true);
        self.changed();
    }

    /// Wakes all who wait.
    pub(crate) fn changed(&self) {
        for waiter in self.waiters.borrow_mut().drain(..) {
            if let Some(waiter) = waiter.upgrade() {
                waiter.notify_one();
            }
        }
    }

    /// Shows records below `end` to consumers.
    pub(crate) fn show(&self, end: i64) {
        if end > self.visible.get() {
            self.visible.set(end);
            self.changed();
        }
    }
}
