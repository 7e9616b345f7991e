//! What may take longer than a worker may stand still: loading, applying and encoding much.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::sync::mpsc;

use crate::limits::{LOAD_AFTER_WRITES_WITHIN, OFFLINE_PARTICIPANTS_MAX, WORKER_STACK_BYTES};
use crate::model::{ConnectionId, RoomName};
use crate::presence::{Appearance, Participant, Status};
use crate::relay::inbox::ToWorker;
use crate::relay::people::PeopleWriter;
use crate::relay::storage::{Storage, Ticket};
use crate::room::{FromSession, Input, Sift, Task};
use crate::store::{Store, StoreError};
use crate::wire::close::Refusal;

/// Something to do for a room away from its worker.
pub enum Job {
    /// Read a document from the store, and who was in its room if that is remembered.
    Load {
        /// What writes that down, where it is.
        people: Option<PeopleWriter>,
    },
    /// Apply and encode.
    Work(Box<Task>),
    /// Go through something large.
    Sift(Box<Sift>),
}

/// Something that a thread with a large stack and time is to do.
pub enum Order {
    /// For a room: the result goes to it as an input.
    Room(RoomOrder),
    /// Look through something large that a connection sent.
    Check {
        /// Which connection.
        connection: ConnectionId,
        /// Given back to its door with the outcome.
        key: String,
        /// Does it.
        check: Check,
        /// The connection's worker.
        reply_to: mpsc::Sender<ToWorker>,
    },
    /// Ask the store.
    Ask {
        /// Does it.
        ask: Ask,
        /// Gets the answer.
        reply_to: mpsc::Sender<ToWorker>,
    },
    /// Drop what takes long to drop.
    Forget(Box<dyn Send>),
}

/// Reads and checks something large.
pub type Check = Box<dyn FnOnce() -> Result<FromSession, Refusal> + Send>;

/// Asks the store something, and puts the answer into words for a worker.
pub type Ask = Box<dyn FnOnce(&dyn Store, &Storage) -> ToWorker + Send>;

/// A job, and where its result goes: as an input to the room, by way of its worker's inbox.
pub struct RoomOrder {
    /// The room.
    pub room: RoomName,
    /// Which life of the room: a result for an earlier one is dropped.
    pub life: u64,
    /// What to do.
    pub job: Job,
    /// What must be on disk before a document is loaded.
    pub after: Ticket,
    /// The worker that owns the room.
    pub reply_to: mpsc::Sender<ToWorker>,
}

/// Threads with large stacks that do heavy jobs, first come, first served.
#[derive(Clone)]
pub struct HeavyPool {
    queue: Arc<Queue>,
    _open: Arc<Open>,
}

#[derive(Default)]
struct Queue {
    /// Bounded by who orders: a room has two orders here, a connection one, and who was unloaded is
    /// forgotten once.
    orders: Mutex<Orders>,
    filled: Condvar,
}

#[derive(Default)]
struct Orders {
    waiting: VecDeque<Order>,
    is_closed: bool,
}

/// Closes the queue when the last handle is gone.
struct Open(Arc<Queue>);

impl HeavyPool {
    /// Starts the threads; they end when the last handle is gone.
    pub fn start(
        name: &str,
        threads: usize,
        store: Arc<dyn Store>,
        storage: &Storage,
    ) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        for number in 0..threads.max(1) {
            let (queue, store) = (queue.clone(), store.clone());
            let storage = storage.clone();
            thread::Builder::new()
                .name(format!("{name}-{number}"))
                .stack_size(WORKER_STACK_BYTES)
                .spawn(move || {
                    while let Some(order) = queue.next() {
                        carry_out(order, &*store, &storage);
                    }
                })?;
        }
        let _open = Arc::new(Open(queue.clone()));
        Ok(Self { queue, _open })
    }

    /// Hands the order in. Never waits.
    pub fn order(&self, order: Order) {
        self.queue.orders().waiting.push_back(order);
        self.queue.filled.notify_one();
    }
}

