//! People in PostgreSQL. Not kept yet.

use crate::clock::Timestamp;
use crate::model::{RoomName, UserId};
use crate::store::{
    Departed, FollowsChange, FollowsError, People, PostgresStore, PresenceRow, Record, StoreError,
};

fn missing<T>() -> Result<T, StoreError> {
    Err(StoreError::Down(
        "this store keeps no people yet".to_owned(),
    ))
}

impl People for PostgresStore {
    fn record(&self, _: &[Record]) -> Result<(), StoreError> {
        missing()
    }

    fn departed(&self, _: &RoomName, _: usize) -> Result<Vec<Departed>, StoreError> {
        missing()
    }

    fn feed_seen(&self, _: &[UserId]) -> Result<Vec<(UserId, Timestamp)>, StoreError> {
        missing()
    }

    fn follows(&self, _: &UserId) -> Result<Vec<UserId>, StoreError> {
        missing()
    }

    fn change_follows(&self, _: &UserId, _: &FollowsChange) -> Result<(), FollowsError> {
        Ok(missing()?)
    }

    fn presences(&self, _: &str) -> Result<Vec<PresenceRow>, StoreError> {
        missing()
    }

    fn end_open_presences(&self, _: Timestamp) -> Result<u64, StoreError> {
        missing()
    }

    fn rooms_departed(&self, _: Option<&RoomName>, _: usize) -> Result<Vec<RoomName>, StoreError> {
        missing()
    }

    fn feed_users(&self, _: Option<&UserId>, _: usize) -> Result<Vec<UserId>, StoreError> {
        missing()
    }

    fn followers(&self, _: Option<&UserId>, _: usize) -> Result<Vec<UserId>, StoreError> {
        missing()
    }
}
