//! The workers that drive the pure parts, and the handle that doors and HTTP hold.

#![allow(missing_docs, unused_variables, clippy::todo)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::auth::Verifier;
use crate::clock::SystemClock;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::model::{Kind, Policy, RoomName, UserId};
use crate::presence::{Change, Participant};
use crate::store::Store;
use crate::wire::close::Refusal;
use crate::wire::yjs::Update;

/// Handle to the running relay: cheap to copy, asks the worker that owns a room.
#[derive(Clone)]
pub struct Relay {}

/// What a relay is made of.
pub struct RelayOptions {
    /// Worker threads; one per core when zero.
    pub workers: usize,
    pub limits: Limits,
    /// Overrides of the kinds' numbers.
    pub policies: Policies,
    pub trust_awareness: bool,
}

/// The numbers of every kind.
#[derive(Clone, Debug)]
pub struct Policies {
    pub session: Policy,
    pub board: Policy,
    pub event: Policy,
    pub workspace: Policy,
}
impl Policies {
    pub fn of(&self, kind: Kind) -> &Policy {
        todo!()
    }
}

/// What a stream of a room's presence is told. After `Snapshot` come changes; a stream that falls
/// behind gets a new `Snapshot` instead of what it missed.
pub enum PresenceEvent {
    Snapshot(Vec<Participant>),
    Change(Change),
}

/// A room's document as one update.
pub struct DocumentState {
    pub update: Bytes,
    /// Whether all of it is on disk.
    pub is_durable: bool,
}

/// Why a back end's update was not applied.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ApplyError {
    /// `?if=empty`, and there is content.
    #[error("the document has content already")]
    NotEmpty,
    /// `BAD_UPDATE`, `LIMIT_DOCUMENT`, `STORE_DOWN`, `DRAINING`.
    #[error("refused: {}", .0.reason())]
    Refused(Refusal),
}

/// The worker is gone or overloaded: HTTP 503.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", .0.reason())]
pub struct Unavailable(pub Refusal);

impl Relay {
    pub fn start(
        options: RelayOptions,
        store: Arc<dyn Store>,
        verifier: Verifier,
        metrics: Arc<Metrics>,
        clock: SystemClock,
    ) -> anyhow::Result<Self> {
        todo!()
    }
    pub fn clock(&self) -> SystemClock {
        todo!()
    }
    pub fn metrics(&self) -> &Arc<Metrics> {
        todo!()
    }
    pub fn verifier(&self) -> &Verifier {
        todo!()
    }
    /// A room's participants; empty when the room is not loaded.
    pub async fn room_presence(&self, room: &RoomName) -> Result<Vec<Participant>, Unavailable> {
        todo!()
    }
    /// The first event is a snapshot.
    pub async fn watch_room(
        &self,
        room: &RoomName,
    ) -> Result<mpsc::Receiver<PresenceEvent>, Unavailable> {
        todo!()
    }
    /// Every room the user is connected in.
    pub async fn user_presence(
        &self,
        user: &UserId,
    ) -> Result<Vec<(RoomName, Participant)>, Unavailable> {
        todo!()
    }
    pub async fn document(&self, room: &RoomName) -> Result<DocumentState, Unavailable> {
        todo!()
    }
    /// Seen live by the editors; returns once durable.
    pub async fn apply_update(
        &self,
        room: &RoomName,
        update: Update,
        only_if_empty: bool,
    ) -> Result<(), ApplyError> {
        todo!()
    }
    /// Revokes (in the verifier) and closes the user's sessions, in one room or in all.
    pub async fn revoke(&self, user: &UserId, room: Option<&RoomName>) -> Result<(), Unavailable> {
        todo!()
    }
    /// Why the relay is not ready; empty when it is. E.g. `DRAINING`, `STORE_DOWN: …`.
    pub fn unready_reasons(&self) -> Vec<String> {
        todo!()
    }
    /// Refuses newcomers, closes every socket with 1012, waits until accepted updates are stored.
    pub async fn drain(&self, at_most: Duration) -> Result<(), Unavailable> {
        todo!()
    }
}