impl Queue {
    fn orders(&self) -> MutexGuard<'_, Orders> {
        // Nothing panics while it holds the lock; if it ever does, the queue is still whole.
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next thing to do; `None` when there will be no more.
    fn next(&self) -> Option<Order> {
        let mut orders = self.orders();
        loop {
            if let Some(order) = orders.waiting.pop_front() {
                if orders.waiting.is_empty() {
                    orders.waiting.shrink_to(64);
                }
                return Some(order);
            }
            if orders.is_closed {
                return None;
            }
            let waited = self.filled.wait(orders);
            orders = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Tells the allocator once, for the whole process, to keep little of what is freed at the end of a
/// thread's heap. Otherwise it keeps twice as much as the largest buffer that was ever freed: a burst
/// leaves some megabytes to every thread.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "glibc's own way to set it")]
pub fn keep_little_memory() {
    use crate::limits::HEAP_END_BYTES_KEPT;

    // SAFETY: both take numbers; that nobody allocates meanwhile is not asked for.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, HEAP_END_BYTES_KEPT);
        // Left alone it would rise together with the other.
        libc::mallopt(libc::M_MMAP_THRESHOLD, HEAP_END_BYTES_KEPT);
    }
}

/// Other allocators decide themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn keep_little_memory() {}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.orders().is_closed = true;
        self.0.filled.notify_all();
    }
}

fn carry_out(order: Order, store: &dyn Store, storage: &Storage) {
    match order {
        Order::Room(order) => work_for_room(order, store, storage),
        Order::Check {
            connection,
            key,
            check,
            reply_to,
        } => {
            let outcome = check();
            let checked = ToWorker::Checked {
                connection,
                key,
                outcome,
            };
            // A worker that is gone needs no answer.
            let _ = reply_to.blocking_send(checked);
        }
        Order::Ask { ask, reply_to } => {
            // A worker that is gone needs no answer.
            let _ = reply_to.blocking_send(ask(store, storage));
        }
        Order::Forget(anything) => drop(anything),
    }
}

fn work_for_room(order: RoomOrder, store: &dyn Store, storage: &Storage) {
    let RoomOrder {
        room,
        life,
        job,
        after,
        reply_to,
    } = order;
    let input = Box::new(match job {
        Job::Load { people } => load(&room, after, store, storage, people.as_ref()),
        Job::Work(task) => Input::Reported(Box::new(task.run())),
        Job::Sift(sift) => Input::Sifted(Box::new(sift.run())),
    });
    // A worker that is gone needs no answer.
    let _ = reply_to.blocking_send(ToWorker::Room { room, life, input });
}

fn load(
    room: &RoomName,
    after: Ticket,
    store: &dyn Store,
    storage: &Storage,
    people: Option<&PeopleWriter>,
) -> Input {
    if !store.is_immediate() && !storage.wait(after, LOAD_AFTER_WRITES_WITHIN) {
        // A room tries again each second, and so do all others: the store's own end is told once.
        tracing::debug!(%room, "a document was not loaded: what came before is not written");
        return Input::LoadFailed {
            refusal: Refusal::StoreDown,
        };
    }
    let loaded = store.load(room).and_then(|stored| {
        let people = match people {
            Some(writer) => departed(room, store, writer)?,
            None => Vec::new(),
        };
        Ok((stored, people))
    });
    match loaded {
        Ok((stored, people)) => Input::Loaded {
            updates: stored.updates,
            last: stored.last,
            people,
        },
        Err(error) => {
            let refusal = match error {
                StoreError::Down(_)
                | StoreError::Unusable(_)
                | StoreError::Taken(_)
                | StoreError::Conflict { .. } => {
                    tracing::debug!(%room, %error, "a document could not be loaded");
                    storage.suspect(&error);
                    Refusal::StoreDown
                }
                StoreError::Damaged { .. } => {
                    tracing::error!(%room, %error, "a document could not be loaded");
                    Refusal::StoreDamaged
                }
            };
            Input::LoadFailed { refusal }
        }
    }
}

/// Who was in the room, as far as that is written down; what still waits to be is written first.
fn departed(
    room: &RoomName,
    store: &dyn Store,
    writer: &PeopleWriter,
) -> Result<Vec<Participant>, StoreError> {
    writer.flush(LOAD_AFTER_WRITES_WITHIN);
    let people = store.departed(room, OFFLINE_PARTICIPANTS_MAX)?;
    let gone = people.into_iter().map(|person| {
        let appearance = Appearance {
            name: person.name,
            avatar: person.avatar,
            role: person.role,
            color: person.color,
            status: Status::Offline,
            data: None,
        };
        Participant::gone(person.user, appearance, person.last_seen)
    });
    Ok(gone.collect())
}
